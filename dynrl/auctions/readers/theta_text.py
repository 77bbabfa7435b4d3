"""Reader of theta text: `click price theta` per row, as the published experiments write it."""

from __future__ import annotations

import numpy as np

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block
from dynrl.auctions.readers.columns import read_clicks, read_prices, read_probabilities
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.numerals import parse_integers
from dynrl.auctions.readers.parser import Columns, Parser
from dynrl.auctions.readers.rows import Account, Rows, split_fields

__all__ = ["OldThetaText", "ThetaText"]

COLUMNS = ("click", "price", "theta")


class ThetaText(Parser):
    """Three columns separated by blanks, no header."""

    def parse(self, block: Block) -> Columns:
        """See `Parser`."""
        return self._parse(block, ())[0]

    def _parse(self, block: Block, other_counts: tuple[int, ...]) -> tuple[Columns, Rows, Rows]:
        check = self.account.check()
        rows, others = split_fields(block, b" ", COLUMNS, check, self.options.last_line, other_counts)
        click = read_clicks(rows, "click", check, self.options)
        price, above = read_prices(rows, "price", check, self.options)
        theta = read_probabilities(rows, "theta", check)
        keep = self.account.settle(check)
        self.account.clipped += int(above[keep].sum())
        return {"click": click[keep], "price": price[keep], "theta": theta[keep]}, rows, others

    def finish(self, columns: Columns) -> AuctionLog:
        """See `Parser`."""
        return AuctionLog(**columns, report=self.account.report())


class OldThetaText(ThetaText):
    """The older variant: a first line `dimension T`, and the 1-based number of the episode before every T rows."""

    has_header = True

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._horizon = 0
        self._episodes = 0
        self._rows = 0

    def read_header(self, line: bytes, number: int) -> None:
        """Takes `dimension T`."""
        fields = line.split()
        path = self.account.path
        if len(fields) != 2 or not all(field.isdigit() and len(field) <= 9 for field in fields):
            shown = line.decode("utf-8", "backslashreplace")
            raise LogFormatError(
                f"{path}, line {number}: got {shown!r}, expected `dimension T`", path, number
            )
        dimension, self._horizon = int(fields[0]), int(fields[1])
        expected = self.options.dimension
        if expected is not None and dimension != expected:
            raise LogFormatError(
                f"{path}, line {number}, column dimension: got {dimension}, expected {expected} as asked for",
                path,
                number,
                "dimension",
                str(dimension),
            )
        if self._horizon < 1:
            raise LogFormatError(
                f"{path}, line {number}, column T: got {self._horizon}, expected at least 1 row per episode",
                path,
                number,
                "T",
                str(self._horizon),
            )

    def parse(self, block: Block) -> Columns:
        """See `Parser`; the numbers of the episodes must come where they belong."""
        columns, rows, marks = self._parse(block, (1,))
        self._require_marks(rows, marks)
        return columns

    def _require_marks(self, rows: Rows, marks: Rows) -> None:
        numbers, good = parse_integers(*marks.field(marks.columns[0]))
        expected = self._episodes + 1 + np.arange(len(marks))
        before = self._rows + np.searchsorted(rows.line, marks.line)
        right = good & (numbers == expected) & (before == (expected - 1) * self._horizon)
        path = self.account.path
        if not right.all() and self.options.on_bad == "raise":
            row = int((~right).argmax())
            value = marks.text(row, marks.columns[0])
            raise LogFormatError(
                f"{path}, line {marks.line[row]}, column episode: got {value!r} after {before[row]} rows, expected "
                f"{expected[row]} after {(expected[row] - 1) * self._horizon} rows (T = {self._horizon})",
                path,
                int(marks.line[row]),
                "episode",
                value,
            )
        self._episodes += len(marks)
        self._rows += len(rows)
