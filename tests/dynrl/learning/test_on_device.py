"""PPO in one program: its parts against closed forms, pieces against the whole, and what it must solve."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dynrl.bench.physics_training import CARTPOLE, PENDULUM, _likeliest, trained_returns
from dynrl.config import read_config
from dynrl.envs.classic_control import CartPole, Pendulum
from dynrl.faces.rollout import rollout
from dynrl.learning.action_distributions import Categorical, Gaussian, distribution_of
from dynrl.learning.on_device import PPO, Moments, _Step, initial_seeds, proceed_seeds
from dynrl.runs.checkpoint import flatten_tree
from dynrl.testing.probes import PROBES

SMALL = PPO(
    total_timesteps=6_400, num_envs=16, num_steps=16, num_epochs=4, num_minibatches=4, learning_rate=3e-3
)


def test_advantages_are_sums_of_discounted_errors():
    """Against the definition, summed term by term until an episode's end (Schulman et al., 2016, equation 16)."""
    rng = np.random.default_rng(0)
    ppo, (time, lanes) = replace(SMALL, discount=0.9, gae_lambda=0.7), (12, 3)
    value, next_value, reward = rng.normal(size=(3, time, lanes))
    done = rng.uniform(size=(time, lanes)) < 0.25
    terminated = done & (rng.uniform(size=(time, lanes)) < 0.5)
    steps = _Step(None, None, None, value, next_value, reward, terminated, done, None, None, None)
    expected = np.zeros((time, lanes))
    for lane in range(lanes):
        for start in range(time):
            weight = 1.0
            for t in range(start, time):
                bootstrap = 0.0 if terminated[t, lane] else 0.9 * next_value[t, lane]
                expected[start, lane] += weight * (reward[t, lane] + bootstrap - value[t, lane])
                weight *= 0.9 * 0.7
                if done[t, lane]:
                    break
    np.testing.assert_allclose(
        ppo._advantages(jax.tree.map(jnp.asarray, steps)), expected, rtol=1e-5, atol=1e-5
    )
    assert 0 < terminated.sum() < done.sum()


def test_moments_of_pieces_are_moments_of_the_whole():
    values = np.random.default_rng(1).normal(3.0, 2.0, (90, 2)).astype(np.float32)
    moments = Moments(jnp.zeros(()), jnp.zeros(2), jnp.ones(2))
    for piece in np.split(values, [10, 50]):
        moments = moments.updated(piece)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-5)
    assert float(moments.count) == 90


def test_log_probabilities_and_entropies_are_scipys():
    rng = np.random.default_rng(2)
    outputs, log_std, raw = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(5, 3))
    box = Gaussian((-1.0,) * 3, (1.0,) * 3, (3,))
    normal = stats.norm(outputs, np.exp(log_std))
    np.testing.assert_allclose(
        box.log_probability(outputs, log_std, raw), normal.logpdf(raw).sum(-1), rtol=1e-4
    )
    np.testing.assert_allclose(
        box.entropy(outputs, jnp.asarray(log_std)), normal.entropy().sum(-1), rtol=1e-5
    )
    few, chosen = Categorical(3), np.array([0, 2, 1, 1, 0])
    share = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    found = few.log_probability(jnp.asarray(outputs), jnp.zeros(0), jnp.asarray(chosen))
    np.testing.assert_allclose(found, np.log(share[np.arange(5), chosen]), rtol=1e-4)
    np.testing.assert_allclose(
        few.entropy(jnp.asarray(outputs), None), stats.entropy(share, axis=-1), rtol=1e-4
    )


def test_actions_reach_their_bounds_and_no_further():
    space = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
    box = distribution_of(space)
    np.testing.assert_allclose(box.to_world(jnp.array([[-3.0, 0.0], [1.0, 9.0]])), [[-2.0, 2.5], [2.0, 5.0]])
    assert distribution_of(gym.spaces.Discrete(3, start=4)).to_world(jnp.array([0, 2])).tolist() == [4, 6]
    with pytest.raises(TypeError, match="expected Discrete, or a Box with bounds"):
        distribution_of(gym.spaces.Box(-np.inf, np.inf, (1,)))


