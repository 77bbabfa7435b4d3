"""The fluid plan against brute force and exact values; the fluid bidder spends, and is not below Lin."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dynrl.agents.auctions.fluid import Fluid, FluidBidder
from dynrl.agents.auctions.fluid_plan import blind_bid, first_price_plan, second_price_plan
from dynrl.agents.auctions.linear import LinearBidder, tune_lin
from dynrl.agents.auctions.tuning import expected_spend
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules

DELTA_MAX = 8


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """One to three segments, one to four atoms, at most nine prices, some without mass, some with a tail."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    segments, atoms = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    pmf = rng.random((segments, DELTA_MAX + 1)) * (rng.random((segments, DELTA_MAX + 1)) < 0.8)
    pmf[:, 3] += 0.1
    pmf /= pmf.sum(1, keepdims=True) * rng.choice([1.0, 1.25])
    theta = np.sort(rng.random((segments, atoms)), axis=1)
    mass = rng.dirichlet(np.ones(atoms), segments)
    return Market(pmf, theta, mass, rng.dirichlet(np.ones(segments)))


def optimum(market: Market, horizon: int, budget: int) -> np.ndarray:
    """V* `[budget + 1]` of the last row, by trying every bid for every kind of request."""
    value = np.zeros(budget + 1)
    for _ in range(horizon):
        new = np.zeros_like(value)
        for b in range(budget + 1):
            for share, pmf, atoms, masses in zip(
                market.share, market.pmf, market.theta, market.theta_mass, strict=True
            ):
                for theta, mass in zip(atoms, masses, strict=True):
                    gains = [pmf[d] * (theta + value[b - d] - value[b]) for d in range(min(b, DELTA_MAX) + 1)]
                    new[b] += share * mass * (value[b] + max(0.0, np.max(np.cumsum(gains))))
        value = new
    return value


