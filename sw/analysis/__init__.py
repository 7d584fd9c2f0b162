"""Analyses of trained networks, each a command."""
