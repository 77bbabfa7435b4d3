"""Replay against one auction at a time in Python, and what must not matter."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.ss_mdp import BlindBidder
from dynrl.auctions.bidder import Bidder, Outcome, Request
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.landscape import market_from
from dynrl.auctions.log import AuctionLog, EpisodeArrays
from dynrl.auctions.market import Market
from dynrl.auctions.replay import ReplayResult, replay, settle, sweep
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BidPolicy
from dynrl.auctions.value import ValueTable, table_bidder, value_table
from dynrl.compilation import classes_in

HORIZON, DELTA_MAX, BUDGET = 30, 25, 120
FIELDS = ("clicks", "wins", "cost", "expected_clicks")


def log_of(seed: int, rows: int = 8 * HORIZON - 7, floors: bool = False) -> AuctionLog:
    """The last episode lacks 7 rows. Some prices are 0, some above the largest bid."""
    rng = np.random.default_rng(seed)
    theta = rng.lognormal(-2, 1, rows).clip(0, 1)
    price = rng.integers(0, DELTA_MAX + 5, rows).astype(np.int32)
    floor = rng.integers(0, 15, rows).astype(np.int32) if floors else None
    return AuctionLog((rng.random(rows) < theta).astype(np.uint8), price, theta, floor)


@pytest.fixture(scope="module")
def bidder() -> Bidder:
    rng = np.random.default_rng(1)
    market = Market.single(rng.dirichlet(np.ones(DELTA_MAX + 1)), rng.lognormal(-2, 1, 3).clip(0, 1))
    return table_bidder(value_table(market, HORIZON, BUDGET))


def one_by_one(policy: BidPolicy, log: AuctionLog, rules: AuctionRules, budget: int) -> np.ndarray:
    """(clicks, wins, cost, expected clicks) of each episode, `[E, 4]`, by the policy that would be served."""
    totals = []
    for start in range(0, len(log), rules.horizon):
        left, total = budget, np.zeros(4)
        for row in range(start, min(start + rules.horizon, len(log))):
            price, theta = int(log.price[row]), float(log.theta[row])  # type: ignore[index]
            floor = 0 if log.floor is None else int(log.floor[row])
            bid = policy.bid(rules.horizon - (row - start), left, theta, floor)
            if (bid >= price if rules.tie == "win" else bid > price) and bid >= floor:
                paid = bid if rules.pricing == "first" else max(price, floor)
                left -= paid
                total += [int(log.click[row]), 1, paid, theta]
        totals.append(total)
    return np.array(totals)


def totals_of(result: ReplayResult) -> np.ndarray:
    return np.stack([getattr(result, name) for name in FIELDS], axis=-1)


@pytest.mark.parametrize("pricing", ["second", "first"])
@pytest.mark.parametrize("tie", ["win", "lose"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), budget=st.integers(0, BUDGET), floors=st.booleans())
def test_side_by_side_is_one_by_one(
    bidder: Bidder, tie: str, pricing: str, seed: int, budget: int, floors: bool
) -> None:
    rules = AuctionRules(HORIZON, BUDGET, DELTA_MAX, tie=tie, pricing=pricing)  # type: ignore[arg-type]
    log = log_of(seed, floors=floors)
    for each in (bidder, LinearBidder(90.0, DELTA_MAX)):
        result = replay(each, log.episodes(HORIZON), rules, budget=budget)
        expected = one_by_one(each.serving(), log, rules, budget)
        np.testing.assert_array_equal(totals_of(result)[:, :3], expected[:, :3])
        np.testing.assert_allclose(result.expected_clicks, expected[:, 3], rtol=1e-12)
        assert (result.cost <= budget).all()


def test_order_and_company_of_episodes_do_not_matter(bidder: Bidder) -> None:
    rules, episodes = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(0).episodes(HORIZON)
    all_of_them = totals_of(replay(bidder, episodes, rules))
    order = np.random.default_rng(0).permutation(8)
    shuffled = EpisodeArrays(*(column[:, order] for column in episodes))
    np.testing.assert_array_equal(totals_of(replay(bidder, shuffled, rules)), all_of_them[order])
    parts = [EpisodeArrays(*(column[:, part] for column in episodes)) for part in (slice(0, 3), slice(3, 8))]
    split = np.concatenate([totals_of(replay(bidder, part, rules)) for part in parts])
    np.testing.assert_array_equal(split, all_of_them)


def test_the_trace_adds_up(bidder: Bidder) -> None:
    rules, log = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(3)
    result = replay(bidder, log.episodes(HORIZON), rules, trace=True)
    assert result.trace is not None
    bid, won, cost = result.trace
    assert bid.shape == won.shape == cost.shape == (HORIZON, 8)
    np.testing.assert_array_equal(won.sum(0), result.wins)
    np.testing.assert_array_equal(cost.sum(0), result.cost)
    left = BUDGET - np.concatenate([np.zeros((1, 8)), np.cumsum(cost, 0)[:-1]])
    assert (bid <= np.minimum(left, DELTA_MAX)).all() and (cost[~won] == 0).all()
    assert not won[-7:, -1].any()  # rows that the last episode lacks


def test_a_sweep_is_its_variants_one_by_one() -> None:
    rules, episodes = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(4).episodes(HORIZON)
    slopes = [10.0, 60.0, 250.0]
    swept = sweep(LinearBidder(0.0, DELTA_MAX), {"slope": slopes}, episodes, rules)
    for number, slope in enumerate(slopes):
        single = replay(LinearBidder(slope, DELTA_MAX), episodes, rules)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(swept, name)[number], getattr(single, name))


def test_each_episode_may_have_its_own_budget() -> None:
    rules, log = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(5)
    budgets = np.arange(8) * 20
    result = replay(LinearBidder(300.0, DELTA_MAX), log.episodes(HORIZON), rules, budget=budgets)
    for number, budget in enumerate(budgets):
        rows = log.take(slice(number * HORIZON, (number + 1) * HORIZON))
        expected = one_by_one(
            LinearBidder(300.0, DELTA_MAX).serving(), rules=rules, log=rows, budget=int(budget)
        )
        np.testing.assert_array_equal(totals_of(result)[number, :3], expected[0, :3])
    np.testing.assert_array_equal(result.budget, budgets)


def test_a_bidder_sees_the_outcome_of_every_auction() -> None:
    rules, episodes = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(6).episodes(HORIZON)
    result = replay(_Half(jnp.asarray(1.0)), episodes, rules, trace=True)
    assert result.trace is not None
    won = np.concatenate([np.zeros((1, 8), int), np.cumsum(result.trace.won, 0)[:-1]])
    wanted = np.where(won < 3, 20, 5)
    left = BUDGET - np.concatenate([np.zeros((1, 8), int), np.cumsum(result.trace.cost, 0)[:-1]])
    np.testing.assert_array_equal(result.trace.bid, np.minimum(wanted, left))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Half(Bidder):
    """20 ticks up to the third win, then 5."""

    unused: Any

    def start(self, horizon: Any, budget: Any, key: Any) -> Any:
        return jnp.zeros((), jnp.int64)

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.where(memory < 3, 20.7, 5.2), memory

    def observe(self, memory: Any, request: Request, outcome: Outcome) -> Any:
        return memory + outcome.won


def _constant(ticks: int) -> type[Bidder]:
    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Constant(Bidder):
        number: Any
        ticks_bid: ClassVar[int] = ticks

        def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
            return jnp.full((), float(self.ticks_bid)), memory

    return Constant


@pytest.mark.slow
def test_bidders_of_like_fields_are_not_mistaken_for_each_other() -> None:
    """JAX takes tree structures of registered dataclasses with equal fields for equal; only hashes tell them apart, so
    that of a hundred classes through one compiled function some would run the program of another."""
    rules, episodes = AuctionRules(2, 100, 100), log_of(7, rows=2).episodes(2)
    episodes = episodes._replace(price=np.zeros_like(episodes.price))
    for ticks in range(100):
        kind = _constant(ticks)
        result = replay(kind(0.0), episodes, rules, trace=True)  # type: ignore[call-arg]
        assert result.trace is not None and result.trace.bid[0, 0] == ticks


def test_the_classes_of_a_bidder_include_those_inside() -> None:
    planned = table_bidder(value_table(Market.single([0.5, 0.5], [0.1]), 1, 1))
    assert [kind.__name__ for kind in classes_in(BlindBidder(planned, 0.1))] == [
        "BlindBidder",
        "MapActionBidder",
        "TableMarginals",
    ]


@pytest.mark.parametrize(
    ("bid", "price", "floor", "tie", "pricing", "expected"),
    [
        (50, 50, 0, "win", "second", (True, 50)),
        (50, 50, 0, "lose", "second", (False, 0)),
        (51, 50, 0, "lose", "second", (True, 50)),
        (51, 50, 0, "lose", "first", (True, 51)),
        (60, 50, 55, "win", "second", (True, 55)),  # the reserve price is the second price
        (54, 50, 55, "win", "second", (False, 0)),
        (55, 50, 55, "lose", "second", (True, 55)),  # meeting the reserve exactly suffices
        (0, 0, 0, "win", "second", (True, 0)),
    ],
)
def test_settling_one_auction(
    bid: int, price: int, floor: int, tie: str, pricing: str, expected: tuple[bool, int]
) -> None:
    arrays = (np.array(value) for value in (bid, price, floor))
    won, cost = settle(*arrays, tie, pricing)
    assert (bool(won), int(cost)) == expected


def test_bad_arguments_are_named() -> None:
    rules, episodes = AuctionRules(HORIZON, BUDGET, DELTA_MAX), log_of(0).episodes(HORIZON)
    bidder = LinearBidder(1.0, DELTA_MAX)
    with pytest.raises(ValueError, match="the episodes have 30 auctions each, the rules say T = 31"):
        replay(bidder, episodes, AuctionRules(31, BUDGET))
    with pytest.raises(ValueError, match="budget -5 is negative"):
        replay(bidder, episodes, rules, budget=-5)
    with pytest.raises(ValueError, match="LinearBidder has no number 'slop'; it has delta_max, slope"):
        sweep(bidder, {"slop": [1.0]}, episodes, rules)
    with pytest.raises(ValueError, match="one common length"):
        sweep(bidder, {"slope": [1.0], "delta_max": [1, 2]}, episodes, rules)


PUBLISHED = {  # B, then (clicks, wins, cost) of RLB, SS-MDP, and SS-MDP with the released code's empty purse
    1 / 32: (1969, (78, 39680, 304375), (80, 40395, 306639), (80, 40395, 306637)),
    1 / 16: (3938, (119, 57267, 609392), (115, 58866, 613597), (115, 58866, 613597)),
    1 / 8: (7877, (176, 77791, 1220832), (179, 81808, 1226466), (179, 81808, 1226466)),
    1 / 4: (15754, (260, 103316, 2444319), (255, 108064, 2451195), (255, 108064, 2451195)),
    1 / 2: (31508, (389, 131194, 4833773), (382, 134649, 4808148), (382, 134649, 4808148)),
}
BY_HORIZON = {  # c0 = 0.2
    200: (2520, (227, 93972, 1925300), (229, 98530, 1945455)),
    400: (5041, (230, 94329, 1942628), (231, 98951, 1955805)),
    600: (7562, (232, 94469, 1949104), (227, 99212, 1960159)),
    800: (10082, (227, 94477, 1950410), (225, 99283, 1960369)),
    1000: (12603, (229, 94613, 1954621), (227, 99353, 1961580)),
}


@pytest.fixture(scope="module")
def campaign_2997(campaign_file: Callable[[str], Path]) -> tuple[Campaign, AuctionLog]:
    rows = np.loadtxt(campaign_file("2997.test.theta.txt"))
    log = AuctionLog(rows[:, 0].astype(np.uint8), rows[:, 1].astype(np.int32), rows[:, 2])
    return Campaign.from_info(campaign_file("2997.info.json")), log


@pytest.fixture(scope="module")
def tables_2997(campaign_2997: tuple[Campaign, AuctionLog]) -> list[ValueTable]:
    """Exact, and with an empty purse; the largest budget's table holds those of the smaller ones and of shorter T."""
    market = market_from(campaign_2997[0])
    return [value_table(market, 1000, 31508, reference_compat=compat) for compat in (False, True)]


