"""The model of a dynamical linear bandit: closed forms, worked numbers, brute force, refusals."""

import copy
import pickle

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.bandits import (
    DLBSystem,
    FiniteSet,
    UnstableSystemError,
    compiled,
    mean_regret,
    pseudo_regret,
    reward_regret,
)
from dynrl.bandits.growth import spectral_radius, transient_growth

DEFECTIVE = np.array([[0.9, 1.0], [0.0, 0.9]])
ROTATION = 0.8 * np.array([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]])


def worked_example(**kwargs) -> DLBSystem:
    """Section 10 of the specification."""
    return DLBSystem([[0.5]], [[1.0, 0.2]], [0.4], [0.1, 0.3], **kwargs)


def random_system(rng: np.random.Generator, n: int, d: int, rho: float = 0.9, **kwargs) -> DLBSystem:
    A = rng.standard_normal((n, n))
    if n:
        A *= rho / np.abs(np.linalg.eigvals(A)).max()
    return DLBSystem(A, rng.standard_normal((n, d)), rng.standard_normal(n), rng.standard_normal(d), **kwargs)


def test_worked_example() -> None:
    system = worked_example()
    np.testing.assert_allclose(
        system.markov_parameters(3), [[0.1, 0.3], [0.4, 0.08], [0.2, 0.04]], rtol=1e-14
    )
    np.testing.assert_allclose(system.h, [0.9, 0.46], rtol=1e-14)
    actions = FiniteSet([[1, 0], [0, 1.1], [0.6, 0.65]])
    np.testing.assert_allclose(system.value(actions.actions), [0.9, 0.506, 0.839], rtol=1e-14)
    assert system.optimal_value(actions) == pytest.approx(0.9, rel=1e-14)
    np.testing.assert_array_equal(system.optimal_action(actions), [1, 0])
    bounds = system.bounds()
    np.testing.assert_allclose(bounds, [np.sqrt(0.1), 0.4, np.sqrt(1.04), 1.0, 0.5], rtol=1e-14)


@given(seed=st.integers(0, 2**31), n=st.integers(0, 6), d=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_h_is_the_sum_of_the_markov_parameters(seed: int, n: int, d: int) -> None:
    system = random_system(np.random.default_rng(seed), n, d)
    summed = system.markov_parameters(1000).sum(0)
    np.testing.assert_allclose(
        system.h, summed, atol=1e-12 * (1 + system.transient_growth()) ** 2, rtol=1e-10
    )


def test_h_equals_ten_thousand_markov_parameters() -> None:
    system = random_system(np.random.default_rng(0), 3, 3, rho=0.95)
    np.testing.assert_allclose(system.h, system.markov_parameters(10_000).sum(0), rtol=1e-12)


def test_spectral_radius_of_complex_eigenvalues() -> None:
    assert spectral_radius(ROTATION) == pytest.approx(0.8, rel=1e-14)
    assert spectral_radius(np.diag([0.1, -0.7])) == pytest.approx(0.7)
    assert spectral_radius(np.zeros((0, 0))) == 0.0


@pytest.mark.parametrize("similarity", [np.eye(3), np.random.default_rng(1).standard_normal((3, 3))])
def test_nilpotent_matrices_have_radius_zero_and_finite_growth_above_it(similarity: np.ndarray) -> None:
    A = np.linalg.solve(similarity, np.eye(3, k=1) @ similarity)
    system = DLBSystem(A, np.ones((3, 1)), np.ones(3), [1.0])
    assert system.rho == 0.0
    assert system.transient_growth() == np.inf
    expected = max(1.0, *(np.linalg.norm(np.linalg.matrix_power(A, k), 2) / 0.1**k for k in (1, 2)))
    assert system.transient_growth(0.1) == pytest.approx(expected)
    assert system.bounds().rho == pytest.approx(0.1)
    np.testing.assert_allclose(system.h, system.markov_parameters(4).sum(0), rtol=1e-10)


def test_growth_of_a_defective_matrix_is_infinite_at_its_radius_only() -> None:
    assert transient_growth(DEFECTIVE, 0.9) == np.inf
    for level in (0.9001, 0.91, 0.95, 1.0):
        powers = np.arange(0, 200_000 if level < 0.9005 else 5000)
        # ‖[[a, τa^{τ-1}], [0, a]]^τ‖ in closed form through its singular values
        off = powers / 0.9
        norms = np.exp(powers * np.log(0.9 / level)) * (off + np.sqrt(off**2 + 4)) / 2
        assert transient_growth(DEFECTIVE, level) == pytest.approx(norms.max(), rel=1e-9)


def test_growth_just_above_the_radius_is_found_beyond_the_powers_that_are_listed() -> None:
    level = 0.9 * (1 + 1e-6)
    assert transient_growth(DEFECTIVE, level) == pytest.approx(1 / (0.9 * np.e * 1e-6), rel=1e-3)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 5), margin=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
