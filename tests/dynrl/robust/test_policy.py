"""What counts as a policy, and what becomes of each kind."""

import numpy as np
import pytest

from dynrl.robust.evaluation.compiled_policy import restarted
from dynrl.robust.policy import FunctionPolicy, HostPolicy, RobustPolicy, as_policy


class Counter:
    """A policy with memory: plays how often it was asked."""

    def initial_carry(self, num_envs):
        return {"asked": np.zeros(num_envs)}

    def act(self, observation, carry, key=None):
        return carry["asked"][:, None], {"asked": carry["asked"] + 1}


def double(observation):
    return 2 * observation


def test_a_policy_is_itself():
    policy = Counter()
    assert isinstance(policy, RobustPolicy) and as_policy(policy) is policy


def test_a_function_runs_on_the_host_unless_it_can_be_traced():
    assert isinstance(as_policy(double), HostPolicy)
    traced = as_policy(double, jax=True)
    assert traced == FunctionPolicy(double) and hash(traced) == hash(FunctionPolicy(double))
    for policy in (as_policy(double), traced):
        action, _ = policy.act(np.array([[1.0], [3.0]]), policy.initial_carry(2))
        np.testing.assert_array_equal(action, [[2.0], [6.0]])


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="int is no policy"):
        as_policy(3)


def test_memory_is_restarted_in_the_lanes_that_begin():
    policy = Counter()
    carry = policy.initial_carry(3)
    for _ in range(4):
        action, carry = policy.act(np.zeros((3, 1)), carry)
    carry = restarted(policy, carry, np.array([False, True, False]))
    action, _ = policy.act(np.zeros((3, 1)), carry)
    np.testing.assert_array_equal(action[:, 0], [4, 0, 4])


def test_agents_are_told_once_that_an_episode_starts():
    starts = []

    def predict(observation, state, episode_start):
        starts.append(episode_start.copy())
        return observation, state

    policy = HostPolicy(predict)
    carry = policy.initial_carry(2)
    _, carry = policy.act(np.zeros((2, 1)), carry)
    _, carry = policy.act(np.zeros((2, 1)), carry)
    carry = restarted(policy, carry, np.array([True, False]))
    _, carry = policy.act(np.zeros((2, 1)), carry)
    np.testing.assert_array_equal(starts, [[True, True], [False, False], [True, False]])
