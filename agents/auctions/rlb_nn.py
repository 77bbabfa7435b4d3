"""RLB-NN: RLB for long episodes, the worth of a tick regressed on (t, b) by a small network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.planning import (
    capped,
    check_plan,
    plan_size,
    planned_market,
    require_second_price,
)
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import Scale, scaled_bidder, value_table
from dynrl.auctions.value.network import fit_network
from dynrl.errors import ConfigError

__all__ = ["RLBNN", "RlbNnConfig"]


@dataclass(frozen=True)
class RlbNnConfig:
    """Settings of `RLBNN`.

    Attributes:
        scale: how the network of T0 auctions bids in longer episodes: RLB-NN-MapA, -MapD or -Seg.
        ctr_aware, segments, plan_horizon, plan_budget, table_limit: as in `RlbConfig`; the table is needed for training
            only.
        exact_rows, exact_ticks: t up to `exact_rows` and b below `exact_ticks` are kept exactly, D being rough there.
        steps, batch, learning_rate: of Adam.
        network_seed: of the first weights and the batches.
    """

    scale: Scale = "map_action"
    ctr_aware: bool = False
    segments: bool = True
    plan_horizon: int = 1000
    plan_budget: int | None = None
    table_limit: float = 4.0
    exact_rows: int = 50
    exact_ticks: int = 800
    steps: int = 4000
    batch: int = 4096
    learning_rate: float = 2e-2
    network_seed: int = 0

    def __post_init__(self) -> None:
        check_plan(self.plan_horizon, self.plan_budget, self.table_limit)
        for name in ("exact_rows", "exact_ticks", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}, expected a positive number")


class RLBNN(BidAgent):
    """RLB with the table replaced by a network of some 600 numbers and the table's first rows and ticks.

    The network gives D(t, b) = V(t, b+1) - V(t, b) and not V, because V is orders of magnitude larger than the
    differences that decide bids. It is trained on an exact table when the agent is made, which takes some ten seconds.

    **When to use it.** Where the table itself is too large to ship or to hold. Otherwise `RLB(scale="map_action")`,
    whose table of T0 = 1000 needs no training, is as good in long episodes.

    **Served.** A bid takes some 4 µs (the table's takes 2): sums of the network's outputs are kept at every 16th tick
    and interpolated, and where the interpolation's error could change the bid the network itself decides, so that the
    bids are exactly the network's. With T0 = 1000 and B0 = 5000 the file has 10 MB, the table's 40.

    **Guarantee.** None; `fit_error` is measured on whole rows that training did not see.

    **Source.** Cai et al., WSDM 2017, sections 3.3 and 4.1 (published: error of 0.94·10⁻³ theta_avg on iPinYou).

    **Differences from the paper.** Scaled inputs with log(b / t), normalised targets, weights that make D rise with t
    and fall with b by construction, held-out rows; T0 = 1000 unless more is asked for. The network is not used
    beyond the T0 that it has seen (the paper's plain RLB-NN), only through the maps.

    Nothing is left to learn, `learn` changes nothing.

    Attributes:
        fit_error: root mean squared error of D on held-out rows, in units of the average click probability.
    """

    Config = RlbNnConfig
    config: RlbNnConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        require_second_price(cls.__name__, rules)
        market = capped(planned_market(model, config.ctr_aware, config.segments), rules)
        size = plan_size(
            rules, market, config.scale, config.plan_horizon, config.plan_budget, config.table_limit
        )
        marginals = fit_network(
            value_table(market, *size),
            market.theta_avg,
            rows=config.exact_rows,
            ticks=config.exact_ticks,
            steps=config.steps,
            batch=config.batch,
            learning_rate=config.learning_rate,
            seed=config.network_seed,
        )
        return scaled_bidder(marginals, config.scale, rules.tie)

    @property
    def fit_error(self) -> float:
        bidder: Any = self.bidder
        return float(bidder.marginals.error)
