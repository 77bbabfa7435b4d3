"""Value iteration, policy iteration and brute force agree; solutions are saddle points within their sets."""

import numpy as np
import pytest

from dynrl.robust.tabular import (
    SAKL,
    SAL1,
    SL1,
    RobustMDP,
    SAChi2,
    SAContamination,
    SAFinite,
    SAInterval,
    SAWasserstein,
    modified_robust_policy_iteration,
    optimal,
    policy_values,
    robust_policy_evaluation,
    robust_policy_iteration,
    robust_value_iteration,
)
from dynrl.testing.robust_problems import brute_force, random_finite_problem

STATES, ACTIONS = 5, 3
COST = np.abs(np.subtract.outer(np.arange(STATES), np.arange(STATES))).astype(float)

BALLS = {
    "l1": SAL1,
    "kl": SAKL,
    "chi2": SAChi2,
    "contamination": lambda nominal, size: SAContamination(nominal, min(size, 1.0)),
    "interval": lambda nominal, size: SAInterval(
        np.maximum(nominal - size, 0), np.minimum(nominal + size, 1)
    ),
    "wasserstein": lambda nominal, size: SAWasserstein(nominal, COST, size),
    "s-rectangular l1": SL1,
}
SIZES = (0.0, 0.1, 0.4, 1.5)


def problem(name, size, seed=0, gamma=0.9, successor=False):
    rng = np.random.default_rng(seed)
    nominal = rng.dirichlet(np.full(STATES, 0.5), (STATES, ACTIONS))
    nominal[0, 0] = [0, 0.5, 0.5, 0, 0]
    shape = (STATES, ACTIONS, STATES) if successor else (STATES, ACTIONS)
    terminal = np.arange(STATES) == STATES - 1
    return RobustMDP(rng.normal(size=shape), gamma, 0, BALLS[name](nominal, size), terminal)


def agrees_with_brute_force(seed):
    mdp = random_finite_problem(seed)
    by_policies, by_kernels = brute_force(mdp)
    iterated, exact = robust_value_iteration(mdp, 1e-9), robust_policy_iteration(mdp)
    for value in (by_policies, by_kernels, iterated.value):
        np.testing.assert_allclose(value, exact.value, rtol=0, atol=1e-8)
    assert mdp.ambiguity.contains(exact.worst_kernel).all()
    np.testing.assert_allclose(optimal(mdp, exact.worst_kernel).value, exact.value, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        policy_values(mdp, exact.worst_kernel[None], exact.policy)[0], exact.value, rtol=0, atol=1e-8
    )


def test_value_iteration_policy_iteration_and_brute_force_agree():
    for seed in range(10):
        agrees_with_brute_force(seed)


@pytest.mark.slow
def test_they_agree_on_two_hundred_problems():
    for seed in range(200):
        agrees_with_brute_force(seed)


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("successor", [False, True])
def test_solution_is_a_saddle_point_within_the_set(name, successor):
    """V is what the policy gets at worst (no kernel is worse) and what the kernel allows at best."""
    mdp = problem(name, 0.4, gamma=0.5 if name == "s-rectangular l1" else 0.9, successor=successor)
    solution = robust_policy_iteration(mdp)
    assert mdp.ambiguity.contains(solution.worst_kernel, 1e-8).all()
    assert solution.bound_kind == "exact"
    for value in (
        robust_value_iteration(mdp, 1e-10).value,
        modified_robust_policy_iteration(mdp, 5, 1e-10).value,
        robust_policy_evaluation(mdp, solution.policy)[0],
    ):
        np.testing.assert_allclose(value, solution.value, rtol=0, atol=1e-8)
    np.testing.assert_allclose(optimal(mdp, solution.worst_kernel).value, solution.value, rtol=0, atol=1e-8)
    assert solution.value[-1] == 0 and (solution.q[-1] == 0).all()


@pytest.mark.parametrize("name", BALLS)
def test_value_falls_with_the_size_of_the_set_from_the_ordinary_one(name):
    values = [robust_policy_iteration(problem(name, size)).value for size in SIZES]
    mdp = problem(name, 0.0)
    np.testing.assert_allclose(values[0], optimal(mdp, mdp.ambiguity.nominal_kernel).value, rtol=0, atol=1e-9)
    assert (np.diff(values, axis=0) <= 1e-9).all()
    assert values[-1][0] < values[0][0] - 0.01


