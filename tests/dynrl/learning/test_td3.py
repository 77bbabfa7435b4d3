"""TD3's pieces against closed forms, and a fixed data set whose best policy and values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.learning import td3
from dynrl.learning.networks import from_unit
from dynrl.learning.replay import Transitions
from dynrl.learning.td3 import TD3Config

CONFIG = TD3Config(
    hidden=(32, 32), batch_size=64, actor_rate=1e-3, critic_rate=3e-3, discount=0.5, tracking=0.05
)


LOOP = 8  # updates in one compiled call, the same in every test: each length is a program of its own


def known_world(rng, *shape):
    """Three states: at ±1 the episode ends with reward 1 - (a - s / 2)^2; at 0 it goes on for ever with reward 1/2."""
    state = rng.integers(-1, 2, shape).astype(np.float32)
    action = rng.uniform(-1, 1, shape).astype(np.float32)
    reward = np.where(state == 0, 0.5, 1 - (action - state / 2) ** 2).astype(np.float32)
    terminated = (state != 0).astype(np.float32)
    empty = np.zeros((*shape, 0), np.float32)
    return Transitions(state[..., None], action[..., None], reward, state[..., None], terminated, empty)


def fresh(key=0, config=CONFIG, extra=0):
    return td3.initial_state(config, 1, 1, jax.random.key(key), extra)


def test_it_finds_the_best_actions_and_values_of_a_known_world():
    rng, state = np.random.default_rng(0), fresh()
    for number in range(3072 // LOOP):
        batches = known_world(rng, LOOP, CONFIG.batch_size)
        state, _ = td3.update_many(CONFIG, state, batches, jax.random.key(number))
    assert int(state.updates) == 3072
    observation = jnp.array([[-1.0], [1.0], [0.0]])
    action = state.actor.mode(observation)
    np.testing.assert_allclose(action[:2, 0], [-0.5, 0.5], atol=0.08)
    # A terminal step is worth its reward; the state without end is worth 0.5 / (1 - 0.5).
    values = state.critic(observation, action, jnp.zeros((3, 0)))
    np.testing.assert_allclose(values, np.ones((2, 3)), atol=0.05)


def test_the_target_takes_the_lower_twin_and_only_a_true_end_cuts_it():
    state = fresh()._replace(
        target_critic=lambda s, a, extra: jnp.stack([s[:, 0] + a[:, 0], 10 * extra[:, 0]])
    )
    batch = Transitions(
        observation=jnp.zeros((3, 1)),
        action=jnp.zeros((3, 1)),
        reward=jnp.array([1.0, 1.0, 1.0]),
        next_observation=jnp.array([[2.0], [2.0], [2.0]]),
        terminated=jnp.array([0.0, 1.0, 0.0]),
        extra=jnp.zeros((3, 1)),
    )
    targets = td3.critic_targets(CONFIG, state, batch, jnp.ones((3, 1)), jnp.array([[0.1], [0.1], [5.0]]))
    np.testing.assert_allclose(targets, [1 + 0.5 * 1, 1, 1 + 0.5 * 3])


def test_noise_is_independent_for_every_component_and_cut_off():
    noise = np.asarray(td3.clipped_noise(jax.random.key(3), (20_000, 3), 0.2, 0.3))
    assert np.abs(noise).max() == pytest.approx(0.3)
    # 99.9 % bound on a correlation of independent draws: 3.3 / sqrt(n)
    correlation = np.corrcoef(noise.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 3.3 / np.sqrt(20_000)
    actor = fresh().actor
    at_the_edge = TD3Config(target_noise=5.0, noise_clip=10.0)
    action = td3.smoothed_action(at_the_edge, actor, jnp.zeros((1000, 1)), jax.random.key(0))
    assert float(action.min()) == -1 and float(action.max()) == 1


def test_policy_and_targets_move_only_on_every_second_critic_update():
    rng, begin = np.random.default_rng(1), fresh()
    batches = known_world(rng, LOOP, CONFIG.batch_size)
    keys = jax.random.split(jax.random.key(5), LOOP)
    update = jax.jit(td3.update, static_argnums=0)
    first, _ = update(CONFIG, begin, jax.tree.map(lambda x: x[0], batches), keys[0])
    second, _ = update(CONFIG, first, jax.tree.map(lambda x: x[1], batches), keys[1])

    def same(one, other):
        return all(
            np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        )

    assert same(first.actor, begin.actor) and same(first.target_critic, begin.target_critic)
    assert not same(first.critic, begin.critic)
    assert not same(second.actor, first.actor)
    moved = jax.tree.map(lambda old, new: 0.95 * old + 0.05 * new, begin.target_critic, second.critic)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(second.target_critic), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # The loop on the device does the same as one call after the other.
    last = second
    for number in range(2, LOOP):
        last, _ = update(CONFIG, last, jax.tree.map(lambda x, k=number: x[k], batches), keys[number])
    looped, _ = td3.update_many(CONFIG, begin, batches, jax.random.key(5))
    for a, b in zip(jax.tree.leaves(looped), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_saturated_actions_stay_within_bounds_that_are_not_symmetric():
    rng = np.random.default_rng(0)
    low, high = -rng.uniform(0.1, 3, 1000).astype(np.float32), rng.uniform(0.1, 3, 1000).astype(np.float32)
    for module in (np, jnp):
        one = module.ones(1000, module.float32)
        assert (np.asarray(from_unit(one, low, high)) <= high).all()
        assert (np.asarray(from_unit(-one, low, high)) >= low).all()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("hidden", ()),
        ("discount", 1.0),
        ("tracking", 0.0),
        ("batch_size", 0),
        ("actor_rate", 0.0),
        ("noise_clip", -1.0),
    ],
)
def test_settings_without_sense_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=setting):
        TD3Config(**{setting: value})
