"""Robust learners: domain randomisation, adversaries, and incremental worst-case search (deep IWOCS)."""
