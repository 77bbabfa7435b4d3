"""Reader of the Criteo attribution log: tab-separated with a header, prices as transformed decimal numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block
from dynrl.auctions.readers.columns import CategoryBuilder, read_clicks, read_integers, read_money
from dynrl.auctions.readers.features import FeatureNumbers
from dynrl.auctions.readers.fingerprints import fingerprints
from dynrl.auctions.readers.numerals import parse_floats
from dynrl.auctions.readers.one_hot import OneHot, take_features
from dynrl.auctions.readers.parser import Columns, Parser, require_columns, require_ticks
from dynrl.auctions.readers.rows import Account, Rows, split_fields, texts_at

__all__ = ["Criteo"]

CONTEXT = tuple(f"cat{number}" for number in range(1, 10))
SCHEMA = (
    *("timestamp", "uid", "campaign", "conversion", "conversion_timestamp", "conversion_id", "attribution"),
    *("click", "click_pos", "click_nb", "cost", "cpo", "time_since_last_click", *CONTEXT),
)
CATEGORICAL = ("campaign", *CONTEXT)
NUMBERS = ("conversion", "attribution", "time_since_last_click")
MISSING = -1


class Criteo(Parser):
    """Impressions with their clicks and conversions (Diemert et al., AdKDD 2017).

    `numbers` of the log: `conversion` and `attribution` (0 or 1), `conversion_delay` and `time_since_last_click` in
    seconds (NaN where there was none), `cpo` (cost per order, transformed). Times count from the start of the log.
    """

    has_header = True

    def __init__(self, account: Account, numbering: FeatureNumbers | None) -> None:
        super().__init__(account)
        require_ticks(self.options, "Criteo")
        self._features = None if numbering is None else OneHot(numbering, SCHEMA, CATEGORICAL)
        self._columns: tuple[str, ...] = ()
        self._categories = {name: CategoryBuilder() for name in CATEGORICAL}

    def read_header(self, line: bytes, number: int) -> None:
        """Takes the names of the columns."""
        self._columns = require_columns(line, b"\t", SCHEMA, self.account.path, number)

    def parse(self, block: Block) -> Columns:
        """See `Parser`."""
        check = self.account.check()
        rows, _ = split_fields(block, b"\t", self._columns, check, self.options.last_line)
        columns: Columns = {"click": read_clicks(rows, "click", check, self.options)}
        columns["price"], above = read_money(rows, "cost", check, self.options)
        seconds = read_integers(rows, "timestamp", check, "seconds since the start of the log")
        columns["timestamp"] = (seconds * 1000).astype("datetime64[ms]")
        columns["campaign"] = read_integers(rows, "campaign", check, "a non-negative integer", digits=18)
        for name in NUMBERS:
            values = read_integers(rows, name, check, "an integer (-1 for missing)", signed=True)
            columns[name] = np.where(values == MISSING, np.nan, values)
        converted = read_integers(rows, "conversion_timestamp", check, "seconds, or -1", signed=True)
        columns["conversion_delay"] = np.where(converted == MISSING, np.nan, converted - seconds)
        columns["cpo"], good = parse_floats(*rows.field("cpo"))
        check.require(good, rows, "cpo", "a number")
        keep = self.account.settle(check)
        self.account.clipped += int(above[keep].sum())
        columns = {name: column[keep] for name, column in columns.items()}
        return columns | self._texts(rows.take(keep))

    def finish(self, columns: Columns) -> AuctionLog:
        """See `Parser`."""
        features = None if self._features is None else take_features(columns, self._features.dimension)
        categories = {
            name: builder.finish(columns.pop(f"code of {name}")) for name, builder in self._categories.items()
        }
        numbers = {name: columns.pop(name) for name in (*NUMBERS, "conversion_delay", "cpo")}
        assert self.options.ticks is not None
        return AuctionLog(
            **columns,
            features=features,
            categories=categories,
            numbers=numbers,
            tick=self.options.ticks,
            report=self.account.report(),
        )

    def _texts(self, rows: Rows) -> Columns:
        columns: Columns = {} if self._features is None else self._features.of(rows)
        for name, builder in self._categories.items():
            columns[f"code of {name}"] = _codes(rows, name, builder)
        return columns


def _codes(rows: Rows, column: str, builder: CategoryBuilder) -> NDArray[np.int32]:
    buffer, start, length = rows.field(column)
    minus_one = (length == 2) & (buffer[start] == ord("-")) & (buffer[start + 1] == ord("1"))
    return builder.codes(
        fingerprints(buffer, start, length),
        minus_one | (length == 0),
        lambda where: texts_at(buffer, start[where], length[where]),
    )
