"""Simulated power cuts on a real ext4, for anything that promises to keep what it acknowledged."""
