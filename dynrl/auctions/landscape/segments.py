"""One landscape per segment of requests (exchange, slot size, hour, ...), backed by that of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.landscape.counting import SurvivalCounts, product_limit
from dynrl.auctions.landscape.landscape import Landscape, Tie, checked_pmf
from dynrl.auctions.landscape.observations import PriceObservations
from dynrl.auctions.log import AuctionLog

__all__ = ["SegmentLandscape", "fit_hours", "fit_segments", "hours_of"]

HOURS = 24


@dataclass(frozen=True, eq=False)
class SegmentLandscape(Landscape):
    """A table of distributions; `x` is the code `[...]` of the segment, -1 for an unknown one.

    Attributes:
        table: `[S, delta_max + 1]`, price probabilities of each segment.
        overall: `[delta_max + 1]`, those of all requests together, for unknown segments and for `x=None`.
    """

    table: NDArray[np.float64]
    overall: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", checked_pmf(self.table, 2))
        object.__setattr__(self, "overall", checked_pmf(self.overall, 1))
        if self.table.shape[1] != len(self.overall):
            raise ValueError(f"segments have {self.table.shape[1]} prices, all together {len(self.overall)}")

    @property
    def delta_max(self) -> int:
        return len(self.overall) - 1

    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        if x is None:
            return self.overall
        codes = np.asarray(x)
        if codes.dtype.kind not in "iu" or (codes < -1).any() or (codes >= len(self.table)).any():
            raise ValueError(
                f"segments must be whole codes in -1..{len(self.table) - 1} (-1: unknown), got {codes.dtype} "
                f"from {codes.min(initial=0)} to {codes.max(initial=0)}"
            )
        return np.concatenate([self.table, self.overall[None]])[codes]  # -1 is the last row


def fit_segments(
    observations: PriceObservations,
    segment: ArrayLike,
    segments: int | None = None,
    *,
    delta_max: int = DELTA_MAX,
    tie: Tie = "win",
    kappa: float = 200.0,
    laplace: float = 0.0,
    parent: ArrayLike | None = None,
) -> SegmentLandscape:
    """Per-segment product-limit landscapes that back off to their parent: with all prices seen,
    m_seg = (n_seg m̂_seg + κ m_parent) / (n_seg + κ); with losses, the same on the scale of hazards.

    Args:
        segment: codes `[N]`, -1 for rows of unknown segment (they count for the parent only).
        segments: S; None for the largest code + 1.
        kappa: κ, how many auctions the parent is worth; 100 to 1000 is usual.
        laplace: pseudo-observations at each price, in the landscape of all rows.
        parent: `[delta_max + 1]`, or `[S, delta_max + 1]` with a parent of its own for each segment (rows of a coarser
            landscape: `coarse.pmf(code_of_the_parent)`); None for the landscape of all rows.

    Raises:
        ValueError: codes that do not fit.
    """
    codes = np.asarray(segment)
    if codes.shape != (len(observations),) or codes.dtype.kind not in "iu":
        raise ValueError(
            f"segment has shape {codes.shape} and type {codes.dtype}, expected integers [{len(observations)}]"
        )
    count = int(codes.max(initial=0)) + 1 if segments is None else segments
    if (codes < -1).any() or (codes >= count).any():
        raise ValueError(f"segment codes must lie in -1..{count - 1}, got {codes.min()} to {codes.max()}")
    overall = product_limit(observations, delta_max, tie, laplace).probabilities
    known = codes >= 0
    if known.any():
        counts = SurvivalCounts.from_observations(
            observations.take(known), delta_max, tie, codes[known], count
        )
    else:
        counts = SurvivalCounts(np.zeros((count, delta_max + 1)), np.zeros((count, delta_max + 1)))
    return SegmentLandscape(counts.pmf(overall if parent is None else parent, kappa), overall)


def fit_hours(
    observations: PriceObservations,
    hour: ArrayLike,
    *,
    delta_max: int = DELTA_MAX,
    tie: Tie = "win",
    kappa: float = 200.0,
    laplace: float = 0.0,
    neighbours: float = 0.0,
) -> SegmentLandscape:
    """Hour-of-day landscapes m_h; `x` is the hour in 0..23.

    Args:
        hour: `[N]`, see `hours_of`.
        neighbours: weight of an auction in the hour before and the hour after (around midnight too), 0 for none.
    """
    codes = np.asarray(hour)
    day = fit_segments(observations, codes, HOURS, delta_max=delta_max, tie=tie, kappa=kappa, laplace=laplace)
    if neighbours == 0:
        return day
    if not 0 < neighbours <= 1:
        raise ValueError(f"neighbours is {neighbours}, expected a weight in [0, 1]")
    known = codes >= 0
    own = SurvivalCounts.from_observations(observations.take(known), delta_max, tie, codes[known], HOURS)
    around = [
        SurvivalCounts(np.roll(own.events, by, axis=0), np.roll(own.at_risk, by, axis=0)) for by in (1, -1)
    ]
    counts = own + neighbours * around[0] + neighbours * around[1]
    return SegmentLandscape(counts.pmf(day.overall, kappa), day.overall)


def hours_of(log: AuctionLog) -> NDArray[np.int64]:
    """Hour of the day `[N]` of each row, in the time zone of the log's timestamps.

    Raises:
        ValueError: the log has no timestamps.
    """
    if log.timestamp is None:
        raise ValueError("the log has no timestamps, so the hour of the day is unknown")
    return log.timestamp.astype("datetime64[h]").astype(np.int64) % HOURS
