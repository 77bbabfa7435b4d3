"""Long episodes from small plans: exact where T = T0, near it beyond; and the network in the table's place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.rlb import RLB
from dynrl.agents.auctions.rlb_nn import RLBNN, RlbNnConfig
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import load
from dynrl.auctions.value import evaluate_bidder, value_table
from dynrl.auctions.value.network import fit_network
from dynrl.errors import ConfigError

SCALES = ("map_action", "map_value", "segment")
T, DELTA_MAX, RATIO = 160, 40, 6.0


@pytest.fixture(scope="module")
def market() -> Market:
    rng = np.random.default_rng(0)
    pmf = rng.gamma(2, size=DELTA_MAX + 1) * np.exp(-np.arange(DELTA_MAX + 1) / 15)
    return Market.single(pmf / pmf.sum(), rng.lognormal(-4.5, 0.8, 8))


@pytest.fixture(scope="module")
def model(market: Market) -> CampaignModel:
    counts = np.round(10_000 * market.price_pmf).astype(np.int64)
    cost, clicks = int(counts @ np.arange(DELTA_MAX + 1)), round(counts.sum() * market.theta_avg)
    return CampaignModel(Campaign(int(counts.sum()), clicks, cost, counts), market)


@pytest.fixture(scope="module")
def log(market: Market) -> AuctionLog:
    rng = np.random.default_rng(1)
    price = rng.choice(DELTA_MAX + 1, 20 * T, p=market.price_pmf).astype(np.int32)
    theta = rng.choice(market.theta[0], 20 * T)
    return AuctionLog((rng.random(20 * T) < theta).astype(np.uint8), price, theta)


@pytest.mark.parametrize("scale", SCALES)
def test_where_the_plan_is_as_long_as_the_episode_all_scales_are_exact(
    scale: str, model: CampaignModel, log: AuctionLog, world: type[Any]
) -> None:
    rules = AuctionRules(T, int(T * RATIO), DELTA_MAX)
    exact, scaled = (RLB(world(rules, model), scale=each, plan_horizon=T).bidder for each in ("exact", scale))
    results = [replay(bidder, log.episodes(T), rules, trace=True).trace for bidder in (exact, scaled)]
    assert results[0] is not None and results[1] is not None
    np.testing.assert_array_equal(results[0].bid, results[1].bid)


def test_mapping_from_a_quarter_loses_little(market: Market, model: CampaignModel, world: type[Any]) -> None:
    """Exact expected clicks in the model: a plan of T / 4 auctions earns at least 99 % of the plan of T."""
    rules = AuctionRules(T, int(T * RATIO), DELTA_MAX)
    optimum = value_table(market, T, rules.budget).value(T, rules.budget)
    for scale in ("map_action", "map_value"):
        bidder = RLB(world(rules, model), ctr_aware=True, scale=scale, plan_horizon=T // 4).bidder
        worth = evaluate_bidder(bidder, market, T, rules.budget).value(T, rules.budget)
        assert 0.99 * optimum < worth <= optimum + 1e-12


def test_money_beyond_the_plan_is_spent(model: CampaignModel, log: AuctionLog, world: type[Any]) -> None:
    """B0 of a tenth of what the episode's ratio asks for: with the ratio kept the budget is used all the same."""
    rules = AuctionRules(20 * T, int(20 * T * RATIO), DELTA_MAX)
    bidder = RLB(world(rules, model), scale="map_action", plan_horizon=80, plan_budget=int(8 * RATIO)).bidder
    result = replay(bidder, log.episodes(20 * T), rules)
    assert result.cost.sum() > 0.97 * rules.budget


@pytest.fixture(scope="module")
def network_agent(model: CampaignModel, world: type[Any]) -> RLBNN:
    rules = AuctionRules(20 * T, int(20 * T * RATIO), DELTA_MAX)
    return RLBNN(world(rules, model), plan_horizon=200, exact_rows=20, exact_ticks=100, steps=1500, batch=512)


def test_the_network_fits_rows_it_has_not_seen(network_agent: RLBNN) -> None:
    """Published: 0.94e-3 of the average click probability on iPinYou. D is some 1/20 of it here."""
    assert network_agent.fit_error < 2e-3


def test_the_network_is_monotone_by_construction(network_agent: RLBNN) -> None:
    """The worth of a tick falls with the money left and rises with the auctions left."""
    policy: Any = network_agent.policy
    cells = np.arange(101, policy.budget, 7)
    worth = np.stack([policy._outputs(t, cells) for t in range(21, 201)])
    assert (np.diff(worth, axis=1) <= 1e-12).all() and (np.diff(worth, axis=0) >= -1e-12).all()


