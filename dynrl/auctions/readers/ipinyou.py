"""Readers of iPinYou logs: prepared campaign logs, and raw impression logs joined with their clicks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block, blocks
from dynrl.auctions.readers.columns import (
    CategoryBuilder,
    NumberedTexts,
    read_clicks,
    read_prices,
)
from dynrl.auctions.readers.features import FeatureNumbers
from dynrl.auctions.readers.fingerprints import FingerprintTable, fingerprints, first_occurrences, mix
from dynrl.auctions.readers.ipinyou_features import (
    FEATURE_COLUMNS,
    ONE_PER_ROW,
    RAW_SCHEMA,
    SCHEMA,
    derive,
    missing,
)
from dynrl.auctions.readers.numerals import parse_integers, parse_timestamps
from dynrl.auctions.readers.one_hot import OneHot, take_features
from dynrl.auctions.readers.parser import Columns, Parser, require_columns
from dynrl.auctions.readers.rows import Account, Check, Rows, split_fields

__all__ = ["IPinYou", "RawIPinYou"]

CATEGORIES = {
    "exchange": ("adexchange",),
    "slot_size": ("slotwidth", "slotheight"),
    "hour": ("hour",),
    "weekday": ("weekday",),
    "region": ("region",),
    "advertiser": ("advertiser",),
}
"""Categories of the log and the columns they are made of."""


class IPinYou(Parser):
    """Prepared campaign log: tab-separated with a header; columns are found by name."""

    has_header = True

    def __init__(self, account: Account, numbering: FeatureNumbers | None) -> None:
        super().__init__(account)
        self._features = None if numbering is None else OneHot(numbering, SCHEMA, ONE_PER_ROW, "usertag")
        self._columns: tuple[str, ...] = ()
        self._agents = NumberedTexts()
        self._categories: dict[str, CategoryBuilder] = {}
        self._bid_ids = FingerprintTable()

    def read_header(self, line: bytes, number: int) -> None:
        """Takes the names of the columns."""
        needed: tuple[str, ...] = ("click", "payprice")
        if self._features is not None:
            needed += tuple(name for name in FEATURE_COLUMNS if name not in ("weekday", "hour"))
            needed += () if b"timestamp" in line else ("weekday", "hour")
        columns = require_columns(line, b"\t", needed, self.account.path, number)
        self._begin(columns)

    def _begin(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        derived = {"weekday", "hour"} if "timestamp" in columns else set()
        self._categories = {
            name: CategoryBuilder()
            for name, parts in CATEGORIES.items()
            if set(parts) <= {*columns, *derived}
        }

    def parse(self, block: Block) -> Columns:
        """See `Parser`."""
        check = self.account.check()
        rows, _ = split_fields(block, b"\t", self._columns, check, self.options.last_line)
        columns: Columns = {"click": self._clicks(rows, check)}
        columns["price"], above = read_prices(rows, "payprice", check, self.options)
        if "slotprice" in rows.columns:
            columns["floor"] = self._optional(rows, "slotprice", check, 0).astype(np.int32)
        if "bidprice" in rows.columns:
            columns["bid"] = self._optional(rows, "bidprice", check, -1).astype(np.int32)
        if "advertiser" in rows.columns:
            columns["campaign"] = self._optional(rows, "advertiser", check, -1, digits=18)
        if "timestamp" in rows.columns:
            columns["timestamp"], good = parse_timestamps(*rows.field("timestamp"))
            check.require(good, rows, "timestamp", "a time as yyyyMMddHHmmssSSS")
        keep = self.account.settle(check)
        keep &= self._first_of_their_id(rows, keep)
        self.account.clipped += int(above[keep].sum())
        columns = {name: column[keep] for name, column in columns.items()}
        return columns | self._texts(derive(rows.take(keep), self._agents))

    def finish(self, columns: Columns) -> AuctionLog:
        """See `Parser`."""
        features = None if self._features is None else take_features(columns, self._features.dimension)
        categories = {name: builder.finish(columns.pop(name)) for name, builder in self._categories.items()}
        return AuctionLog(**columns, features=features, categories=categories, report=self.account.report())

    def _clicks(self, rows: Rows, check: Check) -> NDArray[np.uint8]:
        return read_clicks(rows, "click", check, self.options)

    @staticmethod
    def _optional(rows: Rows, column: str, check: Check, default: int, digits: int = 9) -> NDArray[np.int64]:
        values, good = parse_integers(*rows.field(column), digits)
        absent = missing(*rows.field(column))
        check.require(
            good | absent, rows, column, f"a non-negative integer of at most {digits} digits, or null"
        )
        return np.where(absent, default, values)

    def _first_of_their_id(self, rows: Rows, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
        first = np.ones(len(rows), bool)
        if "bidid" not in rows.columns or self.options.duplicates == "keep":
            return first
        field = rows.field("bidid")
        named = np.flatnonzero(good & ~missing(*field))
        keys = fingerprints(*field)[named]
        fresh = np.flatnonzero(self._bid_ids.find(keys) < 0)
        fresh = fresh[first_occurrences(keys[fresh])]
        self._bid_ids.add(keys[fresh], np.zeros(len(fresh), np.int32))
        first[named] = False
        first[named[fresh]] = True
        dropped = len(named) - len(fresh)
        self.account.duplicates += dropped
        self.account.rows -= dropped
        return first

    def _texts(self, rows: Rows) -> Columns:
        columns: Columns = {} if self._features is None else self._features.of(rows)
        for name, builder in self._categories.items():
            fields = [rows.field(part) for part in CATEGORIES[name]]
            keys = fingerprints(*fields[0])
            for field in fields[1:]:
                keys = mix(keys) + fingerprints(*field)
            absent = np.any([missing(*field) for field in fields], axis=0)
            columns[name] = builder.codes(keys, absent, _texts_of(rows, CATEGORIES[name]))
        return columns


class RawIPinYou(IPinYou):
    """Raw impression log of season 2 or 3: 24 columns without a header; clicks come from a file of their own.

    Args:
        click_log: raw click log of the same days; a click belongs to the impression with its bid id and creative.
    """

    has_header = False

    def __init__(self, account: Account, numbering: FeatureNumbers | None, click_log: Path) -> None:
        super().__init__(account, numbering)
        self._begin(RAW_SCHEMA)
        self._clicked, self._click_counts = _read_click_log(click_log, account)

    def _clicks(self, rows: Rows, check: Check) -> NDArray[np.uint8]:
        found = self._clicked.find(_impressions(rows))
        counts = np.where(found >= 0, self._click_counts[found], 0)
        if self.options.clicks == "strict":
            for row in np.flatnonzero(counts > 1)[:1]:
                check.complain(
                    int(rows.line[row]),
                    "bidid",
                    rows.text(row, "bidid"),
                    f"the click log has {counts[row]} clicks of bid id {rows.text(row, 'bidid')!r}, expected at most 1 "
                    '(read with clicks="binary" or "count")',
                )
            check.bad |= counts > 1
        return np.minimum(counts, 1 if self.options.clicks == "binary" else 255).astype(np.uint8)


def _read_click_log(path: Path, account: Account) -> tuple[FingerprintTable, NDArray[np.int64]]:
    clicks = Account(str(path), account.options)
    parts = [np.zeros(0, np.uint64)]
    for block in blocks(path):
        check = clicks.check()
        rows, _ = split_fields(block, b"\t", RAW_SCHEMA, check, account.options.last_line)
        keep = clicks.settle(check)
        parts.append(_impressions(rows)[keep])
    clicks.require_few_bad()
    keys, counts = np.unique(np.concatenate(parts), return_counts=True)
    table = FingerprintTable()
    table.add(keys, np.arange(len(keys), dtype=np.int32))
    return table, np.append(counts, 0)


def _impressions(rows: Rows) -> NDArray[np.uint64]:
    return fingerprints(*rows.field("creative"), fingerprints(*rows.field("bidid")))


def _texts_of(rows: Rows, parts: tuple[str, ...]) -> Callable[[NDArray[np.int64]], list[str]]:
    return lambda where: ["x".join(rows.text(row, part) for part in parts) for row in where]
