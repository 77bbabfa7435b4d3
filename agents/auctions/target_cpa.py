"""Two constraints, two multipliers: a budget and a target cost per action (spec section 12.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.fluid import interpolate
from dynrl.agents.auctions.fluid_plan import FluidPlan, second_price_plan
from dynrl.auctions.bidder import Bidder, Outcome, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import TargetCpaPolicy
from dynrl.errors import ConfigError

__all__ = [
    "TargetCPA",
    "TargetCpaBidder",
    "TargetCpaConfig",
    "cpa_score",
    "multipliers",
]


def cpa_score(conversions: ArrayLike, cost: ArrayLike, target: float) -> NDArray[np.float64]:
    """`conversions * min(1, (target / CPA)^2)`, the score of the public auto-bidding benchmark (AuctionNet, 2024).

    Args:
        conversions: conversions (or clicks), any shape.
        cost: ticks, the same shape.
        target: ticks per conversion.

    Returns:
        The same shape; 0 without conversions, `conversions` at no cost.
    """
    actions, paid = np.asarray(conversions, np.float64), np.asarray(cost, np.float64)
    ratio = np.divide(target * actions, paid, out=np.ones_like(actions + paid), where=paid > 0)
    return actions * np.minimum(1.0, ratio**2)


def multipliers(plan: FluidPlan, ratio: float, target: float) -> tuple[float, float]:
    """(lambda_B, lambda_C), the prices of the budget and of the target, for a stationary bidder.

    The optimal bid is `theta (1 + lambda_C target) / (lambda_B + lambda_C)`. On a continuum of requests one of the two
    constraints binds and the other multiplier is 0.

    Args:
        plan: what money buys.
        ratio: ticks per auction.
        target: ticks per conversion.
    """
    by_budget = plan.multiplier_at(ratio)
    slack, by_target = _slack_table(plan, target)
    by_target_now = float(np.interp(0.0, slack, by_target))
    if by_budget <= by_target_now or by_target_now <= target:
        return 1 / by_budget, 0.0
    return 0.0, 1 / (by_target_now - target)


def _slack_table(plan: FluidPlan, target: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(slack `[M]`, multiplier `[M]`): the multiplier at which bidding costs `slack` ticks per auction more than
    `target` per click.

    Every impression bought at a multiplier below `target` is cheaper than the target, every further one dearer, so the
    excess falls up to there and rises beyond; only the rising part is of use.
    """
    excess = plan.spend - target * plan.clicks
    # a plan begins with all that is free; where even that takes a multiplier above the target, the excess rises from it
    first = max(int(np.searchsorted(plan.multiplier, target, side="right")) - 1, 0)
    excess = excess[first:]
    multiplier = np.append(max(target, plan.multiplier[first]), plan.multiplier[first + 1 :])
    rising = np.append(True, np.diff(np.maximum.accumulate(excess)) > 0)
    excess, multiplier = excess[rising], multiplier[rising]
    if len(excess) == 1:  # even the largest bid stays below the target
        return np.append(excess, excess + 1), np.repeat(multiplier, 2)
    chosen = np.unique(np.linspace(0, len(excess) - 1, 1024).astype(int))
    return excess[chosen], multiplier[chosen]


