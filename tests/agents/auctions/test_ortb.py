"""ORTB's formulas maximise their own objective; c and lam come out where they were put in."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from dynrl.agents.auctions.ortb import ORTB1, ORTB2, fit_win_curve, ortb1_bid, ortb2_bid
from dynrl.agents.auctions.tuning import expected_spend
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError


@pytest.mark.parametrize(("formula", "power"), [(ortb1_bid, 1), (ortb2_bid, 2)])
@settings(max_examples=40, deadline=None)
@given(
    theta=st.floats(1e-5, 0.9),
    c=st.floats(1.0, 200.0),
    average=st.floats(1.0, 300.0),
)
def test_the_bid_maximises_the_lagrangian(
    formula: Callable[..., Any], power: int, theta: float, c: float, average: float
) -> None:
    lam = theta / average

    def loss(bid: float) -> float:
        return -(theta - lam * bid) * bid**power / (c**power + bid**power)

    best = minimize_scalar(loss, bounds=(0, average), method="bounded", options={"xatol": 1e-9 * average})
    with jax.enable_x64(True):
        bid = float(formula(theta, c, lam))
    assert 0 <= bid <= average
    assert loss(bid) <= best.fun + 1e-12 * abs(best.fun)
    assert bid == pytest.approx(best.x, rel=1e-4)


def test_bids_worked_by_hand() -> None:
    with jax.enable_x64(True):
        # sqrt(50 * 0.01 / 1e-4 + 50^2) - 50 = sqrt(7500) - 50
        assert float(ortb1_bid(0.01, 50.0, 1e-4)) == pytest.approx(36.60254037844386)
        # a = 20 solves a^3 + 3 c^2 a = 2 c^2 theta / lam for c = 10, theta / lam = 70
        assert float(ortb2_bid(0.07, 10.0, 1e-3)) == pytest.approx(20.0)
        assert float(ortb1_bid(0.0, 50.0, 1e-4)) == float(ortb2_bid(0.0, 50.0, 1e-4)) == 0


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("c", [3.0, 47.5, 250.0])
def test_c_is_found_again_on_its_own_curve(power: Any, c: float) -> None:
    bids = np.arange(301.0)
    assert fit_win_curve(bids**power / (c**power + bids**power), power) == pytest.approx(c, rel=1e-5)


def test_c_of_the_published_campaign_lies_where_others_found_it(published: Any) -> None:
    model, _ = published
    cdf = np.cumsum(model.market.price_pmf)
    for power in (1, 2):
        assert 20 < fit_win_curve(cdf, power) < 80


@pytest.mark.parametrize("kind", [ORTB1, ORTB2])
def test_lam_by_spend_meets_the_budget_in_the_model(
    kind: Any, world: Any, draw_log: Callable[..., AuctionLog]
) -> None:
    model = CampaignModel.from_log(draw_log(5000, 0), delta_max=60)
    formula = ortb1_bid if kind is ORTB1 else ortb2_bid

    def spend(agent: Any, lam: float) -> float:
        with jax.enable_x64(True):
            bids = np.asarray(formula(np.asarray(model.market.theta), agent.c, lam))
        return expected_spend(model.market, bids, agent.rules)

    for budget in (200, 1000, 1500):
        agent = kind(world(AuctionRules(100, budget, 60), model), tuning="spend")
        # the search ends where one atom buys one price more, to the last digit of lam
        assert spend(agent, agent.lam * (1 + 1e-9)) <= budget / 100 < spend(agent, agent.lam * 0.98)


def test_lam_by_replay_beats_its_neighbours_on_the_training_rows(
    world: Any, draw_log: Callable[..., AuctionLog]
) -> None:
    from dynrl.agents.auctions.tuning import training_episodes
    from dynrl.auctions.replay import sweep

    model = CampaignModel.from_log(draw_log(5000, 0), delta_max=60)
    rules = AuctionRules(100, 600, 60)
    agent = ORTB1(world(rules, model), objective="expected_clicks")
    lams = agent.lam * np.array([1.0, 0.5, 0.8, 1.25, 2.0])
    episodes = training_episodes(model, rules)
    scores = sweep(agent.bidder, {"lam": lams}, episodes, rules).expected_clicks.sum(1)
    # the grid is a factor 1.16 apart, so a finer search could still find a per cent or two
    assert scores[0] > 0.98 * scores[1:].max()
    with pytest.raises(ConfigError, match="lam is 0"):
        ORTB1(world(rules, model), lam=0)
