"""IWOCS: what it certifies is true, what is open it says, and the escapes close what can be closed."""

import numpy as np
import pytest

from dynrl.robust.tabular import (
    SAKL,
    SAL1,
    SL1,
    MonteCarlo,
    RobustMDP,
    SAChi2,
    SAContamination,
    SAFinite,
    SAInterval,
    StaticFinite,
    guess_the_button,
    iwocs,
    plot_iwocs,
    policy_values,
    robust_policy_evaluation,
    robust_policy_iteration,
    simulate,
    smallest_optimum,
)
from dynrl.testing.robust_problems import brute_force, random_finite_problem

TOLERANCE = 1e-8


def stalling(seed=456):
    """One of about two in a thousand random problems on which the paper's loop repeats a model with its gap open."""
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=(4, 2))
    return RobustMDP(reward, 0.9, 0, SAFinite(rng.dirichlet(np.full(4, 0.3), (4, 2, 3))))


def checked(mdp, escape):
    """A run whose every claim is held against brute force."""
    robust = mdp.start_value(brute_force(mdp)[0])
    result = iwocs(mdp, tolerance=TOLERANCE, escape=escape)
    assert result.lower <= robust + 1e-9 and result.upper >= robust - 1e-9
    assert result.gap == result.upper - result.lower
    assert (result.status == "certified") == (result.gap <= TOLERANCE)
    achieved = mdp.start_value(robust_policy_evaluation(mdp, result.policy)[0])
    assert achieved == pytest.approx(result.lower, abs=1e-10)
    uppers, hopes = ([getattr(each, name) for each in result.history] for name in ("upper", "pessimistic"))
    assert (np.diff(uppers) <= 0).all() and (np.diff([each.lower for each in result.history]) >= 0).all()
    assert (np.diff(hopes) <= 1e-9).all() and min(hopes) >= robust - 1e-9
    assert all(mdp.ambiguity.contains(model.kernel).all() for model in result.models)
    return result


def test_hull_escape_is_certified_on_every_problem():
    for seed in range(10):
        assert checked(random_finite_problem(seed), "hull").status == "certified"
        checked(random_finite_problem(seed), "stop")


@pytest.mark.slow
def test_hull_escape_is_certified_on_two_hundred_problems_and_nothing_is_certified_falsely():
    for seed in range(200):
        mdp = random_finite_problem(seed)
        assert checked(mdp, "hull").status == "certified"
        checked(mdp, "stop")
        checked(mdp, "next_worst")


def test_paper_loop_stalls_and_the_hull_escapes():
    mdp = stalling()
    literal, escaped, next_worst = (checked(mdp, escape) for escape in ("stop", "hull", "next_worst"))
    assert literal.status == "stalled" and literal.gap > 1
    assert escaped.status == next_worst.status == "certified"
    assert len(escaped.models) <= len(next_worst.models)
    assert robust_policy_iteration(mdp).value[0] == pytest.approx(escaped.lower, abs=1e-9)
    assert "stalled" in str(literal) and "no policy of any kind more than 1.38101" in str(literal)


@pytest.mark.slow
def test_stalls_are_rare_and_never_certified():
    """Of 2000 random problems the literal loop stalls on those known from a scan; the hull closes them all."""
    stalled = []
    for seed in range(2000):
        mdp = stalling(seed)
        literal = iwocs(mdp, tolerance=TOLERANCE, escape="stop")
        assert (literal.status == "certified") == (literal.gap <= TOLERANCE)
        if literal.status == "stalled":
            stalled.append(seed)
            assert iwocs(mdp, tolerance=TOLERANCE).status == "certified"
    assert stalled == [456, 904, 1191, 1594, 1743, 1812]


@pytest.mark.parametrize("first", ["nominal", "centre", "worst for nominal"])
@pytest.mark.parametrize(
    "ball",
    [
        lambda nominal: SAL1(nominal, 0.5),
        lambda nominal: SAKL(nominal, 0.2),
        lambda nominal: SAChi2(nominal, 0.3),
        lambda nominal: SAContamination(nominal, 0.2),
        lambda nominal: SAInterval(nominal * 0.5, np.minimum(nominal * 1.5, 1)),
        lambda nominal: SAFinite(np.stack([nominal, nominal[:, ::-1], np.roll(nominal, 1, axis=-1)], axis=2)),
    ],
)
def test_rectangular_sets_are_certified_from_any_start(ball, first):
    rng = np.random.default_rng(1)
    mdp = RobustMDP(
        rng.normal(size=(5, 3)), 0.9, rng.dirichlet(np.ones(5)), ball(rng.dirichlet(np.ones(5), (5, 3)))
    )
    result = iwocs(mdp, first, tolerance=TOLERANCE)
    assert result.status == "certified" and result.bound_kind == "exact"
    assert result.lower == pytest.approx(mdp.start_value(robust_policy_iteration(mdp).value), abs=1e-8)


def test_positive_gap_of_a_list_is_never_called_certified():
    """Guess the button: 0 for the deterministic candidates, 1 for each kernel; the gap cannot close."""
    for escape in ("stop", "next_worst", "hull"):
        result = iwocs(guess_the_button(), escape=escape)
        assert result.status == "stalled"
        assert (result.lower, result.upper) == pytest.approx((0, 1), abs=1e-12)


