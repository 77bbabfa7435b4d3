"""How large a plan to solve: what the agents that plan by dynamic programming share."""

from __future__ import annotations

import math
from typing import Literal

from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

__all__ = [
    "PlanScale",
    "capped",
    "check_objective",
    "check_plan",
    "plan_size",
    "planned_market",
    "require_second_price",
]

PlanScale = Literal["exact", "map_action", "map_value", "segment"]


def plan_size(
    rules: AuctionRules,
    market: Market,
    scale: str,
    plan_horizon: int,
    plan_budget: int | None,
    table_limit: float,
) -> tuple[int, int]:
    """(T0, B0) of the table to solve.

    Args:
        scale: `"exact"` covers the whole episode; the others `plan_horizon` auctions.
        plan_budget: B0; None for twice what the budget allows for that many auctions, and at most half of what they
            would cost on average (the paper's choice).
        table_limit: largest table, in GB (10^9 bytes).

    Raises:
        ConfigError: the table would be larger.
    """
    horizon = rules.horizon if scale == "exact" else min(plan_horizon, rules.horizon)
    # with delta_max ticks for every auction, more money changes nothing
    most = horizon * market.delta_max
    if scale == "exact":
        budget = min(rules.budget, most)
    elif plan_budget is not None:
        budget = min(plan_budget, most)
    elif horizon == rules.horizon:
        budget = min(rules.budget, most)
    else:
        prices = market.price_pmf
        half = sum(price * mass for price, mass in enumerate(prices)) / prices.sum() * horizon / 2
        budget = min(math.ceil(2 * rules.budget / rules.horizon * horizon), math.ceil(half))
        budget = max(budget, min(market.delta_max, most))
    size = 8e-9 * (horizon + 1) * (budget + 1)
    if size > table_limit:
        advice = (
            "use scale='map_action', which plans a small episode and bids in the long one by the ratio b / t"
            if scale == "exact"
            else "lower plan_horizon or plan_budget"
        )
        raise ConfigError(
            f"the table for T = {horizon} and B = {budget} would take {size:.1f} GB, more than table_limit = "
            f"{table_limit:g} GB; {advice}"
        )
    return horizon, budget


def planned_market(model: CampaignModel, ctr_aware: bool, segments: bool) -> Market:
    """What a plan knows: prices with the campaign's click rate, or with the click probabilities as well.

    Args:
        segments: keep the model's segments apart; False mixes them into one.
    """
    market = model.market
    if not ctr_aware:
        return Market.single(market.price_pmf, [model.campaign.theta_avg])
    if segments or len(market.share) == 1:
        return market
    mass = market.share[:, None] * market.theta_mass
    return Market.single(market.price_pmf, market.theta.reshape(-1), mass.reshape(-1))


def capped(market: Market, rules: AuctionRules) -> Market:
    """The market with prices above the largest bid allowed in the tail, where nobody wins them."""
    if rules.delta_max >= market.delta_max:
        return market
    return Market(market.pmf[:, : rules.delta_max + 1], market.theta, market.theta_mass, market.share)


def require_second_price(name: str, rules: AuctionRules) -> None:
    """Refuses first-price rules, for which the second-price recursion plans wrongly."""
    if rules.pricing != "second":
        raise ConfigError(
            f"{name} plans for second-price auctions, but the rules say pricing={rules.pricing!r}; use FirstPriceRLB"
        )


def check_plan(plan_horizon: int, plan_budget: int | None, table_limit: float) -> None:
    """Checks the settings of `plan_size`."""
    if plan_horizon < 1:
        raise ConfigError(f"plan_horizon is {plan_horizon}, expected at least 1 auction")
    if plan_budget is not None and plan_budget < 1:
        raise ConfigError(f"plan_budget is {plan_budget}, expected at least 1 tick, or null")
    if not table_limit > 0:
        raise ConfigError(f"table_limit is {table_limit}, expected a positive number of GB")


def check_objective(value_per_click: float, cost_weight: float, discount: float) -> None:
    """Checks the settings of the objective."""
    if not (math.isfinite(value_per_click) and value_per_click > 0):
        raise ConfigError(f"value_per_click is {value_per_click}, expected a positive number")
    if not (math.isfinite(cost_weight) and cost_weight >= 0):
        raise ConfigError(f"cost_weight is {cost_weight}, expected a number of at least 0")
    if not 0 <= discount <= 1:
        raise ConfigError(f"discount is {discount}, expected a number in [0, 1]")