@settings(max_examples=30, deadline=None)
def test_growth_equals_brute_force(seed: int, n: int, margin: float) -> None:
    A = random_system(np.random.default_rng(seed), n, 1, rho=0.8).A
    level = spectral_radius(A) * (1 + margin)
    power, highest = np.eye(n), 1.0
    for _ in range(3000):
        power = power @ (A / level)
        highest = max(highest, np.linalg.norm(power, 2))
    assert transient_growth(A, level) == pytest.approx(highest, rel=1e-4)
    assert transient_growth(A, level) >= highest * (1 - 1e-9)


def test_growth_of_normal_and_empty_matrices_is_one() -> None:
    for A in (np.diag([0.2, 0.0, 0.1]), ROTATION, np.zeros((2, 2)), np.zeros((0, 0))):
        assert transient_growth(A, spectral_radius(A)) == pytest.approx(1.0, abs=1e-12)
    assert transient_growth(ROTATION, 0.79) == np.inf


def test_a_system_without_state_is_a_linear_bandit() -> None:
    system = DLBSystem(np.zeros((0, 0)), np.zeros((0, 2)), [], [1.0, 2.0], sigma_y=0.5)
    np.testing.assert_array_equal(system.h, [1.0, 2.0])
    assert system.rho == 0.0 and system.transient_growth() == 1.0
    assert system.reward_variance() == 0.25
    assert system.steady_state([1.0, 1.0]).shape == (0,)
    assert system.bounds() == (pytest.approx(np.sqrt(5)), 0.0, 0.0, 1.0, 0.0)
    np.testing.assert_array_equal(system.markov_parameters(3), [[1, 2], [0, 0], [0, 0]])


def test_steady_state_is_a_fixed_point_and_gives_the_value() -> None:
    rng = np.random.default_rng(2)
    system = random_system(rng, 4, 3, sigma_x=0.3, sigma_y=0.2)
    u = rng.standard_normal((5, 2, 3))
    x = system.steady_state(u)
    np.testing.assert_allclose(x @ system.A.T + u @ system.B.T, x, atol=1e-12)
    np.testing.assert_allclose(x @ system.omega + u @ system.theta, system.value(u), rtol=1e-12)
    covariance = system.state_covariance()
    np.testing.assert_allclose(system.A @ covariance @ system.A.T + 0.09 * np.eye(4), covariance, atol=1e-12)
    series = sum(0.09 * (system.omega @ np.linalg.matrix_power(system.A, k)) ** 2 for k in range(400))
    assert system.reward_variance() == pytest.approx(series.sum() + 0.04, rel=1e-10)


def test_state_space_outputs_are_summed() -> None:
    rng = np.random.default_rng(3)
    A, B, C, D = 0.3 * np.eye(2), rng.random((2, 3)), rng.random((4, 2)), rng.random((4, 3))
    system = DLBSystem.from_state_space(A, B, C, D, sigma_out=0.1, sigma_x=0.2)
    np.testing.assert_allclose(system.omega, C.sum(0))
    np.testing.assert_allclose(system.theta, D.sum(0))
    assert (system.sigma_x, system.sigma_y) == (0.2, pytest.approx(0.2))
    weighted = DLBSystem.from_state_space(A, B, C, D, weights=[0, 3, 0, 4], sigma_out=0.1)
    np.testing.assert_allclose(weighted.h, [0, 3, 0, 4] @ (D + C @ np.linalg.solve(np.eye(2) - A, B)))
    assert weighted.sigma_y == pytest.approx(0.5)


def test_regrets_by_hand() -> None:
    system, arms = worked_example(), FiniteSet([[1, 0], [0, 1.1]])
    actions = np.array([[0, 1.1], [1, 0], [1, 0]])
    np.testing.assert_allclose(pseudo_regret(system, arms, actions), [0.394, 0.394, 0.394], atol=1e-14)
    # y = 0.33, then 0.1 + 0.4·0.22, then 0.1 + 0.4·(0.11 + 1)
    np.testing.assert_allclose(system.expected_rewards(actions), [0.33, 0.188, 0.544], atol=1e-14)
    np.testing.assert_allclose(mean_regret(system, arms, actions), [0.57, 1.282, 1.638], atol=1e-14)
    np.testing.assert_allclose(reward_regret(system, arms, [1.0, 0.0, 0.9]), [-0.1, 0.8, 0.8], atol=1e-14)
    assert pseudo_regret(system, arms, np.zeros((0, 2))).shape == (0,)
    np.testing.assert_allclose(system.expected_rewards(actions[:1], x0=[2.0]), [1.13])


