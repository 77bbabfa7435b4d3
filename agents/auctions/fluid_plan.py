"""The fluid limit: what money buys on average when auctions are many (spec section 6; Balseiro et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.market import Market

__all__ = ["FluidPlan", "blind_bid", "first_price_plan", "second_price_plan"]


@dataclass(frozen=True, eq=False)
class FluidPlan:
    """The stationary bidders `floor(theta * multiplier)`, in the order of their spend.

    With multiplier `1 / lambda`, lambda is the shadow price of a tick. Every entry is a multiplier at which some atom
    of the click probability starts to buy one more price, so the plan is exact, without a grid.

    Attributes:
        multiplier: `[N]`, ticks per unit of click probability, ascending from 0.
        spend: `[N]`, expected ticks per auction at that multiplier.
        clicks: `[N]`, expected clicks per auction.
    """

    multiplier: NDArray[np.float64]
    spend: NDArray[np.float64]
    clicks: NDArray[np.float64]

    def multiplier_at(self, ratio: float) -> float:
        """The multiplier that spends `ratio` ticks per auction, to within the spend of one entry; the largest one where
        even that underspends."""
        return float(np.interp(ratio, self.spend, self.multiplier))

    def clicks_at(self, ratio: float) -> float:
        """Expected clicks per auction for `ratio` ticks per auction.

        For a second-price plan with `tie="win"`, `T * clicks_at(B / T)` bounds the value of every bidder with T
        auctions and B ticks from above: it is the optimum when the budget need only hold on average.
        """
        return float(np.interp(ratio, self.spend, self.clicks))

    def table(self, count: int = 1024) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(ratio `[M]`, multiplier `[M]`), at most `count` points for linear interpolation.

        The points are entries of the plan, one per step of a geometric grid over six decades of the ratio. Between two
        points the spend of the interpolated multiplier lies between theirs, so it is off by one step of the grid at
        most: 1.4 % for 1024 points, or by one entry where entries are sparser.
        """
        last = len(self.spend) - 1
        if last < count:
            chosen = np.arange(last + 1)
        else:
            grid = np.geomspace(self.spend[-1] * 1e-6, self.spend[-1], count - 2)
            chosen = np.unique(np.append(np.searchsorted(self.spend, grid).clip(0, last), [0, last]))
        return self.spend[chosen], self.multiplier[chosen]


def second_price_plan(
    market: Market, tie: Literal["win", "lose"] = "win", delta_max: int | None = None
) -> FluidPlan:
    """The plan of bidders who pay the market price; lambda solves
    `E[sum_{delta <= theta / lambda} delta m(delta)] = r`.

    Args:
        market: law of the requests, all segments.
        tie: whether a bid equal to the price wins.
        delta_max: largest bid, in ticks; None for that of the market.

    Raises:
        ValueError: nothing can be bought at a positive price and click probability.
    """
    largest = market.delta_max if delta_max is None else delta_max
    prices = np.arange(market.delta_max + 1)
    needed = prices if tie == "win" else prices + 1
    reached = needed <= largest
    parts = []
    for share, pmf, atoms, masses in zip(
        market.share, market.pmf, market.theta, market.theta_mass, strict=True
    ):
        mass = share * masses[:, None] * (pmf * reached)
        parts.append(
            _steps(
                np.broadcast_to(needed, mass.shape),
                atoms[:, None],
                mass * prices,
                mass * atoms[:, None],
                mass,
            )
        )
    return _plan(parts)


def first_price_plan(
    market: Market, tie: Literal["win", "lose"] = "win", delta_max: int | None = None
) -> FluidPlan:
    """The plan of bidders who pay their bid and shade: each bids `argmax_a (theta * multiplier - a) M(a)`.

    The multiplier is then the value of a click in ticks that the bidder acts on, `1 / lambda`.

    Args:
        market, tie, delta_max: as in `second_price_plan`.

    Raises:
        ValueError: nothing can be bought at a positive price and click probability.
    """
    largest = market.delta_max if delta_max is None else delta_max
    parts = []
    for share, pmf, atoms, masses in zip(
        market.share, market.pmf, market.theta, market.theta_mass, strict=True
    ):
        win = np.cumsum(pmf)
        if tie == "lose":
            win = np.append(0.0, win[:-1])
        hull = _envelope(win[: largest + 1])
        gain, cost = np.diff(win[hull], prepend=0.0), np.diff(win[hull] * hull, prepend=0.0)
        value = np.divide(cost, gain, out=np.zeros_like(cost), where=gain > 0)
        weight = share * masses[:, None]
        parts.append(
            _steps(
                np.broadcast_to(value, (len(atoms), len(value))),
                atoms[:, None],
                weight * cost,
                weight * atoms[:, None] * gain,
                weight * gain,
            )
        )
    return _plan(parts)


def blind_bid(market: Market, ratio: float) -> tuple[int, float]:
    """The feature-blind fluid bid: the smallest a with `sum_{delta <= a} delta m(delta) >= ratio`.

    Args:
        market: its prices over all segments.
        ratio: ticks per auction.

    Returns:
        (a, probability of bidding it; a - 1 is bid otherwise). The mixture spends exactly `ratio`. Where even the
        largest bid spends less, it is `(delta_max, 1.0)`.
    """
    spend = np.cumsum(market.price_pmf * np.arange(market.delta_max + 1))
    bid = int(np.searchsorted(spend, ratio))
    if bid > market.delta_max:
        return market.delta_max, 1.0
    if bid == 0:
        return 0, 1.0
    return bid, float((ratio - spend[bid - 1]) / (spend[bid] - spend[bid - 1]))


Steps = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _steps(
    value: NDArray[np.float64],
    atoms: NDArray[np.float64],
    spend: NDArray[np.float64],
    clicks: NDArray[np.float64],
    mass: NDArray[np.float64],
) -> Steps:
    """(multiplier, spend, clicks) of each (atom, price), flat; a request that is never clicked is never bought for
    money."""
    bought = (mass > 0) & ((atoms > 0) | (value == 0))
    safe = np.where(atoms > 0, atoms, 1.0)
    # the multiplier is rounded up, so that floor(theta * multiplier) does reach the price
    multiplier = value / safe * (1 + 1e-12)
    return multiplier[bought], spend[bought], clicks[bought]


def _plan(parts: list[Steps]) -> FluidPlan:
    multiplier, spend, clicks = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(multiplier, kind="stable")
    multiplier = np.append(0.0, multiplier[order])
    spend, clicks = (np.append(0.0, np.cumsum(column[order])) for column in (spend, clicks))
    # of equal multipliers keep the last, of equal spends (free impressions) likewise
    last = np.append(np.diff(multiplier) > 0, True)
    multiplier, spend, clicks = multiplier[last], spend[last], clicks[last]
    last = np.append(np.diff(spend) > 0, True)
    multiplier, spend, clicks = multiplier[last], spend[last], clicks[last]
    if len(spend) < 2:
        raise ValueError("the market sells nothing for money: every price or click probability is 0")
    return FluidPlan(multiplier, spend, clicks)


def _envelope(win: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bids that are optimal for some value: corners of the lower convex hull of (win rate, expected payment)."""
    corners = [0]
    for bid in range(1, len(win)):
        if win[bid] <= win[corners[-1]]:
            continue
        while len(corners) > 1:
            first, second = corners[-2], corners[-1]
            rise = (bid * win[bid] - second * win[second]) * (win[second] - win[first])
            if rise > (second * win[second] - first * win[first]) * (win[bid] - win[second]):
                break
            corners.pop()
        corners.append(bid)
    return np.array(corners)