@settings(max_examples=25, deadline=None)
@given(market=markets(), horizon=st.integers(1, 3))
def test_no_bidder_beats_the_fluid_value(market: Market, horizon: int) -> None:
    plan = second_price_plan(market)
    exact = optimum(market, horizon, 20)
    bound = np.array([horizon * plan.clicks_at(b / horizon) for b in range(21)])
    assert (exact <= bound + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(market=markets(), share=st.floats(0.05, 0.95))
def test_the_plan_solves_the_linear_program(market: Market, share: float) -> None:
    plan = second_price_plan(market)
    ratio = share * plan.spend[-1]
    mass = market.share[:, None, None] * market.theta_mass[:, :, None] * market.pmf[:, None, :]
    clicks, cost = mass * market.theta[:, :, None], mass * np.arange(DELTA_MAX + 1)
    best = linprog(-clicks.ravel(), A_ub=cost.reshape(1, -1), b_ub=[ratio], bounds=(0, 1))
    assert plan.clicks_at(ratio) == pytest.approx(-best.fun, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(market=markets(), tie=st.sampled_from(["win", "lose"]), pricing=st.sampled_from(["second", "first"]))
def test_every_entry_spends_what_it_says(market: Market, tie: Any, pricing: Any) -> None:
    rules = AuctionRules(10, 10, DELTA_MAX, tie, pricing)
    plan = (second_price_plan if pricing == "second" else first_price_plan)(market, tie)
    win = np.cumsum(market.pmf, axis=1)
    if tie == "lose":
        win = np.concatenate([np.zeros((len(win), 1)), win[:, :-1]], axis=1)
    prices = np.arange(DELTA_MAX + 1)
    for multiplier, spend in zip(plan.multiplier[1:], plan.spend[1:], strict=True):
        bids = np.minimum(market.theta * multiplier, DELTA_MAX)
        if pricing == "first":
            value = market.theta[:, :, None] * multiplier
            profit = (value - prices) * win[:, None, :]
            # where two bids are equally good the entry has just moved on to the larger one
            near = profit >= profit.max(-1, keepdims=True) - 1e-11 * value
            bids = np.where(near & (np.diff(win, axis=1, prepend=0.0) > 0)[:, None, :], prices, 0).max(-1)
        assert expected_spend(market, bids, rules) == pytest.approx(spend, rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(market=markets(), share=st.floats(0.0, 1.2))
def test_the_blind_bid_spends_the_ratio(market: Market, share: float) -> None:
    spend = np.cumsum(market.price_pmf * np.arange(DELTA_MAX + 1))
    bid, chance = blind_bid(market, share * spend[-1])
    mixed = chance * spend[bid] + (1 - chance) * (spend[bid - 1] if bid else 0)
    assert mixed == pytest.approx(min(share, 1) * spend[-1])
    assert 0 <= chance <= 1


def test_the_table_meets_every_ratio_within_its_stated_error(draw_log: Callable[..., AuctionLog]) -> None:
    model = CampaignModel.from_log(draw_log(20_000, 0), delta_max=60, atoms=256)
    plan = second_price_plan(model.market)
    assert len(plan.spend) > 10_000
    ratio, multiplier = plan.table()
    assert len(ratio) <= 1024
    rules = AuctionRules(1, 1, 60)
    entry = np.diff(plan.spend).max()
    for wanted in np.geomspace(0.01, 0.999 * ratio[-1], 60):

        def error(multiplier: float, wanted: float = wanted) -> float:
            return abs(expected_spend(model.market, model.market.theta * multiplier, rules) - wanted)

        assert error(plan.multiplier_at(wanted)) <= entry
        assert error(float(np.interp(wanted, ratio, multiplier))) <= 0.014 * wanted + entry


def test_fluid_and_blind_limits_of_one_price_worked_by_hand() -> None:
    # prices 2 and 6 with chance 1/2 each, theta 0.1 and 0.4 with chance 1/2 each. In the order of ticks per click:
    # (0.4, 2) at 5, (0.4, 6) at 15, (0.1, 2) at 20, (0.1, 6) at 60; each costs a quarter of its price
    pmf = np.zeros(9)
    pmf[[2, 6]] = 0.5
    plan = second_price_plan(Market.single(pmf, [0.1, 0.4]))
    np.testing.assert_allclose(plan.multiplier, [0, 5, 15, 20, 60])
    np.testing.assert_allclose(plan.spend, [0, 0.5, 2, 2.5, 4])
    np.testing.assert_allclose(plan.clicks, [0, 0.1, 0.2, 0.225, 0.25])
    assert plan.clicks_at(1.25) == pytest.approx(0.15)
    assert blind_bid(Market.single(pmf, [0.25]), 2.5) == (6, pytest.approx(0.5))


def test_a_market_where_nothing_can_be_bought_is_refused() -> None:
    with pytest.raises(ValueError, match="sells nothing for money"):
        second_price_plan(Market.single([1.0, 0.0], [0.5]))


def test_clicks_per_auction_approach_the_bound_as_episodes_grow(
    draw_log: Callable[..., AuctionLog],
) -> None:
    market = CampaignModel.from_log(draw_log(20_000, 0), delta_max=60).market
    plan = second_price_plan(market)
    rng = np.random.default_rng(1)
    rows = 400_000
    theta = rng.choice(market.theta[0], rows)
    price = rng.choice(61, rows, p=market.pmf[0]).astype(np.int32)
    log = AuctionLog(np.zeros(rows, np.uint8), price, theta)
    losses = []
    for horizon in (20, 200, 2000):
        rules = AuctionRules(horizon, 5 * horizon, 60)
        result = replay(FluidBidder.from_plan(plan, 60), log.episodes(horizon), rules)
        losses.append(1 - result.expected_clicks.sum() / (rows * plan.clicks_at(5.0)))
    # the standard error of each ratio is about 0.3 %
    assert losses[0] > losses[1] > losses[2] - 0.003 and abs(losses[2]) < 0.02


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_spends_although_click_probabilities_are_off(
    draw_log: Callable[..., AuctionLog], world: Any, scale: float
) -> None:
    model = CampaignModel.from_log(draw_log(10_000, 0), delta_max=60)
    log = draw_log(40_000, 1, scale=scale)
    rules = AuctionRules(500, 500 * 10, 60)
    result = replay(Fluid(world(rules, model)).bidder, log.episodes(500), rules)
    assert 0.97 < result.cost.sum() / result.budget.sum() <= 1


def test_first_price_is_not_for_fluid(world: Any, draw_log: Callable[..., AuctionLog]) -> None:
    model = CampaignModel.from_log(draw_log(1000, 0), delta_max=60)
    with pytest.raises(ValueError, match="use Shading"):
        Fluid(world(AuctionRules(10, 100, 60, pricing="first"), model))


RATIOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
PUBLISHED_B0 = (10, 15, 20, 85, 130)


@pytest.mark.parametrize("horizon", [200, 400, 600, 800, 1000])
def test_published_campaign_spends_and_is_not_below_lin(published: Any, world: Any, horizon: int) -> None:
    """The validation rows that the atoms come from have 1.6 times the click probability of the test rows."""
    model, test = published
    episodes = test.episodes(horizon)
    whole = len(test) // horizon
    for ratio, b0 in zip(RATIOS, PUBLISHED_B0, strict=True):
        rules = AuctionRules(horizon, model.campaign.budget(horizon, ratio))
        fluid = replay(Fluid(world(rules, model)).bidder, episodes, rules)
        shipped = replay(LinearBidder(b0 / model.campaign.theta_avg, 300), episodes, rules)
        tuned = replay(tune_lin(model, rules), episodes, rules)
        assert fluid.clicks.sum() >= max(shipped.clicks.sum(), tuned.clicks.sum())
        assert fluid.cost[:whole].sum() >= 0.97 * rules.budget * whole
