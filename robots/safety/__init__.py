"""Between policy and wire: what may come in, and what may go out."""
