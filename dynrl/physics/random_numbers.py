"""Random numbers of many episodes at once, each a pure function of its seed and its index.

SplitMix64 (Steele, Lea and Flood 2014) as a counter-based generator: an episode's numbers depend on neither the
number of simulations beside it nor on what they drew.
"""

from __future__ import annotations

import functools

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ELEVEN, _TWENTY_SEVEN, _THIRTY, _THIRTY_ONE = (np.uint64(shift) for shift in (11, 27, 30, 31))
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key_of(seed: int) -> np.uint64:
    """Return the key of the episodes that a seed begins."""
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


def unit_numbers(
    keys: np.ndarray, episodes: np.ndarray, num_uniform: int, num_normal: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what episode `episodes[i]` of key `keys[i]` draws.

    Args:
        keys: `[k]` uint64.
        episodes: `[k]` uint64, counted from 0.
        num_uniform, num_normal: how many of each.

    Returns:
        uniform in [0, 1), `[k, num_uniform]`, and standard normal, `[k, num_normal]`.
    """
    pairs = (num_normal + 1) // 2
    stream = _mixed(_mixed(keys + _GOLDEN) ^ (episodes * _FIRST + _SECOND))
    unit = (_mixed(stream[:, None] + _counters(num_uniform + 2 * pairs)) >> _ELEVEN) * 2.0**-53
    if not num_normal:
        return unit, np.empty((len(keys), 0))
    # Box and Muller (1958); 1 - u is never 0.
    radius = np.sqrt(-2.0 * np.log1p(-unit[:, num_uniform : num_uniform + pairs]))
    angle = 2.0 * np.pi * unit[:, num_uniform + pairs :]
    normal = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), -1)
    return unit[:, :num_uniform], normal[:, :num_normal]


@functools.cache
def _counters(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> _THIRTY)) * _FIRST
    values = (values ^ (values >> _TWENTY_SEVEN)) * _SECOND
    return values ^ (values >> _THIRTY_ONE)
