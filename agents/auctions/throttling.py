"""Throttling: sitting out a share of the auctions instead of bidding lower."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.draws import stream, uniform_at
from dynrl.agents.auctions.pacing import slope_by_spend
from dynrl.agents.auctions.spend_curve import check_curve, spend_curve
from dynrl.agents.auctions.tuning import Objective, expected_spend, training_episodes, tune
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import ThrottlingPolicy
from dynrl.errors import ConfigError

__all__ = ["Throttling", "ThrottlingBidder", "ThrottlingConfig"]


class Valve(NamedTuple):
    """Where throttling stands, every leaf `[]`.

    Attributes:
        stream: of the draws.
        horizon: auctions of the episode.
        slot: running time slot.
        share: probability of taking part.
        first_left: ticks left as the slot began.
    """

    stream: Any
    horizon: Any
    slot: Any
    share: Any
    first_left: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ThrottlingBidder(Bidder):
    """`floor(slope * theta)` with probability p, else nothing; after each slot p falls or rises by `rate`.

    Attributes:
        slope: ticks per unit of click probability.
        initial: p of the first slot.
        rate: relative step of p: down after a slot that spent more than its allotment, else up.
        least: lower end of p.
        curve: `[K + 1]`, planned share of the budget spent by the end of each slot, from 0 to 1.
        delta_max: largest bid, in ticks.
        seed: of the policy that is served; replay seeds by its own argument.
    """

    slope: Any
    initial: Any
    rate: Any
    least: Any
    curve: Any
    delta_max: Any
    seed: Any = 0

    def start(self, horizon: Any, budget: Any, key: Any) -> Valve:
        t = jnp.asarray(horizon)
        share = jnp.asarray(self.initial, jnp.float64)
        return Valve(stream(key), t, jnp.zeros_like(t), share, jnp.asarray(budget, jnp.float64))

    def bid(self, memory: Valve, request: Request) -> tuple[Any, Valve]:
        curve = jnp.asarray(self.curve)
        slot = (memory.horizon - request.t_left) * (len(curve) - 1) // memory.horizon
        ended = slot != memory.slot
        begun, done = curve[memory.slot], curve[memory.slot + 1]
        planned = memory.first_left * (done - begun) / jnp.maximum(1 - begun, 1e-12)
        too_fast = memory.first_left - request.b_left > planned
        share = jnp.clip(memory.share * jnp.where(too_fast, 1 - self.rate, 1 + self.rate), self.least, 1.0)
        left = jnp.asarray(request.b_left, jnp.float64)
        memory = memory._replace(
            slot=slot,
            share=jnp.where(ended, share, memory.share),
            first_left=jnp.where(ended, left, memory.first_left),
        )
        taken = uniform_at(memory.stream, jnp.asarray(request.t_left)) < memory.share
        return jnp.where(taken, jnp.floor(self.slope * request.theta), 0.0), memory

    def serving(self) -> ThrottlingPolicy:
        return ThrottlingPolicy(
            float(self.slope),
            float(self.initial),
            float(self.rate),
            float(self.least),
            self.curve,
            int(self.seed),
            int(self.delta_max),
        )


@dataclass(frozen=True)
class ThrottlingConfig:
    """Settings of `Throttling`.

    Attributes:
        slope: ticks per unit of click probability when taking part; None to choose it by replay of the training rows.
        initial: probability of taking part in the first slot; None for the one that spends evenly in the model.
        rate: relative step of the probability per slot.
        least: lower end of the probability.
        slots: times per episode that the probability moves.
        curve: `[slots + 1]` planned share of the budget spent by the end of each slot, from 0 to 1; None for even.
        objective: what the replay maximises.
    """

    slope: float | None = None
    initial: float | None = None
    rate: float = 0.1
    least: float = 0.01
    slots: int = 40
    curve: tuple[float, ...] | None = None
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        check_curve(self.curve, self.slots)
        if self.slope is not None and not self.slope > 0:
            raise ConfigError(f"slope is {self.slope}, expected a positive number")
        if not 0 < self.rate < 1:
            raise ConfigError(f"rate is {self.rate}, expected a number in (0, 1)")
        if not 0 < self.least <= (1 if self.initial is None else self.initial) <= 1:
            raise ConfigError(
                f"least is {self.least} and initial {self.initial}, expected 0 < least <= initial <= 1"
            )


class Throttling(BidAgent):
    """Probabilistic throttling: the bid stays, the share of auctions taken part in is controlled.

    Where bids must not move (guaranteed prices, contracts per click) or a representative sample of the traffic is
    wanted. It buys impressions at the price of its bid whatever the money left, so it is dearer per click than
    every bidder that shades the bid instead.

    The slope is chosen by the constructor, among 24 values from the one that spends the budget without throttling
    to 16 times that: `learn` changes nothing.

    Source: Agarwal et al., "Budget pacing for targeted online advertisements at LinkedIn", KDD 2014 (10 % a step);
    the coin is drawn per request, and the first probability is planned rather than 1.

    Attributes:
        slope: ticks per unit of click probability in use.
    """

    Config = ThrottlingConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> ThrottlingBidder:
        curve = spend_curve(config.curve, config.slots, rules)
        given = config.slope is not None
        slopes = [config.slope] if given else slope_by_spend(model, rules) * np.geomspace(1, 16, 24)
        shares = [_initial(config, model, rules, slope) for slope in slopes]
        bidder = ThrottlingBidder(slopes[0], shares[0], config.rate, config.least, curve, rules.delta_max)
        if given:
            return bidder
        grid, episodes = np.stack([slopes, shares], 1), training_episodes(model, rules)
        return tune(
            bidder,
            ("slope", "initial"),
            grid,
            episodes,
            rules,
            objective=config.objective,
            ties="first",
        ).bidder

    def own_bidder(self) -> ThrottlingBidder:
        bidder = self.make_bidder(self.config, self.model, self.rules)
        return dataclasses.replace(bidder, seed=0 if self.seed is None else self.seed)

    @property
    def slope(self) -> float:
        return float(self.bidder.slope)


def _initial(config: ThrottlingConfig, model: CampaignModel, rules: AuctionRules, slope: float) -> float:
    if config.initial is not None:
        return config.initial
    spend = expected_spend(model.market, slope * model.market.theta, rules)
    return float(np.clip(rules.budget / rules.horizon / spend, config.least, 1.0)) if spend > 0 else 1.0