@pytest.mark.slow
def test_pieces_are_the_whole():
    """Two pieces of one update give the bits of one piece of two."""
    env, ppo = CartPole(horizon=30), replace(SMALL, num_envs=4)
    start = initial_seeds(ppo, env, jax.random.split(jax.random.key(5), 3))
    one, _ = proceed_seeds(ppo, env, start, 1)
    two, curve = proceed_seeds(ppo, env, one, 1)
    whole, curves = proceed_seeds(ppo, env, start, 2)
    np.testing.assert_array_equal(curve.entropy[:, 0], curves.entropy[:, 1])
    pieces, at_once = flatten_tree(two, "ppo"), flatten_tree(whole, "ppo")
    assert pieces.keys() == at_once.keys()
    for name, array in pieces.items():
        np.testing.assert_array_equal(array, at_once[name], err_msg=name)


@pytest.mark.slow
def test_seeds_side_by_side_are_seeds_alone():
    """To float32 rounding, as matrix products of another batch round differently."""
    env, ppo, keys = CartPole(horizon=30), replace(SMALL, num_envs=4), jax.random.split(jax.random.key(5), 3)
    together, _ = proceed_seeds(ppo, env, initial_seeds(ppo, env, keys), 2)
    alone, _ = proceed_seeds(ppo, env, initial_seeds(ppo, env, keys[1:2]), 2)
    for mine, theirs in zip(jax.tree.leaves(alone.weights), jax.tree.leaves(together.weights), strict=True):
        np.testing.assert_allclose(mine[0], theirs[1], rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("change", [{"num_minibatches": 7}, {"num_envs": 0}, {"total_timesteps": 10}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=r"num_minibatches is 7, which|num_envs is 0|num_updates is 0"):
        replace(SMALL, **change)


def test_worlds_that_it_cannot_learn_on_are_refused():
    with pytest.raises(ValueError, match="make it with x64=False"):
        SMALL.initial_state(Pendulum(x64=True), jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["DelayedReward", "ActionObservationReward", "ContinuousActionObservationReward"]
)
def test_probes_are_solved(name):
    """In each of three seeds the return of the likeliest actions is the best one; with discrete actions, which end up
    all but certain, so is the value of what is seen first."""
    env = PROBES[name]()
    ppo = replace(SMALL, total_timesteps=25_600, normalise_rewards=False, normalise_observations=False)
    keys = jax.random.split(jax.random.key(0), 3)
    states, _ = proceed_seeds(ppo, env, initial_seeds(ppo, env, keys), ppo.num_updates)
    for seed in range(3):
        state = jax.tree.map(lambda leaf, row=seed: leaf[row], states)
        shown = rollout(env, _likeliest, jax.random.key(1), num_envs=8, policy_state=ppo.policy(env, state))
        np.testing.assert_allclose(shown.reward.sum(1), env.optimal_return, atol=0.05)
        if isinstance(env.action_space, gym.spaces.Discrete):
            first = shown.observation[:, 0]
            expected = [env.known_value(np.asarray(each), ppo.discount) for each in first]
            np.testing.assert_allclose(state.weights.critic(first)[:, 0], expected, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "bar"), [(CARTPOLE, 475.0), (PENDULUM, -250.0)], ids=["CartPole", "Pendulum"]
)
def test_classic_control_is_solved_on_all_of_eight_seeds(setting, bar):
    """Mean return of 50 fresh episodes of the deterministic policy, each seed."""
    returns = trained_returns(*setting, seeds=8, episodes=50)
    assert returns.shape == (8, 50)
    assert returns.mean(1).min() >= bar


@pytest.mark.parametrize(("name", "setting"), [("cartpole", CARTPOLE), ("pendulum", PENDULUM)])
def test_the_installed_configs_are_what_is_measured(name, setting):
    from dynrl.runs.on_device import OnDeviceConfig

    config = read_config(f"physics/{name}").take("experiment")[1].build(OnDeviceConfig)
    assert config.ppo == setting[1]
    assert config.env.id == f"dynrl/{type(setting[0]).__name__}-v0"