def test_exact_where_the_network_is_not_used(network_agent: RLBNN, model: CampaignModel) -> None:
    policy: Any = network_agent.policy
    market = Market.single(model.market.price_pmf, [model.campaign.theta_avg])
    rows = np.diff(value_table(market, 200, policy.budget).rows, axis=1)
    np.testing.assert_allclose(policy.marginals(7, np.arange(policy.budget)), rows[7], atol=1e-15)
    np.testing.assert_allclose(policy.marginals(150, np.arange(100)), rows[150, :100], atol=1e-15)
    assert (policy.marginals(30, np.arange(int(policy.saturation[30]), policy.budget)) == 0).all()


@pytest.mark.parametrize("scale", SCALES)
def test_the_network_bids_like_the_table(
    scale: str, network_agent: RLBNN, model: CampaignModel, log: AuctionLog, world: type[Any], tmp_path: Path
) -> None:
    """Within two ticks on 97 % of an episode of 16 plans, in JAX; the served twin is the JAX bidder."""
    from dynrl.auctions.value import scaled_bidder

    rules = network_agent.rules
    network: Any = scaled_bidder(network_agent.bidder.marginals, scale, "win")  # type: ignore[attr-defined]
    table = RLB(world(rules, model), scale=scale, plan_horizon=200).bidder
    episodes = log.episodes(20 * T)
    trace = replay(network, episodes, rules, trace=True).trace
    peer = replay(table, episodes, rules, trace=True).trace
    assert trace is not None and peer is not None
    assert np.mean(np.abs(trace.bid - peer.bid) <= 2) > 0.97
    policy, left = load(network.serving().save(tmp_path / "network")), rules.budget
    for step in range(0, 300):
        assert policy.bid(20 * T - step, left, float(log.theta[step])) == trace.bid[step, 0]  # type: ignore[index]
        left -= int(trace.cost[step, 0])


def test_served_bids_are_those_of_the_network_summed_tick_by_tick(network_agent: RLBNN) -> None:
    """At random points and at the seams of the plan: first rows and ticks, knots, saturation, no money, free clicks."""
    policy: Any = network_agent.policy
    rng = np.random.default_rng(0)
    seams = [0, 1, 39, 40, 41, 98, 99, 100, 101, 116, 139, 140, 141, policy.budget - 1, policy.budget]
    for t in (1, 2, 20, 21, 22, 23, 60, 150, 201):
        end = int(policy.end[t - 1])
        purses = np.clip([*seams, end - 1, end, end + 1, end + 41], 0, policy.budget)
        for b in [*purses.tolist(), *rng.integers(0, policy.budget + 1, 60).tolist()]:
            for theta in (0.0, min(rng.lognormal(-4.5, 2), 1.0), 1.0):
                asked = (t, b, theta)
                assert policy.best_price(*asked) == policy.best_price_of_network(*asked), asked


def test_the_network_is_asked_only_where_the_interpolation_leaves_a_bid_open(network_agent: RLBNN) -> None:
    """Of 2000 random bids at most 0.5 %; and each one where a sum of ticks is exactly the click probability."""
    policy: Any = network_agent.policy
    rng = np.random.default_rng(1)
    rows, purses = rng.integers(0, 200, 2000).tolist(), rng.integers(300, policy.budget, 2000).tolist()
    draws = rng.lognormal(-4.5, 1, 2000).tolist()

    def open_(row: int, b: int, theta: float) -> bool:
        top, lowest = min(b, int(policy.end[row])), b - DELTA_MAX
        return top > lowest and policy._cell(row, theta, lowest, top) < 0

    share = np.mean([open_(*asked) for asked in zip(rows, purses, draws, strict=True)])
    assert share < 0.005
    for row, b in zip(rows[:200], purses[:200], strict=True):
        if b <= policy.end[row]:
            tie = float(policy.marginals(row, np.arange(b - 1, b - 6, -1)).sum())
            assert open_(row, b, tie), (row, b)


def test_a_network_needs_more_than_what_stays_exact(market: Market) -> None:
    with pytest.raises(ValueError, match="a network needs T0 of at least 60 and B0 above 800"):
        fit_network(value_table(market, 30, 100), 0.01)


@pytest.mark.parametrize("name", ["exact_rows", "exact_ticks", "steps", "batch", "learning_rate"])
def test_bad_settings(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RlbNnConfig(**{name: 0})  # type: ignore[arg-type]
