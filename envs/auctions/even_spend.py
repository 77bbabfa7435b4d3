"""The plan that pacing starts from: the linear bid that spends a budget evenly in expectation."""

from __future__ import annotations

import numpy as np

from dynrl.auctions import Market

__all__ = ["even_spend_slope", "expected_cost"]


def expected_cost(market: Market, slope: float, delta_max: int, pricing: str = "second") -> float:
    """Expected ticks paid in one auction by the bid floor(slope · theta), at most `delta_max`."""
    prices = np.arange(market.delta_max + 1)
    paid = prices * market.pmf.cumsum(1) if pricing == "first" else (prices * market.pmf).cumsum(1)
    bids = np.minimum(slope * market.theta, min(delta_max, market.delta_max)).astype(np.int64)
    return float(market.share @ (market.theta_mass * np.take_along_axis(paid, bids, 1)).sum(1))


def even_spend_slope(market: Market, rate: float, delta_max: int, pricing: str = "second") -> float:
    """Ticks per unit of click probability with which one auction costs `rate` ticks in expectation.

    This is the fluid limit 1 / lambda of Cai et al. (WSDM 2017) for clicks whose probability is known: the largest
    slope, to a relative 1e-6, that does not cost more than `rate`. Where even the largest bid in every auction costs
    less, it is the slope at which the average click probability is bid `delta_max`.
    """
    low, high = 0.0, delta_max / market.theta_avg
    if expected_cost(market, high, delta_max, pricing) <= rate:
        return high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if expected_cost(market, middle, delta_max, pricing) <= rate:
            low = middle
        else:
            high = middle
    return low if low > 0 else high
