"""Nature's worst row is optimal: against linear programs, and against the duals of the divergence balls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from dynrl.robust.tabular import (
    SAKL,
    SAL1,
    SAChi2,
    SAContamination,
    SAFinite,
    SAInterval,
    SAWasserstein,
)


@st.composite
def rows_and_targets(draw):
    """A nominal row with zeros and a vector of targets with ties, of the same length."""
    n = draw(st.integers(1, 6))
    weights = draw(st.lists(st.integers(0, 5), min_size=n, max_size=n).filter(any))
    entry = st.one_of(st.integers(-3, 3), st.floats(-10, 10, allow_subnormal=False))
    return np.array(weights) / sum(weights), np.array(draw(st.lists(entry, min_size=n, max_size=n)), float)


@st.composite
def rows_and_bounds(draw):
    nominal, targets = draw(rows_and_targets())
    n = len(nominal)
    down = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    up = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    return nominal * down, np.minimum(nominal + up, 1.0), targets


def solved(make, row, targets):
    """(minimum, minimiser) of a set with one pair that matters; the minimum the fast way agrees."""
    n = len(row)
    ambiguity = make(np.broadcast_to(row, (n, 1, n)))
    minimum, rows = ambiguity.minimise(targets)
    assert ambiguity.contains(rows).all()
    assert rows.min() >= 0 and np.abs(rows.sum(axis=-1) - 1).max() <= 1e-12
    size = max(1.0, np.abs(targets).max())
    assert np.abs(ambiguity.minimum(targets) - minimum).max() <= 1e-12 * size
    own = np.broadcast_to(targets, (n, 1, n)).copy()
    assert np.abs(ambiguity.minimise(own)[0] - minimum).max() <= 1e-12 * size
    return minimum[0, 0], rows[0, 0]


def linear_program(targets, **constraints):
    exact = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    done = linprog(targets, method="highs", options=exact, **constraints)
    assert done.status == 0
    return done.fun


@settings(max_examples=40)
@given(rows_and_targets(), st.floats(0, 2.5))
def test_l1_equals_linear_program(given_row, budget):
    row, targets = given_row
    n = len(row)
    ours, _ = solved(lambda nominal: SAL1(nominal, budget), row, targets)
    theirs = linear_program(
        np.concatenate([targets, np.zeros(n)]),
        A_ub=np.block(
            [
                [np.eye(n), -np.eye(n)],
                [-np.eye(n), -np.eye(n)],
                [np.zeros((1, n)), np.ones((1, n))],
            ]
        ),
        b_ub=np.concatenate([row, -row, [budget]]),
        A_eq=np.concatenate([np.ones(n), np.zeros(n)])[None],
        b_eq=[1.0],
    )
    assert ours == pytest.approx(theirs, abs=1e-7)


@settings(max_examples=40)
@given(rows_and_bounds())
def test_interval_equals_linear_program(case):
    lower, upper, targets = case
    n = len(lower)
    shape = n, 1, n
    ambiguity = SAInterval(np.broadcast_to(lower, shape), np.broadcast_to(upper, shape))
    minimum, rows = ambiguity.minimise(targets)
    assert ambiguity.contains(rows).all() and ambiguity.contains(ambiguity.nominal_kernel).all()
    theirs = linear_program(
        targets, A_eq=np.ones((1, n)), b_eq=[1.0], bounds=list(zip(lower, upper, strict=True))
    )
    assert minimum[0, 0] == pytest.approx(theirs, abs=1e-7)


@settings(max_examples=40)
@given(rows_and_targets(), st.floats(0, 1))
def test_contamination_is_a_mixture(given_row, share):
    row, targets = given_row
    ours, _ = solved(lambda nominal: SAContamination(nominal, share), row, targets)
    assert ours == pytest.approx((1 - share) * (row @ targets) + share * targets.min(), abs=1e-12)


@settings(max_examples=40)
@given(rows_and_targets(), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_wasserstein_equals_transport_problem(given_row, radius, seed):
    row, targets = given_row
    n = len(row)
    cost = np.random.default_rng(seed).integers(0, 4, (n, n)) * 0.5 * (1 - np.eye(n))
    ours, _ = solved(lambda nominal: SAWasserstein(nominal, cost, radius), row, targets)
    theirs = linear_program(
        np.tile(targets, n),
        A_ub=cost.ravel()[None],
        b_ub=[radius],
        A_eq=np.kron(np.eye(n), np.ones(n)),
        b_eq=row,
    )
    assert ours == pytest.approx(theirs, abs=1e-7)


@settings(max_examples=40)
@given(rows_and_targets(), st.one_of(st.just(0.0), st.floats(1e-6, 4)))
def test_kl_equals_its_dual(given_row, radius):
    row, targets = given_row
    ours, _ = solved(lambda nominal: SAKL(nominal, radius), row, targets)
    support = row > 0
    p, v = row[support], targets[support]
    shifted = v - v.min()

    def dual(log_price):
        price = np.exp(log_price)
        return price * np.log(p @ np.exp(-shifted / price)) + price * radius

    best = minimize_scalar(dual, bounds=(-25, 12), method="bounded", options={"xatol": 1e-12})
    assert ours >= v.min() - 1e-12
    if radius == 0:
        assert ours == pytest.approx(row @ targets, abs=1e-12)
    elif radius >= -np.log(p[shifted == 0].sum()):
        assert ours == pytest.approx(v.min(), abs=1e-12)
    else:
        assert ours == pytest.approx(v.min() - dual(best.x), abs=1e-8)


@settings(max_examples=40)
@given(rows_and_targets(), st.one_of(st.just(0.0), st.floats(1e-6, 6)))
def test_chi2_equals_its_dual(given_row, radius):
    row, targets = given_row
    ours, _ = solved(lambda nominal: SAChi2(nominal, radius), row, targets)
    support = row > 0
    p, v = row[support], targets[support]

    def dual(level):
        return np.sqrt(1 + radius) * np.sqrt(p @ np.maximum(level - v, 0) ** 2) - level

    if radius == 0:
        assert ours == pytest.approx(row @ targets, abs=1e-12)
    else:
        high = v.min() + (np.ptp(v) + 1) * (1 + 2 / np.sqrt(radius))
        best = minimize_scalar(dual, bounds=(v.min() - 1, high), method="bounded", options={"xatol": 1e-12})
        assert ours == pytest.approx(-best.fun, abs=1e-7)
        assert ours >= -best.fun - 1e-9


def test_kl_of_two_states_is_the_root_of_the_binary_divergence():
    minimum, rows = SAKL(np.full((2, 1, 2), 0.5), 0.1).minimise(np.array([0.0, 1.0]))
    p = rows[0, 0, 1]
    assert p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p)) == pytest.approx(0.1, abs=1e-11)
    assert minimum[0, 0] == p < 0.5


def test_chi2_of_two_states_is_mean_minus_deviations():
    minimum, _ = SAChi2(np.full((2, 1, 2), 0.5), 0.16).minimise(np.array([0.0, 1.0]))
    assert minimum[0, 0] == pytest.approx(0.5 - 0.5 * 0.4, abs=1e-14)


def test_kl_survives_values_that_would_overflow():
    targets = np.array([1e6, 0.0, 1e-9])
    minimum, rows = SAKL(np.broadcast_to([0.4, 0.3, 0.3], (3, 1, 3)), 0.5).minimise(targets)
    assert np.isfinite(minimum).all() and 0 <= minimum[0, 0] < 0.4e6
    assert np.isfinite(rows).all()


def test_finite_takes_the_lowest_index_of_ties_and_obeys_the_mask():
    rows = np.zeros((2, 1, 3, 2))
    rows[..., 0] = [0.0, 0.5, 0.5]
    rows[..., 1] = 1 - rows[..., 0]
    minimum, worst = SAFinite(rows, [[[False, True, True]]] * 2).minimise(np.array([1.0, 1.0]))
    assert (worst == 0.5).all() and (minimum == 1).all()
    assert (SAFinite(rows).minimise(np.array([1.0, 0.0]))[0] == 0).all()


def test_budget_above_two_is_the_whole_simplex():
    ambiguity = SAL1(np.full((2, 1, 2), 0.5), 7.0)
    assert (ambiguity.budget == 2).all()
    assert (ambiguity.minimise(np.array([1.0, -1.0]))[0] == -1).all()


def test_transport_along_a_line_of_equal_slopes_keeps_all_mass():
    """Targets fall as fast as the price grows, up to rounding: every plan within the budget is worth the same."""
    places = np.cumsum(np.full(40, 0.1))
    cost = np.abs(np.subtract.outer(places, places))
    rng = np.random.default_rng(0)
    ambiguity = SAWasserstein(rng.dirichlet(np.ones(40), (40, 2)), cost, 0.7)
    minimum, rows = ambiguity.minimise(-places)
    np.testing.assert_allclose(rows.sum(axis=-1), 1, atol=1e-12)
    means = ambiguity.nominal @ -places
    np.testing.assert_allclose(minimum, np.maximum(means - 0.7, -places[-1]), atol=1e-12)
