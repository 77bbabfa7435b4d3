"""Pacing by formula: BSLB and adaptive (multiplicative) pacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.tuning import (
    Objective,
    average_bids,
    match_spend,
    training_episodes,
    tune,
)
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BslbPolicy, MultiplicativePolicy
from dynrl.errors import ConfigError

__all__ = [
    "BSLB",
    "AdaptivePacing",
    "AdaptivePacingConfig",
    "BslbBidder",
    "BslbConfig",
    "MultiplicativeBidder",
    "slope_by_spend",
]


def slope_by_spend(model: CampaignModel, rules: AuctionRules, headroom: float = 1.0) -> float:
    """Ticks per unit of click probability at which linear bids spend `headroom` budgets per episode, in the model."""
    market = model.market
    ends = average_bids(rules, 2) / market.theta_avg
    wanted = AuctionRules(
        rules.horizon, max(int(rules.budget * headroom), 1), rules.delta_max, rules.tie, rules.pricing
    )
    return match_spend(market, lambda slope: slope * market.theta, wanted, ends[0] / 1e3, ends[1] * 1e3)


class Pace(NamedTuple):
    """The start of an episode, every leaf `[]`: auctions and ticks."""

    horizon: Any
    budget: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BslbBidder(Bidder):
    """`floor(theta / (lam0 * Delta))`, `Delta` = share of the auctions left / share of the money left.

    Attributes:
        lam0: clicks per tick, the price of money on plan.
        delta_max: largest bid, in ticks.
    """

    lam0: Any
    delta_max: Any

    def start(self, horizon: Any, budget: Any, key: Any) -> Pace:
        return Pace(jnp.asarray(horizon), jnp.asarray(budget))

    def bid(self, memory: Pace, request: Request) -> tuple[Any, Pace]:
        money = request.b_left / jnp.maximum(memory.budget, 1)
        return jnp.floor(request.theta / self.lam0 * money / (request.t_left / memory.horizon)), memory

    def serving(self) -> BslbPolicy:
        return BslbPolicy(float(self.lam0), int(self.delta_max))


class Multiplier(NamedTuple):
    """Where adaptive pacing stands, every leaf `[]`.

    Attributes:
        rho: ticks per auction to spend.
        mu: the multiplier.
        left: ticks left at the last auction; negative before the first.
    """

    rho: Any
    mu: Any
    left: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MultiplicativeBidder(Bidder):
    """`floor(value * theta / (1 + mu))`, `mu <- clip(mu - rate * (rho - spend), 0, largest)` after every auction.

    Attributes:
        value: ticks that a click is worth, the bid never exceeds `value * theta`.
        start_mu: mu of the first auction.
        rate: eta, per tick.
        largest: upper end of mu.
        delta_max: largest bid, in ticks.
    """

    value: Any
    start_mu: Any
    rate: Any
    largest: Any
    delta_max: Any

    def start(self, horizon: Any, budget: Any, key: Any) -> Multiplier:
        left = -jnp.ones((), jnp.float64)
        return Multiplier(
            jnp.asarray(budget) / jnp.asarray(horizon), jnp.asarray(self.start_mu, jnp.float64), left
        )

    def bid(self, memory: Multiplier, request: Request) -> tuple[Any, Multiplier]:
        moved = memory.mu - self.rate * (memory.rho - (memory.left - request.b_left))
        mu = jnp.where(memory.left < 0, memory.mu, jnp.clip(moved, 0.0, self.largest))
        left = jnp.asarray(request.b_left, jnp.float64)
        return jnp.floor(self.value * request.theta / (1 + mu)), Multiplier(memory.rho, mu, left)

    def serving(self) -> MultiplicativePolicy:
        return MultiplicativePolicy(
            float(self.value),
            float(self.start_mu),
            float(self.rate),
            float(self.largest),
            int(self.delta_max),
        )


@dataclass(frozen=True)
class BslbConfig:
    """Settings of `BSLB`.

    Attributes:
        lam0: clicks per tick; None to choose it.
        tuning: `"replay"` of the training rows over 64 values evenly spaced in the logarithm, or `"spend"`: the one
            whose expected spend in the market model meets the budget (needs no training rows).
        objective: what the replay maximises.
    """

    lam0: float | None = None
    tuning: Literal["replay", "spend"] = "replay"
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        if self.lam0 is not None and not self.lam0 > 0:
            raise ConfigError(f"lam0 is {self.lam0}, expected a positive number of clicks per tick")


class BSLB(BidAgent):
    """Budget-smoothing linear bidder: `theta / lam0`, scaled by money left over time left.

    One number more than Lin and it never runs far ahead of or behind an even spend. It corrects in proportion, without
    knowing how the market answers, so a `lam0` far from the truth is corrected only in part. A good default where no
    price landscape is at hand.

    `lam0` is chosen by the constructor: `learn` changes nothing.

    Source: the budget-smoothing linear bid of the budget-constrained bidding literature (Wu et al., CIKM 2018, as a
    baseline).

    Attributes:
        lam0: the value in use.
    """

    Config = BslbConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> BslbBidder:
        if config.lam0 is not None:
            return BslbBidder(config.lam0, rules.delta_max)
        if config.tuning == "spend":
            return BslbBidder(1 / slope_by_spend(model, rules), rules.delta_max)
        lams = model.market.theta_avg / average_bids(rules)
        bidder, episodes = BslbBidder(lams[0], rules.delta_max), training_episodes(model, rules)
        return tune(bidder, "lam0", lams, episodes, rules, objective=config.objective).bidder

    @property
    def lam0(self) -> float:
        return float(self.bidder.lam0)


@dataclass(frozen=True)
class AdaptivePacingConfig:
    """Settings of `AdaptivePacing`.

    Attributes:
        value: ticks that a click is worth; None for `headroom` times the slope that spends the budget in the model.
        headroom: how far the bid can rise above plan where the market turns out cheaper.
        rate: eta, per tick; None to choose it by replay of the training rows among 16 values from 0.01 to 100 times
            `headroom / (rho sqrt(T))`, the order of the theory.
        largest: upper end of mu.
        objective: what the replay maximises.
    """

    value: float | None = None
    headroom: float = 4.0
    rate: float | None = None
    largest: float = 100.0
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        for name in ("value", "headroom", "rate", "largest"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ConfigError(f"{name} is {number}, expected a positive number")
        if self.headroom < 1:
            raise ConfigError(f"headroom is {self.headroom}, expected at least 1")


class AdaptivePacing(BidAgent):
    """Adaptive pacing: shades the value of a click by `1 / (1 + mu)`, and moves mu by each auction's spend.

    For an advertiser with a value per click and a budget, in a market that nobody has modelled: stochastic
    gradient descent on the dual problem, with regret of order sqrt(T) against the best fixed multiplier when requests
    are independent. Never bids above the value, never exceeds the budget.

    The start value of mu is the plan of the market model. `rate` is chosen by the constructor: `learn` changes nothing.

    Source: Balseiro and Gur, Management Science 2019 (adaptive pacing); the start on plan is ours.

    Attributes:
        rate: eta in use, per tick.
    """

    Config = AdaptivePacingConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> MultiplicativeBidder:
        slope = slope_by_spend(model, rules)
        value = config.headroom * slope if config.value is None else config.value
        mu = float(np.clip(value / slope - 1, 0, config.largest))
        order = config.headroom / (rules.budget / rules.horizon * np.sqrt(rules.horizon))
        rate = order if config.rate is None else config.rate
        bidder = MultiplicativeBidder(value, mu, rate, config.largest, rules.delta_max)
        if config.rate is not None:
            return bidder
        grid = order * np.geomspace(0.01, 100, 16)
        episodes = training_episodes(model, rules)
        return tune(bidder, "rate", grid, episodes, rules, objective=config.objective).bidder

    @property
    def rate(self) -> float:
        return float(self.bidder.rate)
