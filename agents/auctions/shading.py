"""First price: bidding below value, alone or under a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.fluid import FluidBidder, FluidMemory
from dynrl.agents.auctions.fluid_plan import first_price_plan
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BidPolicy, PacedShadingPolicy, ShadingPolicy
from dynrl.errors import ConfigError

__all__ = [
    "PacedShadingBidder",
    "Shading",
    "ShadingBidder",
    "ShadingConfig",
    "shaded_bid",
    "win_rate_by_bid",
]


def win_rate_by_bid(market: Market, rules: AuctionRules) -> NDArray[np.float64]:
    """`[S, delta_max + 1]`, chance that a bid of 0, 1, ... ticks wins in each segment (M, or M shifted by one where a
    tie loses), for the bids that `rules` allows."""
    win = np.cumsum(market.pmf, axis=1)
    if rules.tie == "lose":
        win = np.concatenate([np.zeros((len(win), 1)), win[:, :-1]], axis=1)
    missing = rules.delta_max - market.delta_max
    if missing > 0:
        win = np.concatenate([win, np.repeat(win[:, -1:], missing, axis=1)], axis=1)
    return win[:, : rules.delta_max + 1]


def shaded_bid(value: Any, win: Any, floor: Any) -> Any:
    """The smallest bid a >= floor that maximises `(value - a) win[a]`; 0 where no bid has a positive profit.

    Args:
        value: ticks that the impression is worth, `[]`.
        win: `[delta_max + 1]`, chance that each bid wins.
        floor: reserve price in ticks, `[]`.
    """
    bids = jnp.arange(len(win))
    profit = jnp.where(bids >= floor, (value - bids) * win, -jnp.inf)
    best = jnp.argmax(profit)
    return jnp.where(profit[best] > 0, best, 0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ShadingBidder(Bidder):
    """The bid with the largest expected profit on an impression worth `value * theta` ticks.

    Attributes:
        value: ticks that a click is worth.
        win: `[S, delta_max + 1]`, chance that each bid wins, by segment.
        delta_max: largest bid, in ticks.
    """

    value: Any
    win: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        win = jnp.asarray(self.win)[request.segment]
        return shaded_bid(self.value * request.theta, win, request.floor), memory

    def serving(self) -> ShadingPolicy:
        return ShadingPolicy(float(self.value), self.win, int(self.delta_max))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PacedShadingBidder(Bidder):
    """`ShadingBidder` whose value of a click, `1 / lambda`, follows from the money left as in `FluidBidder`.

    Attributes:
        fluid: gives `1 / lambda` from the first-price plan.
        win: `[S, delta_max + 1]`, chance that each bid wins, by segment.
    """

    fluid: FluidBidder
    win: Any

    def start(self, horizon: Any, budget: Any, key: Any) -> FluidMemory:
        return self.fluid.start(horizon, budget, key)

    def bid(self, memory: FluidMemory, request: Request) -> tuple[Any, FluidMemory]:
        value, memory = self.fluid.slope(memory, request)
        win = jnp.asarray(self.win)[request.segment]
        return shaded_bid(value * request.theta, win, request.floor), memory

    def serving(self) -> PacedShadingPolicy:
        fluid = self.fluid
        return PacedShadingPolicy(
            fluid.ratio,
            fluid.multiplier,
            float(fluid.trust),
            int(fluid.renew),
            self.win,
            int(fluid.delta_max),
        )


@dataclass(frozen=True)
class ShadingConfig:
    """Settings of `Shading`.

    Attributes:
        value: ticks that a click is worth; None for the value that spends the budget, asked anew as it goes.
        renew: auctions between two looks at the money left (without `value`).
        trust: as in `FluidConfig` (without `value`).
    """

    value: float | None = None
    renew: int = 1
    trust: float = 0.1

    def __post_init__(self) -> None:
        if self.value is not None and not self.value > 0:
            raise ConfigError(f"value is {self.value}, expected a positive number of ticks per click")
        if self.renew < 1:
            raise ConfigError(f"renew is {self.renew}, expected at least 1 auction")
        if not self.trust >= 0:
            raise ConfigError(f"trust is {self.trust}, expected a share of the budget, at least 0")


class Shading(BidAgent):
    """First-price bidding: `argmax_a (v - a) M(a)`, never above the value v of the impression.

    With `value` it maximises expected profit auction by auction, and the budget only cuts bids. Without, v is
    `theta / lambda` and lambda is the shadow price at which the shaded bids spend the money left, renewed as it goes:
    the large-horizon optimum for clicks under a budget. M must be the law of the highest competing bid
    (`dynrl.auctions.landscape` estimates it from censored auctions); prices paid by others in a second-price market
    understate it.

    Guarantees, under the model: the bid is below the value; truthful bidding never earns more.

    Reads the market model only; nothing is left to learn, `learn` changes nothing.

    Source: Gligorijevic et al., CIKM 2020 (bid shading); the budget multiplier as in `Fluid`.
    """

    Config = ShadingConfig
    bidder: Any
    policy: BidPolicy

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        if rules.pricing == "second":
            raise ValueError(
                "Shading bids below value, which only loses impressions where the winner pays the market price: "
                "use Fluid or RLB in second-price auctions"
            )
        win = win_rate_by_bid(model.market, rules)
        if config.value is not None:
            return ShadingBidder(config.value, win, rules.delta_max)
        plan = first_price_plan(model.market, rules.tie, rules.delta_max)
        fluid = FluidBidder.from_plan(plan, rules.delta_max, config.trust, config.renew)
        return PacedShadingBidder(fluid, win)