@pytest.mark.parametrize("name", [name for name in BALLS if name != "s-rectangular l1"])
def test_no_random_member_is_worse_for_the_policy(name):
    mdp = problem(name, 0.4, seed=3)
    solution, rng = robust_policy_iteration(mdp), np.random.default_rng(0)
    nominal = mdp.ambiguity.nominal_kernel
    directions = rng.dirichlet(np.full(STATES, 0.3), (100, STATES, ACTIONS))
    kernels = nominal + rng.random((100, 1, 1, 1)) * 0.3 * (directions - nominal)
    inside = [kernel for kernel in kernels[:12] if mdp.ambiguity.contains(kernel).all()]
    inside += [nominal + 0.02 * (kernel - nominal) for kernel in kernels[12:100]]
    values = policy_values(mdp, np.array(inside), solution.policy)
    assert (values >= solution.value - 1e-9).all()


def test_s_rectangular_policies_have_to_be_randomised():
    """Two actions, one budget: nature spends it all on the action that is played, so both are played.

    Both actions go to a state of value 0 and to one of value 1 with probability 1/2. A budget of 1 ruins one action;
    shared by both, each keeps 1/4. Deterministic play is worth 0.
    """
    nominal = np.zeros((3, 2, 3))
    nominal[0] = [0, 0.5, 0.5]
    nominal[1:, :, 1:] = np.eye(2)[:, None]
    reward = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    mdp = RobustMDP(reward, 0.5, 0, SL1(nominal, [1.0, 0.0, 0.0]))
    solution = robust_policy_iteration(mdp)
    np.testing.assert_allclose(solution.value, [0.25, 0, 2], atol=1e-9)
    np.testing.assert_allclose(solution.policy[0], [0.5, 0.5], atol=1e-9)
    assert robust_policy_evaluation(mdp, [0, 0, 0])[0][0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="randomised"):
        solution.actions  # noqa: B018


def test_kaufman_schaefer_needs_fewer_sweeps_at_long_horizons():
    mdp = problem("l1", 0.2, gamma=0.99)
    plain, modified = robust_value_iteration(mdp, 1e-8), modified_robust_policy_iteration(mdp, 20, 1e-8)
    assert modified.iterations < plain.iterations / 5
    np.testing.assert_allclose(plain.value, modified.value, atol=1e-8)


def test_stopping_rule_keeps_its_promise():
    mdp = problem("chi2", 0.3, gamma=0.95)
    exact = robust_policy_iteration(mdp).value
    for tolerance in (1e-1, 1e-3, 1e-6):
        assert np.abs(robust_value_iteration(mdp, tolerance).value - exact).max() <= tolerance / 2


def test_long_value_iteration_that_is_cut_off_says_so():
    with pytest.raises(RuntimeError, match="after 3 sweeps"):
        robust_value_iteration(problem("l1", 0.2), max_iterations=3)


def test_many_states_are_evaluated_without_a_dense_solve(monkeypatch):
    mdp = problem("l1", 0.4, seed=2)
    exact, kernel = robust_policy_evaluation(mdp, [0, 1, 2, 0, 1])
    monkeypatch.setattr("dynrl.robust.tabular.mdp.LARGEST_DENSE_SOLVE", 2)
    iterated, same = robust_policy_evaluation(mdp, [0, 1, 2, 0, 1])
    np.testing.assert_allclose(iterated, exact, rtol=0, atol=1e-11)
    np.testing.assert_allclose(same, kernel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(optimal(mdp, kernel).value, robust_value(mdp, kernel), rtol=0, atol=1e-8)


def robust_value(mdp, kernel):
    """The optimum under one kernel, as a robust problem with one candidate per pair."""
    alone = RobustMDP(mdp.reward, mdp.gamma, mdp.initial, SAFinite(kernel[:, :, None]), mdp.terminal)
    return robust_value_iteration(alone, 1e-10).value
