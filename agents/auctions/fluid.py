"""The fluid, or shadow-price, bidder: linear in the click probability, at the price that the money left implies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.fluid_plan import FluidPlan, second_price_plan
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import FluidPolicy
from dynrl.errors import ConfigError

__all__ = ["Fluid", "FluidBidder", "FluidConfig", "FluidMemory", "interpolate"]


def interpolate(x: Any, xs: Any, ys: Any) -> Any:
    """`jnp.interp` in the order of operations of `dynrl.auctions.serving.interpolate`, for equal bids to the tick."""
    upper = jnp.clip(jnp.searchsorted(xs, x, side="right"), 1, len(xs) - 1)
    left, right = xs[upper - 1], xs[upper]
    share = jnp.clip((x - left) / (right - left), 0.0, 1.0)
    return jnp.where(share == 1.0, ys[upper], ys[upper - 1] + share * (ys[upper] - ys[upper - 1]))


class FluidMemory(NamedTuple):
    """What the bidder keeps of its episode, every leaf `[]`.

    Attributes:
        horizon, budget: at the start.
        foreseen: ticks that the plan has meant to spend so far.
        rate: ticks per auction that the plan means to spend now.
        slope: ticks per unit of click probability, now.
    """

    horizon: Any
    budget: Any
    foreseen: Any
    rate: Any
    slope: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FluidBidder(Bidder):
    """`floor(theta / lambda(r))` with `r = b / t`, corrected by what spending has taught.

    The model's prices and click probabilities may be off, and then `lambda(r)` spends more or less than r. The bidder
    compares: `surprise = (trust B + spent) / (trust B + foreseen)`, and asks for `r / surprise`.

    Attributes:
        ratio, multiplier: `[M]`, `1 / lambda` at each ratio, linear in between.
        trust: share of the budget that must be spent before experience weighs as much as the model; infinity is the
            textbook rule without correction.
        renew: auctions between two looks at the money left.
        delta_max: largest bid, in ticks.
    """

    ratio: Any
    multiplier: Any
    trust: Any
    delta_max: Any
    renew: int = field(default=1, metadata={"static": True})

    @classmethod
    def from_plan(cls, plan: FluidPlan, delta_max: int, trust: float = 0.1, renew: int = 1) -> FluidBidder:
        """The bidder that follows a plan."""
        ratio, multiplier = plan.table()
        return cls(ratio, multiplier, trust, delta_max, renew)

    def start(self, horizon: Any, budget: Any, key: Any) -> FluidMemory:
        zero = jnp.zeros((), jnp.float64)
        return FluidMemory(jnp.asarray(horizon), jnp.asarray(budget, jnp.float64), zero, zero, zero)

    def slope(self, memory: FluidMemory, request: Request) -> tuple[Any, FluidMemory]:
        """(ticks per unit of click probability, memory)."""
        most = jnp.asarray(self.ratio)[-1]
        prior = self.trust * memory.budget
        foreseen = prior + memory.foreseen
        learns = (foreseen > 0) & jnp.isfinite(foreseen)
        surprise = jnp.where(learns, (prior + memory.budget - request.b_left) / foreseen, 1.0)
        rate = jnp.minimum(
            jnp.where(surprise > 0, request.b_left / request.t_left / surprise, most),
            most,
        )
        slope = interpolate(rate, jnp.asarray(self.ratio), jnp.asarray(self.multiplier))
        if self.renew > 1:
            due = (memory.horizon - request.t_left) % self.renew == 0
            rate, slope = jnp.where(due, rate, memory.rate), jnp.where(due, slope, memory.slope)
        return slope, memory._replace(foreseen=memory.foreseen + rate, rate=rate, slope=slope)

    def bid(self, memory: FluidMemory, request: Request) -> tuple[Any, FluidMemory]:
        slope, memory = self.slope(memory, request)
        return jnp.floor(slope * request.theta), memory

    def serving(self) -> FluidPolicy:
        return FluidPolicy(
            self.ratio, self.multiplier, float(self.trust), int(self.renew), int(self.delta_max)
        )


@dataclass(frozen=True)
class FluidConfig:
    """Settings of `Fluid`.

    Attributes:
        renew: auctions between two looks at the money left.
        trust: share of the budget that must be spent before experience weighs as much as the model.
    """

    renew: int = 1
    trust: float = 0.1

    def __post_init__(self) -> None:
        if self.renew < 1:
            raise ConfigError(f"renew is {self.renew}, expected at least 1 auction")
        if not self.trust >= 0:
            raise ConfigError(f"trust is {self.trust}, expected a share of the budget, at least 0")


class Fluid(BidAgent):
    """Bids `theta / lambda`, lambda being the shadow price of money: one formula, no table over (t, b), any horizon.

    The first choice for long episodes, where it is optimal: with T growing at a fixed `B / T` its clicks per auction
    approach the bound `second_price_plan(market).clicks_at(B / T)`, which no bidder can beat. It spends the budget by
    itself, since every auction asks again what the money left can buy, and corrects a model whose prices or click
    probabilities are off (`FluidBidder`). For short episodes and budgets of a few wins, RLB is better: it knows that
    the last auction may take all.

    Reads the market model only, so needs no training rows; nothing is left to learn, `learn` changes nothing.

    Source: Balseiro, Besbes and Weintraub, 2015 (fluid mean-field pacing), Cai et al., WSDM 2017, section 4.3 for the
    ratio `b / t`; the correction by experience is ours.

    Attributes:
        plan: all that money can buy in the market model.
    """

    Config = FluidConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> FluidBidder:
        if rules.pricing == "first":
            raise ValueError(
                "Fluid bids what an impression is worth, which is too much where the winner pays its bid: "
                "use Shading in first-price auctions"
            )
        plan = second_price_plan(model.market, rules.tie, rules.delta_max)
        return FluidBidder.from_plan(plan, rules.delta_max, config.trust, config.renew)

    @property
    def plan(self) -> FluidPlan:
        return second_price_plan(self.model.market, self.rules.tie, self.rules.delta_max)