@pytest.mark.parametrize("ratio", PUBLISHED)
def test_published_totals(
    campaign_2997: tuple[Campaign, AuctionLog], tables_2997: list[ValueTable], ratio: float
) -> None:
    campaign, log = campaign_2997
    episodes = log.episodes(1000)
    budget, *expected = PUBLISHED[ratio]
    rules = AuctionRules(1000, campaign.budget(1000, ratio))
    assert rules.budget == budget
    planned, compat = (table_bidder(table) for table in tables_2997)
    bidders = (planned, BlindBidder(planned, campaign.theta_avg), BlindBidder(compat, campaign.theta_avg))
    assert [replay(bidder, episodes, rules).totals() for bidder in bidders] == expected
    assert replay(compat, episodes, rules).totals() == expected[0]  # for RLB both give the same


@pytest.mark.parametrize("horizon", BY_HORIZON)
def test_published_totals_of_other_horizons(
    campaign_2997: tuple[Campaign, AuctionLog], tables_2997: list[ValueTable], horizon: int
) -> None:
    campaign, log = campaign_2997
    budget, *expected = BY_HORIZON[horizon]
    rules = AuctionRules(horizon, campaign.budget(horizon, 0.2))
    assert rules.budget == budget
    planned = table_bidder(tables_2997[0])
    bidders = (planned, BlindBidder(planned, campaign.theta_avg))
    episodes = log.episodes(horizon)
    assert [replay(bidder, episodes, rules).totals() for bidder in bidders] == expected
