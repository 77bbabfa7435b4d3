"""One-hot features of rows: one per column, and one per entry of a comma list, by whole blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import Features
from dynrl.auctions.readers.features import FeatureBuilder, FeatureNumbers, prefix_seed
from dynrl.auctions.readers.fingerprints import fingerprints
from dynrl.auctions.readers.numerals import PADDING
from dynrl.auctions.readers.parser import Columns
from dynrl.auctions.readers.rows import Rows, texts_at

__all__ = ["OneHot", "take_features"]

_COMMA = ord(",")


class OneHot:
    """The bias, then one feature per column, then one per entry of the list, each named `column number:value`.

    Args:
        numbering: gives a feature its number.
        schema: all columns of the format; the position of a column in it is its number.
        one_per_row: columns with one value per row, in the order of the features.
        many_per_row: a column with comma lists; None for none.
    """

    def __init__(
        self,
        numbering: FeatureNumbers,
        schema: tuple[str, ...],
        one_per_row: tuple[str, ...],
        many_per_row: str | None = None,
    ) -> None:
        self._numbering = numbering
        self._one, self._many = one_per_row, many_per_row
        columns = one_per_row if many_per_row is None else (*one_per_row, many_per_row)
        self._prefixes = [str(schema.index(column)) for column in columns]
        self._seeds = np.array([prefix_seed(prefix) for prefix in self._prefixes], np.uint64)
        if isinstance(numbering, FeatureBuilder):
            # The public preparation gives every column but the first (the click) an `other`, used or not.
            numbering.begin([str(number) for number in range(1, len(schema))])

    @property
    def dimension(self) -> int:
        """Number of features."""
        return self._numbering.dimension

    def of(self, rows: Rows) -> Columns:
        """`indices` int32 `[nnz]` and `nonzeros` int32 `[N]`."""
        places = [rows.columns.index(column) for column in self._one]
        fixed = 1 + len(places)
        tags, tag_start, tag_length = self._entries(rows)
        nonzeros = fixed + tags
        begin = np.cumsum(nonzeros) - nonzeros
        one = begin[:, None] + np.arange(1, fixed)
        many = np.arange(len(tag_start)) + np.repeat(begin + fixed - (np.cumsum(tags) - tags), tags)

        total = int(nonzeros.sum())
        start, length = np.zeros(total, np.int64), np.zeros(total, np.int64)
        prefix = np.full(total, -1)
        start[one], length[one] = rows.start[:, places], rows.length[:, places]
        prefix[one] = np.arange(len(places))
        start[many], length[many], prefix[many] = tag_start, tag_length, len(places)

        indices = np.zeros(total, np.int32)
        given = np.flatnonzero(prefix >= 0)
        start, length, prefix = start[given], length[given], prefix[given]
        keys = fingerprints(rows.buffer, start, length, self._seeds[prefix])
        indices[given] = self._numbering.numbers(
            keys, prefix, self._prefixes, lambda where: texts_at(rows.buffer, start[where], length[where])
        )
        return {"indices": indices, "nonzeros": nonzeros.astype(np.int32)}

    def _entries(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        if self._many is None:
            return np.zeros(len(rows), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        return _split_lists(*rows.field(self._many))


def take_features(columns: Columns, dimension: int) -> Features:
    """Takes `indices` and `nonzeros` out of the columns of a whole file."""
    nonzeros = columns.pop("nonzeros")
    indptr = np.zeros(len(nonzeros) + 1, np.int64)
    np.cumsum(nonzeros, out=indptr[1:])
    return Features(columns.pop("indices"), indptr, dimension)


def _split_lists(
    buffer: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Comma lists `[N]`: entries of each `[N]`, and start and length of every entry, row by row."""
    end = start + length
    commas = np.flatnonzero(buffer[:-PADDING] == _COMMA)
    order = np.argsort(start, kind="stable")
    row = (
        order[np.maximum(np.searchsorted(start[order], commas, side="right") - 1, 0)]
        if len(start)
        else commas
    )
    inside = (commas >= start[row]) & (commas < end[row]) if len(start) else np.zeros(len(commas), bool)
    commas, row = commas[inside], row[inside]
    count = np.bincount(row, minlength=len(start))
    begin = np.cumsum(count + 1) - (count + 1)
    # Fields lie in the text in the order of the rows (constants behind the text hold no commas), so `row` ascends.
    after = begin[row] + np.arange(len(row)) - (np.cumsum(count) - count)[row]
    entry_start, entry_end = (
        np.empty(len(row) + len(start), np.int64),
        np.empty(len(row) + len(start), np.int64),
    )
    entry_start[begin], entry_start[after + 1] = start, commas + 1
    entry_end[begin + count], entry_end[after] = end, commas
    return count + 1, entry_start, entry_end - entry_start
