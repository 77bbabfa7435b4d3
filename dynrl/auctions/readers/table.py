"""Tables in memory (pandas, polars, Arrow, any mapping of columns) and Parquet or Arrow files as auction logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.log import AuctionLog, Categories, Features
from dynrl.auctions.readers.columns import to_ticks
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.features import (
    FeatureBuilder,
    FeatureNumbers,
    HashedFeatures,
    prefix_seed,
    to_bytes,
)
from dynrl.auctions.readers.fingerprints import fingerprints_of
from dynrl.auctions.readers.options import LARGEST_PRICE, ReadOptions
from dynrl.auctions.readers.parser import in_order_of_time
from dynrl.auctions.readers.rows import Account, Check

__all__ = ["from_table", "open_table"]

TARGETS = ("click", "price", "theta", "floor", "bid", "won", "timestamp", "campaign", "bidid")


def from_table(
    table: Any,
    columns: Mapping[str, str],
    *,
    categories: Sequence[str] = (),
    numbers: Sequence[str] = (),
    features: Sequence[str] = (),
    numbering: FeatureNumbers = HashedFeatures(),  # noqa: B008 (frozen)
    name: str = "table",
    delta_max: int | None = DELTA_MAX,
    above: Literal["error", "clip", "tail"] = "error",
    clicks: Literal["strict", "binary", "count"] = "strict",
    on_bad: Literal["raise", "skip"] = "raise",
    max_bad_fraction: float = 0.01,
    ticks: float | None = None,
    sort: bool = False,
    duplicates: Literal["drop", "keep"] = "drop",
    dimension: int | None = None,
    last_line: Literal["error", "keep"] = "error",
) -> AuctionLog:
    """A log from a table with one row per bid request.

    Args:
        table: a pandas or polars frame, a PyArrow table, a mapping from names to arrays, or any object with the Arrow C
            stream or the data-frame interchange interface (the last two need pyarrow).
        columns: which column is what, e.g. `{"click": "clk", "price": "paid", "theta": "pctr"}`. The keys are
            `click` and `price` (needed), `theta`, `floor`, `bid`, `won`, `timestamp`, `campaign`, `bidid`.
        categories, numbers: further columns to keep, under their own names.
        features: columns whose values become one-hot features, each named `column:value`.
        numbering: gives those features their numbers, as in `read_log`.
        name: of the table in messages.
        ticks: money of one tick; needed where prices are not whole numbers. `price`, `floor` and `bid` are floored.
        delta_max, above, clicks, on_bad, max_bad_fraction, sort, duplicates, dimension, last_line: see
            `ReadOptions`.

    Raises:
        LogFormatError: names the table, the 1-based row, the column, the value and what was expected.
        ValueError: `columns` names something unknown, or lacks `click` or `price`.
        ImportError: the table needs pyarrow.
    """
    options = ReadOptions(
        delta_max, above, clicks, on_bad, max_bad_fraction, ticks, sort, duplicates, dimension, last_line
    )
    _require_targets(columns)
    source = _Source(table, name)
    account = Account(name, options)
    reader = _TableReader(source, columns, account)
    log = reader.read(categories, numbers)
    if features:
        log = _with_features(log, source, features, numbering, reader.kept)
    return in_order_of_time(log, sort, name)


def open_table(path: Path, format: str) -> Any:
    """A Parquet or Arrow (Feather, IPC) file as a PyArrow table."""
    pyarrow = _pyarrow(f"reading {path}")
    try:
        if format == "parquet":
            from pyarrow import parquet

            return parquet.read_table(path)
        from pyarrow import feather

        return feather.read_table(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise LogFormatError(f"{path} cannot be read as {format}: {error}", str(path)) from error


def _pyarrow(purpose: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{purpose} needs pyarrow: pip install 'dynrl[auctions]'") from error
    return pyarrow


def _require_targets(columns: Mapping[str, str]) -> None:
    unknown = [key for key in columns if key not in TARGETS]
    if unknown:
        raise ValueError(f"columns names {unknown[0]!r}, expected keys among {', '.join(TARGETS)}")
    for key in ("click", "price"):
        if key not in columns:
            raise ValueError(f"columns does not say which column is the {key}, e.g. {{{key!r}: 'name'}}")


class _Source:
    """Columns of a table by name, as NumPy arrays."""

    def __init__(self, table: Any, name: str) -> None:
        self.name = name
        self._table = _indexable(table, name)
        names = self._table.keys() if isinstance(self._table, Mapping) else self._names()
        self._columns = [str(column) for column in names]

    def _names(self) -> Iterable[Any]:
        # A PyArrow table has its arrays in `columns` and the names in `column_names`.
        return getattr(self._table, "column_names", None) or self._table.columns

    def column(self, column: str) -> NDArray[Any]:
        """One column `[N]`."""
        if column not in self._columns:
            raise LogFormatError(
                f"{self.name} has no column {column!r}; it has {', '.join(self._columns)}",
                self.name,
                None,
                column,
            )
        values = np.asarray(self._table[column])
        if values.ndim != 1:
            raise LogFormatError(
                f"{self.name}, column {column}: got shape {values.shape}, expected one value per row",
                self.name,
                None,
                column,
            )
        return values


def _indexable(table: Any, name: str) -> Any:
    if isinstance(table, Mapping) or (hasattr(table, "columns") and hasattr(table, "__getitem__")):
        return table
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        return _pyarrow("a table with the Arrow C interface").table(table)
    if hasattr(table, "__dataframe__"):
        _pyarrow("a table with the data-frame interchange interface")
        from pyarrow.interchange import from_dataframe

        return from_dataframe(table)
    raise TypeError(
        f"{name} is a {type(table).__name__}, expected a data frame, an Arrow table or a mapping of arrays"
    )


class _Cells:
    """Cells for complaints: 1-based rows, values as text."""

    def __init__(self, column: str, values: NDArray[Any]) -> None:
        self._values = values
        self.column = column
        self.line = np.arange(1, len(values) + 1)

    def text(self, row: int, column: str) -> str:
        """One value as text."""
        return str(self._values[row])


class _TableReader:
    """Checks the columns of a table; `kept` are the rows that remain."""

    def __init__(self, source: _Source, columns: Mapping[str, str], account: Account) -> None:
        self._source, self._columns, self._account = source, columns, account
        self._options = account.options
        self._check = Check(source.name, "row")
        self.kept: NDArray[np.int64] = np.zeros(0, np.int64)

    def read(self, categories: Sequence[str], numbers: Sequence[str]) -> AuctionLog:
        raw = {key: self._source.column(column) for key, column in self._columns.items()}
        rows = len(raw["click"])
        for key, values in raw.items():
            if len(values) != rows:
                raise LogFormatError(
                    f"{self._source.name}, column {self._columns[key]}: got {len(values)} rows, expected {rows} as in "
                    f"{self._columns['click']}",
                    self._source.name,
                    None,
                    self._columns[key],
                )
        self._check.begin(rows)
        done: dict[str, Any] = {"click": self._click(raw["click"])}
        won = self._flag("won", raw["won"]) if "won" in raw else None
        done["price"], above = self._price(raw["price"], won)
        if won is not None:
            done["won"] = won
        for key, missing in (("floor", 0), ("bid", -1)):
            if key in raw:
                done[key] = self._ticks(key, raw[key], np.isnan(_as_floats(raw[key])), missing).astype(
                    np.int32
                )
        if "theta" in raw:
            theta = _as_floats(raw["theta"])
            self._require((theta >= 0) & (theta <= 1), "theta", raw["theta"], "a probability in [0, 1]")
            done["theta"] = theta
        if "campaign" in raw:
            done["campaign"] = self._whole("campaign", raw["campaign"])
        if "timestamp" in raw:
            done["timestamp"] = self._times(raw["timestamp"])
        keep = self._account.settle(self._check)
        if "bidid" in raw:
            keep &= self._first_of_their_id(raw["bidid"], keep)
        self._account.require_few_bad()
        if not keep.any():
            raise LogFormatError(
                f"{self._source.name} has no rows: there is nothing to learn from; check that the export worked",
                self._source.name,
            )
        self._account.clipped += int(above[keep].sum())
        self.kept = np.flatnonzero(keep)
        kept: dict[str, Any] = {key: column[self.kept] for key, column in done.items()}
        return AuctionLog(
            **kept,
            categories={name: _categories(self._source.column(name)[self.kept]) for name in categories},
            numbers={name: _as_floats(self._source.column(name))[self.kept] for name in numbers},
            tick=1.0 if self._options.ticks is None else self._options.ticks,
            report=self._account.report(),
        )

    def _require(self, good: NDArray[np.bool_], key: str, values: NDArray[Any], expected: str) -> None:
        self._check.require(good, _Cells(key, values), self._columns[key], expected)

    def _click(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        counts = _as_floats(values)
        whole = (counts >= 0) & (counts == np.floor(counts))
        if self._options.clicks == "strict":
            expected = '0 or 1 (counts are read with clicks="binary" or "count")'
            self._require(whole & (counts <= 1), "click", values, expected)
        else:
            self._require(whole & (counts <= 255), "click", values, "a count in 0..255")
        counts = np.where(whole, np.minimum(counts, 1 if self._options.clicks == "binary" else 255), 0)
        return counts.astype(np.uint8)

    def _flag(self, key: str, values: NDArray[Any]) -> NDArray[np.bool_]:
        flags = _as_floats(values)
        self._require((flags == 0) | (flags == 1), key, values, "True or False (or 1 or 0)")
        return flags == 1

    def _price(
        self, values: NDArray[Any], won: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        lost = np.zeros(len(values), bool) if won is None else ~won
        price = self._ticks("price", values, lost, 0)
        limit = LARGEST_PRICE if self._options.delta_max is None else self._options.delta_max
        above = (price > limit) & ~lost
        if self._options.above == "error":
            expected = (
                f'at most delta_max = {limit} ticks (raise delta_max, or read with above="clip" or "tail")'
            )
            self._require(~above, "price", values, expected)
        price = np.minimum(price, limit + (self._options.above == "tail"))
        return np.where(lost, -1, price).astype(np.int32), above

    def _ticks(
        self, key: str, values: NDArray[Any], absent: NDArray[np.bool_], default: int
    ) -> NDArray[np.int64]:
        money = _as_floats(values)
        if self._options.ticks is None:
            good = (money >= 0) & (money == np.floor(money)) & (money <= LARGEST_PRICE)
            expected = (
                "a non-negative whole number of ticks (pass ticks=, the money of one tick, for other prices)"
            )
        else:
            money = to_ticks(money, self._options.ticks)
            good = (money >= 0) & (money <= LARGEST_PRICE)
            expected = f"non-negative money of at most {LARGEST_PRICE} ticks of {self._options.ticks}"
        self._require(good | absent, key, values, expected)
        return np.where(good & ~absent, money, default).astype(np.int64)

    def _whole(self, key: str, values: NDArray[Any]) -> NDArray[np.int64]:
        if values.dtype.kind in "iu":
            return values.astype(np.int64)
        number = _as_floats(values)
        good = (number == np.floor(number)) & (abs(number) < 2**53)
        self._require(good, key, values, "a whole number")
        return np.where(good, number, 0).astype(np.int64)

    def _times(self, values: NDArray[Any]) -> NDArray[np.datetime64]:
        try:
            if values.dtype.kind not in "MUO":
                raise ValueError(f"they have type {values.dtype}")
            times = values.astype("datetime64[ms]")
        except (ValueError, TypeError) as error:
            column = self._columns["timestamp"]
            raise LogFormatError(
                f"{self._source.name}, column {column}: {error}; expected times without a time zone (datetime64)",
                self._source.name,
                None,
                column,
            ) from error
        self._require(~np.isnat(times), "timestamp", values, "a time")
        return times

    def _first_of_their_id(self, values: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self._options.duplicates == "keep":
            return good
        rows = np.flatnonzero(good)
        column = _categories(values[rows])
        _, first = np.unique(column.codes, return_index=True)
        fresh = np.isin(np.arange(len(rows)), first) | (column.codes < 0)
        self._account.duplicates += int((~fresh).sum())
        self._account.rows -= int((~fresh).sum())
        kept = np.zeros(len(values), bool)
        kept[rows[fresh]] = True
        return kept


def _as_floats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers `[N]`, NaN where there is none (missing, or text that is no number)."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([_as_float(value) for value in values.tolist()], np.float64)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _categories(values: NDArray[Any]) -> Categories:
    """Categories by text, numbered as they come; missing ones (None, NaN, NaT) are -1."""
    numbers: dict[str, int] = {}
    texts = [None if _is_missing(value) else str(value) for value in values.tolist()]
    codes = [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in texts]
    return Categories(np.array(codes, np.int32), tuple(numbers))


def _is_missing(value: Any) -> bool:
    # pandas' own missing value is neither equal nor unequal to itself, so it is known by its name.
    return value is None or type(value).__name__ == "NAType" or value != value


def _with_features(
    log: AuctionLog,
    source: _Source,
    names: Sequence[str],
    numbering: FeatureNumbers,
    rows: NDArray[np.int64],
) -> AuctionLog:
    for name in names:
        if ":" in name:
            raise ValueError(
                f"features names the column {name!r}; rename it, since features are named column:value"
            )
    if isinstance(numbering, FeatureBuilder):
        numbering.begin(names)
    keys = np.empty((len(log), len(names)), np.uint64)
    texts: list[tuple[str, ...]] = []
    codes = np.empty((len(log), len(names)), np.int64)
    for place, name in enumerate(names):
        column = _categories(source.column(name)[rows])
        texts.append((*column.names, "null"))
        codes[:, place] = np.where(column.codes < 0, len(column.names), column.codes)
        keys[:, place] = fingerprints_of([to_bytes(text) for text in texts[-1]], prefix_seed(name))[
            codes[:, place]
        ]
    prefix = np.tile(np.arange(len(names)), len(log))

    def text_of(places: NDArray[np.int64]) -> list[str]:
        return [texts[place % len(names)][codes.flat[place]] for place in places.tolist()]

    indices = np.zeros((len(log), 1 + len(names)), np.int32)
    indices[:, 1:] = numbering.numbers(keys.ravel(), prefix, names, text_of).reshape(len(log), len(names))
    indptr = np.arange(len(log) + 1, dtype=np.int64) * (1 + len(names))
    return dataclasses.replace(log, features=Features(indices.ravel(), indptr, numbering.dimension))
