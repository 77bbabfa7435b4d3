"""Seeds of episodes and generators of searches, one stream per purpose."""

from __future__ import annotations

import zlib

import numpy as np


def episode_seeds(seed: int, count: int, purpose: str) -> np.ndarray:
    """Return `count` distinct episode seeds `[count]` int64 in [0, 2**31).

    Seeds of different purposes (`"search"`, `"report"`, ...) are drawn apart, so that what is chosen on some episodes
    is not reported from the same ones.

    Raises:
        ValueError: fewer than one, or a negative seed.
    """
    if count < 1:
        raise ValueError(f"episodes is {count}, expected at least one per model.")
    rng = generator(seed, f"episodes of {purpose}")
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn[int(rng.integers(2**31))] = None
    return np.array(list(drawn), dtype=np.int64)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator that belongs to `(seed, purpose)`."""
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected a non-negative integer.")
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
