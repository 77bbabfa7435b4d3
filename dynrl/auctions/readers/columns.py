"""Columns that every format has: prices, clicks, probabilities, categories, features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import Categories
from dynrl.auctions.readers.fingerprints import FingerprintTable, first_occurrences
from dynrl.auctions.readers.numerals import parse_floats, parse_integers
from dynrl.auctions.readers.options import LARGEST_PRICE, ReadOptions
from dynrl.auctions.readers.rows import Check, Rows

__all__ = [
    "CategoryBuilder",
    "NumberedTexts",
    "limit_prices",
    "read_clicks",
    "read_integers",
    "read_money",
    "read_prices",
    "read_probabilities",
    "to_ticks",
]

_ROUNDING = 1e-9
"""A price this close (relatively) to a whole number of ticks is that number: 0.3 / 0.1 is three ticks, not two."""


def read_integers(
    rows: Rows, column: str, check: Check, expected: str, digits: int = 9, signed: bool = False
) -> NDArray[np.int64]:
    """Integers `[N]` of a column."""
    values, good = parse_integers(*rows.field(column), digits, signed)
    check.require(good, rows, column, expected)
    return values


def read_clicks(
    rows: Rows, column: str, check: Check, options: ReadOptions, what: str = "click"
) -> NDArray[np.uint8]:
    """Clicks uint8 `[N]`; `what` names the event in the message (a conversion is treated alike)."""
    counts, good = parse_integers(*rows.field(column))
    if options.clicks == "strict":
        check.require(
            good & (counts <= 1),
            rows,
            column,
            f'0 or 1 ({what}; for logs with counts read with clicks="binary" or "count")',
        )
    elif options.clicks == "binary":
        check.require(good, rows, column, f"a non-negative count ({what})")
        counts = np.minimum(counts, 1)
    else:
        check.require(good & (counts <= 255), rows, column, f"a count in 0..255 ({what})")
    return counts.astype(np.uint8)


def read_prices(
    rows: Rows, column: str, check: Check, options: ReadOptions
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Market prices int32 `[N]` in ticks, limited by `options.above`, and where they were above."""
    expected = "a non-negative integer of at most 9 digits (the market price in ticks)"
    return limit_prices(read_integers(rows, column, check, expected), rows, column, check, options)


def read_money(
    rows: Rows, column: str, check: Check, options: ReadOptions
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """As `read_prices`, for prices written as decimal numbers: floored to ticks of `options.ticks`."""
    values, good = parse_floats(*rows.field(column))
    check.require(good & (values >= 0), rows, column, "a non-negative price")
    ticks = to_ticks(values, options.ticks)
    check.require(ticks <= LARGEST_PRICE, rows, column, f"at most {LARGEST_PRICE} ticks of {options.ticks}")
    inside = np.clip(ticks, 0, LARGEST_PRICE).astype(np.int64)
    return limit_prices(inside, rows, column, check, options)


def to_ticks(money: NDArray[np.float64], tick: float | None) -> NDArray[np.float64]:
    """Whole ticks that some money buys, as floats: floored, except for rounding errors of the division."""
    assert tick is not None
    ratio = money / tick
    nearest = np.rint(ratio)
    return np.where(abs(ratio - nearest) <= _ROUNDING * np.maximum(1, nearest), nearest, np.floor(ratio))


def limit_prices(
    price: NDArray[np.int64], rows: Rows, column: str, check: Check, options: ReadOptions
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Prices int32 with those above `delta_max` treated as the options say, and where they were."""
    limit = LARGEST_PRICE if options.delta_max is None else options.delta_max
    above = price > limit
    if options.above == "error":
        expected = f'at most delta_max = {limit} (raise delta_max, or read with above="clip" or "tail")'
        check.require(~above, rows, column, expected)
    return np.minimum(price, limit + (options.above == "tail")).astype(np.int32), above


def read_probabilities(rows: Rows, column: str, check: Check) -> NDArray[np.float64]:
    """Probabilities float64 `[N]`."""
    values, good = parse_floats(*rows.field(column))
    check.require(good & (values >= 0) & (values <= 1), rows, column, "a probability in [0, 1]")
    return values


class NumberedTexts:
    """Texts numbered in the order in which they come, known by their fingerprints."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._table = FingerprintTable()

    def numbers(
        self, keys: NDArray[np.uint64], text_of: Callable[[NDArray[np.int64]], list[str]]
    ) -> NDArray[np.int32]:
        """The number of each text `[N]`; `text_of(positions)` is asked for the texts of new ones."""
        found = self._table.find(keys)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            places = unknown[first_occurrences(keys[unknown])]
            fresh = len(self.texts) + np.arange(len(places), dtype=np.int32)
            self._table.add(keys[places], fresh)
            self.texts += text_of(places)
            found[unknown] = self._table.find(keys[unknown])
        return found


class CategoryBuilder:
    """Makes a column of categories block by block."""

    def __init__(self) -> None:
        self._texts = NumberedTexts()

    def codes(
        self,
        keys: NDArray[np.uint64],
        missing: NDArray[np.bool_],
        text_of: Callable[[NDArray[np.int64]], list[str]],
    ) -> NDArray[np.int32]:
        """Codes int32 `[N]`, -1 where missing."""
        present = np.flatnonzero(~missing)
        codes = np.full(len(keys), -1, np.int32)
        codes[present] = self._texts.numbers(keys[present], lambda places: text_of(present[places]))
        return codes

    def finish(self, codes: NDArray[np.int32]) -> Categories:
        """The whole column."""
        return Categories(codes, tuple(self._texts.texts))
