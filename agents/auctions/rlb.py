"""RLB: bids from the value table of the auction as a Markov decision process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.agent import Transition
from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.planning import (
    PlanScale,
    capped,
    check_objective,
    check_plan,
    plan_size,
    planned_market,
    require_second_price,
)
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.landscape import SurvivalCounts
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.observation import decode, encode_bid
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import table_bidder, value_table
from dynrl.errors import ConfigError

__all__ = ["RLB", "RlbConfig"]


@dataclass(frozen=True)
class RlbConfig:
    """Settings of `RLB`.

    Attributes:
        ctr_aware: plan with the whole distribution of click probabilities (R*) instead of their average (R).
        segments: let a CTR-aware plan know the prices and click probabilities of each segment of the model; False
            mixes them into one.
        scale: `"exact"` solves a table for the whole episode. The others solve `plan_horizon` auctions and carry the
            bids over: `"map_action"` and `"map_value"` by the ratio b / t, `"segment"` by cutting the episode up.
        plan_horizon: T0.
        plan_budget: B0 in ticks; None for one that fits the rules.
        table_limit: largest table, in GB.
        value_per_click: v1, worth of a click.
        cost_weight: v0, worth of a tick not spent; with the worth of a click in ticks, 1 maximises profit.
        discount: gamma, per auction.
        reference_compat: V(t, 0) = 0 as in the code released with the paper.
        single_precision: the table in float32: half the memory, now and then another bid.
        refit_episodes: while learning, episodes between two fits of the price landscape; 0 never refits.
        prior_auctions: weight of the landscape that the agent began with, in auctions.
        exploration: while learning, probability of a bid above the best one, uniform up to the limit. Bidding only
            what is best today leaves higher prices unseen for ever.
    """

    ctr_aware: bool = False
    segments: bool = True
    scale: PlanScale = "exact"
    plan_horizon: int = 1000
    plan_budget: int | None = None
    table_limit: float = 4.0
    value_per_click: float = 1.0
    cost_weight: float = 0.0
    discount: float = 1.0
    reference_compat: bool = False
    single_precision: bool = False
    refit_episodes: int = 10
    prior_auctions: float = 1000.0
    exploration: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.plan_horizon, self.plan_budget, self.table_limit)
        check_objective(self.value_per_click, self.cost_weight, self.discount)
        if self.refit_episodes < 0:
            raise ConfigError(f"refit_episodes is {self.refit_episodes}, expected at least 0")
        if not self.prior_auctions >= 0:
            raise ConfigError(f"prior_auctions is {self.prior_auctions}, expected at least 0")
        if not 0 <= self.exploration <= 1:
            raise ConfigError(f"exploration is {self.exploration}, expected a probability")


class RLB(BidAgent):
    """Real-time bidding by reinforcement learning: the most clicks from T auctions with B ticks.

    The campaign is a Markov decision process over (auctions left, ticks left). Its value table V is solved from the
    training period's price histogram, and the bid is the largest price δ with `theta + V(t-1, b-δ) >= V(t-1, b)`: bid
    as long as the click is worth more than the money is worth later. The last auction is bid all-in.

    **When to use it.** Second-price auctions, a known number of auctions, a budget that binds. It beats linear bids
    most where the budget is small; for long episodes `Fluid` comes close with less. For tables that would be too
    large, set `scale="map_action"`: no network is needed, and it is within a percent of the other two scales.

    **Guarantees.** With `ctr_aware=True` it is optimal in the market model, where prices and click probabilities are
    independent within each segment. Without, the table believes that every request is an average one; where click
    probabilities are independent of prices, `V_blind <= V_RLB <= V*` at every (t, b), all three exact
    (`dynrl.auctions.value.evaluate_policy`). None of it holds outside the model: rivals that react, or click
    probabilities that are off.

    **Learning.** `learn` plays, collects what each auction says about the price (a loss says that it was higher),
    re-estimates the landscape by the product-limit estimator and solves again every `refit_episodes` episodes. What
    the agent began with counts as `prior_auctions` auctions. Click probabilities are taken as given.

    **Source.** Cai, Ren, Zhang, Malialis, Wang, Yu, Guo, "Real-Time Bidding by Reinforcement Learning in Display
    Advertising", WSDM 2017, Algorithm 1; maps of section 3.3.

    **Differences from the paper.** `ctr_aware=True` keeps the maximum inside the expectation over click probabilities,
    where the paper moves it out and so solves SS-MDP's problem. `V(t, 0)` is not forced to 0 (prices of 0 are won for
    nothing; `reference_compat`). The maps keep the ratio b / t when money exceeds the table, where clipping would cap
    bids for good. Where ties lose, one tick more is bid.
    """

    Config = RlbConfig
    config: RlbConfig
    state: dict[str, Any]

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        require_second_price(cls.__name__, rules)
        market = capped(planned_market(model, config.ctr_aware, config.segments), rules)
        horizon, budget = plan_size(
            rules, market, config.scale, config.plan_horizon, config.plan_budget, config.table_limit
        )
        table = value_table(
            market,
            horizon,
            budget,
            value_per_click=config.value_per_click,
            cost_weight=config.cost_weight,
            discount=config.discount,
            reference_compat=config.reference_compat,
            dtype=np.float32 if config.single_precision else np.float64,
        )
        return table_bidder(table, "map_action" if config.scale == "exact" else config.scale, tie=rules.tie)

    def own_bidder(self) -> Bidder:
        return self.make_bidder(self.config, self._learnt_model(), self.rules)

    def initial_state(self) -> Any:
        nothing = np.zeros(self.model.market.pmf.shape)
        count = np.zeros((), np.int64)
        return {
            "auctions": count,
            "episodes": count,
            "events": nothing,
            "at_risk": nothing,
            "fitted_events": nothing,
            "fitted_at_risk": nothing,
        }

    def act(self, observation: Any, deterministic: bool) -> Any:
        request = decode(observation, self.rules)
        bid = self.policy.bid(*request)
        limit = min(int(request.b_left), self.rules.delta_max)
        if not deterministic and bid < limit and self.rng.random() < self.config.exploration:
            bid = int(self.rng.integers(bid + 1, limit + 1))
        return encode_bid(bid, request.theta, getattr(self.env.unwrapped, "action_mode", "bid"))

    def update(self, transition: Transition) -> None:
        info = transition.info
        request = decode(transition.observation, self.rules)
        segment = int(request.segment)
        events, at_risk = self.state["events"].copy(), self.state["at_risk"].copy()
        largest = events.shape[1] - 1
        if info.get("market_price_seen", "market_price" in info):
            price = int(info["market_price"])
            at_risk[segment, : price + 1] += 1
            if price <= largest:
                events[segment, price] += 1
        elif info["bid"] >= request.floor:  # else the reserve price decided, and nothing is known of rivals
            # price > bid when ties win, price >= bid when they lose
            at_risk[segment, : int(info["bid"]) + (self.rules.tie == "win")] += 1
        self.state = {
            **self.state,
            "auctions": self.state["auctions"] + 1,
            "events": events,
            "at_risk": at_risk,
        }
        if transition.terminated or transition.truncated:
            self._end_episode()

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().load_state_dict(arrays)
        self._solve()

    def _end_episode(self) -> None:
        episodes, every = self.state["episodes"] + 1, self.config.refit_episodes
        self.state = {**self.state, "episodes": episodes}
        if every and episodes % every == 0:
            seen = {"fitted_events": self.state["events"], "fitted_at_risk": self.state["at_risk"]}
            self.state = {**self.state, **seen}
            self._solve()

    def _solve(self) -> None:
        self.bidder = self.own_bidder()
        self.policy = self.bidder.serving()

    def _learnt_model(self) -> CampaignModel:
        if not self.state["fitted_at_risk"].any():
            return self.model
        market = self.model.market
        counts = SurvivalCounts(self.state["fitted_events"], self.state["fitted_at_risk"])
        pmf = counts.pmf(market.pmf, self.config.prior_auctions)
        return dataclasses.replace(self.model, market=dataclasses.replace(market, pmf=pmf))
