"""Uniform draws numbered by the auction, the same in JAX and in the NumPy policy that is served."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["stream", "uniform_at"]


def stream(key: Any) -> Any:
    """The number of a stream of draws, uint64 `[]`, from a JAX key."""
    return jax.random.bits(key, dtype=jnp.uint64)


def uniform_at(stream: Any, t: Any) -> Any:
    """The draw in [0, 1) for auction `t` of a stream (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).

    `dynrl.auctions.serving.uniform_at` gives the same numbers.
    """
    z = stream + t.astype(jnp.uint64) * jnp.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> 30)) * jnp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27)) * jnp.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> 31)) >> 11).astype(jnp.float64) * 2.0**-53
