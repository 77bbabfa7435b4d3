"""Networks against their formulas in NumPy and SciPy; of one shape, so that they share their compiled operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box
from scipy import stats

from dynrl.learning.networks import (
    MLP,
    ActorPolicy,
    DeterministicActor,
    GaussianActor,
    TwinCritic,
    from_unit,
    polyak,
    to_unit,
)

KEY = jax.random.key(0)
OBSERVED, ACTED, HIDDEN = 3, 2, (8,)
OBSERVATION = jax.random.normal(KEY, (50, OBSERVED))


def test_an_mlp_is_its_matrices():
    network = MLP((OBSERVED, *HIDDEN, ACTED), KEY)
    x = np.random.default_rng(0).normal(size=(4, 2, OBSERVED)).astype(np.float32)
    hidden = np.maximum(x @ np.asarray(network.weights[0]) + np.asarray(network.biases[0]), 0)
    expected = hidden @ np.asarray(network.weights[1]) + np.asarray(network.biases[1])
    np.testing.assert_allclose(network(jnp.asarray(x)), expected, atol=1e-5)


def test_first_weights_lie_within_one_over_root_of_the_inputs():
    network = MLP((400, 25, 1), KEY, last_scale=0.5)
    assert 0.9 / 20 < np.abs(network.weights[0]).max() <= 1 / 20
    assert np.abs(network.weights[1]).max() <= 0.5 / 5


def test_the_log_density_of_a_squashed_gaussian_is_the_change_of_variables():
    actor = GaussianActor(OBSERVED, ACTED, KEY, HIDDEN)
    action, log_density = actor.sample(OBSERVATION, jax.random.key(1))
    mean, log_std = (np.asarray(part, np.float64) for part in actor.distribution(OBSERVATION))
    raw = np.arctanh(np.asarray(action, np.float64))
    expected = stats.norm.logpdf(raw, mean, np.exp(log_std)) - np.log(1 - np.tanh(raw) ** 2)
    np.testing.assert_allclose(log_density, expected.sum(-1), atol=2e-3)


def test_the_log_density_stays_finite_where_tanh_is_one():
    actor = GaussianActor(OBSERVED, ACTED, KEY, HIDDEN)
    action, log_density = actor.sample(1e6 * OBSERVATION, KEY)
    assert np.abs(np.asarray(action)).max() == 1.0
    assert np.isfinite(np.asarray(log_density)).all()


def test_exploration_noise_has_the_stated_deviation_and_stays_in_bounds():
    actor = DeterministicActor(OBSERVED, ACTED, KEY, HIDDEN, noise=0.1)
    observation = jnp.zeros((20_000, OBSERVED))
    noise = np.asarray(actor.explore(observation, KEY) - actor.mode(observation))
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert np.abs(np.asarray(actor.explore(observation + 100, KEY))).max() <= 1


def test_twin_critics_have_weights_of_their_own():
    critic = TwinCritic(OBSERVED, ACTED, KEY, HIDDEN)
    first, second = critic(OBSERVATION, OBSERVATION[:, :ACTED])
    assert first.shape == (50,)
    assert not np.allclose(first, second)


def test_unit_actions_map_onto_the_bounds_and_back():
    low, high = np.array([-3.0, 0.0]), np.array([3.0, 10.0])
    np.testing.assert_array_equal(
        from_unit(np.array([[-1.0, 1.0], [0.0, 0.0]]), low, high), [[-3, 10], [0, 5]]
    )
    action = np.random.default_rng(0).uniform(low, high, (20, 2))
    np.testing.assert_allclose(from_unit(to_unit(action, low, high), low, high), action)


def test_a_policy_acts_with_the_mode_unless_given_a_key():
    actor = GaussianActor(OBSERVED, ACTED, KEY, HIDDEN)
    policy = ActorPolicy.of(actor, Box(-3.0, 3.0, (ACTED,)))
    action, carry = policy.act(OBSERVATION, policy.initial_carry(50))
    assert carry == ()
    np.testing.assert_allclose(action, 3 * actor.mode(OBSERVATION), rtol=1e-5, atol=1e-6)
    assert not np.allclose(policy.act(OBSERVATION, (), KEY)[0], action)


def test_averaging_moves_by_its_rate():
    old, new = (MLP((OBSERVED, *HIDDEN, ACTED), jax.random.key(seed)) for seed in (0, 1))
    moved = polyak(old, new, 0.25)
    np.testing.assert_allclose(moved.biases[0], 0.75 * old.biases[0] + 0.25 * new.biases[0], rtol=1e-6)
