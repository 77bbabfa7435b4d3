"""The best that could have been bought, had prices and clicks been known before bidding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import EpisodeArrays
from dynrl.auctions.rules import AuctionRules

__all__ = ["Hindsight", "hindsight"]


class Hindsight(NamedTuple):
    """The optimum of each episode, arrays `[E]`.

    Attributes:
        clicks: most clicks for the budget, int64.
        cost: ticks that they cost, int64.
        expected_clicks: most predicted clicks for the budget, where the last impression may be bought in part; an upper
            bound for every bidder's sum of theta, at most one impression above what can be had.
    """

    clicks: NDArray[np.int64]
    cost: NDArray[np.int64]
    expected_clicks: NDArray[np.float64]


def hindsight(
    episodes: EpisodeArrays, rules: AuctionRules, *, budget: NDArray[np.int64] | int | None = None
) -> Hindsight:
    """R*: the cheapest clicked rows first until the budget ends; by predicted clicks, the dearest theta per tick first.

    A row costs the smallest bid or price that wins it under `rules`, and cannot be had above `rules.delta_max`.

    Args:
        episodes: rows `[T, E]`.
        rules: tie, pricing, largest bid.
        budget: ticks per episode, a number or `[E]`; None for `rules.budget`.

    Raises:
        ValueError: a negative budget.
    """
    price, floor = np.asarray(episodes.price, np.int64), np.asarray(episodes.floor, np.int64)
    budgets = np.broadcast_to(
        np.asarray(rules.budget if budget is None else budget, np.int64), price.shape[1:]
    )
    if (budgets < 0).any():
        raise ValueError(f"budget {budgets.min()} is negative")
    winning_bid = np.maximum(price if rules.tie == "win" else price + 1, floor)
    cost = winning_bid if rules.pricing == "first" else np.maximum(price, floor)
    # the bid itself is cut to the money left, so a tie that loses needs one tick more in the purse than it costs
    have = np.asarray(episodes.mask) & (winning_bid <= np.minimum(rules.delta_max, budgets))
    clicks, paid = _most_clicks(np.asarray(episodes.click, np.int64) * have, cost, budgets)
    return Hindsight(clicks, paid, _fractional(np.asarray(episodes.theta) * have, cost, budgets))


def _most_clicks(
    clicks: NDArray[np.int64], cost: NDArray[np.int64], budgets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By the price of a click; exact for rows of one click each."""
    order = np.argsort(np.where(clicks > 0, cost / np.maximum(clicks, 1), np.inf), axis=0, kind="stable")
    clicks, cost = (np.take_along_axis(column, order, axis=0) for column in (clicks, cost))
    spent = np.cumsum(np.where(clicks > 0, cost, 0), axis=0)
    bought = (clicks > 0) & (spent <= budgets)
    return (clicks * bought).sum(0), (cost * bought).sum(0)


def _fractional(
    theta: NDArray[np.float64], cost: NDArray[np.int64], budgets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The fractional knapsack (Dantzig, 1957)."""
    rate = np.where(theta > 0, cost / np.where(theta > 0, theta, 1.0), np.inf)
    order = np.argsort(rate, axis=0, kind="stable")
    gain = np.take_along_axis(theta, order, axis=0)
    price = np.where(gain > 0, np.take_along_axis(cost, order, axis=0), 0)
    left = np.maximum(budgets - (np.cumsum(price, axis=0) - price), 0)
    share = np.where(price > 0, np.minimum(left / np.maximum(price, 1), 1.0), 1.0)
    return (gain * share).sum(0)
