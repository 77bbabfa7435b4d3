"""RLB and SS-MDP as agents: published totals, plans that fit, learning prices, saving, refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.planning import plan_size
from dynrl.agents.auctions.rlb import RLB, RlbConfig
from dynrl.agents.auctions.ss_mdp import SSMDP
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.landscape import from_counts
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import load
from dynrl.auctions.value import evaluate_bidder, value_table
from dynrl.errors import ConfigError

T, B, DELTA_MAX = 20, 120, 20


def model_of(counts: list[int], theta: np.ndarray, clicks: int) -> CampaignModel:
    cost = int(np.arange(len(counts)) @ counts)
    campaign = Campaign(sum(counts), clicks, cost, np.array(counts))
    return CampaignModel(campaign, Market.single(from_counts(campaign.price_counts).probabilities, theta))


@pytest.fixture(scope="module")
def model() -> CampaignModel:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, DELTA_MAX + 1)
    theta = rng.lognormal(-4, 1, 6)
    return model_of(counts.tolist(), theta, round(counts.sum() * theta.mean()))


def test_published_totals(published: tuple[CampaignModel, AuctionLog], world: type[Any]) -> None:
    """The blind plan uses the click rate of the campaign, whatever the click probabilities of the rows."""
    model, log = published
    rules = AuctionRules(1000, model.campaign.budget(1000, 1 / 32))
    episodes = log.episodes(1000)
    for kind, expected in ((RLB, (78, 39680, 304375)), (SSMDP, (80, 40395, 306639))):
        assert replay(kind(world(rules, model)).bidder, episodes, rules).totals() == expected
    compat = SSMDP(world(rules, model), reference_compat=True)
    assert replay(compat.bidder, episodes, rules).totals() == (80, 40395, 306637)


def test_what_each_plan_knows(model: CampaignModel, world: type[Any]) -> None:
    rules = AuctionRules(T, B, DELTA_MAX)
    blind, aware = (RLB(world(rules, model), ctr_aware=flag).bidder for flag in (False, True))
    market = model.market
    average = Market.single(market.price_pmf, [model.campaign.theta_avg])
    for bidder, known in ((blind, average), (aware, market)):
        plan: Any = bidder
        np.testing.assert_array_equal(plan.marginals.worth[:, : B + 1], value_table(known, T, B).rows)


def test_knowing_click_probabilities_is_worth_something(model: CampaignModel, world: type[Any]) -> None:
    """Exact expected clicks in the model: SS-MDP < RLB < CTR-aware RLB, which is the optimum."""
    rules = AuctionRules(T, B, DELTA_MAX)
    env = world(rules, model)
    bidders = (SSMDP(env).bidder, RLB(env).bidder, RLB(env, ctr_aware=True).bidder)
    worth = [evaluate_bidder(bidder, model.market, T, B).value(T, B) for bidder in bidders]
    assert worth[0] < worth[1] < worth[2]
    assert worth[2] == pytest.approx(value_table(model.market, T, B).value(T, B), rel=1e-12)


def segmented() -> Market:
    """Cheap requests that nobody clicks, dear ones that many do."""
    pmf = np.zeros((2, DELTA_MAX + 1))
    pmf[0, 1:4], pmf[1, 10:20] = 1 / 3, 0.1
    return Market(pmf, [[0.001, 0.002], [0.1, 0.2]], [[0.5, 0.5]] * 2, [0.7, 0.3])  # type: ignore[arg-type]


def test_segments_are_worth_knowing(world: type[Any]) -> None:
    market, rules = segmented(), AuctionRules(T, B, DELTA_MAX)
    model = CampaignModel(model_of([1] * (DELTA_MAX + 1), np.array([0.1]), 1).campaign, market)
    apart, mixed = (RLB(world(rules, model), ctr_aware=True, segments=flag).bidder for flag in (True, False))
    known, unknown = (evaluate_bidder(bidder, market, T, B).value(T, B) for bidder in (apart, mixed))
    assert known == pytest.approx(value_table(market, T, B).value(T, B), rel=1e-12)
    assert unknown < 0.99 * known


def test_largest_bid_of_the_rules_is_planned_for(model: CampaignModel, world: type[Any]) -> None:
    """Prices above it count as lost, instead of being cut from a plan that thinks they can be paid."""
    rules = AuctionRules(T, B, 8)
    cut = Market.single(model.market.price_pmf[:9], model.market.theta[0], model.market.theta_mass[0])
    bidder: Any = RLB(world(rules, model), ctr_aware=True).bidder
    np.testing.assert_array_equal(bidder.marginals.worth[:, : B + 1], value_table(cut, T, B).rows)


@pytest.mark.slow
def test_prices_are_learnt_by_bidding() -> None:
    """The agent is told prices that are half the true ones; after 150 episodes its plan is worth what the true one is,
    though it only saw prices where it won."""
    from dynrl.envs.auctions import BidSim
    from dynrl.envs.auctions.face import BiddingGymnasiumEnv

    rng = np.random.default_rng(0)
    pmf, theta = np.zeros(DELTA_MAX + 1), np.sort(rng.lognormal(-3, 1, 5))
    pmf[8:19] = rng.dirichlet(np.ones(11))
    market = Market.single(pmf, theta)
    counts = np.bincount(np.arange(DELTA_MAX + 1) // 2, weights=np.round(1000 * pmf)).astype(int)
    told = model_of(np.pad(counts, (0, DELTA_MAX + 1 - len(counts))).tolist(), theta, 70)
    env = BiddingGymnasiumEnv(BidSim(market=market, model=told, horizon=T, budget=B, delta_max=DELTA_MAX))
    agent = RLB(env, seed=0, ctr_aware=True, refit_episodes=50, prior_auctions=20, exploration=0.1)

    def worth() -> float:
        return evaluate_bidder(agent.bidder, market, T, B).value(T, B)

    best, before = value_table(market, T, B).value(T, B), worth()
    agent.learn(150 * T)
    assert int(agent.state["episodes"]) == 150
    assert before < 0.97 * best
    assert worth() > 0.99 * best


def test_what_an_auction_teaches(model: CampaignModel, world: type[Any]) -> None:
    """A win shows the price; a loss says price > bid, or price >= bid where ties lose; a reserve price says nothing."""
    from dynrl.agent import Transition

    for tie, reach in (("win", 6), ("lose", 5)):
        agent = RLB(world(AuctionRules(T, B, DELTA_MAX, tie=tie), model))  # type: ignore[arg-type]

        def seen(floor: int, agent: RLB = agent, **info: Any) -> tuple[np.ndarray, np.ndarray]:
            agent.state = agent.initial_state()
            observation = {"t_left": 5, "b_left": 50, "theta": 0.1, "floor": floor}
            agent.update(Transition(observation, None, 0.0, None, False, False, info))
            return agent.state["events"][0], agent.state["at_risk"][0]

        events, at_risk = seen(0, won=True, bid=9, market_price=7)
        assert events.tolist() == [0.0] * 7 + [1.0] + [0.0] * 13
        assert at_risk.tolist() == [1.0] * 8 + [0.0] * 13
        events, at_risk = seen(0, won=False, bid=5)
        assert not events.any() and at_risk.tolist() == [1.0] * reach + [0.0] * (21 - reach)
        events, at_risk = seen(0, won=False, bid=5, market_price=np.nan, market_price_seen=False)
        assert at_risk.sum() == reach
        assert not seen(9, won=False, bid=5)[1].any()
        assert seen(0, won=False, bid=5, market_price=12)[0][12] == 1.0  # feedback="full"


def test_saving_keeps_what_was_learnt(model: CampaignModel, tmp_path: Path) -> None:
    from dynrl.envs.auctions import BidSim
    from dynrl.envs.auctions.face import BiddingGymnasiumEnv

    env = BiddingGymnasiumEnv(
        BidSim(market=model.market, model=model, horizon=T, budget=B, delta_max=DELTA_MAX)
    )
    agent = RLB(env, seed=1, refit_episodes=2, prior_auctions=1.0, exploration=0.5)
    untaught = RLB(env).policy
    agent.learn(3 * T + 5)
    agent.save(tmp_path / "agent")
    loaded = RLB.load(tmp_path / "agent", env)
    requests = [(t, b, theta) for t in (1, 5, 20) for b in (3, 30, 120) for theta in (0.001, 0.02, 0.1)]
    bids = [agent.policy.bid(*request) for request in requests]
    assert [loaded.policy.bid(*request) for request in requests] == bids
    assert [untaught.bid(*request) for request in requests] != bids
    exported = load(agent.policy.save(tmp_path / "policy"))
    assert [exported.bid(*request) for request in requests] == bids


def test_exploring_only_raises_bids(model: CampaignModel, world: type[Any]) -> None:
    agent = RLB(world(AuctionRules(T, B, DELTA_MAX), model), seed=0, exploration=1.0)
    best = int(agent.act(np.array([0.5, 0.5, 0.01, 0]), deterministic=True)[0])
    bids = [int(agent.act(np.array([0.5, 0.5, 0.01, 0]), deterministic=False)[0]) for _ in range(200)]
    assert set(bids) == set(range(best + 1, DELTA_MAX + 1))


def test_a_table_that_would_be_too_large_is_refused_with_the_way_out(
    model: CampaignModel, world: type[Any]
) -> None:
    rules = AuctionRules(100_000, 1_000_000, DELTA_MAX)
    with pytest.raises(
        ConfigError, match=r"T = 100000 and B = 1000000 would take 800\.0 GB.*scale='map_action'"
    ):
        RLB(world(rules, model))
    RLB(world(rules, model), scale="map_action", plan_horizon=100)
    with pytest.raises(ConfigError, match="lower plan_horizon or plan_budget"):
        RLB(world(rules, model), scale="segment", table_limit=1e-6)


def test_the_size_of_a_plan(model: CampaignModel) -> None:
    market = model.market
    rules = AuctionRules(1000, 2000, DELTA_MAX)
    assert plan_size(rules, market, "exact", 100, None, 4.0) == (1000, 2000)
    # more than delta_max ticks an auction buy nothing more
    assert plan_size(AuctionRules(10, 3000), market, "exact", 100, None, 4.0) == (10, 10 * DELTA_MAX)
    # twice the even share of 100 auctions
    assert plan_size(rules, market, "map_action", 100, None, 4.0) == (100, 400)
    # not more than half of what 100 auctions would cost
    mean = market.price_pmf @ np.arange(DELTA_MAX + 1)
    rich = AuctionRules(1000, 10_000, DELTA_MAX)
    assert plan_size(rich, market, "map_action", 100, None, 4.0) == (100, int(np.ceil(50 * mean)))
    assert plan_size(rules, market, "segment", 100, 50, 4.0) == (100, 50)


@pytest.mark.parametrize("kind", [RLB, SSMDP])
def test_first_price_rules_are_refused(kind: Any, model: CampaignModel, world: type[Any]) -> None:
    with pytest.raises(ConfigError, match="use FirstPriceRLB"):
        kind(world(AuctionRules(T, B, pricing="first"), model))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan_horizon", 0),
        ("plan_budget", 0),
        ("table_limit", 0.0),
        ("value_per_click", -1.0),
        ("cost_weight", -0.1),
        ("discount", 1.1),
        ("refit_episodes", -1),
        ("prior_auctions", -1.0),
        ("exploration", 2.0),
    ],
)
def test_bad_settings(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        RlbConfig(**{name: value})  # type: ignore[arg-type]


def test_equal_requests_get_equal_bids_from_every_face(
    model: CampaignModel, world: type[Any], draw_log: Callable[..., AuctionLog]
) -> None:
    """Replay in JAX, the served policy and the agent's `act`, over whole episodes."""
    rules, log = AuctionRules(T, B, DELTA_MAX), draw_log(3 * T, 0, delta_max=DELTA_MAX)
    for kind, settings in ((RLB, {}), (RLB, {"scale": "segment", "plan_horizon": 7}), (SSMDP, {})):
        agent: Any = kind(world(rules, model), **settings)
        result = replay(agent.bidder, log.episodes(T), rules, trace=True)
        assert result.trace is not None
        for episode in range(3):
            left = B
            for step in range(T):
                theta = float(log.theta[episode * T + step])  # type: ignore[index]
                request = {"t_left": T - step, "b_left": left, "theta": theta}
                bid = int(agent.act(request, deterministic=True)[0])
                assert bid == result.trace.bid[step, episode]
                left -= int(result.trace.cost[step, episode])
