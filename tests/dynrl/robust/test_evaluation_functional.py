"""Compiled rollouts on many models: the same bytes however they are cut, one compilation, and Gymnasium's numbers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.bench.robust_search import gymnasium_return
from dynrl.envs.classic_control import CartPole, Pendulum
from dynrl.robust import Param, UncertaintySet
from dynrl.robust.evaluation import FunctionalEvaluator, ParamsOf, make_evaluator
from dynrl.robust.evaluation.functional import _play
from dynrl.robust.policy import HostPolicy
from dynrl.robust.search import Grid, worst_case_search
from dynrl.robust.swing_up import GRID_MINIMUM, STARTS, swing_up, swing_up_evaluator, swing_up_set

MODELS = swing_up_set().sample(np.random.default_rng(0), 9)


class Leaky(eqx.Module):
    """A policy with memory: a running mean of the observations, times weights."""

    weights: Any

    def initial_carry(self, num_envs):
        return {"mean": jnp.zeros((num_envs, 3), self.weights.dtype)}

    def act(self, observation, carry, key=None):
        mean = 0.9 * carry["mean"] + 0.1 * observation
        action = jnp.tanh(mean @ self.weights)
        if key is not None:
            action = action + jax.random.normal(key, action.shape, action.dtype)
        return action, {"mean": mean}


def leaky(scale=1.0):
    return Leaky(jnp.asarray(scale * np.array([[1.0], [-2.0], [0.5]]), jnp.float32))


@pytest.fixture(scope="module")
def short():
    env = Pendulum(horizon=12)
    return FunctionalEvaluator(env, ParamsOf(env, swing_up_set()), lanes=64)


def test_equals_gymnasium_stepped_one_model_at_a_time():
    models = np.array([[1.0, 1.0], [0.5, 0.7], [1.47, 1.294]])
    batched = swing_up_evaluator(lanes=256)(swing_up, models, range(8))
    alone = [[gymnasium_return(model, start) for start in STARTS] for model in models]
    np.testing.assert_allclose(batched.returns, alone, rtol=0, atol=1e-9)
    assert batched.env_steps == 3 * 8 * 200 and (batched.lengths == 200).all()
    assert not batched.terminated.any() and not batched.diverged.any()


def test_neither_order_nor_neighbours_nor_lanes_matter(short):
    policy = leaky()
    whole = short(policy, MODELS, [4, 0, 9])
    order = np.random.default_rng(1).permutation(len(MODELS))
    shuffled = short(policy, MODELS[order], [9, 4])
    np.testing.assert_array_equal(shuffled.returns, whole.returns[order][:, [2, 0]])
    np.testing.assert_array_equal(shuffled.discounted, whole.discounted[order][:, [2, 0]])
    alone = short(policy, MODELS[3], [0])
    np.testing.assert_array_equal(alone.returns, whole.returns[3:4, 1:2])
    wider = FunctionalEvaluator(short.env, short.params_of, lanes=256)
    repeated = wider(policy, np.repeat(MODELS, 10, axis=0), [4, 0, 9])
    np.testing.assert_array_equal(repeated.returns[::10], whole.returns)


def test_other_models_seeds_and_weights_compile_nothing(short):
    short(leaky(), MODELS, [0, 1])
    before = _play._cache_size()
    rng = np.random.default_rng(2)
    for k in range(5):
        short(leaky(rng.normal()), swing_up_set().sample(rng, 1 + k), [k])
    assert _play._cache_size() == before


def test_the_episode_of_a_seed_is_that_of_the_vector_environment(short):
    from dynrl import VectorEnv

    env = VectorEnv(short.env, 3)
    observation, _ = env.reset(seed=7)
    total, discounted = np.zeros(3), np.zeros(3)
    for t in range(12):
        observation, reward, _, _, _ = env.step(np.asarray(swing_up(observation), np.float32))
        total += reward
        discounted += 0.99**t * reward
    played = short(swing_up, np.array([1.0, 1.0]), [7, 8, 9])
    np.testing.assert_allclose(played.returns[0], total, rtol=1e-5)
    np.testing.assert_allclose(played.discounted[0], discounted, rtol=1e-5)


def test_drawn_actions_depend_on_the_seed_of_the_episode_only():
    env = Pendulum(horizon=12)
    drawing = FunctionalEvaluator(env, ParamsOf(env, swing_up_set()), lanes=64, stochastic=True)
    mode = FunctionalEvaluator(env, ParamsOf(env, swing_up_set()), lanes=64)
    whole = drawing(leaky(), MODELS, [0, 1])
    np.testing.assert_array_equal(drawing(leaky(), MODELS[5], [1]).returns[0], whole.returns[5, 1:])
    assert (whole.returns != mode(leaky(), MODELS, [0, 1]).returns).all()


def test_an_episode_ends_where_the_world_ends_it():
    uset = UncertaintySet([Param("attr:length", 0.3, 0.8)])
    evaluator = make_evaluator(CartPole(horizon=50), uset)
    played = evaluator(_push_right, np.array([[0.3], [0.8]]), [0, 1, 2])
    # One point for each step, and always pushing right topples the pole early; a longer pole topples later.
    np.testing.assert_array_equal(played.returns, played.lengths)
    assert played.terminated.all() and (played.lengths < 20).all()
    assert (played.lengths[0] < played.lengths[1]).all()
    np.testing.assert_allclose(played.discounted, (1 - 0.99**played.lengths) / 0.01, rtol=1e-5)


def _push_right(observation):
    return jnp.ones(len(observation), jnp.int32)


def test_a_policy_that_breaks_is_counted_and_not_averaged():
    env = Pendulum(horizon=12)
    evaluator = FunctionalEvaluator(
        env, ParamsOf(env, swing_up_set()), lanes=64, failure_return=-1000.0, discount=0.5
    )
    played = evaluator(_breaks, MODELS[:2], range(20))
    broke = played.diverged
    assert broke.any() and not broke.all()
    np.testing.assert_array_equal(played.terminated, broke)
    assert np.isfinite(played.returns).all() and (played.returns[broke] < -999).all()
    assert (played.returns[~broke] > -999).all() and (played.lengths[~broke] == 12).all()
    # Broken at the first step nothing was earned, and the failure counts with the discount of one step.
    at_once = broke & (played.lengths == 1)
    assert at_once.any()
    np.testing.assert_array_equal(played.returns[at_once], -1000.0)
    np.testing.assert_array_equal(played.discounted[at_once], -500.0)


def _breaks(observation):
    """No number where the pendulum is left of upright."""
    return jnp.where(observation[:, 1:2] > 0, jnp.nan, 0.0)


def test_what_cannot_be_compiled_is_refused(short):
    with pytest.raises(TypeError, match="runs in NumPy"):
        short(HostPolicy(lambda observation, state, start: (observation, None)), MODELS, [0])
    with pytest.raises(ValueError, match=r"expected \[N, 2\]|shape"):
        make_evaluator("dynrl/Pendulum-v0", swing_up_set())(swing_up, np.zeros((2, 3)), [0])
    with pytest.raises(ValueError, match="episode_seeds"):
        short(swing_up, MODELS, [])
    with pytest.raises(ValueError, match="model 1 is not finite"):
        short(swing_up, np.array([[1.0, 1.0], [np.nan, 1.0]]), [0])
    with pytest.raises(ValueError, match=r"delay\.action"):
        ParamsOf(Pendulum(), UncertaintySet([Param("delay.action", 0, 3, dtype=int)]))


def test_the_search_beats_a_dense_sweep_on_the_pendulum():
    found = worst_case_search(
        swing_up, swing_up_evaluator(lanes=256), swing_up_set(), budget=600, episode_seeds=range(8), seed=0
    )
    assert found.value <= 0.99 * GRID_MINIMUM and found.evaluations == 600


@pytest.mark.slow
def test_eight_seeds_of_the_search_against_the_sweep():
    evaluator, uset = swing_up_evaluator(), swing_up_set()
    sweep = worst_case_search(swing_up, evaluator, uset, Grid(201), 201**2, episode_seeds=range(8))
    assert sweep.value == pytest.approx(GRID_MINIMUM, abs=1e-4)
    values = [
        worst_case_search(swing_up, evaluator, uset, budget=2000, episode_seeds=range(8), seed=seed).value
        for seed in range(8)
    ]
    assert sum(value <= -340 for value in values) >= 7
    assert max(values) <= 0.99 * sweep.value


@pytest.mark.slow
def test_mjx_plays_the_models_of_the_c_engine_in_one_program():
    from dynrl.envs.mujoco_robots import InvertedPendulum
    from dynrl.learning.networks import ActorPolicy, GaussianActor
    from dynrl.physics.mjx_env import MjxEnv
    from dynrl.robust import uset

    uncertain, task = uset("inverted_pendulum", dims=2), InvertedPendulum(horizon=30)
    env = MjxEnv(task)
    policy = ActorPolicy.of(GaussianActor(4, 1, jax.random.key(0)), env.action_space)
    models = uncertain.sample(np.random.default_rng(0), 8)
    compiled = FunctionalEvaluator(env, ParamsOf(env, uncertain), lanes=64)
    engine = make_evaluator(task, uncertain)
    here, there = (evaluator(policy, models, range(60)).lengths for evaluator in (compiled, engine))
    programs = _play._cache_size()
    compiled(policy, uncertain.sample(np.random.default_rng(1), 20), range(3))
    assert _play._cache_size() == programs
    # The starts are drawn differently; the mean length of 60 episodes agrees within four standard errors per model,
    # and the models themselves differ by much more than that.
    error = np.sqrt((here.var(axis=1) + there.var(axis=1)) / 60)
    assert (np.abs(here.mean(axis=1) - there.mean(axis=1)) <= 4 * error).all()
    assert np.ptp(there.mean(axis=1)) > 8 * error.max()
