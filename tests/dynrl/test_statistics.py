"""Statistics against values by hand, SciPy and brute force."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynrl.statistics import (
    bootstrap_band,
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

scores = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 7), st.integers(1, 4)),
    elements=st.floats(-100, 100, allow_subnormal=False),
)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(np.array([0.0, 1, 2, 3, 4, 5, 6, 100])) == 3.5
    assert interquartile_mean(np.array([[1.0, 2, 3, 4], [0, 0, 9, 9]]), axis=1).tolist() == [2.5, 4.5]


@given(scores)
def test_interquartile_mean_is_scipys_trimmed_mean(values: np.ndarray) -> None:
    """rliable defines it as `scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=None)`."""
    trimmed = scipy.stats.trim_mean(values, 0.25, axis=None)
    assert interquartile_mean(values) == pytest.approx(trimmed, rel=1e-12, abs=1e-12)
    per_task = scipy.stats.trim_mean(values, 0.25, axis=0)
    np.testing.assert_allclose(interquartile_mean(values, axis=0), per_task, rtol=1e-12, atol=1e-12)


def test_bootstrap_draws_runs_within_tasks() -> None:
    """Runs that agree within each task leave nothing to chance, however much the tasks differ."""
    low, high = stratified_bootstrap(np.tile([0.0, 10.0, 50.0], (4, 1)), np.mean)
    assert low == high == 20.0


def test_bootstrap_of_the_mean_is_the_exact_one() -> None:
    """Two runs {0, 1}: the resampled mean is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4."""
    values = np.array([0.0, 1.0])
    assert stratified_bootstrap(values, np.mean, confidence=0.4) == (0.5, 0.5)
    assert stratified_bootstrap(values, np.mean, confidence=0.9) == (0.0, 1.0)


def test_bootstrap_interval_has_its_confidence() -> None:
    """Of 300 intervals at 90 % for the mean of 40 normals, 84 to 95 % hold the truth (three standard errors,
    and the percentile interval's own shortfall)."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        low, high = stratified_bootstrap(rng.normal(size=40), np.mean, 0.9, 400, seed)
        hits += low <= 0 <= high
    assert 0.84 <= hits / 300 <= 0.95


def test_bootstrap_repeats_with_its_seed() -> None:
    values = np.random.default_rng(1).normal(size=(6, 3))
    assert stratified_bootstrap(values, seed=4) == stratified_bootstrap(values, seed=4)
    assert stratified_bootstrap(values, seed=4) != stratified_bootstrap(values, seed=5)


@given(scores)
def test_band_surrounds_no_more_than_the_runs(values: np.ndarray) -> None:
    low, high = bootstrap_band(values, np.mean, resamples=50)
    assert np.all(low <= high)
    assert np.all(low >= values.min(axis=0) - 1e-9)
    assert np.all(high <= values.max(axis=0) + 1e-9)


@given(scores, hnp.arrays(np.float64, 5, elements=st.floats(-100, 100)))
def test_profile_counts(values: np.ndarray, thresholds: np.ndarray) -> None:
    counted = [sum(value > limit for value in values.flat) / values.size for limit in thresholds]
    np.testing.assert_allclose(performance_profile(values, thresholds), counted)


def test_probability_of_improvement_by_hand() -> None:
    assert probability_of_improvement(np.array([1.0, 2, 3]), np.array([0.0, 2])) == pytest.approx(4.5 / 6)


@given(scores)
def test_probability_of_improvement_is_mann_whitney(values: np.ndarray) -> None:
    others = values[::-1, :] * 0.5 + 1
    by_pairs = [
        np.mean([(x > y) + 0.5 * (x == y) for x, y in itertools.product(values[:, k], others[:, k])])
        for k in range(values.shape[1])
    ]
    by_scipy = [
        scipy.stats.mannwhitneyu(values[:, k], others[:, k]).statistic / len(values) ** 2
        for k in range(values.shape[1])
    ]
    measured = probability_of_improvement(values, others)
    assert measured == pytest.approx(np.mean(by_pairs))
    assert measured == pytest.approx(np.mean(by_scipy))
    assert measured + probability_of_improvement(others, values) == pytest.approx(1)


def test_optimality_gap_by_hand() -> None:
    assert optimality_gap(np.array([0.5, 2.0, 0.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "function", [interquartile_mean, stratified_bootstrap, optimality_gap, bootstrap_band]
)
def test_nan_and_nothing_are_refused(function: object) -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        function(np.array([1.0, np.nan]))  # type: ignore[operator]
    with pytest.raises(ValueError, match="there are no scores"):
        function(np.array([]))  # type: ignore[operator]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 dimensions"):
        stratified_bootstrap(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="the tasks differ: 1 against 2"):
        probability_of_improvement(np.zeros(3), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="confidence must lie in"):
        stratified_bootstrap(np.zeros(3), confidence=95)
