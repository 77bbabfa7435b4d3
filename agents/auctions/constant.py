"""Bids that look at nothing: a constant, and noise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.draws import stream, uniform_at
from dynrl.agents.auctions.tuning import Objective, training_episodes, tune
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import ConstantPolicy, RandomPolicy
from dynrl.errors import ConfigError

__all__ = [
    "Constant",
    "ConstantBidder",
    "ConstantConfig",
    "Random",
    "RandomBidder",
    "RandomConfig",
]

GRID = np.concatenate([np.arange(2, 20, 2), np.arange(20, 100, 5), np.arange(100, 301, 10)])
"""Ticks tried for a constant bid (Cai et al., WSDM 2017, released code)."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConstantBidder(Bidder):
    """Always `ticks`.

    Attributes:
        ticks: the bid.
        delta_max: largest bid, in ticks.
    """

    ticks: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.broadcast_to(jnp.asarray(self.ticks, jnp.float64), jnp.shape(request.theta)), memory

    def serving(self) -> ConstantPolicy:
        return ConstantPolicy(float(self.ticks), int(self.delta_max))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RandomBidder(Bidder):
    """`floor(U * upper)` with U uniform on [0, 1).

    Attributes:
        upper: ticks.
        delta_max: largest bid, in ticks.
        seed: of the policy that is served; replay seeds by its own argument.
    """

    upper: Any
    delta_max: Any
    seed: Any = 0

    def start(self, horizon: Any, budget: Any, key: Any) -> Any:
        return stream(key)

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.floor(uniform_at(memory, jnp.asarray(request.t_left)) * self.upper), memory

    def serving(self) -> RandomPolicy:
        return RandomPolicy(float(self.upper), int(self.seed), int(self.delta_max))


def _check(name: str, value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ConfigError(f"{name} is {value}, expected at least 0 ticks")


@dataclass(frozen=True)
class ConstantConfig:
    """Settings of `Constant`.

    Attributes:
        ticks: the bid; None to choose it by replay of the training rows.
        objective: what the replay maximises.
    """

    ticks: float | None = None
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        _check("ticks", self.ticks)


class Constant(BidAgent):
    """Bids the same for every request: the floor that every other bidder must clear.

    It buys the cheapest impressions and ignores both the click probability and the money left. Where the click model
    knows nothing (AUC near 50 %), this with a good constant is close to the best possible.

    The constant is chosen by the constructor: `learn` changes nothing.

    Source: Cai et al., WSDM 2017, released code.
    """

    Config = ConstantConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> ConstantBidder:
        if config.ticks is not None:
            return ConstantBidder(config.ticks, rules.delta_max)
        bidder, grid = ConstantBidder(0.0, rules.delta_max), GRID[rules.delta_max >= GRID]
        episodes = training_episodes(model, rules)
        return tune(
            bidder,
            "ticks",
            grid if len(grid) else [rules.delta_max],
            episodes,
            rules,
            objective=config.objective,
        ).bidder


@dataclass(frozen=True)
class RandomConfig:
    """Settings of `Random`.

    Attributes:
        upper: bids are uniform on 0..upper; None to choose it by replay of the training rows.
        objective: what the replay maximises.
    """

    upper: float | None = None
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        _check("upper", self.upper)


class Random(BidAgent):
    """Bids uniformly at random below an upper end, seeded.

    The reference for "does the bidder do anything", and, with a known upper end, a logging policy with known
    propensities for off-policy estimates (`dynrl.auctions.off_policy`).

    The upper end is chosen by the constructor: `learn` changes nothing.

    Source: Cai et al., WSDM 2017, released code; the draws are numbered by the auction, so a served policy repeats
    them exactly from its seed.
    """

    Config = RandomConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> RandomBidder:
        if config.upper is not None:
            return RandomBidder(config.upper, rules.delta_max)
        grid = np.concatenate([GRID, np.arange(310, 501, 10)])
        bidder, episodes = RandomBidder(0.0, rules.delta_max), training_episodes(model, rules)
        return tune(bidder, "upper", grid, episodes, rules, objective=config.objective).bidder

    def own_bidder(self) -> RandomBidder:
        bidder = self.make_bidder(self.config, self.model, self.rules)
        return dataclasses.replace(bidder, seed=0 if self.seed is None else self.seed)
