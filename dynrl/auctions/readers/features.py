"""Features of requests as numbers: by a dictionary built on training rows, or by hashing without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.readers.fingerprints import (
    FingerprintTable,
    fingerprint,
    fingerprints_of,
    first_occurrences,
)
from dynrl.errors import FileFormatError
from dynrl.runs.array_file import read_arrays, write_arrays

__all__ = [
    "FeatureBuilder",
    "FeatureMap",
    "FeatureNumbers",
    "HashedFeatures",
    "pack_texts",
    "prefix_seed",
    "to_bytes",
    "unpack_texts",
]

BIAS = "truncate"
"""Name of feature 0, which every row has (the name of the public iPinYou preparation)."""

TextOf = Callable[[NDArray[np.int64]], list[str]]


def prefix_seed(prefix: str) -> np.uint64:
    """Seed of the fingerprints of the values under a prefix, so that `9:1` and `10:1` are different features."""
    return fingerprint(prefix)


class FeatureNumbers(Protocol):
    """Gives features their numbers."""

    @property
    def dimension(self) -> int:
        """Number of features."""
        ...

    @property
    def identity(self) -> str:
        """Text that two of them share only if they number every feature alike."""
        ...

    def numbers(
        self, keys: NDArray[np.uint64], prefix: NDArray[np.int64], prefixes: Sequence[str], text_of: TextOf
    ) -> NDArray[np.int32]:
        """Feature numbers `[nnz]`, feature 0 not among them.

        Args:
            keys: fingerprints `[nnz]` of the values, each under the seed of its prefix.
            prefix: index `[nnz]` into `prefixes`.
            prefixes: e.g. column numbers; a feature is named `prefix:value`.
            text_of: the values at some positions `0..nnz-1`, as text.
        """
        ...


@dataclass(frozen=True)
class HashedFeatures:
    """Hashing: any value has a number without a dictionary, and some values share one (Weinberger et al., 2009).

    Attributes:
        bits: there are 2^bits features; 1..30, and 20..24 are usual.

    Raises:
        ValueError: `bits` outside 1..30.
    """

    bits: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 30:
            raise ValueError(f"bits is {self.bits}, expected 1..30 (2^bits features)")

    @property
    def dimension(self) -> int:
        """Number of features, the bias included."""
        return 1 << self.bits

    @property
    def identity(self) -> str:
        """The rule of numbering."""
        return f"hashed {self.bits}"

    def numbers(
        self, keys: NDArray[np.uint64], prefix: NDArray[np.int64], prefixes: Sequence[str], text_of: TextOf
    ) -> NDArray[np.int32]:
        """See `FeatureNumbers`; feature 0 stays the bias alone."""
        return (1 + keys % np.uint64(self.dimension - 1)).astype(np.int32)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The features of training rows; a value that did not occur there becomes `prefix:other`.

    Attributes:
        names: text `prefix:value` of each feature; the first is the bias.

    Raises:
        ValueError: names that repeat or lack the bias.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or self.names[0] != BIAS:
            raise ValueError(f"the first feature must be the bias, {BIAS!r}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("two features have the same name")

    @property
    def dimension(self) -> int:
        """Number of features, the bias included."""
        return len(self.names)

    @cached_property
    def identity(self) -> str:
        """A fingerprint of the names."""
        return f"map {len(self.names)} {fingerprint(to_bytes(chr(10).join(self.names))):016x}"

    @cached_property
    def _table(self) -> FingerprintTable:
        table = FingerprintTable()
        table.add(_keys_of_names(self.names[1:]), np.arange(1, len(self.names), dtype=np.int32))
        return table

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def numbers(
        self, keys: NDArray[np.uint64], prefix: NDArray[np.int64], prefixes: Sequence[str], text_of: TextOf
    ) -> NDArray[np.int32]:
        """See `FeatureNumbers`.

        Raises:
            ValueError: the map was built on rows of another kind, without one of the prefixes.
        """
        missing = [name for name in prefixes if f"{name}:other" not in self._places]
        if missing:
            raise ValueError(
                f"the feature map has no features of {', '.join(missing)}: it was built on rows of another kind; "
                "build one on training rows of the same format"
            )
        found = self._table.find(keys)
        others = np.array([self._places[f"{name}:other"] for name in prefixes], np.int32)
        return np.where(found >= 0, found, others[prefix])

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the names as one safetensors file."""
        write_arrays(Path(path), pack_texts(self.names), {"kind": "FeatureMap"})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> FeatureMap:
        """Reads what `save` wrote.

        Raises:
            FileFormatError: missing, damaged or something else.
        """
        arrays, meta = read_arrays(Path(path))
        if meta.get("kind") != "FeatureMap":
            raise FileFormatError(f"{path} holds no feature map")
        return cls(unpack_texts(arrays))


