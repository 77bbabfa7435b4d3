"""Bids proportional to the predicted click probability: Mcpc and Lin (Perlich et al., KDD 2012)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.tuning import Objective, training_episodes, tune
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import LinearPolicy
from dynrl.errors import ConfigError

__all__ = ["Lin", "LinConfig", "LinearBidder", "Mcpc", "McpcConfig", "tune_lin"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearBidder(Bidder):
    """`floor(slope * theta)`.

    Attributes:
        slope: ticks per unit of click probability.
        delta_max: largest bid, in ticks.
    """

    slope: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.floor(self.slope * request.theta), memory

    def serving(self) -> LinearPolicy:
        return LinearPolicy(float(self.slope), int(self.delta_max))


def tune_lin(
    model: CampaignModel, rules: AuctionRules, step: float = 5.0, objective: Objective = "clicks"
) -> LinearBidder:
    """Lin's b0 by replay of the training rows with the horizon and budget of `rules`.

    The grid is `step, 2 step, ...` up to `delta_max`; of equally good values the largest is taken. Where that is the
    end of the grid, it goes on for as long as every further value beats all before.

    Raises:
        ValueError: no training rows, or a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"step is {step}, expected a positive number of ticks")
    episodes, average = training_episodes(model, rules), model.campaign.theta_avg
    bidder = LinearBidder(0.0, rules.delta_max)
    grid = np.arange(1, int(rules.delta_max / step) + 1) * step
    found = tune(
        bidder, "slope", np.asarray(grid / average, np.float64), episodes, rules, objective=objective
    )
    slope, best = found.best["slope"], found.score.max()
    improves = slope == grid[-1] / average
    while improves:  # sixteen values at a time, walked through in order
        further = grid[-1] + np.arange(1, 17) * step
        tried = tune(
            bidder, "slope", np.asarray(further / average, np.float64), episodes, rules, objective=objective
        )
        better = np.append(tried.score, -np.inf) > np.maximum.accumulate(np.append(best, tried.score))
        count = int((~better).argmax())
        if count:
            grid, slope, best = further[:count], further[count - 1] / average, tried.score[count - 1]
        improves = count == len(further)
    return LinearBidder(slope, rules.delta_max)


@dataclass(frozen=True)
class McpcConfig:
    """Settings of `Mcpc`.

    Attributes:
        max_cpc: the most to pay for a click, in ticks; None for the average cost of a click in training.
    """

    max_cpc: float | None = None

    def __post_init__(self) -> None:
        if self.max_cpc is not None and not self.max_cpc > 0:
            raise ConfigError(f"max_cpc is {self.max_cpc}, expected a positive number of ticks per click")


class Mcpc(BidAgent):
    """Bids what a click may cost times the chance of a click: `floor(CPC * theta)`.

    Truthful bidding of an advertiser who values a click at `max_cpc`: optimal in second-price auctions when money does
    not run out, and blind to the budget. Use it where the price per click is capped by contract, or as a baseline.
    Never pays more than `max_cpc` per expected click.

    Nothing to learn beyond the training statistics: `learn` changes nothing.

    Source: maximum cost per click (Lee et al., KDD 2012), as in Cai et al., WSDM 2017, section 5.
    """

    Config = McpcConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> LinearBidder:
        slope = model.campaign.cpc if config.max_cpc is None else config.max_cpc
        return LinearBidder(slope, rules.delta_max)


@dataclass(frozen=True)
class LinConfig:
    """Settings of `Lin`.

    Attributes:
        b0: ticks bid for a request of average click probability; None to choose it by replay of the training rows.
        step: ticks between the values tried (5 in the published results, 6 in the published code).
        objective: what the replay maximises.
    """

    b0: float | None = None
    step: float = 5.0
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        if self.b0 is not None and not self.b0 > 0:
            raise ConfigError(f"b0 is {self.b0}, expected a positive number of ticks")


class Lin(BidAgent):
    """Bids in proportion to the click probability: `floor(b0 * theta / theta_avg)`.

    The workhorse of display advertising. `b0` is chosen for one budget and one horizon, by replay of training rows cut
    into episodes like the test's; it does not react when the market turns out dearer or cheaper, so it overspends
    early or leaves money over. Compare every budget-aware bidder with it.

    The choice is made by the constructor: `learn` changes nothing.

    Source: Perlich et al., KDD 2012, as in Cai et al., WSDM 2017, section 5.

    Attributes:
        b0: the value in use, in ticks.
    """

    Config = LinConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> LinearBidder:
        if config.b0 is not None:
            return LinearBidder(config.b0 / model.campaign.theta_avg, rules.delta_max)
        return tune_lin(model, rules, config.step, config.objective)

    @property
    def b0(self) -> float:
        return float(self.bidder.slope) * self.model.campaign.theta_avg
