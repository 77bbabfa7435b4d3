"""Surrogates, controllers and personalisation of agent-based models."""
