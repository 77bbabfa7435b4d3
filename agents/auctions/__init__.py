"""Bidding agents."""
