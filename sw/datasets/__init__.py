"""Data sets from their publishers' files."""
