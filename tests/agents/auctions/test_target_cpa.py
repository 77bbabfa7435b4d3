"""The two-multiplier bidder: the optimum of its own problem, and both constraints held in replay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from dynrl.agents.auctions.fluid_plan import second_price_plan
from dynrl.agents.auctions.target_cpa import TargetCPA, cpa_score, multipliers
from dynrl.agents.auctions.tuning import expected_spend
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules


def test_the_score_by_hand() -> None:
    np.testing.assert_allclose(
        cpa_score([10, 10, 10, 0, 3], [400, 500, 1000, 70, 0], 50.0), [10, 10, 2.5, 0, 3]
    )


@pytest.fixture(scope="module")
def model(draw_log: Callable[..., AuctionLog]) -> CampaignModel:
    return CampaignModel.from_log(draw_log(20_000, 0), delta_max=60, atoms=32)


@pytest.mark.parametrize(
    ("ratio", "target"), [(2.0, 2000.0), (2.0, 250.0), (8.0, 400.0), (8.0, 150.0), (40.0, 600.0)]
)
def test_the_linear_bid_solves_the_linear_program(model: CampaignModel, ratio: float, target: float) -> None:
    market = model.market
    mass = market.theta_mass[:, :, None] * market.pmf[:, None, :]
    clicks, cost = (mass * market.theta[:, :, None]).ravel(), (mass * np.arange(61)).ravel()
    best = linprog(-clicks, A_ub=[cost, cost - target * clicks], b_ub=[ratio, 0], bounds=(0, 1))
    by_budget, by_target = multipliers(second_price_plan(market), ratio, target)
    slope = (1 + by_target * target) / (by_budget + by_target)
    rules = AuctionRules(1, 1, 60)
    bids = market.theta * slope * (1 + 1e-9)
    spend = expected_spend(market, bids, rules)
    won = np.cumsum(market.pmf, axis=1)[0][np.minimum(bids, 60).astype(int)]
    value = float((market.theta_mass * market.theta * won).sum())
    # off by one entry of the plan at most
    assert value == pytest.approx(-best.fun, rel=1e-2)
    assert spend <= ratio * 1.005 + 1e-9 and spend <= target * value * 1.005


@pytest.mark.parametrize(("ticks", "target"), [(3, 1000.0), (12, 250.0), (12, 120.0)])
def test_replay_holds_both_constraints(
    model: CampaignModel, world: Any, draw_log: Callable[..., AuctionLog], ticks: int, target: float
) -> None:
    horizon = 1000
    rules = AuctionRules(horizon, horizon * ticks, 60)
    agent = TargetCPA(world(rules, model), target=target)
    result = replay(agent.bidder, draw_log(100_000, 1).episodes(horizon), rules)
    paid = result.cost / result.expected_clicks
    assert paid.mean() < 1.01 * target
    # one of the two is used up
    assert max(result.cost.sum() / result.budget.sum(), paid.mean() / target) > 0.97
    lam_budget, lam_target = agent.lambdas
    assert (lam_budget == 0) != (lam_target == 0)


def test_counting_real_clicks_holds_the_target_when_theta_is_too_high(
    model: CampaignModel, world: Any, draw_log: Callable[..., AuctionLog]
) -> None:
    import dataclasses

    log = draw_log(200_000, 1)
    boasted = AuctionLog(log.click, log.price, np.minimum(2 * np.asarray(log.theta), 1))
    rules, target = AuctionRules(4000, 4000 * 30, 60), 400.0
    trusting: Any = TargetCPA(world(rules, model), target=target).bidder
    counting = dataclasses.replace(trusting, clicks_seen=True)
    episodes = boasted.episodes(4000)
    believed, held = (replay(bidder, episodes, rules) for bidder in (trusting, counting))
    assert believed.cost.sum() / believed.clicks.sum() > 1.4 * target
    assert held.cost.sum() / held.clicks.sum() < 1.1 * target
    assert (
        cpa_score(held.clicks, held.cost, target).sum()
        > cpa_score(believed.clicks, believed.cost, target).sum()
    )


def test_what_is_free_is_taken_however_low_the_target(world: Any) -> None:
    """Where ties lose, a free impression takes a bid of one tick: 100 ticks per click at 1 %, twice the target."""
    count = 400
    log = AuctionLog(np.ones(count, np.uint8), np.zeros(count, np.int32), np.full(count, 0.01))
    rules = AuctionRules(100, 50, 60, tie="lose")
    agent = TargetCPA(world(rules, CampaignModel.from_log(log, delta_max=60)), target=50.0)
    result = replay(agent.bidder, log.episodes(100), rules)
    assert result.wins.tolist() == [100] * 4 and result.cost.tolist() == [0] * 4
