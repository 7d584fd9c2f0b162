"""Trainable networks: descriptions, layers, and the networks of both papers."""
