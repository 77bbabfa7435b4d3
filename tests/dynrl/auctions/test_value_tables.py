"""Value tables against exhaustive search, plain recursions, closed forms and published numbers."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.auctions.campaign import Campaign
from dynrl.auctions.landscape import market_from
from dynrl.auctions.market import Market
from dynrl.auctions.value import ValueTable, evaluate_policy, table_bidder, value_table, value_tables

DELTA_MAX, HORIZON, BUDGET = 5, 4, 12
# Some ten units in the last place of values up to T = 4, which are summed in different orders.
ROUNDING = 1e-14
SHAPES = [(1, 1), (1, 3), (2, 2)]  # (segments, atoms); few, because each is compiled once


def market_of(seed: int, segments: int, atoms: int, delta_max: int = DELTA_MAX) -> Market:
    """Random prices, some impossible, some with a tail, and random click probabilities."""
    rng = np.random.default_rng(seed)
    pmf = rng.random((segments, delta_max + 1)) * (rng.random((segments, delta_max + 1)) < 0.8)
    pmf[:, rng.integers(delta_max + 1)] += 0.1
    pmf /= pmf.sum(1, keepdims=True) * rng.choice([1.0, 1.3])
    theta = np.sort(rng.random((segments, atoms)) ** 3, axis=1)
    mass = rng.dirichlet(np.ones(atoms), segments)
    return Market(pmf, theta, mass, rng.dirichlet(np.ones(segments)))


seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20, deadline=None)


def best_over_all_bids(
    market: Market, horizon: int, budget: int, per_click: float = 1, per_tick: float = 0, discount: float = 1
) -> np.ndarray:
    """Backward induction `[T + 1, B + 1]` that tries every bid for every kind of request."""
    value = np.zeros((horizon + 1, budget + 1))
    for t, b in product(range(1, horizon + 1), range(budget + 1)):
        later = discount * value[t - 1]
        for share, pmf, atoms, masses in zip(
            market.share, market.pmf, market.theta, market.theta_mass, strict=True
        ):
            for theta, mass in zip(atoms, masses, strict=True):
                outcomes = [
                    sum(pmf[d] * (per_click * theta - per_tick * d + later[b - d]) for d in range(bid + 1))
                    + (1 - pmf[: bid + 1].sum()) * later[b]
                    for bid in range(min(b, market.delta_max) + 1)
                ]
                value[t, b] += share * mass * max(outcomes)
    return value


def plain_recursion(market: Market, horizon: int, budget: int) -> np.ndarray:
    """(R*) whole row by whole row."""
    rows = np.zeros((horizon + 1, budget + 1))
    for t in range(1, horizon + 1):
        last, new = rows[t - 1], rows[t - 1].copy()
        for d in range(min(market.delta_max, budget) + 1):
            y = last[d:] - last[: budget + 1 - d]
            for i, share in enumerate(market.share):
                gain = np.maximum(market.theta[i][:, None] - y, 0)
                new[d:] += share * market.pmf[i, d] * (market.theta_mass[i] @ gain)
        rows[t] = new
    return rows


@pytest.mark.parametrize("shape", SHAPES)
@few
@given(seed=seeds)
def test_the_recursion_is_the_best_of_all_bids(shape: tuple[int, int], seed: int) -> None:
    market = market_of(seed, *shape)
    table = value_table(market, HORIZON, BUDGET)
    expected = best_over_all_bids(market, HORIZON, BUDGET)
    np.testing.assert_allclose(table.rows, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@few
@given(seed=seeds, per_click=st.floats(0.5, 50), per_tick=st.floats(0, 3), discount=st.floats(0, 1))
def test_the_general_objective(
    shape: tuple[int, int], seed: int, per_click: float, per_tick: float, discount: float
) -> None:
    market = market_of(seed, *shape)
    objective = {"value_per_click": per_click, "cost_weight": per_tick, "discount": discount}
    table = value_table(market, HORIZON, BUDGET, **objective)
    expected = best_over_all_bids(market, HORIZON, BUDGET, per_click, per_tick, discount)
    np.testing.assert_allclose(table.rows, expected, rtol=1e-12, atol=1e-12)


@few
@given(seed=seeds)
def test_no_policy_of_them_all_is_better(seed: int) -> None:
    """All 1296 policies of T = 2, B = 2, prices 0..2 and two click probabilities, each evaluated by hand."""
    market = market_of(seed, 1, 2, delta_max=2)
    pmf, theta, mass = market.pmf[0], market.theta[0], market.theta_mass[0]
    states = list(product((1, 2), range(3), range(2)))
    best = 0.0
    for bids in product(*(range(b + 1) for _, b, _ in states)):
        policy, value = dict(zip(states, bids, strict=True)), np.zeros((3, 3))
        for t, b, k in states:
            wins = range(policy[t, b, k] + 1)
            gain = sum(pmf[d] * (theta[k] + value[t - 1, b - d] - value[t - 1, b]) for d in wins)
            value[t, b] += mass[k] * (value[t - 1, b] + gain)
        best = max(best, value[2, 2])
    assert value_table(market, 2, 2).value(2, 2) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(
    ("atoms", "horizon", "budget", "delta_max"),
    [(1, 40, 5000, 60), (5, 30, 2500, 60), (3, 12, 9000, 60)],
    ids=["one atom", "small tiles", "large tiles"],
)
def test_tiles_make_no_difference(atoms: int, horizon: int, budget: int, delta_max: int) -> None:
    """Several tiles, of which the last are saturated in the first rows and are copied."""
    rng = np.random.default_rng(atoms)
    pmf = rng.dirichlet(np.full(delta_max + 1, 0.2)) * 0.95
    market = Market.single(pmf, rng.lognormal(-5, 1, atoms))
    table, expected = value_table(market, horizon, budget), plain_recursion(market, horizon, budget)
    np.testing.assert_allclose(table.rows, expected, rtol=1e-12, atol=0)
    for t in range(1, horizon + 1):
        assert (table.rows[t, t * delta_max :] == table.rows[t, -1]).all()


@few
@given(seed=seeds)
def test_closed_forms(seed: int) -> None:
    """Saturation, the first row and an empty purse, for the blind table."""
    market = market_of(seed, 2, 2).blind()
    budget = HORIZON * DELTA_MAX + 3
    table, pmf, theta = value_table(market, HORIZON, budget), market.pmf[0], market.theta_avg
    for t in range(HORIZON + 1):
        np.testing.assert_allclose(table.rows[t, t * DELTA_MAX :], t * theta * pmf.sum(), rtol=1e-12)
        assert table.value(t, 0) == pytest.approx(t * theta * pmf[0], rel=1e-12)
    reach = np.minimum(np.arange(budget + 1), DELTA_MAX)
    np.testing.assert_allclose(table.rows[1], theta * np.cumsum(pmf)[reach], rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@few
@given(seed=seeds)
def test_more_money_or_time_never_hurts(shape: tuple[int, int], seed: int) -> None:
    market = market_of(seed, *shape)
    rows = value_table(market, HORIZON, BUDGET).rows
    assert (np.diff(rows, axis=0) >= -ROUNDING).all()
    assert (np.diff(rows, axis=1) >= -ROUNDING).all()
    assert (rows <= np.arange(HORIZON + 1)[:, None] * market.theta_avg + ROUNDING).all()


@pytest.mark.parametrize("shape", [(1, 3), (2, 2)])
@few
@given(seed=seeds)
def test_blind_below_rlb_below_aware(shape: tuple[int, int], seed: int) -> None:
    """The lower bound needs click probabilities that are independent of the price; the upper one nothing."""
    market = market_of(seed, *shape)
    blind = value_table(market.blind(), HORIZON, BUDGET)
    worth, aware = evaluate_policy(blind, market), value_table(market, HORIZON, BUDGET)
    assert (worth.rows <= aware.rows + ROUNDING).all()
    if shape[0] == 1:
        assert (blind.rows <= worth.rows + ROUNDING).all()


@few
@given(seed=seeds)
def test_the_aware_table_is_worth_what_its_own_bids_earn(seed: int) -> None:
    market = market_of(seed, 2, 2)
    aware = value_table(market, HORIZON, BUDGET)
    np.testing.assert_allclose(evaluate_policy(aware, market).rows, aware.rows, rtol=1e-12, atol=1e-15)


@few
@given(seed=seeds, power=st.integers(1, 6))
def test_scaling_all_click_probabilities(seed: int, power: int) -> None:
    """By a power of two, which is exact: V scales and bids stay."""
    market, factor = market_of(seed, 1, 3), 0.5**power
    table, scaled = (value_table(m, HORIZON, BUDGET) for m in (market, market.scaled(factor)))
    np.testing.assert_array_equal(scaled.rows, factor * table.rows)
    policy, other = (table_bidder(each).serving() for each in (table, scaled))
    for t, b, theta in product(range(1, HORIZON + 1), range(0, BUDGET + 1, 3), (0.0, 0.01, 0.2, 0.9)):
        assert policy.bid(t, b, theta) == other.bid(t, b, factor * theta)


def test_reference_compat_only_empties_the_purse_of_no_money() -> None:
    market = market_of(3, 1, 1)
    plain, compat = (value_table(market, HORIZON, BUDGET, reference_compat=flag) for flag in (False, True))
    assert (plain.rows[1:, 0] > 0).all() and (compat.rows[:, 0] == 0).all()
    assert (compat.rows <= plain.rows).all()
    np.testing.assert_array_equal(compat.rows[1, 1:], plain.rows[1, 1:])


def test_many_tables_in_one_program_are_the_single_ones() -> None:
    markets = [market_of(seed, 1, atoms) for seed, atoms in ((0, 1), (1, 3), (2, 2))]
    tables = value_tables(markets, HORIZON, [5, BUDGET, 9])
    for market, table, budget in zip(markets, tables, (5, BUDGET, 9), strict=True):
        single = value_table(market, HORIZON, budget)
        assert table.rows.shape == single.rows.shape
        np.testing.assert_allclose(table.rows, single.rows, rtol=1e-13, atol=1e-16)


def spiky(seed: int = 0) -> np.ndarray:
    """Prices up to 300 with a third of the mass on round numbers, as on real exchanges."""
    rng = np.random.default_rng(seed)
    pmf = np.exp(-np.arange(301) / 60) * rng.gamma(2, size=301)
    pmf[np.arange(30, 300, 30)] *= 8
    return pmf / pmf.sum()


def test_single_precision_bids_differ_by_a_tick_at_most_on_999_of_1000() -> None:
    market = Market.single(spiky(), [0.0044])
    budget, rng = 7877, np.random.default_rng(1)
    exact, single = (value_table(market, 1000, budget, dtype=kind) for kind in (np.float64, np.float32))
    np.testing.assert_allclose(single.offset[1:], exact.rows[1:, -1], rtol=1e-5)
    policy, other = (table_bidder(table).serving() for table in (exact, single))
    t = rng.integers(1, 1001, 20_000)
    b = np.minimum((t * budget / 1000 * rng.uniform(0.2, 3, 20_000)).astype(int), budget)
    theta = rng.lognormal(-5.5, 0.7, 20_000)
    differences = [
        abs(policy.bid(*request) - other.bid(*request))
        for request in zip(t.tolist(), b.tolist(), theta.tolist(), strict=True)
    ]
    assert np.mean(np.array(differences) <= 1) >= 0.999


def test_the_fluid_limit() -> None:
    """V(T, rT) / T rises to the value of the best constant bid that spends r on average, and D to theta / bid."""
    pmf, theta, ratio = spiky(), 0.0044, 12.0
    spend = np.cumsum(np.arange(301) * pmf)
    last = int(np.searchsorted(spend, ratio))
    share = (ratio - spend[last - 1]) / (last * pmf[last])
    fluid = theta * (pmf[:last].sum() + share * pmf[last])
    market = Market.single(pmf, [theta])
    table = value_table(market, 1600, int(1600 * ratio))
    gaps = [1 - table.value(t, int(t * ratio)) / t / fluid for t in (100, 400, 1600)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.01
    marginal = np.diff(table.rows[1600, -500:]).mean()
    assert marginal == pytest.approx(theta / last, rel=0.05)


def test_published_values_of_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """Row t = 999 at b = B for five budgets, and at b = 0."""
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    market = market_from(campaign)
    expected = {
        1969: 1.0282246712921606,
        3938: 1.4369844116458492,
        7877: 2.0061951215686302,
        15754: 2.755371727660529,
        31508: 3.61227762172619,
    }
    table = value_table(market, 1000, 31508)
    for budget, value in expected.items():
        assert table.value(999, budget) == pytest.approx(value, rel=1e-12)
    assert table.value(999, 0) == pytest.approx(1.4170514047853219e-05, rel=1e-12)
    assert [campaign.budget(1000, 2.0**-k) for k in range(5, 0, -1)] == list(expected)


def test_expected_clicks_of_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """T = 500, B = 984, 64 atoms of the validation pCTRs."""
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    theta = np.loadtxt(campaign_file("2997.validation.theta.txt"), usecols=2)
    market = market_from(campaign, theta, atoms=64)
    blind, aware = (value_table(m, 500, 984) for m in (market.blind(), market))
    worth = evaluate_policy(blind, market)
    values = [table.value(500, 984) for table in (blind, worth, aware)]
    np.testing.assert_allclose(values, [0.7324690, 0.8099615, 0.8130000], atol=1e-6)
    assert (blind.rows <= worth.rows + 1e-12).all() and (worth.rows <= aware.rows + 1e-12).all()


def test_the_table_is_not_copied_for_bidding() -> None:
    table = value_table(market_of(0, 1, 1), HORIZON, BUDGET)
    assert table.worth() is table.storage
    assert np.shares_memory(table.rows, np.asarray(table.storage))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon T is 0"),
        ({"budget": -1}, "budget B is -1"),
        ({"value_per_click": 0.0}, "value_per_click is 0"),
        ({"cost_weight": -1.0}, "cost_weight is -1"),
        ({"discount": 1.5}, "discount is 1.5"),
        ({"dtype": np.int32}, "expected float64 or float32"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value_table(market_of(0, 1, 1), **{"horizon": HORIZON, "budget": BUDGET, **change})


def test_outside_the_table() -> None:
    table = value_table(market_of(0, 1, 1), HORIZON, BUDGET)
    for t, b in ((HORIZON + 1, 0), (0, BUDGET + 1), (-1, 0)):
        with pytest.raises(ValueError, match="lies outside the table"):
            table.value(t, b)


def test_tables_of_no_or_unlike_markets() -> None:
    with pytest.raises(ValueError, match="markets is empty"):
        value_tables([], HORIZON, BUDGET)
    with pytest.raises(ValueError, match="expected one"):
        value_tables([market_of(0, 1, 1), market_of(0, 1, 1, delta_max=3)], HORIZON, BUDGET)
    with pytest.raises(ValueError, match="budgets has 1 entries"):
        value_tables([market_of(0, 1, 1)] * 2, HORIZON, [BUDGET])


def test_the_process_stays_in_single_precision() -> None:
    table: ValueTable = value_table(market_of(0, 1, 1), HORIZON, BUDGET)
    assert table.storage.dtype == np.float64
    assert jax.numpy.ones(1).dtype == np.float32
