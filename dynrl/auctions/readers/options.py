"""What a reader is asked to do with prices, clicks and bad rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["ReadOptions"]

LARGEST_PRICE = 10**9 - 1
"""Prices have at most nine digits, so that they fit int32."""


@dataclass(frozen=True)
class ReadOptions:
    """How rows are checked.

    Attributes:
        delta_max: largest price expected, in ticks; None for any that fits int32.
        above: what happens to a larger price: `"error"`, `"clip"` sets it to `delta_max`, `"tail"` sets it to
            `delta_max + 1`, which no bid wins and `Campaign.from_log` counts as above.
        clicks: `"strict"` expects 0 or 1; `"binary"` turns a larger count into 1; `"count"` keeps counts up to 255.
        on_bad: `"raise"` stops at the first bad row, `"skip"` leaves bad rows out and counts them.
        max_bad_fraction: share of bad rows above which `"skip"` fails as well.
        ticks: money of one tick, for logs whose prices are not integers; prices are floored to ticks.
        sort: put the rows in order of time (stable).
        duplicates: `"drop"` keeps the first row of each bid id, `"keep"` keeps all.
        dimension: number of features expected; None for any.
        last_line: `"error"` refuses a last line without a line end, since it may be cut short; `"keep"` accepts it.

    Raises:
        ValueError: names the option.
    """

    delta_max: int | None = 300
    above: Literal["error", "clip", "tail"] = "error"
    clicks: Literal["strict", "binary", "count"] = "strict"
    on_bad: Literal["raise", "skip"] = "raise"
    max_bad_fraction: float = 0.01
    ticks: float | None = None
    sort: bool = False
    duplicates: Literal["drop", "keep"] = "drop"
    dimension: int | None = None
    last_line: Literal["error", "keep"] = "error"

    def __post_init__(self) -> None:
        for name, choices in (
            ("above", ("error", "clip", "tail")),
            ("clicks", ("strict", "binary", "count")),
            ("on_bad", ("raise", "skip")),
            ("duplicates", ("drop", "keep")),
            ("last_line", ("error", "keep")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}"
                )
        if self.delta_max is None and self.above != "error":
            raise ValueError(f"above={self.above!r} needs a delta_max")
        if self.delta_max is not None and not 1 <= self.delta_max < LARGEST_PRICE:
            raise ValueError(f"delta_max is {self.delta_max}, expected 1..{LARGEST_PRICE - 1} ticks, or None")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"max_bad_fraction is {self.max_bad_fraction}, expected a share in [0, 1]")
        if self.ticks is not None and not (np.isfinite(self.ticks) and self.ticks > 0):
            raise ValueError(f"ticks is {self.ticks}, expected the money of one tick, a positive number")
        if self.dimension is not None and self.dimension < 1:
            raise ValueError(f"dimension is {self.dimension}, expected at least 1 feature, or None")
