"""Parameters that drift: schedules with known paths, policies with a memory of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.robust.schedules import SCHEDULES, drifting_parameters
from dynrl.agents.robust.time_constrained import (
    OraclePolicy,
    StackedPolicy,
    TimeConstrained,
    TimeConstrainedConfig,
    scheduled_returns,
)
from dynrl.learning.networks import DeterministicActor
from dynrl.learning.td3 import TD3Config
from dynrl.robust.policy import FunctionPolicy
from dynrl.testing.robust_probes import TARGET, Box, GameVectorEnv

BOX = Box(np.array([2.0, -1.0]), np.array([6.0, 1.0]), np.array([3.0, 0.0]))
START = np.array([3.0, 0.8])


def path(schedule, rate=0.1, steps=50, start=START, seed=0):
    return drifting_parameters(schedule, BOX, rate, steps, start, np.random.default_rng(seed))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_schedule_is_faster_than_its_rate_or_leaves_the_set(schedule):
    for rate in (0.01, 0.1, 0.7):
        psi = path(schedule, rate)
        assert psi.shape == (50, 2)
        assert np.abs(np.diff(np.vstack([START, psi]), axis=0) / [4.0, 2.0]).max() <= rate + 1e-12
        assert (psi >= BOX.low).all() and (psi <= BOX.high).all()


def test_schedules_follow_their_formulas_to_the_far_end():
    # From 3 of [2, 6] the far end is 6, from 0.8 of [-1, 1] it is -1.
    way = (path("linear") - START) / (np.array([6.0, -1.0]) - START)
    tau = np.arange(1, 51) / 50
    np.testing.assert_allclose(way, np.stack([tau, tau], 1), atol=1e-12)
    way = (path("exponential", 0.2) - START) / (np.array([6.0, -1.0]) - START)
    np.testing.assert_allclose(way[:, 0], (np.exp(4 * tau) - 1) / (np.exp(4) - 1), atol=1e-12)
    way = (path("logarithmic", 0.7) - START) / (np.array([6.0, -1.0]) - START)
    np.testing.assert_allclose(way[:, 1], np.log(1 + (np.exp(4) - 1) * tau) / 4, atol=1e-12)


def test_the_cosine_swings_between_start_and_far_end_as_fast_as_it_may():
    psi = path("cosine", 0.02, steps=2000)[:, 0]
    assert psi.min() == pytest.approx(3.0, abs=0.01) and psi.max() == pytest.approx(6.0, abs=0.01)
    steps = np.abs(np.diff(psi)) / 4
    assert 0.019 < steps.max() <= 0.02
    # Distance 3/4 of the range, greatest speed 0.02: one swing takes pi * 0.75 / 0.02 steps.
    peaks = np.flatnonzero((psi[1:-1] > psi[:-2]) & (psi[1:-1] >= psi[2:]))
    np.testing.assert_allclose(np.diff(peaks), np.pi * 0.75 / 0.02, atol=1.0)


def test_the_random_walk_takes_full_steps_either_way():
    middle = np.array([4.0, 0.0])
    steps = np.diff(np.vstack([middle, path("random_walk", 1e-4, 4000, middle)]), axis=0) / [4e-4, 2e-4]
    np.testing.assert_allclose(np.abs(steps), 1.0, rtol=1e-6)
    up = (steps > 0).mean(axis=0)
    assert np.abs(up - 0.5).max() < 4 * 0.5 / np.sqrt(4000)
    assert abs(np.corrcoef(steps.T)[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize(("schedule", "rate"), [("square", 0.1), ("linear", 0.0)])
def test_schedules_without_sense_are_refused(schedule, rate):
    with pytest.raises(ValueError, match="schedule" if schedule == "square" else "rate"):
        path(schedule, rate)


def test_a_stacked_policy_sees_the_step_before_lane_by_lane():
    actor = DeterministicActor(2 + 2 + 1, 1, jax.random.key(0), (8,))
    policy = StackedPolicy(actor, jnp.array([-2.0]), jnp.array([4.0]), 2)
    first, second = np.array([[0.3, -0.1], [0.5, 0.9]], np.float32), np.ones((2, 2), np.float32)
    action, carry = policy.act(first, policy.initial_carry(2))
    unit = actor.mode(jnp.concatenate([first, first, np.zeros((2, 1))], axis=1))
    np.testing.assert_allclose(action, 1 + 3 * unit, rtol=1e-5)
    # Lane 1 has begun a new episode: its carry is put back.
    fresh = policy.initial_carry(2)
    carry = jax.tree.map(lambda old, new: jnp.stack([old[0], new[1]]), carry, fresh)
    action, _ = policy.act(second, carry)
    seen = jnp.array([[1, 1, *first[0], float(unit[0, 0])], [1, 1, 1, 1, 0]])
    np.testing.assert_allclose(action, 1 + 3 * actor.mode(seen), rtol=1e-5)


def test_an_oracle_takes_parameters_in_the_unit_cube_and_says_so():
    actor = DeterministicActor(2 + 1, 1, jax.random.key(0), (8,))
    policy = OraclePolicy(actor, jnp.array([-1.0]), jnp.array([1.0]), 2)
    action, _ = policy.act(np.array([[0.3, -0.1, 0.75]]), ())
    np.testing.assert_allclose(action, actor.mode(jnp.array([[0.3, -0.1, 0.5]])), rtol=1e-5)
    with pytest.raises(ValueError, match="ParamObservation"):
        policy.act(np.ones((1, 2)), ())


def target_vec(num_envs, sampler):
    return GameVectorEnv(TARGET, num_envs, sampler)


USET = GameVectorEnv(TARGET, 1).uset


def follow(observation):
    """Plays the parameters themselves: psi in [-0.2, 1] from [s | unit cube]."""
    return -0.2 + 1.2 * observation[:, 1:]


def stand(observation):
    return 0.4 + 0.0 * observation


def test_scheduled_returns_are_those_of_the_path():
    returns = scheduled_returns(FunctionPolicy(stand), target_vec, USET, "linear", 0.05, 3, 10, seed=4)
    rng = np.random.default_rng(4)
    starts = USET.sample(rng, 3)
    for start, return_ in zip(starts, returns, strict=True):
        psi = drifting_parameters("linear", USET, 0.05, 10, start, rng)
        assert return_ == pytest.approx(np.sum(1 - (0.4 - psi) ** 2))


def test_the_oracle_sees_the_parameters_before_the_step():
    """Who plays the parameters of before misses by one step of the schedule: 10 - 10 L^2 of the range squared."""
    returns = scheduled_returns(
        FunctionPolicy(follow), target_vec, USET, "random_walk", 1e-3, 4, 10, seed=0, sees_parameters=True
    )
    np.testing.assert_allclose(returns, 10 - 10 * (1e-3 * 1.2) ** 2, atol=1e-6)


@pytest.mark.slow
def test_who_sees_the_parameters_does_better_than_who_does_not():
    learner = TD3Config(hidden=(32,), batch_size=64, actor_rate=1e-3, critic_rate=3e-3, discount=0.0)
    scores = {}
    for sees in ("vanilla", "stacked", "oracle"):
        config = TimeConstrainedConfig(
            sees=sees, rate=0.05, agent=learner, adversary=learner, random_steps=1000
        )
        result = TimeConstrained(config).train(target_vec, USET, 6000, 0)
        returns = scheduled_returns(
            result.policy, target_vec, USET, "cosine", 0.05, 50, 10, 0, sees_parameters=sees == "oracle"
        )
        scores[sees] = float(returns.mean())
        assert result.env_steps == {"training": 6000}
    # The world tells nothing of its parameters, so memory is of no use; the best constant 0.4 loses on average at
    # least what the variance of psi costs, the oracle hardly anything.
    assert scores["oracle"] > 9.7
    assert max(scores["vanilla"], scores["stacked"]) < scores["oracle"] - 0.4
