"""Bids from tables: the binary search, the maps to any scale, the NumPy twins, and published integers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.landscape import market_from
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BidPolicy, DifferencePolicy, TablePolicy, load
from dynrl.auctions.value import TableMarginals, ValueTable, scaled_bidder, table_bidder, value_table
from dynrl.compilation import classes_in

SCALES = ("map_action", "map_value", "segment")
T0, B0, DELTA_MAX = 12, 90, 20


@pytest.fixture(scope="module")
def table() -> ValueTable:
    rng = np.random.default_rng(0)
    market = Market.single(rng.dirichlet(np.full(DELTA_MAX + 1, 0.4)), rng.lognormal(-4, 1, 4))
    return value_table(market, T0, B0)


@partial(jax.jit, static_argnums=1)
def _bids(
    bidder: Bidder, classes: tuple[type, ...], t: jax.Array, b: jax.Array, theta: jax.Array
) -> jax.Array:
    zero = jnp.zeros((), jnp.int64)

    def one(t: jax.Array, b: jax.Array, theta: jax.Array) -> jax.Array:
        memory = bidder.start(t, b, jax.random.key(0))
        wanted, _ = bidder.bid(memory, Request(t, b, theta, zero, zero))
        return jnp.minimum(wanted, jnp.minimum(b, DELTA_MAX))

    return jax.vmap(one)(t, b, theta)


def bids_of(bidder: Bidder, t: np.ndarray, b: np.ndarray, theta: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_bids(bidder, classes_in(bidder), *(jnp.asarray(part) for part in (t, b, theta))))


def requests(
    count: int, most_t: int, most_b: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    theta = np.where(rng.random(count) < 0.1, 0.0, rng.lognormal(-4, 1.5, count).clip(0, 1))
    return rng.integers(1, most_t + 1, count), rng.integers(0, most_b + 1, count), theta


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 6))
def test_binary_search_is_the_linear_scan(seed: int, levels: int) -> None:
    """On random monotone rows with few levels, so that steps are flat and theta often ties exactly."""
    rng = np.random.default_rng(seed)
    worth = np.cumsum(rng.integers(0, levels, (4, 41)) / 8.0, axis=1)
    worth[0] = 0.0
    bidder = scaled_bidder(TableMarginals(worth, 40, DELTA_MAX), "map_action", "win")
    t, b = rng.integers(1, 4, 200), rng.integers(0, 41, 200)
    theta = rng.integers(0, 20, 200) / 8.0
    scanned = [
        max(d for d in range(min(y, DELTA_MAX) + 1) if z + worth[x - 1, y - d] - worth[x - 1, y] >= 0)
        for x, y, z in zip(t, b, theta, strict=True)
    ]
    np.testing.assert_array_equal(bids_of(bidder, t, b, theta), scanned)
    policy = bidder.serving()
    served = [policy.best_price(*each) for each in zip(t.tolist(), b.tolist(), theta.tolist(), strict=True)]
    np.testing.assert_array_equal(served, scanned)


def test_the_last_auction_is_all_in(table: ValueTable) -> None:
    _, b, theta = requests(100, 1, B0)
    bids = bids_of(table_bidder(table), np.ones(100, np.int64), b, theta)
    np.testing.assert_array_equal(bids, np.minimum(b, DELTA_MAX))


def test_a_price_is_bid_for_as_long_as_the_ticks_cost_no_more_than_the_click(table: ValueTable) -> None:
    """Both forms of the rule: V(t-1, b-δ) - V(t-1, b) + theta >= 0, and the sum of D(t-1, b-1), ..., D(t-1, b-δ)."""
    t, b, theta = requests(300, T0, B0)
    expected = []
    for x, y, z in zip(t, b, theta, strict=True):
        ticks = table.marginal(int(x) - 1)[max(y - DELTA_MAX, 0) : y][::-1]
        expected.append(int((np.cumsum(ticks) <= z).sum()))
    np.testing.assert_array_equal(bids_of(table_bidder(table), t, b, theta), expected)


@pytest.mark.parametrize("scale", SCALES)
def test_inside_the_table_every_scale_is_the_exact_policy(table: ValueTable, scale: str) -> None:
    t, b, theta = requests(500, T0, B0)
    np.testing.assert_array_equal(
        bids_of(table_bidder(table, scale), t, b, theta), bids_of(table_bidder(table), t, b, theta)
    )


def test_map_action_keeps_the_ratio_both_ways(table: ValueTable) -> None:
    exact = table_bidder(table).serving()
    for t, b, at in [
        (10 * T0, 400, (T0, 40)),  # a long episode
        (10 * T0, 10 * B0 + 5, (T0, B0)),
        (T0, 2 * B0, (T0 // 2, B0)),  # more money than the table has
        (10 * T0, 20 * B0, (T0 // 2, B0)),  # both
        (3, 100 * B0, (1, B0)),
    ]:
        for theta in (0.001, 0.02, 0.2):
            assert exact.bid(t, b, theta) == exact.best_price(*at, theta)


def test_map_value_adds_up_the_mapped_ticks(table: ValueTable) -> None:
    """By the definition: D(t, b) = D(T0, b T0 / t) for t > T0, or the point at b = B0 of the same ratio."""
    policy = table_bidder(table, "map_value").serving()
    for t, b, up, down in [(4 * T0 + 1, 200, T0, 4 * T0), (T0 + 1, 3 * B0, B0, 3 * B0), (50, 1000, B0, 1000)]:
        row = np.diff(table.rows[min((t - 1) * up // down, T0)])
        for theta in (0.001, 0.02, 0.2):
            ticks = [row[min((b - j) * up // down, B0 - 1)] for j in range(1, DELTA_MAX + 1)]
            assert policy.bid(t, b, theta) == int((np.cumsum(ticks) <= theta).sum())


def test_segments_share_the_money_left_equally(table: ValueTable) -> None:
    exact, policy = table_bidder(table).serving(), table_bidder(table, "segment").serving()
    assert policy.bid(3 * T0, 90, 0.02) == exact.bid(T0, 30, 0.02)
    assert policy.bid(3 * T0 - 1, 80, 0.02) == exact.bid(T0 - 1, 20, 0.02)
    assert policy.bid(2 * T0, 75, 0.02) == exact.bid(T0, 37, 0.02)  # 15 unspent ticks go to the later ones
    assert policy.bid(T0, 75, 0.02) == exact.bid(T0, 75, 0.02)
    assert policy.bid(3 * T0, 90, 0.02) == exact.bid(T0, 30, 0.02)  # a new episode


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tie", ["win", "lose"])
def test_numpy_and_jax_bid_alike(table: ValueTable, scale: str, tie: str, tmp_path: Path) -> None:
    bidder = table_bidder(table, scale, tie=tie)
    t, b, theta = requests(500, 5 * T0, 5 * B0)
    expected = bids_of(bidder, t, b, theta)
    policy = bidder.serving()
    for served in (policy, load(policy.save(tmp_path / "policy"))):
        found = []
        for request in zip(t.tolist(), b.tolist(), theta.tolist(), strict=True):
            served._last_t = 0  # each request begins an episode
            found.append(served.bid(*request))
        np.testing.assert_array_equal(found, expected)


def test_where_ties_lose_one_tick_more_is_bid(table: ValueTable) -> None:
    t, b, theta = requests(200, T0, B0)
    more = np.minimum(bids_of(table_bidder(table), t, b, theta) + 1, np.minimum(b, DELTA_MAX))
    np.testing.assert_array_equal(bids_of(table_bidder(table, tie="lose"), t, b, theta), more)


@pytest.mark.parametrize("scale", ["map_action", "map_value"])
def test_the_compact_policy_bids_alike(table: ValueTable, scale: str, tmp_path: Path) -> None:
    exact: BidPolicy = table_bidder(table, scale).serving()
    assert isinstance(exact, TablePolicy)
    compact = load(DifferencePolicy.from_table(exact).save(tmp_path / "compact"))
    t, b, theta = requests(2000, 3 * T0, 3 * B0)
    equal = [
        exact.bid(*request) == compact.bid(*request)
        for request in zip(t.tolist(), b.tolist(), theta.tolist(), strict=True)
    ]
    assert np.mean(equal) >= 0.999
    assert compact.marginal.nbytes < exact.worth.nbytes / 2


def test_profit_bids_never_above_the_worth_of_the_click() -> None:
    """With v1 ticks a click and v0 = 1, and all the money one may want, the bid is the worth of the click."""
    rng = np.random.default_rng(0)
    market = Market.single(rng.dirichlet(np.ones(DELTA_MAX + 1)), [0.01, 0.05])
    rich = T0 * DELTA_MAX
    policy = table_bidder(value_table(market, T0, rich, value_per_click=200, cost_weight=1)).serving()
    for t in range(1, T0 + 1):
        for theta in (0.0126, 0.0333, 0.05777):
            assert policy.bid(t, rich, theta) == int(200 * theta)
            assert policy.bid(t, 15, theta) <= int(200 * theta)


def test_an_unknown_scale_is_named(table: ValueTable) -> None:
    with pytest.raises(ValueError, match="scale is 'bigger', expected one of map_action, map_value, segment"):
        table_bidder(table, "bigger")  # type: ignore[arg-type]


def test_long_episodes_of_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """One episode of 50 000 auctions by a table of T0 = 1000, B0 = 7877: clicks and cost."""
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    rows = np.loadtxt(campaign_file("2997.validation.theta.txt"), skiprows=50_000)
    log = AuctionLog(rows[:, 0].astype(np.uint8), rows[:, 1].astype(np.int32), rows[:, 2])
    table, episodes = value_table(market_from(campaign), 1000, 7877), log.episodes(50_000)
    published = {
        1 / 32: {"map_action": (23, 98_420), "segment": (20, 98_447)},
        1 / 8: {"map_action": (45, 393_802), "segment": (48, 393_849)},
        1 / 2: {"map_action": (134, 1_575_422), "segment": (131, 1_575_407)},
    }
    for ratio, expected in published.items():
        rules = AuctionRules(50_000, campaign.budget(50_000, ratio))
        for scale, totals in expected.items():
            clicks, _, cost = replay(table_bidder(table, scale), episodes, rules).totals()
            assert (clicks, cost) == totals
