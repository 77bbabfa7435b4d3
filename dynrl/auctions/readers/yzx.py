"""Reader of yzx text: `click price index:1 index:1 ...` per row."""

from __future__ import annotations

import numpy as np

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block
from dynrl.auctions.readers.columns import read_clicks, read_prices
from dynrl.auctions.readers.numerals import parse_integers
from dynrl.auctions.readers.one_hot import take_features
from dynrl.auctions.readers.parser import Columns, Parser
from dynrl.auctions.readers.rows import NO_LINE_END, Rows, split_tokens

__all__ = ["Yzx"]

COLUMNS = ("click", "price")


class Yzx(Parser):
    """Click, price and the numbers of the features that are on, separated by blanks, no header."""

    def parse(self, block: Block) -> Columns:
        """See `Parser`."""
        check = self.account.check()
        buffer, starts, ends, first, count = split_tokens(block, b" ")
        line = block.line + np.arange(len(first))
        complete = np.ones(len(first), bool)
        if len(first) and not block.complete:
            complete[-1] = self.options.last_line == "keep"
        fits = complete & (count >= 2)
        blank = (count == 1) & (ends[first] == starts[first])
        for row in np.flatnonzero(~fits & ~blank)[:5].tolist():
            fields = f"{count[row]} field" if count[row] == 1 else f"{count[row]} fields"
            check.complain(
                int(line[row]),
                "price" if count[row] < 2 else "features",
                None,
                f"got {fields}, expected click, price and index:1 ..." if complete[row] else NO_LINE_END,
            )
        check.unreadable += int((~fits & ~blank).sum())
        first, count, line = first[fits], count[fits], line[fits]
        places = first[:, None] + np.arange(2)
        rows = Rows(buffer, starts[places], ends[places] - starts[places], line, COLUMNS)
        check.begin(len(rows))
        click = read_clicks(rows, "click", check, self.options)
        price, above = read_prices(rows, "price", check, self.options)

        nonzeros = count - 2
        owner = np.repeat(np.arange(len(rows)), nonzeros)
        tokens = np.arange(len(owner)) + np.repeat(first + 2 - (np.cumsum(nonzeros) - nonzeros), nonzeros)
        features = Rows(
            buffer, starts[tokens, None], (ends - starts)[tokens, None], line[owner], ("features",)
        )
        index, good = self._indices(features)
        inner = self.account.check()
        inner.begin(len(features))
        limit = 2**31 - 1 if self.options.dimension is None else self.options.dimension
        inner.require(good, features, "features", "index:1 with a non-negative index")
        inner.require(index < limit, features, "features", f"an index in 0..{limit - 1} (dimension {limit})")
        check.absorb(inner, owner)

        keep = self.account.settle(check)
        self.account.clipped += int(above[keep].sum())
        return {
            "click": click[keep],
            "price": price[keep],
            "nonzeros": nonzeros[keep],
            "indices": index[keep[owner]].astype(np.int32),
        }

    def finish(self, columns: Columns) -> AuctionLog:
        """See `Parser`; without `dimension=` it is one more than the largest index."""
        dimension = self.options.dimension or int(columns["indices"].max(initial=0)) + 1
        features = take_features(columns, dimension)
        return AuctionLog(**columns, features=features, report=self.account.report())

    @staticmethod
    def _indices(tokens: Rows) -> tuple[np.ndarray, np.ndarray]:
        buffer, start, length = tokens.field("features")
        end = start + length
        index, good = parse_integers(buffer, start, length - 2, digits=10)
        return index, good & (length > 2) & (buffer[end - 2] == ord(":")) & (buffer[end - 1] == ord("1"))
