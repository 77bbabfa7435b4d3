"""First-price plans against brute force, and against bidders that know less."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.shading import ShadingBidder
from dynrl.auctions.bidder import Request
from dynrl.auctions.market import Market
from dynrl.auctions.serving import load
from dynrl.auctions.value import (
    evaluate_bidder,
    first_price_bidder,
    first_price_table,
    value_table,
    win_rates,
)

DELTA_MAX, HORIZON, BUDGET = 5, 4, 12
few = settings(max_examples=20, deadline=None)


def market_of(seed: int, segments: int = 2, atoms: int = 2, delta_max: int = DELTA_MAX) -> Market:
    rng = np.random.default_rng(seed)
    pmf = rng.dirichlet(np.full(delta_max + 1, 0.7), segments) * rng.choice([1.0, 0.8])
    theta = np.sort(rng.random((segments, atoms)) ** 3, axis=1)
    return Market(pmf, theta, rng.dirichlet(np.ones(atoms), segments), rng.dirichlet(np.ones(segments)))


def by_brute_force(
    market: Market, tie: str, per_click: float, per_tick: float, discount: float
) -> tuple[np.ndarray, dict[tuple[int, int, int, int], int]]:
    """(V `[T + 1, B + 1]`, smallest best bid of each (t, b, segment, atom)) by trying every bid."""
    value, best = np.zeros((HORIZON + 1, BUDGET + 1)), {}
    for t in range(1, HORIZON + 1):
        later = discount * value[t - 1]
        for b in range(BUDGET + 1):
            value[t, b] = later[b]
            for i, share in enumerate(market.share):
                for k, (theta, mass) in enumerate(zip(market.theta[i], market.theta_mass[i], strict=True)):
                    gains = []
                    for bid in range(min(b, DELTA_MAX) + 1):
                        chance = market.pmf[i, : bid + (tie == "win")].sum()
                        gains.append(
                            chance * (per_click * theta - per_tick * bid + later[b - bid] - later[b])
                        )
                    value[t, b] += share * mass * max(gains)
                    best[t, b, i, k] = int(np.argmax(gains))
    return value, best


@few
@given(
    seed=st.integers(0, 2**32 - 1),
    tie=st.sampled_from(["win", "lose"]),
    per_tick=st.sampled_from([0.0, 0.5]),
    discount=st.floats(0.5, 1),
)
def test_the_plan_is_the_best_of_all_bids(seed: int, tie: str, per_tick: float, discount: float) -> None:
    market, objective = market_of(seed), (3.0, per_tick, discount)
    names = ("value_per_click", "cost_weight", "discount")
    table = first_price_table(market, HORIZON, BUDGET, tie=tie, **dict(zip(names, objective, strict=True)))  # type: ignore[arg-type]
    expected, best = by_brute_force(market, tie, *objective)
    np.testing.assert_allclose(table.rows, expected, rtol=1e-12, atol=1e-14)
    bidder = first_price_bidder(table, market, tie=tie)
    earned = evaluate_bidder(
        bidder,
        market,
        HORIZON,
        BUDGET,
        pricing="first",
        tie=tie,
        **dict(zip(names, objective, strict=True)),  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(earned.rows, expected, rtol=1e-12, atol=1e-14)
    policy = bidder.serving()
    found = {key: policy.bid(*key[:2], market.theta[key[2:]], 0, key[2]) for key in best}
    # bids of equal gain up to rounding may differ; their worth was compared above
    assert np.mean([found[key] == best[key] for key in best]) > 0.98


def test_tiles_make_no_difference() -> None:
    """1500 ticks are two tiles; the plain row-wise recursion has none."""
    market, budget = market_of(5, 1, 3, delta_max=40), 1500
    wins, last = win_rates(market)[0], np.zeros(budget + 1)
    for _ in range(20):
        best = np.zeros((3, budget + 1))
        for bid in range(41):
            gain = market.theta[0][:, None] + last[: budget + 1 - bid] - last[bid:]
            best[:, bid:] = np.maximum(best[:, bid:], wins[bid] * gain)
        last = last + market.theta_mass[0] @ best
    np.testing.assert_allclose(first_price_table(market, 20, budget).rows[20], last, rtol=1e-12)


def heavy_tailed() -> Market:
    rng = np.random.default_rng(0)
    pmf = rng.gamma(2, size=61) * np.exp(-np.arange(61) / 15)
    return Market.single(pmf / pmf.sum(), rng.lognormal(-5, 1, 8))


def test_a_shaded_bid_is_never_above_the_highest_price_worth_paying() -> None:
    market, horizon, budget = heavy_tailed(), 30, 200
    table = first_price_table(market, horizon, budget)
    policy, theta = first_price_bidder(table, market).serving(), market.theta[0]
    for t in range(1, horizon + 1, 4):
        row = table.rows[t - 1]
        for b in range(0, budget + 1, 7):
            for value in theta.tolist():
                worth = [d for d in range(min(b, 60) + 1) if value + row[b - d] - row[b] >= 0]
                assert policy.bid(t, b, value) <= worth[-1]


def test_better_than_truth_and_than_shading_that_ignores_the_budget() -> None:
    """Exact expected clicks; the peers may choose the best of twelve values of a click, in ticks."""
    market, horizon, budget = heavy_tailed(), 60, 200
    plan = first_price_table(market, horizon, budget).value(horizon, budget)
    win = win_rates(market)
    for value in np.geomspace(200, 20_000, 12):
        for peer in (LinearBidder(value, 60), ShadingBidder(value, win, 60)):
            earned = evaluate_bidder(peer, market, horizon, budget, pricing="first")
            assert earned.value(horizon, budget) < plan


def test_first_price_never_earns_more_than_second() -> None:
    market = heavy_tailed()
    first, second = first_price_table(market, 20, 100).rows, value_table(market, 20, 100).rows
    assert (first <= second + 1e-12).all() and first[20, 50] < 0.9 * second[20, 50]


def test_the_served_policy_bids_like_the_bidder_also_outside_the_table(tmp_path: Path) -> None:
    market = heavy_tailed()
    bidder = first_price_bidder(first_price_table(market, 20, 100), market, delta_max=50)
    policy = load(bidder.serving().save(tmp_path / "policy"))
    rng = np.random.default_rng(0)
    t, b, theta = rng.integers(1, 80, 300), rng.integers(0, 400, 300), rng.lognormal(-5, 1, 300)
    with jax.enable_x64(True):
        zero = jnp.zeros(300, jnp.int64)
        request = Request(jnp.asarray(t), jnp.asarray(b), jnp.asarray(theta), zero, zero)
        bids = jax.jit(jax.vmap(lambda each: bidder.bid((), each)[0]))(request)
    served = [policy.bid(*each) for each in zip(t.tolist(), b.tolist(), theta.tolist(), strict=True)]
    np.testing.assert_array_equal(served, bids)
    assert max(served) <= 50
    assert policy.bid(40, 80 * 2, 0.01) == policy.bid(20, 80, 0.01)
    assert policy.bid(20, 200, 0.01) == policy.bid(10, 100, 0.01)


@pytest.mark.parametrize("tie", ["win", "lose"])
def test_win_rates(tie: str) -> None:
    market = Market.single([0.5, 0.2, 0.1], [0.1])
    expected = [0.5, 0.7, 0.8] if tie == "win" else [0.0, 0.5, 0.7]
    np.testing.assert_allclose(win_rates(market, tie), [expected])