def to_bytes(text: str) -> bytes:
    """The bytes of a text of a log; bytes that were not UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")


def pack_texts(texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Texts as two arrays, for files without pickles."""
    encoded = [to_bytes(text) for text in texts]
    return {
        "text": np.frombuffer(b"".join(encoded), np.uint8),
        "length": np.array([len(text) for text in encoded], np.int64),
    }


def unpack_texts(arrays: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """What `pack_texts` packed."""
    data = arrays["text"].tobytes()
    ends = np.cumsum(arrays["length"]).tolist()
    return tuple(
        data[end - length : end].decode("utf-8", "surrogateescape")
        for end, length in zip(ends, arrays["length"].tolist(), strict=True)
    )


class FeatureBuilder:
    """Numbers the features of training rows in the order in which they come; `map()` then serves other rows.

    `read_log(train, features=builder)`, then `read_log(test, features=builder.map())`. Several files may be read
    with one builder. The numbering is that of the public iPinYou preparation: the bias, one `prefix:other` per
    prefix, then values as they appear, row by row.
    """

    def __init__(self) -> None:
        self._names = [BIAS]
        self._table = FingerprintTable()

    @property
    def dimension(self) -> int:
        """Number of features so far."""
        return len(self._names)

    @property
    def identity(self) -> str:
        """A fingerprint of the names so far."""
        return "builder " + self.map().identity

    def map(self) -> FeatureMap:
        """The features so far."""
        return FeatureMap(tuple(self._names))

    def begin(self, prefixes: Sequence[str]) -> None:
        """Gives each prefix its `other` feature, unless it has one."""
        known = set(self._names)
        self._append([f"{prefix}:other" for prefix in prefixes if f"{prefix}:other" not in known])

    def numbers(
        self, keys: NDArray[np.uint64], prefix: NDArray[np.int64], prefixes: Sequence[str], text_of: TextOf
    ) -> NDArray[np.int32]:
        """See `FeatureNumbers`; values seen for the first time get the next numbers."""
        found = self._table.find(keys)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            places = unknown[first_occurrences(keys[unknown])]
            texts = text_of(places)
            self._append(
                [f"{prefixes[prefix[place]]}:{text}" for place, text in zip(places, texts, strict=True)]
            )
            found[unknown] = self._table.find(keys[unknown])
        return found

    def restore(self, names: Sequence[str]) -> None:
        """Continues from the names of an earlier builder."""
        self._append(list(names[len(self._names) :]))

    def _append(self, names: list[str]) -> None:
        first = len(self._names)
        self._names += names
        self._table.add(_keys_of_names(names), np.arange(first, len(self._names), dtype=np.int32))


def _keys_of_names(names: Sequence[str]) -> NDArray[np.uint64]:
    parts = [name.partition(":") for name in names]
    seeds = {prefix: prefix_seed(prefix) for prefix in {part[0] for part in parts}}
    return fingerprints_of(
        [to_bytes(value) for _, _, value in parts], np.array([seeds[part[0]] for part in parts], np.uint64)
    )