def test_mean_and_pseudo_regret_of_a_constant_policy_differ_by_a_bounded_transient() -> None:
    system = random_system(np.random.default_rng(4), 3, 2)
    arms = FiniteSet(np.eye(2))
    actions = np.tile(arms.actions[0], (2000, 1))
    gap = mean_regret(system, arms, actions) - pseudo_regret(system, arms, actions)
    # Σ_t ω·(x∞ − x_t) = ω(I − A)^{-1}x∞ for a start at 0
    limit = system.omega @ np.linalg.solve(np.eye(3) - system.A, system.steady_state(arms.actions[0]))
    assert gap[-1] == pytest.approx(limit, rel=1e-9)


def test_arrays_are_private_float64_and_read_only() -> None:
    A = np.array([[0.5]], dtype=np.float32)
    system = DLBSystem(A, [[1, 2]], [1], [0, 1])
    A[:] = 7
    assert system.A[0, 0] == 0.5 and system.theta.dtype == np.float64
    for clone in (pickle.loads(pickle.dumps(system)), copy.deepcopy(system)):
        np.testing.assert_array_equal(clone.B, system.B)
        for array in (clone.A, clone.B, clone.omega, clone.theta, clone.x0, clone.h):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": np.ones((2, 3))}, r"square.*\(2, 3\)"),
        ({"A": [0.5]}, r"A must have 2 axes, but has shape \(1,\)"),
        ({"B": [1.0, 0.2]}, r"B must have 2 axes, but has shape \(2,\)"),
        ({"B": [[1.0], [0.2]]}, r"B must have shape .*\(1, 2\) to match A \(1, 1\).*but has shape \(2, 1\)"),
        ({"omega": [1.0, 2.0]}, r"omega must have shape \(1,\).*\(1, 1\).*\(2,\)"),
        ({"theta": [1.0, 2.0, 3.0]}, r"B must have shape .*\(1, 3\).*\(1, 2\)"),
        ({"x0": [0.0, 0.0]}, r"x0 must have shape \(1,\).*\(2,\)"),
        ({"A": [[np.nan]]}, r"A must be finite, but entry \(0, 0\) is nan"),
        ({"theta": [0.0, np.inf]}, r"theta must be finite, but entry \(1,\) is inf"),
        ({"sigma_x": -0.1}, "sigma_x must be at least 0, but is -0.1"),
        ({"sigma_y": np.nan}, "sigma_y must be finite"),
        ({"omega": ["a"]}, "omega must be numeric"),
    ],
)
def test_bad_systems_are_refused(changes: dict, message: str) -> None:
    good = {"A": [[0.5]], "B": [[1.0, 0.2]], "omega": [0.4], "theta": [0.1, 0.3]}
    with pytest.raises(ValueError, match=message):
        DLBSystem(**{**good, **changes})


def test_unstable_systems_can_only_be_simulated() -> None:
    arms = FiniteSet(np.eye(2))
    with pytest.raises(UnstableSystemError, match=r"spectral radius of A is 1\.25"):
        DLBSystem([[-1.25]], [[1.0, 0.2]], [0.4], [0.1, 0.3])
    system = DLBSystem([[1.0]], [[1.0, 0.2]], [0.4], [0.1, 0.3], allow_unstable=True)
    np.testing.assert_allclose(system.expected_rewards([[1, 0]] * 3), [0.1, 0.5, 0.9])
    for use in (
        lambda: system.h,
        lambda: system.optimal_value(arms),
        lambda: system.value([1, 0]),
        lambda: pseudo_regret(system, arms, [[1, 0]]),
        lambda: reward_regret(system, arms, [1.0]),
        lambda: system.steady_state([1, 0]),
        lambda: system.reward_variance(),
        lambda: system.bounds(),
    ):
        with pytest.raises(UnstableSystemError, match="must be below 1"):
            use()


def test_action_sets_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dimension 3.*shape \(2,\)"):
        worked_example().optimal_action(FiniteSet(np.eye(3)))
    with pytest.raises(ValueError, match=r"shape \(..., 2\).*\(3,\)"):
        worked_example().value([1, 2, 3])


def test_compiled_functions_agree_with_numpy() -> None:
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        h, radius = jax.jit(compiled.cumulative_markov), jax.jit(compiled.spectral_radius)
        for _ in range(5):
            system = random_system(rng, 3, 2, rho=rng.uniform(0.1, 0.99))
            np.testing.assert_allclose(h(system.params), system.h, rtol=1e-10)
            assert float(radius(system.A)) == pytest.approx(system.rho, rel=1e-12)
        assert float(radius(np.eye(3, k=1))) == 0.0
        assert float(radius(np.zeros((3, 3)))) == 0.0
        unstable = DLBSystem(1.1 * np.eye(3), np.ones((3, 2)), np.ones(3), np.ones(2), allow_unstable=True)
        assert np.isnan(h(unstable.params)).all()
    stateless = DLBSystem(np.zeros((0, 0)), np.zeros((0, 2)), [], [1.0, 2.0])
    np.testing.assert_array_equal(compiled.cumulative_markov(stateless.params), [1.0, 2.0])
