"""The statistics of a worst case, against cases worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from dynrl.robust.statistics import (
    aggregate,
    coverage,
    coverage_sentence,
    draws_for_coverage,
    lower_cvar,
    lower_quantile,
    mean_intervals,
    normalised_score,
    wilson_interval,
    worst_bootstrap,
    worst_interval,
)


def test_cvar_by_hand():
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    # alpha N = 2: the mean of 1 and 2; 1.5: (1 + 0.5 * 2) / 1.5; 0.5: the minimum; 5: the mean.
    assert lower_cvar(values, 0.4) == 1.5
    assert lower_cvar(values, 0.3) == pytest.approx(4 / 3, rel=1e-15)
    assert lower_cvar(values, 0.1) == lower_cvar(values, 0.2) == 1.0
    assert lower_cvar(values, 1.0) == 3.0


def test_cvar_takes_a_whole_number_of_cells_where_rounding_would_take_one_more():
    values = np.arange(30.0)
    assert lower_cvar(values, 0.1) == 1.0  # 0.1 * 30 is 3.0000000000000004
    assert lower_quantile(values, 0.1) == 2.0


def test_cvar_is_the_optimum_that_defines_it():
    # Rockafellar and Uryasev: CVaR = max over eta of eta - E[(eta - X)+] / alpha.
    rng = np.random.default_rng(0)
    for size, alpha in ((7, 0.23), (12, 0.5), (40, 0.05), (3, 0.9)):
        values = rng.normal(size=size)
        candidates = [eta - np.maximum(eta - values, 0).mean() / alpha for eta in values]
        assert lower_cvar(values, alpha) == pytest.approx(max(candidates), abs=1e-12)


@pytest.mark.parametrize(("alpha", "expected"), [(0.2, 1.0), (0.21, 2.0), (0.5, 3.0), (1.0, 5.0)])
def test_lower_quantile_by_hand(alpha, expected):
    assert lower_quantile(np.array([5.0, 1.0, 4.0, 2.0, 3.0]), alpha) == expected


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_a_share_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        lower_cvar(np.array([1.0]), alpha)


def test_nan_is_never_averaged():
    with pytest.raises(ValueError, match="1 NaN"):
        lower_cvar(np.array([1.0, math.nan]), 0.5)


def test_bonferroni_interval_by_hand():
    # Two models, three episodes: mean 2, s = 1, standard error 1/sqrt(3); t(1 - 0.05/2/2; 2 degrees) = 6.2053.
    returns = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]])
    low, high = mean_intervals(returns, delta=0.05)
    half = 6.205346816 / math.sqrt(3)
    np.testing.assert_allclose(low, [2 - half, 12 - half], rtol=1e-8)
    np.testing.assert_allclose(high, [2 + half, 12 + half], rtol=1e-8)
    assert worst_interval(returns) == (low[0], high[0])


def test_both_ends_of_the_worst_are_minima_of_their_own():
    # The model with the lowest lower end (wide) is not the one with the lowest upper end (narrow).
    returns = np.array([[0.0, 10.0, 20.0], [8.0, 9.0, 10.0]])
    low, high = mean_intervals(returns)
    assert worst_interval(returns) == (low[0], high[1])


def test_one_episode_says_nothing():
    assert worst_interval(np.array([[1.0], [2.0]])) == (-math.inf, math.inf)


def test_intervals_hold_for_all_models_at_once():
    # 400 repetitions of 20 models: the smallest true mean is missed in at most 5 %, up to three standard errors.
    rng = np.random.default_rng(1)
    truth = np.linspace(0, 1, 20)
    missed = 0
    for _ in range(400):
        low, high = mean_intervals(truth[:, None] + rng.normal(size=(20, 8)), delta=0.05)
        missed += bool(((truth < low) | (truth > high)).any())
    assert missed <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_bootstrap_of_models_without_noise_is_their_minimum():
    assert worst_bootstrap(np.array([[2.0] * 5, [1.0] * 5])) == (1.0, 1.0)


@pytest.mark.parametrize(("draws", "percent"), [(59, 5.0), (299, 1.0), (2995, 0.1)])
def test_coverage_of_the_spec(draws, percent):
    assert 100 * coverage(draws) <= percent < 100 * coverage(draws - 1)
    assert draws_for_coverage(percent / 100) == draws


def test_coverage_sentence_says_the_numbers():
    assert coverage_sentence(59) == (
        "After 59 independent uniform draws, with 95 % confidence at most 5 % of the set is worse than the worst of "
        "them."
    )


def test_coverage_is_what_happens():
    # The share of [0, 1] below the lowest of n uniform draws exceeds the bound with probability delta.
    lowest = np.random.default_rng(2).random((20_000, 30)).min(axis=1)
    exceeded = (lowest > coverage(30, 0.1)).mean()
    assert abs(exceeded - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 20_000)


def test_wilson_by_scipy():
    for failures, trials in ((0, 10), (3, 10), (10, 10), (7, 100)):
        expected = stats.binomtest(failures, trials).proportion_ci(method="wilson")
        np.testing.assert_allclose(
            wilson_interval(failures, trials), (expected.low, expected.high), atol=1e-12
        )


def test_normalised_score():
    # Of table 7.1: baseline 0.02, target 3.56, IWOCS 10 on InvertedPendulum 2.
    assert normalised_score(10, 0.02, 3.56) == pytest.approx(2.82, abs=0.005)
    assert normalised_score(1.0, 2.0, 1.0) == -1.0  # the distance counts, not its sign
    with pytest.warns(UserWarning, match="no scale"):
        assert math.isnan(normalised_score(5.0, 1e6, 1e6 + 1e-4))


def test_aggregate_of_the_published_worst_cases():
    # Grid IWOCS in table 7.1: mean 2.04, median 1.18; without the two Hopper sets the mean is 1.22.
    scores = [0.27, 0.28, 1.13, 0.61, 6.52, 4.94, 1.02, 1.18, 2.82, 1.34, 2.33, math.nan]
    every = aggregate(np.array(scores))
    assert every.mean == pytest.approx(2.04, abs=0.005)
    assert every.median == 1.18
    assert every.interquartile_mean == pytest.approx(np.mean([0.61, 1.02, 1.13, 1.18, 1.34, 2.33, 2.82]))
    assert aggregate(np.array(scores[:4] + scores[6:])).mean == pytest.approx(1.22, abs=0.005)
