"""Constants of bidders chosen on training rows: by replay, or so that the expected spend meets the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.bidder import Bidder
from dynrl.auctions.log import EpisodeArrays
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import ReplayResult, sweep
from dynrl.auctions.rules import AuctionRules

__all__ = [
    "Objective",
    "Tuning",
    "average_bids",
    "expected_spend",
    "match_spend",
    "training_episodes",
    "tune",
]

Objective = Literal["clicks", "expected_clicks"]
"""What a search by replay maximises: logged clicks (as published), or the sum of theta over wins (less noise)."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a search by replay found.

    Attributes:
        bidder: with the best values.
        best: name -> best value.
        tried: name -> `[P]`, all values in the order tried.
        score: `[P]`, the objective.
        result: totals `[P, E]` of every variant and training episode.
    """

    bidder: Any
    best: Mapping[str, float]
    tried: Mapping[str, NDArray[np.float64]]
    score: NDArray[np.float64]
    result: ReplayResult


def training_episodes(model: CampaignModel, rules: AuctionRules) -> EpisodeArrays:
    """The training rows cut into episodes as the test is, a last partial one dropped.

    Raises:
        ValueError: the model has no training rows, or fewer than one episode of them.
    """
    log = model.train
    if log is None:
        raise ValueError(
            "the campaign model has no training rows to replay: make it with CampaignModel.from_log(training_log), "
            "or state the parameter in the config"
        )
    whole = len(log) // rules.horizon * rules.horizon
    if whole == 0:
        raise ValueError(
            f"the training log has {len(log)} rows, fewer than one episode of T = {rules.horizon} auctions"
        )
    return log.take(slice(0, whole)).episodes(rules.horizon)


def tune(
    bidder: Bidder,
    name: str | Sequence[str],
    grid: Sequence[Any] | NDArray[np.float64],
    episodes: EpisodeArrays,
    rules: AuctionRules,
    *,
    budget: NDArray[np.int64] | int | None = None,
    objective: Objective | Callable[[ReplayResult], NDArray[np.float64]] = "clicks",
    ties: Literal["last", "first"] = "last",
    seed: int = 0,
) -> Tuning:
    """Tries all values of a bidder's numbers on training episodes, in one compiled program.

    Args:
        bidder: the strategy.
        name: data field to vary, or several of them.
        grid: `[P]` values, or `[P, len(name)]` for several fields.
        episodes: training rows `[T, E]`, see `training_episodes`.
        rules: of the auctions.
        budget: ticks per episode; None for `rules.budget`.
        objective: what to maximise, or a function from totals `[P, E]` to scores `[P]`.
        ties: which of several equally good values wins, in the order of `grid`.
        seed: for strategies that draw.

    Raises:
        ValueError: an empty grid, NaN scores, or what `dynrl.auctions.sweep` refuses.
    """
    names = (name,) if isinstance(name, str) else tuple(name)
    table = np.asarray(grid, np.float64).reshape(len(grid), len(names)) if len(grid) else np.zeros((0, 1))
    if len(table) == 0:
        raise ValueError(f"the grid for {', '.join(names)} is empty")
    tried = dict(zip(names, table.T, strict=True))
    result = sweep(bidder, tried, episodes, rules, budget=budget, seed=seed)
    if callable(objective):
        score = np.asarray(objective(result), np.float64)
    else:
        score = np.asarray(getattr(result, objective).sum(1), np.float64)
    if np.isnan(score).any():
        raise ValueError(f"the score of {tried} is NaN for {int(np.isnan(score).sum())} variants")
    index = len(score) - 1 - int(score[::-1].argmax()) if ties == "last" else int(score.argmax())
    best = {field: float(values[index]) for field, values in tried.items()}
    return Tuning(dataclasses.replace(bidder, **best), best, tried, score, result)  # type: ignore[type-var]


def average_bids(rules: AuctionRules, count: int = 64) -> NDArray[np.float64]:
    """`[count]` ticks for a request of average click probability, from half a tick to 4 delta_max, evenly in the
    logarithm: the range in which tuning looks for slopes."""
    return np.geomspace(0.5, 4 * rules.delta_max, count)


def expected_spend(market: Market, bids: NDArray[Any], rules: AuctionRules) -> float:
    """Ticks per auction that stationless bids cost on average, without a budget.

    Args:
        market: law of the requests.
        bids: `[S, K]` whole ticks, one per atom of `market.theta`.
        rules: tie and pricing.
    """
    largest = np.minimum(np.floor(bids), rules.delta_max).astype(np.int64)
    beaten = largest if rules.tie == "win" else largest - 1
    prices = np.arange(market.delta_max + 1)
    paid = market.pmf if rules.pricing == "first" else market.pmf * prices
    below = np.concatenate([np.zeros((len(paid), 1)), np.cumsum(paid, axis=1)], axis=1)
    index = np.clip(beaten + 1, 0, market.delta_max + 1)
    cost = np.take_along_axis(below, index, axis=1)
    if rules.pricing == "first":
        cost = cost * largest
    return float(market.share @ (market.theta_mass * cost).sum(1))


def match_spend(
    market: Market,
    bids: Callable[[float], NDArray[Any]],
    rules: AuctionRules,
    low: float,
    high: float,
) -> float:
    """The largest parameter in `[low, high]` whose expected spend stays within the budget, by bisection.

    Args:
        market: law of the requests.
        bids: parameter -> `[S, K]` bids, growing with it.
        rules: horizon and budget give the ticks per auction to meet.
        low, high: positive ends of the search; `high` is returned where even it underspends.
    """
    target = rules.budget / rules.horizon
    if expected_spend(market, bids(high), rules) <= target:
        return high
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        if not low < middle < high:
            break
        if expected_spend(market, bids(middle), rules) <= target:
            low = middle
        else:
            high = middle
    return low
