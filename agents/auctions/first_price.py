"""RLB for first-price auctions: shade each bid by what the money will be worth later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.planning import capped, check_objective, check_plan, plan_size
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import first_price_bidder, first_price_table
from dynrl.errors import ConfigError

__all__ = ["FirstPriceRLB", "FirstPriceRlbConfig"]


@dataclass(frozen=True)
class FirstPriceRlbConfig:
    """Settings of `FirstPriceRLB`.

    Attributes:
        scale: `"exact"` solves a table for the whole episode, `"map_action"` one for `plan_horizon` auctions whose bids
            are carried over by the ratio b / t.
        plan_horizon: T0. The work is that of a second-price table times the number of click-probability atoms.
        plan_budget: B0 in ticks; None for one that fits the rules.
        table_limit: largest table, in GB.
        value_per_click, cost_weight, discount: the objective, as in `RlbConfig`.
    """

    scale: Literal["exact", "map_action"] = "exact"
    plan_horizon: int = 300
    plan_budget: int | None = None
    table_limit: float = 4.0
    value_per_click: float = 1.0
    cost_weight: float = 0.0
    discount: float = 1.0

    def __post_init__(self) -> None:
        check_plan(self.plan_horizon, self.plan_budget, self.table_limit)
        check_objective(self.value_per_click, self.cost_weight, self.discount)


class FirstPriceRLB(BidAgent):
    """The most clicks from T first-price auctions with B ticks: the Markov decision process of RLB, paying the bid.

    The bid maximises `M(a) (theta + V(t-1, b-a) - V(t-1, b))`: the chance to win with a, times what the win adds after
    the money for it is gone. Every a is tried, since the product has many local maxima on real, spiky prices.

    **When to use it.** First-price exchanges (the open web since 2019) with a budget that binds. Without a budget, or
    with a price of money that is already known, `Shading` says the same with less. For long episodes set
    `scale="map_action"`.

    **Guarantees.** Optimal in the market model, whose prices must be the *highest competing bids*, not what others
    paid. A bid never exceeds the largest price at which the win still adds something, so truthful bidding and
    unconstrained shading can only be worse in the model. Nothing is left to learn, `learn` changes nothing.

    **Source.** Recursion (R) of Cai et al., WSDM 2017, with the payment changed; no published reference.
    """

    Config = FirstPriceRlbConfig
    config: FirstPriceRlbConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        if rules.pricing != "first":
            raise ConfigError(
                f"FirstPriceRLB plans for first-price auctions, but the rules say pricing={rules.pricing!r}; use RLB"
            )
        market = capped(model.market, rules)
        size = plan_size(
            rules, market, config.scale, config.plan_horizon, config.plan_budget, config.table_limit
        )
        table = first_price_table(
            market,
            *size,
            tie=rules.tie,
            value_per_click=config.value_per_click,
            cost_weight=config.cost_weight,
            discount=config.discount,
        )
        return first_price_bidder(table, market, tie=rules.tie)
