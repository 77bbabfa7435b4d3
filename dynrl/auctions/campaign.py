"""What the training period says about a campaign: counts, average rates, the budget of an episode."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.errors import FileFormatError

__all__ = ["DELTA_MAX", "Campaign"]

DELTA_MAX = 300
"""Largest price considered, in ticks, in all published iPinYou experiments (Cai et al., WSDM 2017)."""


@dataclass(frozen=True, eq=False)
class Campaign:
    """Training statistics of one campaign, prices in ticks.

    Attributes:
        impressions, clicks, cost: sums over the training log; `cost` is the sum of market prices.
        price_counts: int64 `[delta_max + 1]`, how often each market price occurred.
        above: impressions whose price was above `delta_max` (their prices are not in `cost`).

    Raises:
        ValueError: no impressions, or counts that contradict the sums.
    """

    impressions: int
    clicks: int
    cost: int
    price_counts: NDArray[np.int64]
    above: int = 0

    def __post_init__(self) -> None:
        counts = np.array(self.price_counts)
        if counts.ndim != 1 or len(counts) < 2:
            raise ValueError(f"price_counts has shape {counts.shape}, expected [delta_max + 1]")
        if counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError("price_counts must be non-negative integers")
        counts = counts.astype(np.int64)
        counts.flags.writeable = False
        object.__setattr__(self, "price_counts", counts)
        if self.impressions <= 0:
            raise ValueError("the campaign has no impressions: there is nothing to learn prices from")
        if self.clicks < 0:
            raise ValueError(f"clicks is {self.clicks}, expected a non-negative count")
        if counts.sum() == 0:
            raise ValueError("price_counts are all zero: there is nothing to learn prices from")
        if counts.sum() + self.above != self.impressions:
            raise ValueError(
                f"price_counts sum to {counts.sum()}, and {self.above} prices are above the largest; "
                f"expected the number of impressions, {self.impressions}"
            )
        paid = int(counts @ np.arange(len(counts)))
        if paid != self.cost:
            raise ValueError(f"price_counts give a cost of {paid}, expected the stated cost, {self.cost}")

    @classmethod
    def from_log(cls, log: AuctionLog, delta_max: int = DELTA_MAX) -> Campaign:
        """Counts the won impressions of a training log."""
        price = log.price if log.won is None else log.price[log.won]
        click = log.click if log.won is None else log.click[log.won]
        inside = price[price <= delta_max]
        counts = np.bincount(inside, minlength=delta_max + 1)
        return cls(
            len(price), int(click.sum()), int(inside.sum(dtype=np.int64)), counts, len(price) - len(inside)
        )

    @classmethod
    def from_info(cls, path: str | PathLike[str], delta_max: int | None = None) -> Campaign:
        """Reads an `info.json` of the published experiments (training part).

        Args:
            path: JSON with `imp_train`, `clk_train`, `cost_train`, `price_counter_train`.
            delta_max: expected largest price; None for that of the file.

        Raises:
            FileFormatError: not JSON, a missing or malformed entry, or counts that contradict the sums.
        """
        try:
            info: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise FileFormatError(f"{path} cannot be read as JSON: {error}") from error
        names = ("imp_train", "clk_train", "cost_train")
        if not isinstance(info, dict):
            raise FileFormatError(
                f"{path} must hold an object with {', '.join(names)} and price_counter_train"
            )
        for name in names:
            if not isinstance(info.get(name), int) or isinstance(info[name], bool):
                raise FileFormatError(f"{path}: {name} is {info.get(name)!r}, expected an integer")
        counts = info.get("price_counter_train")
        if not isinstance(counts, list) or not all(type(count) is int for count in counts):
            raise FileFormatError(f"{path}: price_counter_train must be a list of integers, one per price")
        if delta_max is not None and len(counts) != delta_max + 1:
            raise FileFormatError(
                f"{path}: price_counter_train has {len(counts)} entries, expected delta_max + 1 = {delta_max + 1}"
            )
        try:
            return cls(info["imp_train"], info["clk_train"], info["cost_train"], np.array(counts, np.int64))
        except (ValueError, OverflowError) as error:
            raise FileFormatError(f"{path}: {error}") from error

    @property
    def delta_max(self) -> int:
        """Largest price considered, in ticks."""
        return len(self.price_counts) - 1

    @property
    def theta_avg(self) -> float:
        """Clicks per impression.

        Raises:
            ValueError: there were no clicks.
        """
        self._require_clicks()
        return self.clicks / self.impressions

    @property
    def cpm(self) -> float:
        """Average market price in ticks."""
        return self.cost / self.impressions

    @property
    def cpc(self) -> float:
        """Ticks per click.

        Raises:
            ValueError: there were no clicks.
        """
        self._require_clicks()
        return self.cost / self.clicks

    def budget(self, horizon: int, ratio: float) -> int:
        """Ticks for an episode of `horizon` auctions: floor(CPM · T · c0), with no 10⁻³ (prices are plain ticks).

        Raises:
            ValueError: `ratio` c0 or `horizon` not positive, or a budget of 0 ticks.
        """
        if not (np.isfinite(ratio) and ratio > 0):
            raise ValueError(f"budget ratio c0 is {ratio}, expected a positive number")
        if horizon < 1:
            raise ValueError(f"horizon T is {horizon}, expected at least 1 auction")
        budget = int(self.cpm * horizon * ratio)
        if budget < 1:
            raise ValueError(
                f"budget is 0 ticks (CPM {self.cpm:.4g} × T {horizon} × c0 {ratio}); raise the horizon or the ratio"
            )
        return budget

    def _require_clicks(self) -> None:
        if self.clicks == 0:
            raise ValueError(
                "the training log has no clicks, so the click rate and the cost per click are undefined; "
                "train on a longer period, or state the click rate yourself"
            )
