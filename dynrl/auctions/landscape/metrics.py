"""How well a landscape describes auctions: likelihood of prices, of losses, and calibration of the win rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.clicks.metrics import Reliability, reliability
from dynrl.auctions.landscape.inputs import take_rows
from dynrl.auctions.landscape.landscape import Landscape, Tie, at_price
from dynrl.auctions.landscape.observations import PriceObservations

__all__ = ["anlp", "censored_log_likelihood", "win_rate_calibration"]

_BLOCK = 8192
"""Rows evaluated at once: their price probabilities must fit in memory."""


def anlp(landscape: Landscape, observations: PriceObservations, x: Any = None) -> float:
    """Average negative log probability of the prices seen (won rows), in nats; lower is better.

    Infinite where a seen price has probability 0 under the landscape; NaN where nothing was won. A price above
    `delta_max` counts with the mass of the tail.
    """
    won = np.flatnonzero(observations.won)
    if len(won) == 0:
        return float("nan")
    return -float(_log_likelihood(landscape, observations.take(won), take_rows(x, won), "win").mean())


def censored_log_likelihood(
    landscape: Landscape, observations: PriceObservations, x: Any = None, tie: Tie = "win"
) -> float:
    """Mean over all rows of ln m(price | x) where won and ln P(price > bid | x) where lost; higher is better.

    A loss that a tie would have explained (`tie="lose"`) counts ln P(price ≥ bid | x).
    """
    return float(_log_likelihood(landscape, observations, x, tie).mean())


def win_rate_calibration(
    landscape: Landscape, observations: PriceObservations, x: Any = None, tie: Tie = "win", bins: int = 10
) -> Reliability:
    """M(bid | x) against the realised win rate, in `bins` groups of equal size by M(bid | x).

    Raises:
        ValueError: the observations have no bids.
    """
    if observations.bid is None:
        raise ValueError("the observations have no bids, so their win rate cannot be predicted")
    bid, blocks = observations.bid, _blocks(len(observations))
    predicted = [landscape.win_rate(bid[rows], take_rows(x, rows), tie) for rows in blocks]
    return reliability(np.concatenate(predicted), observations.won, bins)


def _log_likelihood(
    landscape: Landscape, observations: PriceObservations, x: Any, tie: Tie
) -> NDArray[np.float64]:
    """`[N]`, of each row."""
    level = observations.known_above(tie)
    values = []
    for rows in _blocks(len(observations)):
        pmf = landscape.pmf(take_rows(x, rows))
        above = 1.0 - at_price(np.cumsum(pmf, axis=-1), level[rows])
        seen = at_price(pmf, level[rows])
        inside = observations.won[rows] & (level[rows] <= landscape.delta_max)
        with np.errstate(divide="ignore"):  # ln 0 = -inf is the answer for an impossible outcome
            values.append(np.log(np.where(inside, seen, np.maximum(above, 0.0))))
    return np.concatenate(values)


def _blocks(count: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
