"""Two players on one action: what each sees and is paid, and games whose saddle points are known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.robust import action_robust, m3ddpg, rarl
from dynrl.agents.robust.action_robust import ActionRobust, ActionRobustConfig
from dynrl.agents.robust.game_env import GameVectorEnv
from dynrl.agents.robust.m3ddpg import M3DDPG, M3DDPGConfig
from dynrl.agents.robust.rarl import AGENT_ALONE, BOTH, RARL, RARLConfig, Seats
from dynrl.learning.replay import Transitions
from dynrl.learning.td3 import TD3Config
from dynrl.testing import robust_probes
from dynrl.testing.robust_probes import SADDLE, RobustProbe

LEARNER = TD3Config(hidden=(32,), batch_size=64, actor_rate=1e-3, critic_rate=3e-3, discount=0.0)
DEEPER = dataclasses.replace(LEARNER, hidden=(32, 32))
TINY = dataclasses.replace(LEARNER, hidden=(4,))
SADDLE_SET = robust_probes.GameVectorEnv(SADDLE, 1).uset
EDGES = RobustProbe(lambda action, psi: psi + 0 * action, 2.0, 6.0, 3.0, 0.0, 2.0, 0.0)
"""Pays psi, from 2 to 6."""


def saddle_vec(num_envs, sampler):
    return robust_probes.GameVectorEnv(SADDLE, num_envs, sampler)


def edges(num_envs=3, rate=None, sampler=None, horizon=4):
    env = robust_probes.GameVectorEnv(EDGES, num_envs, sampler, horizon, time_limit=True)
    return GameVectorEnv(env, env.uset, rate)


def joint(*b):
    return np.stack([np.full(len(b), 0.5), b], axis=1)


def test_the_adversary_plays_the_parameters_of_the_very_step():
    env = edges()
    env.reset(seed=0)
    _, reward, *_ = env.step(joint(-1.0, 0.0, 1.0))
    np.testing.assert_allclose(reward, [2, 4, 6])
    _, reward, *_ = env.step(joint(1.0, 1.0, -0.5))
    np.testing.assert_allclose(reward, [6, 6, 3])


def test_observations_carry_parameters_and_the_step_before():
    env = edges()
    first, _ = env.reset(seed=0)
    # [s | psi | previous s | previous action]; nominal 3 is -1/2 in half-ranges from the middle 4.
    np.testing.assert_allclose(first, np.tile([1, -0.5, 1, 0], (3, 1)))
    second, *_ = env.step(joint(-1.0, 0.0, 1.0))
    np.testing.assert_allclose(second, [[1, -1, 1, 0.5], [1, 0, 1, 0.5], [1, 1, 1, 0.5]])
    assert env.own + env.parameters + env.history == (0, 1, 2, 3)


def test_an_ending_lane_shows_its_last_step_and_begins_with_the_samplers_parameters():
    env = edges(sampler=lambda rng, count: np.full((count, 1), 5.0), horizon=1)
    env.reset(seed=0)
    observation, _, terminated, truncated, info = env.step(joint(-1.0, 0.0, 1.0))
    assert truncated.all() and not terminated.any()
    np.testing.assert_allclose(info["final_obs"][:, 1], [-1, 0, 1])
    np.testing.assert_allclose(info["final_obs"][:, 3], 0.5)
    np.testing.assert_allclose(observation, np.tile([1, 0.5, 1, 0], (3, 1)))


def test_parameters_drift_no_faster_than_the_rate_and_stay_in_the_set():
    env = edges(num_envs=1, rate=0.1, horizon=1000)
    env.reset(seed=0)
    psi = [3.0]
    for b in (1.0, -0.5, *[-1.0] * 4, *[1.0] * 12):
        _, reward, *_ = env.step(joint(b))
        psi.append(float(reward[0]))
    # a tenth of the range 4 per full step
    np.testing.assert_allclose(psi[:4], [3.0, 3.4, 3.2, 2.8], atol=1e-12)
    assert np.abs(np.diff(psi)).max() <= 0.4 + 1e-12
    assert min(psi) == 2.0 and max(psi) == 6.0


def test_a_rate_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="rate must be positive"):
        edges(rate=0.0)


def transitions(rows=5):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Transitions(
        draw(rows, 4), draw(rows, 3), draw(rows), draw(rows, 4), np.zeros(rows, np.float32), draw(rows, 0)
    )


def test_the_adversary_is_paid_what_the_agent_loses():
    batch, following = transitions(), np.full((5, 2), 7.0, np.float32)
    seats = Seats(agent=(0, 1), adversary=(0, 1, 3), action_size=2)
    agent, adversary = rarl.agent_view(seats, batch), rarl.adversary_view(seats, batch, following)
    np.testing.assert_array_equal(agent.observation, batch.observation[:, :2])
    np.testing.assert_array_equal(agent.action, batch.action[:, :2])
    np.testing.assert_array_equal(adversary.observation, batch.observation[:, [0, 1, 3]])
    np.testing.assert_array_equal(adversary.action, batch.action[:, 2:])
    np.testing.assert_array_equal(adversary.reward, -batch.reward)
    seen = rarl.adversary_view(seats._replace(sees_action=True), batch, following)
    np.testing.assert_array_equal(seen.observation[:, 3:], batch.action[:, :2])
    np.testing.assert_array_equal(seen.next_observation[:, 3:], following)


def test_who_does_not_learn_stays_as_it_was():
    seats = Seats((0, 1), (0, 1), 2)
    state = rarl.initial_game(TINY, TINY, seats, 1, jax.random.key(0))
    update = jax.jit(rarl.update, static_argnums=(0, 1, 2))
    after, losses = update((TINY, TINY), seats, AGENT_ALONE, state, transitions(), jax.random.key(1))
    assert losses[1] == 0
    for one, other in zip(jax.tree.leaves(state.adversary), jax.tree.leaves(after.adversary), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(after.agent.updates) == 1
    observation = np.ones((6, 4), np.float32)
    noisy = [rarl.joint_action(seats, state, BOTH, observation, jax.random.key(k)) for k in (0, 1)]
    alone = [rarl.joint_action(seats, state, AGENT_ALONE, observation, jax.random.key(k)) for k in (0, 1)]
    assert not np.array_equal(noisy[0][:, 2], noisy[1][:, 2])
    np.testing.assert_array_equal(alone[0][:, 2], alone[1][:, 2])


def test_phases_alternate_and_keep_to_the_budget():
    config = RARLConfig(alternate=True, agent_phase=300, adversary_phase=200)
    phases = rarl.alternating(config, 1250)
    assert [steps for _, steps in phases] == [300, 200, 300, 200, 250]
    assert [learning for learning, _ in phases] == [(True, False), (False, True)] * 2 + [(True, False)]


class Cone(eqx.Module):
    """Q1(s, own, other) = own + 3 other_0 - 4 other_1."""

    def first(self, observation, own, other):
        return own[..., 0] + 3 * other[..., 0] - 4 * other[..., 1]


def test_the_worse_opponent_is_one_step_down_the_gradient_inside_the_box():
    config = M3DDPGConfig(perturbation=0.5)
    other = jnp.array([[0.0, 0.0], [-0.9, 0.9]])
    moved = m3ddpg.worse_opponent(config, Cone(), jnp.ones((2, 1)), jnp.ones((2, 1)), other)
    np.testing.assert_allclose(moved, [[-0.3, 0.4], [-1.0, 1.0]], atol=1e-6)
    flat = type("Flat", (), {"first": staticmethod(lambda s, own, other: 0 * other.sum(-1))})()
    same = m3ddpg.worse_opponent(config, flat, jnp.ones((2, 1)), jnp.ones((2, 1)), other)
    np.testing.assert_array_equal(same, other)


class Fixed(eqx.Module):
    """A policy of one action."""

    value: float

    def mode(self, observation):
        return jnp.full((*observation.shape[:-1], 1), self.value)

    def explore(self, observation, key):
        return self.mode(observation)


class Square(eqx.Module):
    """Q1(s, a) = a^2."""

    def first(self, observation, action, extra):
        return jnp.square(action[..., 0])


def test_both_kinds_value_the_mixture_that_they_execute():
    batch = Transitions(*(jnp.zeros((5, 1)) for _ in range(6)))
    values = {
        kind: float(
            action_robust.mixture_value(
                ActionRobustConfig(kind=kind, alpha=0.25), Fixed(0.8), Fixed(-0.4), Square(), batch
            )
        )
        for kind in ("noisy", "probabilistic")
    }
    assert values["noisy"] == pytest.approx((0.75 * 0.8 - 0.25 * 0.4) ** 2)
    assert values["probabilistic"] == pytest.approx(0.75 * 0.8**2 + 0.25 * 0.4**2)


def test_the_adversary_acts_in_its_share_of_the_steps():
    state = action_robust.initial_state(ActionRobustConfig(learner=LEARNER), (1, 1), jax.random.key(0))
    state = state._replace(agent=state.agent._replace(actor=Fixed(0.8)), adversary=Fixed(-0.4))
    observation = jnp.ones((4000, 1))
    noisy = ActionRobustConfig(kind="noisy", alpha=0.25)
    np.testing.assert_allclose(
        action_robust.executed_action(noisy, state, observation, jax.random.key(0)), 0.5, rtol=1e-6
    )
    drawn = ActionRobustConfig(kind="probabilistic", alpha=0.25)
    played = np.asarray(action_robust.executed_action(drawn, state, observation, jax.random.key(0)))[:, 0]
    assert set(np.round(np.unique(played), 6)) == {np.float32(-0.4).round(6), np.float32(0.8).round(6)}
    share = (played < 0).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)


def action_of(policy, *rest):
    row = np.array([[1.0, *rest]], np.float32)
    return float(policy.act(row, ())[0][0, 0])


def close_to_saddle(result, *rest):
    assert action_of(result.policy) == pytest.approx(SADDLE.robust_action, abs=0.1)
    assert action_of(result.adversary, *rest) == pytest.approx(-0.2, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("sees_action", [False, True])
def test_rarl_finds_the_saddle_point(sees_action):
    config = RARLConfig(LEARNER, LEARNER, random_steps=1000, sees_action=sees_action)
    result = RARL(config).train(saddle_vec, SADDLE_SET, 10_000, 0)
    close_to_saddle(result, *([SADDLE.robust_action] if sees_action else []))
    assert result.env_steps == {"training": 10_000} and len(result.history) == 2


@pytest.mark.slow
def test_alternating_rarl_comes_close_to_the_saddle_point():
    config = RARLConfig(
        DEEPER, DEEPER, random_steps=1000, alternate=True, agent_phase=2000, adversary_phase=2000
    )
    result = RARL(config).train(saddle_vec, SADDLE_SET, 15_000, 0)
    close_to_saddle(result)
    assert result.env_steps == {"training": 15_000}


@pytest.mark.slow
def test_m3ddpg_finds_the_saddle_point():
    result = M3DDPG(M3DDPGConfig(LEARNER, random_steps=1000)).train(saddle_vec, SADDLE_SET, 8000, 0)
    close_to_saddle(result)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noisy", "probabilistic"])
def test_action_robust_policies_solve_their_games(kind):
    """Pays -(u - 0.45)^2 for the executed u. Noisy: u = 0.9 a + 0.1 b, and whatever b does, a = 0.5 is best.
    Probabilistic: the agent aims at 0.45, the adversary goes as far away as it can."""
    aim = dataclasses.replace(SADDLE, reward=lambda action, psi: -np.square(action - 0.45))
    config = ActionRobustConfig(kind=kind, alpha=0.1, learner=DEEPER, random_steps=1000, adversary_period=2)
    result = ActionRobust(config).train(
        lambda num_envs, sampler: robust_probes.GameVectorEnv(aim, num_envs, sampler), SADDLE_SET, 12_000, 0
    )
    assert action_of(result.policy) == pytest.approx(0.5 if kind == "noisy" else 0.45, abs=0.03)
    if kind == "probabilistic":
        assert action_of(result.adversary) < -0.95
