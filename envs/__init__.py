"""Environments, one folder per system."""
