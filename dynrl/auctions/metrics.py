"""Figures of a replay, and whether one bidder is really better than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.hindsight import Hindsight
from dynrl.auctions.replay import ReplayResult

__all__ = ["BidMetrics", "Comparison", "compare", "metrics"]


@dataclass(frozen=True)
class BidMetrics:
    """Figures over all episodes of a replay; NaN where a figure would divide by zero.

    Attributes:
        auctions, clicks, wins, cost: sums; `cost` in ticks.
        expected_clicks: sum of theta over wins.
        win_rate: wins / auctions.
        cpm: ticks per win.
        ecpc: (cost / 1000) / clicks; fen per click for iPinYou prices, which are per 1000 impressions.
        spend_ratio: cost / sum of the episodes' budgets.
        optimum_ratio: R / R*, clicks over those of the hindsight optimum; NaN where none was given.
    """

    auctions: int
    clicks: int
    wins: int
    cost: int
    expected_clicks: float
    win_rate: float
    cpm: float
    ecpc: float
    spend_ratio: float
    optimum_ratio: float


def metrics(result: ReplayResult, optimum: Hindsight | None = None) -> BidMetrics:
    """The figures of one bidder.

    Args:
        result: totals `[E]`.
        optimum: of the same episodes, from `dynrl.auctions.hindsight`.

    Raises:
        ValueError: `result` holds several variants, or `optimum` other episodes.
    """
    if result.clicks.ndim != 1:
        raise ValueError(f"the totals have shape {result.clicks.shape}, expected [E]: take one variant first")
    if optimum is not None and optimum.clicks.shape != result.clicks.shape:
        raise ValueError(
            f"the optimum is of {len(optimum.clicks)} episodes, the replay of {len(result.clicks)}"
        )
    clicks, wins, cost = result.totals()
    auctions = int(result.auctions.sum())
    return BidMetrics(
        auctions=auctions,
        clicks=clicks,
        wins=wins,
        cost=cost,
        expected_clicks=float(result.expected_clicks.sum()),
        win_rate=_ratio(wins, auctions),
        cpm=_ratio(cost, wins),
        ecpc=_ratio(cost / 1000, clicks),
        spend_ratio=_ratio(cost, int(result.budget.sum())),
        optimum_ratio=float("nan") if optimum is None else _ratio(clicks, int(optimum.clicks.sum())),
    )


def _ratio(above: float, below: float) -> float:
    return above / below if below else float("nan")


@dataclass(frozen=True)
class Comparison:
    """One bidder against another on the same episodes.

    Attributes:
        difference: of the totals, first minus second.
        difference_interval: (low, high) of it.
        gain: first / second - 1; NaN where the second has none.
        gain_interval: (low, high) of it; NaN where a resample of the second has none.
    """

    difference: float
    difference_interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


def compare(
    first: ReplayResult,
    second: ReplayResult,
    metric: Literal["clicks", "expected_clicks", "wins", "cost"] = "clicks",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Paired percentile bootstrap over episodes: both bidders are summed over the same draw of episodes.

    Pairing removes what the episodes have in common, so that far fewer of them tell two bidders apart.

    Args:
        first, second: totals `[E]` of the same episodes.
        metric: what to compare.
        confidence: mass of the intervals, in (0, 1).
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        ValueError: different episodes, or `confidence` outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if first.auctions.shape != second.auctions.shape or (first.auctions != second.auctions).any():
        raise ValueError(
            f"the replays are of different episodes: {len(first.auctions)} and {len(second.auctions)}"
        )
    ours, theirs = (np.asarray(getattr(one, metric), np.float64) for one in (first, second))
    draws = np.random.default_rng(seed).integers(len(ours), size=(resamples, len(ours)))
    sums, others = ours[draws].sum(1), theirs[draws].sum(1)
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]
    gains = _gain(sums, others)
    return Comparison(
        float(ours.sum() - theirs.sum()),
        _pair(np.quantile(sums - others, tail)),
        float(_gain(ours.sum(), theirs.sum())),
        _pair(np.quantile(gains, tail)),
    )


def _gain(ours: Any, theirs: Any) -> NDArray[np.float64]:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return np.divide(ours, theirs, out=np.full(ours.shape, np.nan), where=theirs != 0) - 1


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])
