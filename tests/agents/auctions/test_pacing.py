"""BSLB, adaptive pacing, PID, water level and throttling: their formulas by hand, and what they promise."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.feedback import PID, FeedbackBidder, WaterLevel
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.pacing import (
    BSLB,
    AdaptivePacing,
    BslbBidder,
    MultiplicativeBidder,
    slope_by_spend,
)
from dynrl.agents.auctions.spend_curve import traffic_curve
from dynrl.agents.auctions.throttling import Throttling, ThrottlingBidder
from dynrl.agents.auctions.tuning import expected_spend
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import ReplayResult, replay
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

T = 400


@pytest.fixture(scope="module")
def model(draw_log: Callable[..., AuctionLog]) -> CampaignModel:
    return CampaignModel.from_log(draw_log(8000, 0), delta_max=60)


@pytest.fixture(scope="module")
def log(draw_log: Callable[..., AuctionLog]) -> AuctionLog:
    return draw_log(16_000, 1)


def test_bslb_by_hand() -> None:
    policy = BslbBidder(1e-3, 300).serving()
    assert policy.bid(10, 1000, 0.05) == 50  # on plan
    assert policy.bid(8, 400, 0.05) == 25  # 0.4 of the money for 0.8 of the auctions
    assert policy.bid(1, 300, 0.05) == 150  # 0.3 for 0.1
    assert policy.bid(10, 0, 0.05) == 0


def test_adaptive_pacing_by_hand() -> None:
    # rho = 10; value 1000, mu = 1, eta = 0.05
    policy = MultiplicativeBidder(1000.0, 1.0, 0.05, 3.0, 300).serving()
    assert policy.bid(10, 100, 0.1) == 50
    assert policy.bid(9, 70, 0.1) == 33  # 30 spent: mu = 1 - 0.05 (10 - 30) = 2
    assert policy.bid(8, 70, 0.1) == 40  # nothing spent: mu = 1.5
    assert policy.bid(7, 0, 0.1) == 0  # 70 spent: mu = 4.5, cut to 3
    assert policy.bid(10, 100, 0.1) == 50  # a new episode


def test_pid_by_hand() -> None:
    # two auctions a slot, 100 ticks a slot; gains P 0.5, I 0.25, D 0.125
    policy = FeedbackBidder(1000.0, 0.5, 0.25, 0.125, np.linspace(0, 1, 6), 1.0, 10_000).serving()
    assert policy.bid(10, 500, 0.1) == 100
    assert policy.bid(9, 480, 0.1) == 100
    # 40 of 100 spent: e = 0.6, phi = 0.3 + 0.15 + 0.075
    assert policy.bid(8, 460, 0.1) == int(100 * math.exp(0.525))
    policy.bid(7, 400, 0.1)
    # 150 of 460 / 4 = 115 spent: e = -35/115, the sum is 0.6 + e
    error = 1 - 150 / 115
    phi = 0.5 * error + 0.25 * (0.6 + error) + 0.125 * (error - 0.6)
    assert policy.bid(6, 310, 0.1) == int(100 * math.exp(phi))


def test_phi_stays_in_its_range_and_comes_back_at_once() -> None:
    policy: Any = FeedbackBidder(1.0, 0.0, 4.0, 0.0, np.linspace(0, 1, 21), 1.0, 10**6).serving()
    for t in range(20, 14, -1):
        policy.bid(t, 1000, 0.5)  # nothing is ever spent: e = 1
    assert policy._phi == 5.0
    policy.bid(14, 1000 - 500, 0.5)  # spent 500 of 66: e = -4 at the least
    assert policy._phi == -2.0
    policy.bid(13, 500, 0.5)  # nothing spent: e = 1, and the sum stands at 1 + 1, as it did before both ends
    assert policy._phi == 5.0
    assert policy._sum == 1.0


@pytest.mark.parametrize("pay", [0.5, 1.0, 1.6])
def test_budget_controllers_spend_in_markets_dearer_and_cheaper_than_planned(
    model: CampaignModel, log: AuctionLog, pay: float
) -> None:
    price = np.clip(np.round(log.price * pay), 0, 60).astype(np.int32)
    other = AuctionLog(log.click, price, log.theta)
    rules = AuctionRules(T, T * 6, 60)
    slope = slope_by_spend(model, rules)
    even = np.linspace(0, 1, 41)
    order = 4 / (6 * math.sqrt(T))
    for bidder in (
        FeedbackBidder(slope, 0.3, 0.1, 0.0, even, 1.0, 60),
        MultiplicativeBidder(4 * slope, 3.0, order, 100.0, 60),
    ):
        result = replay(bidder, other.episodes(T), rules, trace=True)
        assert 0.9 < result.cost.sum() / result.budget.sum() <= 1
        assert result.trace is not None
        # half of the money is spent about half way: an even spend, to within a tenth
        half = result.trace.cost[: T // 2].sum() / result.trace.cost.sum()
        assert half == pytest.approx(0.5, abs=0.1)


def test_a_traffic_curve_shapes_the_spend(model: CampaignModel, log: AuctionLog) -> None:
    curve = np.array(traffic_curve([1] * 10 + [3] * 10))
    rules = AuctionRules(T, T * 6, 60)
    bidder = FeedbackBidder(slope_by_spend(model, rules), 0.0, 0.5, 0.0, curve, 1.0, 60)
    trace = replay(bidder, log.episodes(T), rules, trace=True).trace
    assert trace is not None
    assert trace.cost[: T // 2].sum() / trace.cost.sum() == pytest.approx(0.25, abs=0.06)
    assert trace.cost.sum() > 0.9 * rules.budget * trace.cost.shape[1]
    with pytest.raises(ValueError, match="non-negative numbers, one per slot"):
        traffic_curve([1.0, -1.0])


def win_rate(result: ReplayResult) -> float:
    return float(result.wins.sum() / result.auctions.sum())


@pytest.mark.parametrize("kind", [PID, WaterLevel])
def test_controllers_hold_a_win_rate_and_a_cost_per_click(
    model: CampaignModel, log: AuctionLog, world: Any, kind: Any
) -> None:
    rules = AuctionRules(T, T * 60, 60)  # money is no object
    episodes = log.episodes(T)
    for target in (0.2, 0.6):
        agent = kind(world(rules, model), measure="win_rate", target=target)
        assert win_rate(replay(agent.bidder, episodes, rules)) == pytest.approx(target, rel=0.1)
    for target in (300.0, 600.0):
        agent = kind(world(rules, model), measure="ecpc", target=target)
        result = replay(agent.bidder, episodes, rules)
        assert result.cost.sum() / result.expected_clicks.sum() == pytest.approx(target, rel=0.15)


def test_tuned_numbers_are_reported_and_no_worse_than_not_reacting(
    model: CampaignModel, log: AuctionLog, world: Any
) -> None:
    rules = AuctionRules(T, T * 4, 60)
    assert model.train is not None
    train = model.train.episodes(T)
    plain = LinearBidder(slope_by_spend(model, rules), 60)
    reference = replay(plain, train, rules).expected_clicks.sum()
    for kind, attribute in ((BSLB, "lam0"), (AdaptivePacing, "rate"), (PID, "gains"), (WaterLevel, "gain")):
        agent = kind(world(rules, model), objective="expected_clicks")
        assert np.all(np.isfinite(getattr(agent, attribute)))
        assert replay(agent.bidder, train, rules).expected_clicks.sum() > 0.97 * reference


def test_throttling_steers_participation(model: CampaignModel, log: AuctionLog, world: Any) -> None:
    rules = AuctionRules(T, T * 3, 60)
    slope = 4 * slope_by_spend(model, rules)
    agent = Throttling(world(rules, model), slope=slope)
    assert agent.bidder.initial < 0.5
    result = replay(agent.bidder, log.episodes(T), rules, trace=True)
    assert result.trace is not None
    assert 0.9 < result.cost.sum() / result.budget.sum() <= 1
    # without throttling the money is gone early
    free = replay(LinearBidder(slope, 60), log.episodes(T), rules, trace=True).trace
    assert free is not None
    last_quarter = slice(3 * T // 4, None)
    assert free.cost[last_quarter].sum() < 0.02 * free.cost.sum()
    assert result.trace.cost[last_quarter].sum() > 0.1 * result.trace.cost.sum()
    assert Throttling(world(rules, model)).slope >= slope_by_spend(model, rules)


def test_throttled_share_by_hand() -> None:
    # slots of two auctions and 50 ticks; p starts at 0.5 and moves by 20 %
    policy: Any = ThrottlingBidder(1000.0, 0.5, 0.2, 0.2, np.linspace(0, 1, 3), 300).serving()
    policy.bid(4, 100, 0.1)
    assert policy._p == 0.5
    policy.bid(3, 90, 0.1)
    policy.bid(2, 40, 0.1)  # 60 spent
    assert policy._p == pytest.approx(0.4)
    policy.bid(4, 100, 0.1)
    policy.bid(2, 60, 0.1)  # 40 spent
    assert policy._p == pytest.approx(0.6)


def test_slope_by_spend_meets_the_budget_in_the_model(model: CampaignModel) -> None:
    for ratio in (1, 5, 15):
        rules = AuctionRules(T, T * ratio, 60)
        slope = slope_by_spend(model, rules)
        assert expected_spend(model.market, slope * model.market.theta, rules) <= ratio
        assert expected_spend(model.market, 1.02 * slope * model.market.theta, rules) > ratio


def test_bad_settings_are_refused(model: CampaignModel, world: Any) -> None:
    rules = AuctionRules(T, T, 60)
    for kind, settings, message in (
        (PID, {"measure": "clicks"}, "measure is 'clicks', expected one of spend, win_rate, ecpc"),
        (PID, {"measure": "win_rate"}, "target is None, expected a win rate"),
        (WaterLevel, {"measure": "ecpc", "target": -1.0}, "positive number of ticks per predicted click"),
        (PID, {"slots": 2, "curve": (0.0, 0.7)}, "curve has 2 values, expected slots \\+ 1 = 3"),
        (PID, {"slots": 2, "curve": (0.0, 0.7, 0.9)}, "rise from 0 to 1"),
        (PID, {"slots": T + 1}, "at most the number of auctions"),
        (Throttling, {"rate": 1.0}, "rate is 1.0"),
        (Throttling, {"initial": 0.0}, "0 < least <= initial <= 1"),
        (AdaptivePacing, {"headroom": 0.5}, "headroom is 0.5"),
        (BSLB, {"lam0": 0.0}, "lam0 is 0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(world(rules, model), **settings)
