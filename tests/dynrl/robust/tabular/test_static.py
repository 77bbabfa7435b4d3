"""A kernel picked once: the five numbers of the worked example, and bounds that keep their order."""

import numpy as np
import pytest

from dynrl.robust.tabular import (
    RobustMDP,
    SAFinite,
    StaticFinite,
    StaticParametric,
    best_deterministic,
    guess_the_button,
    history_dependent_value,
    policy_values,
    robust_policy_iteration,
    robust_value_iteration,
    smallest_optimum,
    solve_static,
)
from dynrl.robust.tabular import static as static_module


def random_static(seed, states=4, actions=2, kernels=3, gamma=0.9):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(states, 0.3), (kernels, states, actions))
    return RobustMDP(rng.normal(size=(states, actions)), gamma, 0, StaticFinite(rows))


def test_guess_the_button_has_five_values():
    mdp = guess_the_button(0.9)
    values = solve_static(mdp)
    history = history_dependent_value(mdp)
    assert values.hull == pytest.approx(0, abs=1e-9)
    assert values.deterministic.value == pytest.approx(0, abs=1e-9)
    assert values.randomised == pytest.approx(0.5 / (1 - 0.9 * 0.5), abs=1e-9)
    assert history.lower == pytest.approx(0.5 + 0.5 * 0.9, abs=1e-9)
    assert history.upper == pytest.approx(history.lower, abs=1e-9)
    assert values.smallest_optimum == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(values.randomised_policy[0], 0.5, atol=1e-6)
    np.testing.assert_allclose(history.prior, 0.5, atol=1e-9)
    assert "dynamic adversary" in str(values) and "0.909090909" in str(values)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_its_formulas_hold_at_other_discounts(gamma):
    mdp = guess_the_button(gamma)
    assert solve_static(mdp, starts=4).randomised == pytest.approx(0.5 / (1 - gamma * 0.5), abs=1e-9)
    assert history_dependent_value(mdp).lower == pytest.approx(0.5 + 0.5 * gamma, abs=1e-9)


def test_values_are_ordered_and_attained():
    """hull ≤ deterministic ≤ randomised ≤ with memory ≤ min J*, on random lists of kernels."""
    strict = 0
    for seed in range(4):
        mdp = random_static(seed)
        values, history = solve_static(mdp, starts=4), history_dependent_value(mdp, max_nodes=30)
        chain = [
            values.hull,
            values.deterministic.value,
            values.randomised,
            max(history.upper, values.randomised),
            values.smallest_optimum,
        ]
        assert (np.diff(chain) >= -1e-9).all()
        assert history.lower <= history.upper <= values.smallest_optimum + 1e-9
        assert history.upper >= values.randomised - 1e-9
        strict += values.hull < values.deterministic.value - 1e-3
        kernels = mdp.ambiguity.kernels
        for value, policy in (
            (values.deterministic.value, values.deterministic.policy),
            (values.randomised, values.randomised_policy),
        ):
            assert policy_values(mdp, kernels, policy)[:, 0].min() == pytest.approx(value, abs=1e-12)
    assert strict, "the hull is as good as the list on every problem: nothing was tested"


def test_memory_finds_out_a_hidden_permutation():
    """Three buttons, one works: try them in a random order, (1 + γ + γ²) / 3 on average."""
    kernels = np.zeros((3, 2, 3, 2))
    kernels[:, 1, :, 1] = 1
    kernels[:, 0, :, 0] = 1 - np.eye(3)
    kernels[:, 0, :, 1] = np.eye(3)
    reward = np.zeros((2, 3, 2))
    reward[0, :, 1] = 1
    mdp = RobustMDP(reward, 0.9, 0, StaticFinite(kernels), [False, True])
    found = history_dependent_value(mdp)
    assert found.lower == pytest.approx((1 + 0.9 + 0.81) / 3, abs=1e-9)
    assert found.upper == pytest.approx(found.lower, abs=1e-9)
    assert solve_static(mdp, starts=3).randomised == pytest.approx(1 / 3 / (1 - 0.9 * 2 / 3), abs=1e-9)


def test_branch_and_bound_finds_what_enumeration_finds(monkeypatch):
    for seed in range(4):
        mdp = random_static(seed, states=5, kernels=4)
        every = best_deterministic(mdp)
        with monkeypatch.context() as patch:
            patch.setattr(static_module, "ENUMERATED", 1)
            branched = best_deterministic(mdp)
        assert (every.method, branched.method) == ("enumeration", "branch and bound")
        assert every.examined == 2**5 and branched.examined < 2**6
        assert branched.value == pytest.approx(every.value, abs=1e-12) and branched.upper == branched.value


def test_search_that_is_cut_off_gives_a_bracket(monkeypatch):
    monkeypatch.setattr(static_module, "ENUMERATED", 1)
    mdp = next(mdp for mdp in map(random_static, range(20)) if best_deterministic(mdp).examined > 1)
    cut, whole = best_deterministic(mdp, max_nodes=1), best_deterministic(mdp)
    assert cut.value <= whole.value < cut.upper


def test_hull_of_a_list_is_the_robust_value_of_its_rows():
    mdp = random_static(5)
    rows = RobustMDP(mdp.reward, mdp.gamma, 0, SAFinite(np.moveaxis(mdp.ambiguity.kernels, 0, 2)))
    solution = robust_policy_iteration(mdp)
    assert solution.bound_kind == "hull" and robust_value_iteration(rows).bound_kind == "exact"
    np.testing.assert_allclose(solution.value, robust_policy_iteration(rows).value, atol=1e-12)


def test_unreachable_states_multiply_no_policies():
    kernel = np.zeros((1, 6, 2, 6))
    kernel[..., 0] = 1
    mdp = RobustMDP(np.ones((6, 2)), 0.9, 0, StaticFinite(kernel))
    assert best_deterministic(mdp).examined == 2


def test_parametric_family_is_evaluated_on_its_grid():
    """P(stay) = ψ, reward 1 per step in state 0 and 0 in state 1: the optimum is 1 / (1 - γ ψ)."""

    def kernel(psi):
        return [[[psi[0], 1 - psi[0]]], [[0.0, 1.0]]]

    models = StaticParametric(kernel, [0.2, 0.5, 0.8])
    mdp = RobustMDP([[1.0], [0.0]], 0.9, 0, models)
    assert models.grid.shape == (3, 1) and models.kernels.shape == (3, 2, 1, 2)
    assert smallest_optimum(mdp) == pytest.approx(1 / (1 - 0.9 * 0.2), abs=1e-12)


def test_policy_on_many_kernels_does_not_depend_on_the_chunks(monkeypatch):
    mdp = random_static(7, kernels=11)
    policy = np.random.default_rng(0).dirichlet(np.ones(2), 4)
    whole = policy_values(mdp, mdp.ambiguity.kernels, policy)
    monkeypatch.setattr("dynrl.robust.tabular.ordinary.CHUNK_NUMBERS", 3 * 16)
    np.testing.assert_array_equal(policy_values(mdp, mdp.ambiguity.kernels, policy), whole)
