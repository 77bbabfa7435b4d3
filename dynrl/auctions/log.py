"""Auctions as arrays: what every reader of logs makes, and what replay, landscapes and click models take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["AuctionLog", "Categories", "EpisodeArrays", "Features", "IngestReport"]


_TAKEN_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of categories, e.g. the ad exchange of each row.

    Attributes:
        codes: int32 `[N]`, index into `names`; -1 where the value is missing.
        names: one text per code.
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Features:
    """Sparse features of each row (compressed sparse rows, every value 1).

    Attributes:
        indices: int32 `[nnz]`, feature numbers in `0..dimension-1`.
        indptr: int64 `[N + 1]`; row i has `indices[indptr[i]:indptr[i + 1]]`.
        dimension: number of features.
    """

    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    dimension: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: NDArray[np.int64]) -> Features:
        """The features of some rows, in the order given."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        indices = np.empty(indptr[-1], self.indices.dtype)
        # In pieces: the places of all indices at once would need several times the memory of the indices.
        for first in range(0, len(rows), _TAKEN_AT_ONCE):
            piece = slice(first, first + _TAKEN_AT_ONCE)
            begin, end = indptr[first], indptr[min(first + _TAKEN_AT_ONCE, len(rows))]
            starts = np.repeat(self.indptr[:-1][rows[piece]] - indptr[:-1][piece], lengths[piece])
            indices[begin:end] = self.indices[np.arange(begin, end) + starts]
        return Features(indices, indptr, self.dimension)


@dataclass(frozen=True)
class IngestReport:
    """What a reader saw.

    Attributes:
        rows: rows kept.
        skipped: bad rows left out (`on_bad="skip"`).
        clipped: prices above `delta_max` set to it (`above="clip"`), or moved into the tail (`above="tail"`).
        duplicates: rows dropped because their bid id had come before.
        cached: whether the rows came from the cache of an earlier read.
        messages: the first few complaints about skipped rows.
    """

    rows: int = 0
    skipped: int = 0
    clipped: int = 0
    duplicates: int = 0
    cached: bool = False
    messages: tuple[str, ...] = ()


class EpisodeArrays(NamedTuple):
    """A log cut into episodes side by side, every leaf `[T, E]`; column e holds the rows of episode e.

    Attributes:
        click: uint8.
        price: int32 market price in ticks.
        theta: float64 predicted click probability.
        floor: int32 reserve price in ticks (0: none).
        segment: int32 code of the row's segment (0 without segments).
        mask: False where the last, partial episode has no row any more.
    """

    click: Any
    price: Any
    theta: Any
    floor: Any
    segment: Any
    mask: Any


@dataclass(frozen=True, eq=False)
class AuctionLog:
    """Auctions in the order they took place, one row per bid request.

    Attributes:
        click: uint8 `[N]`, 1 where the impression was clicked (or converted).
        price: int32 `[N]`, market price in ticks: the highest competing bid, which a second-price winner pays. Where
            `won` is False it was not seen and holds -1.
        theta: float64 `[N]`, predicted click probability; None before a click model has been applied.
        floor: int32 `[N]`, reserve price in ticks; None where the log has none.
        bid: int32 `[N]`, what the logging bidder bid; None where the log does not say.
        won: bool `[N]`; None where every row is a won impression.
        timestamp: datetime64[ms] `[N]`, local time of the exchange; None where the log has none.
        campaign: int64 `[N]`; None for a single campaign.
        features: of each row; None where the log has none.
        categories: named columns of categories, for segments and hour-of-day landscapes.
        numbers: named numeric columns `[N]` that only some formats have (e.g. `cpo`, `conversion_delay`).
        tick: money of one tick in the log's own unit (1 for integer logs).
        report: what the reader saw.

    Raises:
        ValueError: columns of different lengths.
    """

    click: NDArray[np.uint8]
    price: NDArray[np.int32]
    theta: NDArray[np.float64] | None = None
    floor: NDArray[np.int32] | None = None
    bid: NDArray[np.int32] | None = None
    won: NDArray[np.bool_] | None = None
    timestamp: NDArray[np.datetime64] | None = None
    campaign: NDArray[np.int64] | None = None
    features: Features | None = None
    categories: Mapping[str, Categories] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    tick: float = 1.0
    report: IngestReport = IngestReport()

    def __post_init__(self) -> None:
        for name, length in self._lengths().items():
            if length != len(self.click):
                raise ValueError(f"column {name} has {length} rows, expected {len(self.click)} as in click")

    def _lengths(self) -> dict[str, int]:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS if getattr(self, name) is not None}
        lengths |= {name: len(column.codes) for name, column in self.categories.items()}
        lengths |= {name: len(column) for name, column in self.numbers.items()}
        if self.features is not None:
            lengths["features"] = len(self.features)
        return lengths

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: slice | NDArray[Any]) -> AuctionLog:
        """Some rows, by slice, mask or numbers, in the order given."""
        numbers = np.arange(len(self))[rows]
        columns = {name: getattr(self, name)[numbers] for name in _COLUMNS if getattr(self, name) is not None}
        return dataclasses.replace(
            self,
            **columns,
            features=None if self.features is None else self.features.take(numbers),
            categories={
                name: Categories(column.codes[numbers], column.names)
                for name, column in self.categories.items()
            },
            numbers={name: column[numbers] for name, column in self.numbers.items()},
        )

    def with_theta(self, theta: NDArray[np.float64]) -> AuctionLog:
        """The same rows with click probabilities `[N]`.

        Raises:
            ValueError: another length, NaN, or outside [0, 1].
        """
        theta = np.asarray(theta, np.float64)
        if theta.shape != self.click.shape:
            raise ValueError(f"theta has shape {theta.shape}, expected {self.click.shape}")
        wrong = ~((theta >= 0) & (theta <= 1))
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"theta of row {row} is {theta[row]}, expected a probability in [0, 1]")
        return dataclasses.replace(self, theta=theta)

    def episodes(self, horizon: int, segment: str | None = None) -> EpisodeArrays:
        """The rows cut into consecutive episodes of `horizon` auctions; a last partial one is padded.

        Args:
            horizon: T, auctions per episode.
            segment: name of the categories that make the segments; None for a single one.

        Raises:
            ValueError: no rows, no `theta`, rows whose price was not seen, or `horizon` outside 1..N.
        """
        if self.theta is None:
            raise ValueError(
                "the log has no click probabilities: apply a click model first, or call with_theta()"
            )
        if self.won is not None and not self.won.all():
            raise ValueError(
                f"{int((~self.won).sum())} rows were lost, so their market price is unknown and cannot be replayed; "
                "keep the won ones with log.take(log.won)"
            )
        if len(self) == 0:
            raise ValueError("the log has no rows to replay")
        if not 1 <= horizon <= len(self):
            raise ValueError(
                f"horizon T = {horizon} must lie in 1..{len(self)}, the number of rows of the log"
            )
        codes = np.zeros(len(self), np.int32) if segment is None else self.categories[segment].codes
        floor = np.zeros(len(self), np.int32) if self.floor is None else self.floor
        columns = (self.click, self.price, self.theta, floor, codes, np.ones(len(self), bool))
        return EpisodeArrays(*(_columns_of(column, horizon) for column in columns))


_COLUMNS = ("click", "price", "theta", "floor", "bid", "won", "timestamp", "campaign")


def _columns_of(column: NDArray[Any], horizon: int) -> NDArray[Any]:
    episodes = -(-len(column) // horizon)
    padded = np.zeros(episodes * horizon, column.dtype)
    padded[: len(column)] = column
    return np.ascontiguousarray(padded.reshape(episodes, horizon).T)