def test_test_of_the_paper_proves_optimality_among_deterministic_policies_only():
    """Two actions, each ruined by one of two kernels, each worth 1/2 at worst: deterministic play guarantees 1/2.

    The coin guarantees 3/4, min J* is 1: the paper's test fires on the deterministic value, and the bracket stays open.
    """
    worth = np.array([[1.0, 0.5], [0.5, 1.0]])
    kernels = np.zeros((2, 4, 2, 4))
    kernels[:, 1:, :, 3] = 1
    for kernel in range(2):
        for action in range(2):
            kernels[kernel, 0, action] = np.eye(4)[1 if worth[kernel, action] == 1 else 2]
    reward = np.zeros((4, 2, 4))
    reward[0, :, 1], reward[0, :, 2] = 1.0, 0.5
    mdp = RobustMDP(reward, 0.9, 0, StaticFinite(kernels), [False, True, True, True])
    result = iwocs(mdp, escape="stop")
    assert result.status == "stalled" and result.deterministic_optimal
    assert (result.lower, result.upper) == pytest.approx((0.5, 1.0), abs=1e-12)


def test_next_worst_solves_every_kernel_of_a_list_before_it_gives_up():
    rng = np.random.default_rng(0)
    kernels = rng.dirichlet(np.full(4, 0.3), (5, 4, 2))
    mdp = RobustMDP(rng.normal(size=(4, 2)), 0.9, 0, StaticFinite(kernels))
    result = iwocs(mdp, first=2)
    assert result.models[0].index == 2
    if result.status == "stalled":
        assert sorted(model.index for model in result.models) == list(range(5))
        assert result.upper == pytest.approx(smallest_optimum(mdp), abs=1e-12)
    assert len({model.index for model in result.models}) == len(result.models)


def test_budget_and_iterations_end_a_run_with_its_bracket():
    mdp = stalling()
    short = iwocs(mdp, max_iterations=1, escape="hull")
    assert short.status == "max_iter" and len(short.history) == 1
    poor = iwocs(mdp, max_evaluations=2, escape="hull")
    assert poor.status == "budget" and poor.evaluations == 2
    robust = robust_policy_iteration(mdp).value[0]
    for result in (short, poor):
        assert result.lower <= robust + 1e-12 and result.upper >= robust - 1e-12


def test_best_candidate_is_kept_not_the_last():
    for seed in range(300, 460):
        mdp = stalling(seed)
        result = iwocs(mdp, escape="stop")
        worst = [each.worst for each in result.history]
        assert result.lower == max(worst)
        assert (result.policy == result.history[int(np.argmax(worst))].policy).all()


def test_shared_budget_gives_a_bracket_that_holds_for_randomised_policies():
    rng = np.random.default_rng(0)
    for _ in range(3):
        mdp = RobustMDP(rng.normal(size=(3, 2)), 0.7, 0, SL1(rng.dirichlet(np.ones(3), (3, 2)), 0.6))
        result, robust = iwocs(mdp), robust_policy_iteration(mdp).value[0]
        assert result.lower <= robust + 1e-8 and result.upper >= robust - 1e-8


def test_simulation_estimates_the_exact_value_and_says_that_it_does():
    rng = np.random.default_rng(2)
    kernels = rng.dirichlet(np.ones(4), (3, 4, 2))
    initial = rng.dirichlet(np.ones(4))
    mdp = RobustMDP(
        rng.normal(size=(4, 2, 4)), 0.9, initial, StaticFinite(kernels), [False, False, False, True]
    )
    policy = rng.dirichlet(np.ones(2), 4)
    exact = policy_values(mdp, kernels, policy) @ initial
    estimate = simulate(mdp, kernels, policy, MonteCarlo(rollouts=4000, seed=1))
    assert (np.abs(estimate.mean - exact) <= 3.5 * estimate.error).all() and (estimate.error < 0.1).all()
    again = simulate(mdp, kernels[1:], policy, MonteCarlo(rollouts=4000, seed=1))
    np.testing.assert_array_equal(again.mean, estimate.mean[1:])
    result = iwocs(mdp, monte_carlo=MonteCarlo())
    assert result.bound_kind == "estimated" and result.status != "certified" and result.env_steps > 0
    assert "estimated by simulation" in str(result)


def test_simulation_of_a_rectangular_set_is_refused():
    mdp = stalling()
    with pytest.raises(ValueError, match="kernels of a list"):
        iwocs(mdp, monte_carlo=MonteCarlo())
    with pytest.raises(ValueError, match="at least 2"):
        MonteCarlo(rollouts=1)


def test_next_worst_of_a_continuum_is_refused():
    rng = np.random.default_rng(0)
    problems = (
        RobustMDP(rng.normal(size=(4, 2)), 0.9, 0, SL1(rng.dirichlet(np.full(4, 0.5), (4, 2)), 0.5))
        for _ in range(20)
    )
    mdp = next(mdp for mdp in problems if iwocs(mdp).status == "stalled")
    with pytest.raises(ValueError, match="needs finitely many kernels"):
        iwocs(mdp, escape="next_worst")


def test_bracket_is_drawn(tmp_path):
    picture = plot_iwocs(iwocs(stalling()), tmp_path / "bracket.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
