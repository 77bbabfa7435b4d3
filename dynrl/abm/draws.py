"""Random draws with one signature for both kinds of arrays: a key is a JAX key, or a NumPy generator.

A JAX key is split a fixed number of ways per step, so the draws of one environment do not depend on how many others are
in the batch. A generator is simply used on, one draw after the other; equal streams across the two are not promised.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "Rounding",
    "below",
    "bits",
    "check_rounding",
    "integers",
    "priorities",
    "split",
    "uniform",
    "unit",
    "whole",
]

Array = Any
Key = Any  # a JAX key or a numpy.random.Generator
Rounding = Literal["stochastic", "half_up", "floor"]
_PRIORITIES = np.uint32(2**30)
_ROUNDINGS = ("stochastic", "half_up", "floor")


def split(key: Key, number: int) -> Any:
    """`number` keys for independent draws; a generator stands for all of them."""
    return [key] * number if isinstance(key, np.random.Generator) else jax.random.split(key, number)


def bits(key: Key, shape: tuple[int, ...], stream: Any = 0) -> Array:
    """Uniform 32-bit words, uint32 of `shape`.

    With a JAX key, a word is a hash of its index, the key and the stream (Wellons' triple32, 2018, keyed before and
    between its rounds): some ten operations that the compiler fuses with whatever uses the word. JAX's own Threefry,
    which still splits the keys, costs eight times as much, and a loop of its own for each draw.

    Args:
        key: as everywhere.
        shape: of the result, at most 2^32 words.
        stream: draws of different streams (whole numbers, may be traced) from one key are independent.
    """
    if isinstance(key, np.random.Generator):
        return np.asarray(key.integers(0, 2**32, shape, np.uint32))
    words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    first = _hashed(
        words[0] ^ (jnp.asarray(stream, jnp.uint32) * np.uint32(0x9E3779B9)), np.uint32(0x85EBCA6B)
    )
    second = _hashed(words[1] + first, np.uint32(0xC2B2AE35))
    index = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _hashed(index * np.uint32(0x9E3779B1) + first, second)


def _hashed(x: Array, middle: Array) -> Array:
    x = x ^ (x >> 17)
    x = x * np.uint32(0xED5AD4BB)
    x = x ^ (x >> 11) ^ middle
    x = x * np.uint32(0xAC4C1B51)
    x = x ^ (x >> 15)
    x = x * np.uint32(0x31848BAB)
    return x ^ (x >> 14)


def uniform(key: Key, shape: tuple[int, ...] = (), stream: Any = 0) -> Array:
    """Uniform numbers in [0, 1), float32 of `shape`, multiples of 2^-24."""
    return unit(bits(key, shape, stream))


def unit(words: Array) -> Array:
    """Uniform 32-bit words as float32 in [0, 1): the upper 24 bits."""
    return (words >> 8).astype(np.float32) * np.float32(2**-24)


def integers(key: Key, shape: tuple[int, ...], bound: Any, stream: Any = 0) -> Array:
    """Uniform whole numbers in {0 .. bound − 1}, int32 of `shape`.

    Args:
        key: as everywhere.
        shape: of the result.
        stream: as in `bits`.
        bound: from 1 to 2^31 − 1, or an array of such that broadcasts to `shape`; no number's probability is off by
            more than 2^-32.
    """
    return below(bits(key, shape, stream), bound)


def below(words: Array, bound: Any) -> Array:
    """Uniform 32-bit words as whole numbers in {0 .. bound − 1}, int32: the upper half of words · bound."""
    xp = jnp if isinstance(words, jax.Array) else np
    bound = xp.asarray(bound).astype(xp.uint32)
    # The product has 64 bits, which JAX has not by default: schoolbook multiplication in halves.
    high, low = words >> 16, words & 0xFFFF
    bound_high, bound_low = bound >> 16, bound & 0xFFFF
    middle = high * bound_low + ((low * bound_low) >> 16)
    carry = (low * bound_high + (middle & 0xFFFF)) >> 16
    return (high * bound_high + (middle >> 16) + carry).astype(xp.int32)


def priorities(key: Key, number: int, stream: Any = 0) -> Array:
    """Distinct random priorities above 0, uint32 `[number]`: random bits above, the index below to break ties.

    The index is combined with one random word, so between two agents a tie falls either way with equal probability.

    Raises:
        ValueError: more than 2^23 agents; fewer than 8 random bits would be left.
    """
    if number > 2**23:
        raise ValueError(
            f"{number} agents in one population; the 32-bit priorities carry at most {2**23}. Use several populations."
        )
    mask = np.uint32((1 << max(number - 1, 0).bit_length()) - 1)
    # Streams of their own: the same key may have been used for plain draws of the streams 0, 1, 2, ...
    words, word = bits(key, (number,), stream + _PRIORITIES), bits(key, (1,), stream + 2 * _PRIORITIES)
    index = np.arange(number, dtype=np.uint32)
    # The highest bit is set, so that 0 can say "nobody".
    return (words & ~mask) | ((index ^ word) & mask) | np.uint32(2**31)


def whole(key: Key, amount: Array, rounding: Rounding) -> Array:
    """Real amounts as whole ones, float32 of the same shape.

    Args:
        key: used by `"stochastic"` only.
        amount: any shape.
        rounding: `"stochastic"`: floor, plus 1 with the probability of the fraction (unbiased); `"half_up"`:
            floor(x + 1/2), which never gives anything below 1/2; `"floor"`.
    """
    if rounding == "half_up":
        amount = amount + np.float32(0.5)
    xp = np if isinstance(key, np.random.Generator) else jnp
    lower = xp.floor(amount)
    if rounding != "stochastic":
        return lower
    return lower + (uniform(key, xp.shape(amount)) < amount - lower)


def check_rounding(rounding: str) -> None:
    """Raises:
    ValueError: no such rounding.
    """
    if rounding not in _ROUNDINGS:
        raise ValueError(f"rounding is {rounding!r}, expected one of {', '.join(map(repr, _ROUNDINGS))}")
