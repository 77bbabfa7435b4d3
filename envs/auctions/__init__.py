"""Auction environments."""
