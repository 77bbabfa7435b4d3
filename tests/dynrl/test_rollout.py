"""`rollout` plays what the faces play, and stays a pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl import VectorEnv, rollout
from dynrl.testing.probes import ConstantReward, DelayedReward
from dynrl.testing.worlds import PreciseRandomWalk, RandomWalk

pytestmark = pytest.mark.usefixtures("strict_ranks")

WALK = RandomWalk(horizon=8, limit=0.8)


def homeward(policy_state, observation, key):
    return jnp.clip(-observation, -1, 1).astype(jnp.float32), policy_state


def noisy(policy_state, observation, key):
    return jax.random.uniform(key, (2,), jnp.float32, -1, 1), policy_state


def rewards(transition):
    return transition.reward


@pytest.mark.parametrize("env", [WALK, PreciseRandomWalk(horizon=8, limit=0.8)])
def test_equals_the_vector_face_until_each_episode_ends(env):
    keys = jax.vmap(jax.random.key)(5 + jnp.arange(6))
    played = rollout(env, homeward, keys)
    vector = VectorEnv(env, 6)
    observation, _ = vector.reset(seed=5)
    live = np.ones(6, bool)
    for t in range(8):
        np.testing.assert_array_equal(played.mask[:, t], live)
        np.testing.assert_allclose(played.observation[live, t], observation[live], rtol=1e-6)
        action = np.clip(-observation, -1, 1).astype(np.float32)
        observation, reward, terminated, truncated, info = vector.step(action)
        np.testing.assert_allclose(played.reward[live, t], reward[live], rtol=1e-6)
        np.testing.assert_allclose(played.next_observation[live, t], observation[live], rtol=1e-6)
        np.testing.assert_allclose(played.info["travelled"][live, t], info["travelled"][live], rtol=1e-6)
        np.testing.assert_array_equal(played.terminated[live, t], terminated[live])
        np.testing.assert_array_equal(played.truncated[live, t], truncated[live])
        live &= ~(terminated | truncated)
    assert not live.any() and played.terminated.any() and played.truncated.any()


def test_known_returns_and_masks_of_the_probes():
    constant = rollout(ConstantReward(), lambda s, o, k: (0, s), 0, num_envs=3, num_steps=4)
    np.testing.assert_array_equal(constant.mask, [[True, False, False, False]] * 3)
    np.testing.assert_array_equal(constant.reward, [[1, 0, 0, 0]] * 3)
    delayed = rollout(DelayedReward(), lambda s, o, k: (0, s), 0, num_envs=2)
    np.testing.assert_array_equal(delayed.reward, [[0, 1]] * 2)
    np.testing.assert_array_equal(delayed.observation[..., 0], [[0, 1]] * 2)


def test_environment_i_plays_the_same_at_any_number():
    few = rollout(WALK, noisy, 3, num_envs=3, collect=rewards)
    many = rollout(WALK, noisy, 3, num_envs=64, collect=rewards)
    assert np.asarray(few).tobytes() == np.asarray(many[:3]).tobytes()


def test_is_pure_under_jit_and_vmap_over_keys_and_params():
    keys = jax.random.split(jax.random.key(0), 4)
    mapped = jax.vmap(lambda key: rollout(WALK, noisy, key, num_envs=3, collect=rewards))(keys)
    single = jnp.stack([rollout(WALK, noisy, key, num_envs=3, collect=rewards) for key in keys])
    np.testing.assert_allclose(mapped, single, rtol=1e-6)

    def total(drift):
        params = {**WALK.default_params, "drift": drift}
        return jnp.sum(rollout(WALK, homeward, keys[0], num_envs=3, params=params, collect=rewards))

    drifts = jnp.array([[0.1, 0.0], [0.4, 0.4]])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(total))(drifts), [total(drift) for drift in drifts], rtol=1e-5
    )
    assert np.isfinite(jax.grad(total)(drifts[0])).all()


def test_precise_world_stays_precise_inside_a_callers_jit():
    env = PreciseRandomWalk(horizon=8, limit=0.8)
    outside = rollout(env, homeward, jax.random.key(1), num_envs=2, collect=rewards)
    program = jax.jit(lambda key: rollout(env, homeward, key, num_envs=2, collect=rewards))
    with jax.enable_x64(True):
        inside = program(jax.random.key(1))
    assert outside.dtype == inside.dtype == np.float64
    np.testing.assert_allclose(inside, outside, rtol=1e-12)
    with pytest.raises(ValueError, match="float32 cannot hold"):
        program(jax.random.key(1))


def test_params_of_each_environment():
    starts = np.linspace(-0.3, 0.3, 6).reshape(3, 2)
    keys = jax.random.split(jax.random.key(0), 3)
    together = rollout(WALK, homeward, keys, params={**WALK.default_params, "start": starts}, collect=rewards)
    for i in range(3):
        params = {**WALK.default_params, "start": starts[i]}
        alone = rollout(WALK, homeward, keys[i : i + 1], params=params, collect=rewards)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)


def test_policy_state_is_carried_and_weights_are_not_copied_per_environment():
    def counting(policy_state, observation, key):
        weights, count = policy_state
        return jnp.clip(weights @ observation, -1, 1), (weights, count + 1)

    def played_count(transition):
        return transition.action

    state = (0.1 * jnp.eye(2), jnp.zeros((), jnp.int32))
    env = RandomWalk(horizon=5, limit=1e6)
    actions = rollout(env, counting, 0, num_envs=4, policy_state=state, collect=played_count)
    assert actions.shape == (4, 5, 2)
    program = jax.make_jaxpr(
        lambda key: rollout(env, counting, key, num_envs=1000, policy_state=state, collect=played_count)
    )(jax.random.key(0))
    assert "1000,2,2]" not in str(program)


def test_does_not_compile_again_for_another_key_or_equal_environment():
    from dynrl.faces.rollout import _rollout

    rollout(RandomWalk(horizon=8, limit=0.8), homeward, 0, num_envs=3, collect=rewards)
    before = _rollout._cache_size()
    rollout(RandomWalk(horizon=8, limit=3.0), homeward, 1, num_envs=3, collect=rewards)
    assert _rollout._cache_size() == before


def test_refuses_what_cannot_be_played():
    with pytest.raises(ValueError, match="horizon of RandomWalk is None"):
        rollout(RandomWalk(horizon=None), homeward, 0)
    with pytest.raises(ValueError, match="holds 2 keys but num_envs is 3"):
        rollout(WALK, homeward, jax.random.split(jax.random.key(0), 2), num_envs=3)
    with pytest.raises(TypeError, match="FunctionalEnv"):
        rollout("dynrl/DLB-v0", homeward, 0)
