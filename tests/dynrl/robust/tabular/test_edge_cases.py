"""What is wrong is said with its place; what is extreme works."""

import numpy as np
import pytest

from dynrl.robust.tabular import (
    SAKL,
    SAL1,
    SL1,
    RobustMDP,
    SAContamination,
    SAFinite,
    SAInterval,
    SAWasserstein,
    StaticFinite,
    StaticParametric,
    guess_the_button,
    iwocs,
    robust_policy_iteration,
    robust_value_iteration,
    solve_static,
)

UNIFORM = np.full((3, 2, 3), 1 / 3)


def broken(place, row):
    kernel = UNIFORM.copy()
    kernel[place] = row
    return kernel


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAL1(broken((2, 1), [0.5, 0.5, 0.1]), 0.1), r"nominal: the row of \(s, a\) = \(2, 1\) sums to 1\.1"),
        (lambda: SAKL(broken((0, 1), [1.2, -0.2, 0]), 0.1), r"\(0, 1\) has the negative entry -0\.2"),
        (lambda: SAL1(broken((1, 0), [np.nan, 0, 1]), 0.1), r"NaN at \(s, a\) = \(1, 0\), entry 0"),
        (lambda: SAL1(UNIFORM[:2], 0.1), "as many successors as states"),
        (lambda: SAKL(UNIFORM, -1), "radius is -1 at"),
        (lambda: SAL1(UNIFORM, [0.1, 0.2]), r"expected one number or \[3, 2\]"),
        (lambda: SL1(UNIFORM, [0.1, -0.2, 0.1]), "budget is -0.2 at state 1"),
        (lambda: SAContamination(UNIFORM, 1.5), r"share is 1\.5"),
        (lambda: SAInterval(UNIFORM * 1.2, np.ones_like(UNIFORM)), r"\(0, 0\): the lower bounds sum to more than 1"),
        (lambda: SAInterval(UNIFORM * 0, UNIFORM * 0.9), r"\(0, 0\): the upper bounds sum to less than 1"),
        (lambda: SAInterval(UNIFORM, UNIFORM * 0.5), "0 <= lower <= upper"),
        (lambda: SAWasserstein(UNIFORM, np.ones((3, 3)), 0.1), "0 on the diagonal"),
        (lambda: SAFinite(UNIFORM[:, :, None], np.zeros((3, 2, 1), bool)), r"\(0, 0\) without a candidate"),
        (lambda: StaticFinite([UNIFORM, broken((1, 1), [1, 1, 0])]), r"kernel 1: the row of \(s, a\) = \(1, 1\)"),
        (lambda: StaticParametric(lambda psi: UNIFORM, np.empty((0, 1))), "at least one point"),
    ],
)  # fmt: skip
def test_wrong_sets_are_refused_with_their_place(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 1.0}, r"gamma is 1\.0"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"reward": np.full((3, 2), np.nan)}, r"reward holds NaN at \(s, a\) = \(0, 0\)"),
        ({"reward": np.zeros((2, 3))}, "reward has shape"),
        ({"reward": np.full((3, 2), np.inf)}, "infinite"),
        ({"initial": 3}, r"expected one of 0\.\.2"),
        ({"initial": [0.5, 0.5, 0.5]}, "sums to 1"),
        ({"terminal": [True]}, "one bool per state"),
    ],
)
def test_wrong_problems_are_refused(arguments, message):
    good = {"reward": np.zeros((3, 2)), "gamma": 0.9, "initial": 0, "ambiguity": SAL1(UNIFORM, 0.1)}
    with pytest.raises(ValueError, match=message):
        RobustMDP(**{**good, **arguments})


def test_a_kernel_is_no_ambiguity_set():
    with pytest.raises(TypeError, match="expected a set such as SAL1"):
        RobustMDP(np.zeros((3, 2)), 0.9, 0, UNIFORM)
    with pytest.raises(TypeError, match="needs a list of kernels"):
        solve_static(RobustMDP(np.zeros((3, 2)), 0.9, 0, SAL1(UNIFORM, 0.1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": 7}, r"expected one of 0\.\.1"),
        ({"first": "best"}, "'worst for nominal'"),
        ({"first": np.full((2, 2, 2), 0.5)}, "not in the list"),
        ({"escape": "run"}, "'hull', 'next_worst' or 'stop'"),
        ({"max_evaluations": 1}, "one search takes 2"),
        ({"max_iterations": 0}, "at least 1"),
        ({"tolerance": -1.0}, "at least 0"),
    ],
)
def test_wrong_arguments_of_iwocs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        iwocs(guess_the_button(), **arguments)


def test_discount_zero_takes_one_sweep():
    reward = np.arange(6.0).reshape(3, 2)
    solution = robust_value_iteration(RobustMDP(reward, 0.0, 0, SAL1(UNIFORM, 0.3)))
    assert solution.iterations == 1
    np.testing.assert_array_equal(solution.value, [1, 3, 5])


def test_discount_zero_still_minimises_rewards_of_the_successor():
    reward = np.broadcast_to([0.0, 1.0, 2.0], (3, 2, 3))
    solution = robust_value_iteration(RobustMDP(reward, 0.0, 0, SAContamination(UNIFORM, 0.5)))
    np.testing.assert_allclose(solution.value, 0.5)


def test_one_state_and_one_action():
    mdp = RobustMDP([[2.0]], 0.5, 0, SAL1([[[1.0]]], 1.0))
    assert robust_policy_iteration(mdp).value == pytest.approx([4.0])
    assert iwocs(mdp).status == "certified"


def test_absorbing_everywhere():
    stay = np.broadcast_to(np.eye(3)[:, None], (3, 2, 3))
    reward = np.array([[1.0, 0.0], [0.0, -1.0], [2.0, 2.0]])
    for ambiguity in (SAL1(stay, 0.0), SAKL(stay, 5.0), SAFinite(stay[:, :, None])):
        np.testing.assert_allclose(
            robust_policy_iteration(RobustMDP(reward, 0.5, 1, ambiguity)).value, [2, 0, 4], atol=1e-12
        )


def test_terminal_states_are_worth_nothing_whatever_their_rows():
    reward = np.array([[-1.0, -1.0], [-1.0, -1.0], [50.0, 50.0]])
    to_end = np.broadcast_to([0.0, 0.0, 1.0], (3, 2, 3))
    mdp = RobustMDP(reward, 0.9, 0, SAL1(to_end, 0.0), terminal=[False, False, True])
    np.testing.assert_allclose(robust_policy_iteration(mdp).value, [-1, -1, 0])


def test_state_that_nothing_leads_to_does_not_matter():
    kernel = UNIFORM.copy()
    kernel[:2] = [0.5, 0.5, 0.0]
    reward = np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    values = []
    for lonely in (0.0, 100.0):
        reward[2] = lonely
        values.append(robust_policy_iteration(RobustMDP(reward, 0.9, 0, SAKL(kernel, 0.2))).value[:2])
    np.testing.assert_allclose(values[0], values[1], atol=1e-12)


def test_set_of_one_model_is_the_ordinary_problem():
    mdp = RobustMDP(np.eye(3)[:, :2], 0.9, 0, StaticFinite(UNIFORM[None]))
    result = iwocs(mdp)
    assert result.status == "certified" and len(result.history) == 1 and result.gap <= 1e-12


def test_arrays_of_a_set_cannot_be_changed_behind_its_back():
    with pytest.raises(ValueError, match="read-only"):
        SAL1(UNIFORM, 0.1).nominal[0, 0, 0] = 1
