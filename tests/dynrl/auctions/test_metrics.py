"""Figures by hand, hindsight against brute force, coverage of the bootstrap, off-policy estimates against truth."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.auctions.hindsight import hindsight
from dynrl.auctions.log import AuctionLog, EpisodeArrays
from dynrl.auctions.metrics import compare, metrics
from dynrl.auctions.off_policy import off_policy
from dynrl.auctions.replay import ReplayResult, settle
from dynrl.auctions.rules import AuctionRules


def result(clicks: Any, wins: Any, cost: Any, budget: Any, auctions: Any = None) -> ReplayResult:
    columns = [np.asarray(column, np.int64) for column in (clicks, wins, cost)]
    played = np.full(len(columns[0]), 10) if auctions is None else np.asarray(auctions)
    return ReplayResult(
        columns[0],
        columns[1],
        columns[2],
        np.multiply(columns[0], 0.5, dtype=np.float64),
        played,
        np.asarray(budget, np.int64),
    )


def test_figures_by_hand() -> None:
    figures = metrics(result([2, 3], [4, 6], [300, 700], [800, 800]))
    assert (figures.auctions, figures.clicks, figures.wins, figures.cost) == (20, 5, 10, 1000)
    assert (figures.win_rate, figures.cpm, figures.ecpc, figures.spend_ratio) == (0.5, 100, 0.2, 0.625)
    assert math.isnan(figures.optimum_ratio)


def test_division_by_zero_is_nan() -> None:
    figures = metrics(result([0], [0], [0], [0], [0]))
    for name in ("win_rate", "cpm", "ecpc", "spend_ratio"):
        assert math.isnan(getattr(figures, name))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[EpisodeArrays, AuctionRules]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 8))
    log = AuctionLog(
        (rng.random(rows) < 0.6).astype(np.uint8),
        rng.integers(0, 9, rows).astype(np.int32),
        rng.random(rows).round(2) * (rng.random(rows) < 0.9),
        np.where(rng.random(rows) < 0.3, rng.integers(0, 9, rows), 0).astype(np.int32),
    )
    tie: Any = draw(st.sampled_from(["win", "lose"]))
    pricing: Any = draw(st.sampled_from(["second", "first"]))
    horizon = max(rows - 1, 1)
    return log.episodes(horizon), AuctionRules(horizon, draw(st.integers(1, 25)), 7, tie, pricing)


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_hindsight_against_every_subset_of_rows(world: tuple[EpisodeArrays, AuctionRules]) -> None:
    episodes, rules = world
    found = hindsight(episodes, rules)
    for e in range(episodes.price.shape[1]):
        rows = []
        for i in range(rules.horizon):
            if not episodes.mask[i, e]:
                continue
            outcomes = [
                settle(np.int64(bid), episodes.price[i, e], episodes.floor[i, e], rules.tie, rules.pricing)
                for bid in range(min(rules.delta_max, rules.budget) + 1)
            ]
            costs = [int(cost) for won, cost in outcomes if won]
            if costs:
                rows.append((int(episodes.click[i, e]), float(episodes.theta[i, e]), min(costs)))
        best_clicks = best_theta = 0.0
        for count in range(len(rows) + 1):
            for chosen in itertools.combinations(rows, count):
                if sum(row[2] for row in chosen) <= rules.budget:
                    best_clicks = max(best_clicks, sum(row[0] for row in chosen))
                    best_theta = max(best_theta, sum(row[1] for row in chosen))
        assert found.clicks[e] == best_clicks
        assert found.cost[e] <= rules.budget
        largest = max((row[1] for row in rows), default=0.0)
        assert best_theta - 1e-12 <= found.expected_clicks[e] <= best_theta + largest + 1e-12


def test_hindsight_by_hand_and_as_a_ratio() -> None:
    log = AuctionLog(
        np.array([1, 1, 0, 1], np.uint8), np.array([9, 4, 1, 5], np.int32), np.array([0.9, 0.2, 0.1, 0.25])
    )
    rules = AuctionRules(4, 12, 300)
    best = hindsight(log.episodes(4), rules)
    assert (best.clicks[0], best.cost[0]) == (2, 9)
    # 0.9 for 9 and 0.1 for 1 first (0.1 a tick), then 2 of the 4 or 5 ticks at 0.05 a tick
    assert best.expected_clicks[0] == pytest.approx(1.1)
    assert metrics(result([1], [1], [4], [12]), best).optimum_ratio == 0.5
    with pytest.raises(ValueError, match="1 episodes, the replay of 2"):
        metrics(result([1, 1], [1, 1], [4, 4], [12, 12]), best)


def test_a_paired_interval_is_narrow_where_episodes_differ_alike() -> None:
    rng = np.random.default_rng(0)
    base = rng.poisson(50, 100)
    ours, theirs = result(base + 1, base, base, base), result(base, base, base, base)
    found = compare(ours, theirs)
    assert found.difference == 100 and found.difference_interval == (100, 100)
    assert found.gain == pytest.approx(100 / base.sum())
    assert found.gain_interval[1] - found.gain_interval[0] < 0.02 * found.gain + 0.002


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        ours, theirs = rng.poisson(3.3, 60), rng.poisson(3.0, 60)
        found = compare(result(ours, ours, ours, ours), result(theirs, theirs, theirs, theirs), seed=trial)
        hits += found.difference_interval[0] <= 60 * 0.3 <= found.difference_interval[1]
    # 95 % of 300 is 285; the bootstrap of 60 episodes covers a little less; four standard errors are 15
    assert 268 <= hits <= 298


def test_comparisons_that_make_no_sense() -> None:
    one, two = result([1], [1], [1], [1]), result([1, 2], [1, 2], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="different episodes"):
        compare(one, two)
    with pytest.raises(ValueError, match="confidence must lie"):
        compare(one, one, confidence=1.0)
    none = compare(one, result([0], [0], [0], [0]))
    assert math.isnan(none.gain) and none.difference == 1


LARGEST = 20


def randomised_log(rows: int, seed: int) -> tuple[AuctionLog, np.ndarray, np.ndarray]:
    """(log of uniform bids on 0..20, its theta, the market prices that only we know)."""
    rng = np.random.default_rng(seed)
    theta = rng.beta(2, 8, rows)
    price = rng.integers(1, LARGEST + 1, rows)
    bid = rng.integers(0, LARGEST + 1, rows)
    won = bid >= price
    click = (rng.random(rows) < theta) & won
    seen = np.where(won, price, -1).astype(np.int32)
    log = AuctionLog(click.astype(np.uint8), seen, theta, bid=bid.astype(np.int32), won=won)
    return log, theta, price


def new_bids(theta: np.ndarray) -> np.ndarray:
    return np.minimum(np.floor(60 * theta), LARGEST)


@pytest.mark.parametrize("method", ["ips", "snips", "dr"])
def test_off_policy_estimates_are_unbiased_with_honest_errors(method: Any) -> None:
    trials, misses = 40, []
    for seed in range(trials):
        log, theta, price = randomised_log(2000, seed)
        bids = new_bids(theta)
        reached = (LARGEST + 1 - bids) / (LARGEST + 1)
        # predictions that are wrong by a factor must not bias the doubly robust estimate
        chance = bids / LARGEST
        found = off_policy(
            log,
            bids,
            reached,
            method=method,
            predicted_clicks=0.7 * theta * chance,
            predicted_cost=1.2 * chance * (bids + 1) / 2,
        )
        clicks, cost = (theta * (price <= bids)).mean(), (price * (price <= bids)).mean()
        misses.append(((found.clicks - clicks) / found.clicks_error, (found.cost - cost) / found.cost_error))
    standard = np.array(misses)
    # mean of 40 standard scores within four standard errors; their spread near 1
    assert (np.abs(standard.mean(0)) < 4 / math.sqrt(trials)).all()
    assert (standard.std(0) < 1.5).all() and (standard.std(0) > 0.4).all()


def test_a_doubly_robust_estimate_is_the_more_precise_one() -> None:
    log, theta, _ = randomised_log(5000, 0)
    bids = new_bids(theta)
    reached, chance = (LARGEST + 1 - bids) / (LARGEST + 1), bids / LARGEST
    plain = off_policy(log, bids, reached)
    robust = off_policy(
        log,
        bids,
        reached,
        method="dr",
        predicted_clicks=theta * chance,
        predicted_cost=chance * (bids + 1) / 2,
    )
    assert robust.cost_error < 0.8 * plain.cost_error
    assert robust.clicks_error < plain.clicks_error
    assert plain.effective_rows < len(log)


def test_logs_that_cannot_answer_are_refused() -> None:
    log, theta, _ = randomised_log(50, 0)
    bids = new_bids(theta)
    with pytest.raises(ValueError, match="`bid` and `won`"):
        off_policy(dataclasses.replace(log, bid=None), bids, np.ones(50))
    with pytest.raises(ValueError, match="propensity must lie in"):
        off_policy(log, bids, np.zeros(50))
    with pytest.raises(ValueError, match="no logged bid is as high"):
        off_policy(log, np.full(50, 99), np.full(50, 0.1))
    with pytest.raises(ValueError, match="needs predicted_clicks"):
        off_policy(log, bids, np.ones(50), method="dr")
    with pytest.raises(ValueError, match=r"bids has shape \(3,\)"):
        off_policy(log, np.ones(3), np.ones(50))