class Ledger(NamedTuple):
    """What the bidder keeps of its episode, every leaf `[]`.

    Attributes:
        budget: ticks at the start.
        left, theta: ticks left at, and click probability of, the last auction.
        conversions: so far.
    """

    budget: Any
    left: Any
    theta: Any
    conversions: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TargetCpaBidder(Bidder):
    """`floor(theta * min(u_B, u_C))`: `u_B` spends the money left, `u_C` uses up the slack of the target.

    The slack is `target * conversions so far - ticks spent so far`, spread over the auctions left.

    Attributes:
        ratio, multiplier: `[M]`, `u_B` at each `b / t`.
        slack, cpa_multiplier: `[M']`, `u_C` at each `slack / t`.
        target: ticks per conversion.
        delta_max: largest bid, in ticks.
        clicks_seen: count conversions that `observe` reports; else those predicted for the impressions won, which
            needs no report but trusts the click model.
    """

    ratio: Any
    multiplier: Any
    slack: Any
    cpa_multiplier: Any
    target: Any
    delta_max: Any
    clicks_seen: bool = field(default=False, metadata={"static": True})

    def start(self, horizon: Any, budget: Any, key: Any) -> Ledger:
        zero, b = jnp.zeros((), jnp.float64), jnp.asarray(budget, jnp.float64)
        return Ledger(b, b, zero, zero)

    def bid(self, memory: Ledger, request: Request) -> tuple[Any, Ledger]:
        conversions = memory.conversions
        if not self.clicks_seen:
            conversions = conversions + jnp.where(request.b_left < memory.left, memory.theta, 0.0)
        slack = self.target * conversions - (memory.budget - request.b_left)
        t = request.t_left
        by_budget = interpolate(request.b_left / t, jnp.asarray(self.ratio), jnp.asarray(self.multiplier))
        by_target = interpolate(slack / t, jnp.asarray(self.slack), jnp.asarray(self.cpa_multiplier))
        left, theta = (jnp.asarray(x, jnp.float64) for x in (request.b_left, request.theta))
        bid = jnp.floor(theta * jnp.minimum(by_budget, by_target))
        return bid, Ledger(memory.budget, left, theta, conversions)

    def observe(self, memory: Ledger, request: Request, outcome: Outcome) -> Ledger:
        if not self.clicks_seen:
            return memory
        return memory._replace(conversions=memory.conversions + outcome.click)

    def serving(self) -> TargetCpaPolicy:
        return TargetCpaPolicy(
            self.ratio,
            self.multiplier,
            self.slack,
            self.cpa_multiplier,
            float(self.target),
            self.clicks_seen,
            int(self.delta_max),
        )


@dataclass(frozen=True)
class TargetCpaConfig:
    """Settings of `TargetCPA`.

    Attributes:
        target: the most to pay per conversion on average, in ticks; None for the average of the training log.
    """

    target: float | None = None

    def __post_init__(self) -> None:
        if self.target is not None and not self.target > 0:
            raise ConfigError(f"target is {self.target}, expected a positive number of ticks per conversion")


class TargetCPA(BidAgent):
    """Most conversions subject to `cost <= B` and `cost <= target * conversions`.

    Second-price bids stay linear: `theta (1 + lambda_C target) / (lambda_B + lambda_C)`. Both multipliers follow from
    the plan of the market model, asked anew at every auction with the money left and with the slack of the target, so
    that either constraint can take over. `theta` is the probability of whatever counts as a conversion. With
    predicted conversions (`predict` hears of no others) the target is held in expectation, as far as the click
    model is calibrated; a bid server can count real ones (`TargetCpaBidder(clicks_seen=True)` and `observe`).

    Reads the market model only; nothing is left to learn, `learn` changes nothing.

    Source: Yang et al., "Bid optimization by multivariable control in display advertising", KDD 2019.

    Attributes:
        target: ticks per conversion in use.
        lambdas: (lambda_B, lambda_C) at the start of an episode.
    """

    Config = TargetCpaConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> TargetCpaBidder:
        if rules.pricing == "first":
            raise ValueError(
                "TargetCPA is for second-price auctions; use Shading with value=target where the winner pays its bid"
            )
        target = model.campaign.cpc if config.target is None else config.target
        plan = second_price_plan(model.market, rules.tie, rules.delta_max)
        slack, by_target = _slack_table(plan, target)
        ratio, by_budget = plan.table()
        return TargetCpaBidder(ratio, by_budget, slack, by_target, target, rules.delta_max)

    @property
    def target(self) -> float:
        return float(self.bidder.target)

    @property
    def lambdas(self) -> tuple[float, float]:
        plan = second_price_plan(self.model.market, self.rules.tie, self.rules.delta_max)
        return multipliers(plan, self.rules.budget / self.rules.horizon, self.target)
