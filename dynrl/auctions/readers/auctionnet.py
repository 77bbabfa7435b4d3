"""Reader of AuctionNet logs: comma-separated with a header, one row per request and advertiser."""

from __future__ import annotations

import numpy as np

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block
from dynrl.auctions.readers.columns import (
    CategoryBuilder,
    read_clicks,
    read_integers,
    read_money,
    read_probabilities,
    to_ticks,
)
from dynrl.auctions.readers.fingerprints import fingerprints
from dynrl.auctions.readers.numerals import parse_floats
from dynrl.auctions.readers.options import LARGEST_PRICE
from dynrl.auctions.readers.parser import Columns, Parser, require_columns, require_ticks
from dynrl.auctions.readers.rows import Account, split_fields, texts_at

__all__ = ["AuctionNet"]

SCHEMA = (
    *("deliveryPeriodIndex", "advertiserNumber", "advertiserCategoryIndex", "budget", "CPAConstraint"),
    *("timeStepIndex", "remainingBudget", "pvIndex", "pValue", "pValueSigma", "bid", "xi", "adSlot", "cost"),
    *("isExposed", "conversionAction", "leastWinningCost", "isEnd"),
)
WHOLE_NUMBERS = ("deliveryPeriodIndex", "timeStepIndex", "pvIndex", "adSlot", "isExposed", "xi", "isEnd")
MONEY = ("cost", "budget", "remainingBudget", "CPAConstraint")
CATEGORIES = {
    "advertiser": "advertiserNumber",
    "advertiser_category": "advertiserCategoryIndex",
    "time_step": "timeStepIndex",
}


class AuctionNet(Parser):
    """Auctions with several slots (Su et al., NeurIPS 2024), seen by a newcomer: the price of a request is
    `leastWinningCost`, the click is `conversionAction`, theta is `pValue`.

    The rows of all advertisers are read unless `advertiser` picks one; a request then occurs once per advertiser.
    `numbers` of the log: the remaining columns under their own names, money in the log's unit.
    """

    has_header = True

    def __init__(self, account: Account, advertiser: int | None) -> None:
        super().__init__(account)
        require_ticks(self.options, "AuctionNet")
        self._advertiser = advertiser
        self._columns: tuple[str, ...] = ()
        self._categories = {name: CategoryBuilder() for name in CATEGORIES}

    def read_header(self, line: bytes, number: int) -> None:
        """Takes the names of the columns."""
        self._columns = require_columns(line, b",", SCHEMA, self.account.path, number)
        if self._advertiser is not None:
            self.lacking = f"no rows of advertiser {self._advertiser}"

    def parse(self, block: Block) -> Columns:
        """See `Parser`."""
        check = self.account.check()
        rows, _ = split_fields(block, b",", self._columns, check, self.options.last_line)
        columns: Columns = {"click": read_clicks(rows, "conversionAction", check, self.options, "conversion")}
        columns["price"], above = read_money(rows, "leastWinningCost", check, self.options)
        columns["theta"] = read_probabilities(rows, "pValue", check)
        columns["campaign"] = read_integers(rows, "advertiserNumber", check, "a non-negative integer")
        for name in (*MONEY, "pValueSigma", "bid"):
            columns[name], good = parse_floats(*rows.field(name))
            check.require(good & (columns[name] >= 0), rows, name, "a non-negative number")
        for name in WHOLE_NUMBERS:
            columns[name] = read_integers(rows, name, check, "a non-negative integer")
        columns["bid"] = np.minimum(to_ticks(columns["bid"], self.options.ticks), LARGEST_PRICE).astype(
            np.int32
        )
        keep = self.account.settle(check)
        if self._advertiser is not None:
            chosen = columns["campaign"] == self._advertiser
            self.account.rows -= int((keep & ~chosen).sum())
            keep &= chosen
        self.account.clipped += int(above[keep].sum())
        columns = {name: column[keep] for name, column in columns.items()}
        rows = rows.take(keep)
        for name, column in CATEGORIES.items():
            buffer, start, length = field = rows.field(column)
            columns[name] = self._categories[name].codes(
                fingerprints(*field),
                length == 0,
                lambda where, b=buffer, s=start, n=length: texts_at(b, s[where], n[where]),  # type: ignore[misc]
            )
        return columns

    def finish(self, columns: Columns) -> AuctionLog:
        """See `Parser`."""
        categories = {name: builder.finish(columns.pop(name)) for name, builder in self._categories.items()}
        numbers = {name: columns.pop(name) for name in (*WHOLE_NUMBERS, *MONEY, "pValueSigma")}
        assert self.options.ticks is not None
        return AuctionLog(
            **columns,
            categories=categories,
            numbers=numbers,
            tick=self.options.ticks,
            report=self.account.report(),
        )
