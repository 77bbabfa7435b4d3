"""Texts as 64-bit fingerprints, and a hash table of fingerprints, both a whole column at a time.

Equal texts have equal fingerprints on every machine and in every version: hashed features depend on it. Two of a
million different texts share a fingerprint with probability 3e-8 (a random 64-bit function), which is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FingerprintTable", "fingerprint", "fingerprints", "fingerprints_of", "first_occurrences", "mix"]

Keys = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_FINAL = np.uint64(0xBF58476D1CE4E5B9)
_WORD = 8
_EMPTY = -1
_LOW_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_WORD)] + [2**64 - 1], np.uint64)


def mix(value: Keys) -> Keys:
    """A bijection of the 64-bit numbers that spreads every bit (the finaliser of Steele et al., SplitMix, 2014)."""
    value = (value ^ (value >> np.uint64(30))) * _FINAL
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def fingerprints(
    buffer: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    seed: Keys | np.uint64 | int = 0,
) -> Keys:
    """Fingerprints `[N]` of the fields of `buffer`, which holds at least 8 bytes after the last field.

    Args:
        seed: one for all or one per field; the same text under another seed has another fingerprint.
    """
    words = np.ndarray(len(buffer) - _WORD + 1, dtype="V8", buffer=buffer, strides=(1,))
    with np.errstate(over="ignore"):
        keys = mix(np.asarray(seed, np.uint64) + length.astype(np.uint64) * _ODD)
        rows: NDArray[np.int64] | slice = slice(None)
        for offset in range(0, max(1, int(length.max(initial=0))), _WORD):
            if offset:
                rows = np.flatnonzero(length > offset)
            left = np.minimum(length[rows] - offset, _WORD)
            word = words[start[rows] + offset].view("<u8").astype(np.uint64, copy=False)
            keys[rows] = mix((keys[rows] ^ (word & _LOW_BYTES[left])) + _ODD)
    return keys


def fingerprints_of(texts: Sequence[bytes], seed: Keys | np.uint64 | int = 0) -> Keys:
    """Fingerprints `[N]` of some texts; `seed` as in `fingerprints`."""
    buffer = np.frombuffer(b"".join(texts) + bytes(_WORD), np.uint8)
    length = np.array([len(text) for text in texts], np.int64)
    return fingerprints(buffer, np.cumsum(length) - length, length, seed)


def fingerprint(text: str | bytes) -> np.uint64:
    """The fingerprint of one text."""
    return fingerprints_of([text.encode() if isinstance(text, str) else text])[0]


class FingerprintTable:
    """Numbers by fingerprint: open addressing with linear probing, every operation on whole arrays."""

    def __init__(self, slots: int = 1 << 12) -> None:
        self._keys = np.zeros(slots, np.uint64)
        self._values = np.full(slots, _EMPTY, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, keys: Keys) -> NDArray[np.int32]:
        """The number of each fingerprint `[N]`; -1 where it is unknown."""
        mask = np.uint64(len(self._keys) - 1)
        slot = keys & mask
        values = self._values[slot]
        taken = np.flatnonzero((self._keys[slot] != keys) & (values != _EMPTY))
        slot = slot[taken]
        while len(taken):
            slot = (slot + np.uint64(1)) & mask
            values[taken] = self._values[slot]
            further = (self._keys[slot] != keys[taken]) & (values[taken] != _EMPTY)
            taken, slot = taken[further], slot[further]
        return values

    def add(self, keys: Keys, values: NDArray[np.int32]) -> None:
        """Stores different fingerprints, none of them in the table yet, with numbers of at least 0."""
        self._count += len(keys)
        if 3 * self._count > 2 * len(self._keys):
            self._grow()
        self._place(keys, values)

    def _grow(self) -> None:
        filled = self._values != _EMPTY
        keys, values = self._keys[filled], self._values[filled]
        slots = len(self._keys)
        while 3 * self._count > slots:
            slots *= 2
        self._keys = np.zeros(slots, np.uint64)
        self._values = np.full(slots, _EMPTY, np.int32)
        self._place(keys, values)

    def _place(self, keys: Keys, values: NDArray[np.int32]) -> None:
        mask = np.uint64(len(self._keys) - 1)
        slot = keys & mask
        while len(keys):
            empty = np.flatnonzero(self._values[slot] == _EMPTY)
            self._keys[slot[empty]] = keys[empty]
            self._values[slot[empty]] = values[empty]
            lost = (self._keys[slot] != keys) | (self._values[slot] == _EMPTY)
            keys, values, slot = keys[lost], values[lost], (slot[lost] + np.uint64(1)) & mask


def first_occurrences(keys: Keys) -> NDArray[np.int64]:
    """Positions `[K]`, ascending, at which a fingerprint appears for the first time."""
    _, first = np.unique(keys, return_index=True)
    return np.sort(first)
