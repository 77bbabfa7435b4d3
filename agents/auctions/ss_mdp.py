"""SS-MDP: the same bid for every request, the best such one for the money and time left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.planning import PlanScale, capped, check_plan, plan_size, require_second_price
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BlindTablePolicy
from dynrl.auctions.value import TableMarginals, scaled_bidder, value_table
from dynrl.errors import ConfigError

__all__ = ["SSMDP", "BlindBidder", "SsMdpConfig"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BlindBidder(Bidder):
    """Another bidder, shown `theta_avg` instead of the click probability.

    Attributes:
        planned: a bidder with a table (`MapActionBidder`, `MapValueBidder`, `SegmentBidder`).
        theta_avg: click probability that is shown.
    """

    planned: Any
    theta_avg: Any

    def start(self, horizon: Any, budget: Any, key: Any) -> Any:
        return self.planned.start(horizon, budget, key)

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return self.planned.bid(memory, request._replace(theta=self.theta_avg))

    def serving(self) -> BlindTablePolicy:
        plan = self.planned.serving()
        return BlindTablePolicy(
            plan.worth, plan.budget, plan.delta_max, float(self.theta_avg), plan.scale, plan.tie_ticks
        )


@dataclass(frozen=True)
class SsMdpConfig:
    """Settings of `SSMDP`; each as in `RlbConfig`."""

    scale: PlanScale = "exact"
    plan_horizon: int = 1000
    plan_budget: int | None = None
    table_limit: float = 4.0
    reference_compat: bool = False

    def __post_init__(self) -> None:
        check_plan(self.plan_horizon, self.plan_budget, self.table_limit)


class SSMDP(BidAgent):
    """Sponsored-search MDP: RLB that does not look at the request.

    **When to use it.** As a baseline: what planning alone is worth, without click probabilities. Or where there are
    none: it needs only the price histogram and the click rate of the campaign.

    **Guarantee.** Optimal in the market model among bidders that bid the same for all requests at (t, b). Nothing is
    left to learn, `learn` changes nothing.

    **Source.** Amin, Kearns, Key, Schwaighofer, "Budget optimization for sponsored search: censored learning in MDPs",
    UAI 2012, as set up as a baseline by Cai et al., WSDM 2017.
    """

    Config = SsMdpConfig
    config: SsMdpConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        require_second_price(cls.__name__, rules)
        theta_avg = model.campaign.theta_avg
        if theta_avg <= 0:
            raise ConfigError("the campaign's click rate is 0, so no impression is worth anything")
        market = capped(Market.single(model.market.price_pmf, [theta_avg]), rules)
        size = plan_size(
            rules, market, config.scale, config.plan_horizon, config.plan_budget, config.table_limit
        )
        table = value_table(market, *size, reference_compat=config.reference_compat)
        scale = "map_action" if config.scale == "exact" else config.scale
        planned = scaled_bidder(TableMarginals.of(table), scale, rules.tie)
        return BlindBidder(planned, np.float64(theta_avg))
