"""MJX gives what MuJoCo's C engine gives, for every field that may vary, in one compiled program."""

import copy
import pickle

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from scipy.stats import ks_2samp

from dynrl.envs.mujoco_robots import InvertedPendulum
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.faces.rollout import rollout
from dynrl.faces.vector_env import VectorEnv
from dynrl.physics.mjx_env import MjxEnv
from dynrl.physics.snapshot import write_fields
from dynrl.physics.state import PhysicsState
from dynrl.physics.vector_env import MujocoVectorEnv
from dynrl.registry import make_world
from dynrl.testing.arms import FreeArm, RichArm

STEPS, LANES = 50, 48
# MJX sums the subtree's mass from the bodies'; MuJoCo reads it. They agree where it is what the masses say.
_COUPLED = {"body_mass", "body_subtreemass"}


def _policy(state, observation, key):
    return jnp.sin(3.0 * observation[:1]).astype(jnp.float32), state


def _changed(env, rng):
    """One variant per field: every element of it a little larger, and off zero."""
    variants = []
    for name, value in env.default_params.items():
        if name in _COUPLED:
            continue
        other = value * (1 + 0.1 * rng.uniform(size=value.shape)) + 0.02 * rng.uniform(size=value.shape)
        if name.endswith("quat"):
            other /= np.linalg.norm(other, axis=-1, keepdims=True)
        if name.startswith("body_"):
            other[0] = value[0]  # the world
        variants.append({name: other})
    for factor in rng.uniform(0.5, 2.0, 2):
        variants.append({name: env.default_params[name] * factor for name in _COUPLED})
    return variants


def _batched(env, variants, lanes):
    rows = [variants[index] if index < len(variants) else {} for index in range(lanes)]
    return {
        name: np.stack([row.get(name, value) for row in rows]) for name, value in env.default_params.items()
    }


def _from_c(env, fields, shown):
    """(observations, rewards) that the C engine gives for the start and the actions of one lane."""
    model = copy.copy(env.task.model)
    write_fields(model, fields)
    data, task = mujoco.MjData(model), env.task
    start = shown.observation[0]
    data.qpos, data.qvel = start[: model.nq], start[model.nq : model.nq + model.nv]
    mujoco.mj_forward(model, data)
    observations, rewards, before = [], [], _state(task, data)
    for action in shown.action:
        data.ctrl = action
        mujoco.mj_step(model, data, task.frame_skip)
        after = _state(task, data)
        observations.append(task.observation(after))
        rewards.append(task.outcome(before, action, after).reward)
        before = after
    return np.array(observations), np.array(rewards)


def _state(task, data):
    named = {name: np.array(getattr(data, name)) for name in task.data_fields}
    return PhysicsState(
        data.time, data.qpos.copy(), data.qvel.copy(), data.act.copy(), data.ctrl.copy(), **named
    )


def _play(env, params, seed=0):
    lanes = len(next(iter(params.values())))
    keys = jax.vmap(jax.random.key)(seed + np.arange(lanes))
    return jax.device_get(rollout(env, _policy, keys, params=params, num_steps=STEPS))


@pytest.fixture(scope="module")
def free():
    return MjxEnv(FreeArm(), x64=True)


def _compare(env, variants, shown, tolerance, missing, steps=STEPS, left_out=()):
    for index, fields in enumerate(variants):
        if next(iter(fields)) in left_out:
            continue
        lane = jax.tree.map(lambda leaf, row=index: leaf[row, :steps], shown)
        observations, rewards = _from_c(env, fields, lane)
        np.testing.assert_allclose(
            lane.next_observation, observations, rtol=0, atol=tolerance, err_msg=str(list(fields))
        )
        np.testing.assert_allclose(lane.reward, rewards, rtol=0, atol=tolerance, err_msg=str(list(fields)))
        nominal, _ = _from_c(env, {}, lane)
        if np.abs(nominal - observations).max() == 0:
            missing.add(next(iter(fields)))


@pytest.mark.slow
def test_every_field_acts_as_in_c_and_a_thousand_vectors_take_one_program(free):
    """Observations and rewards of 50 steps to 1e-6; no field that MuJoCo reads is silently left out by MJX."""
    from dynrl.faces.rollout import _rollout

    variants = _changed(free, np.random.default_rng(0))
    assert len(variants) <= LANES
    params = _batched(free, variants, LANES)
    shown = _play(free, params)
    without_effect: set[str] = set()
    _compare(free, variants, shown, 1e-6, without_effect)
    acting = {name for fields in variants for name in fields} - without_effect
    assert {
        "body_mass",
        "body_inertia",
        "dof_damping",
        "jnt_stiffness",
        "actuator_gear",
        "opt.gravity",
    } <= acting
    programs = _rollout._cache_size()
    rng = np.random.default_rng(1)
    ends = set()
    for number in range(21):  # 21 * 48 > 1000 parameter vectors
        params["body_mass"] = free.default_params["body_mass"] * rng.uniform(0.5, 2.0, (LANES, 1))
        params["dof_damping"] = rng.uniform(0.0, 1.0, (LANES, 2))
        ends |= {round(float(value), 9) for value in _play(free, params, number).observation[:, -1, 0]}
    assert _rollout._cache_size() == programs
    assert len(ends) == 21 * LANES


def test_fields_that_cannot_vary_are_named(free):
    model = free.task.model
    assert free.complete({"body_simple": model.body_simple})["body_mass"] is free.default_params["body_mass"]
    with pytest.raises(
        ValueError, match=r"params name 'dof_frictionloss', which cannot vary on MJX.*`batch`"
    ):
        free.complete({"dof_frictionloss": np.ones((5, 2))})
    masses = np.ones((5, 3))
    assert free.complete({"body_mass": masses})["body_mass"] is masses


def test_a_copy_and_a_pickle_are_equal_and_small(free):
    assert len(pickle.dumps(free)) < 2_000
    for twin in (pickle.loads(pickle.dumps(free)), copy.deepcopy(free)):
        assert twin == free and hash(twin) == hash(free)
        np.testing.assert_array_equal(twin.default_params["body_mass"], free.default_params["body_mass"])


def test_what_mjx_refuses_is_said_with_the_robots_name():
    from dynrl.envs.mujoco_robots import HumanoidStandup

    with pytest.raises(
        ValueError, match=r"HumanoidStandup cannot run on MJX, which lacks.*PGS.*solver='newton'"
    ):
        MjxEnv(HumanoidStandup())
    assert MjxEnv(HumanoidStandup(), solver="newton").task.model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
    with pytest.raises(ValueError, match=r"solver is 'pgs', expected None or one of \['cg', 'newton'\]"):
        MjxEnv(InvertedPendulum(), solver="pgs")


@pytest.mark.slow
def test_limits_contacts_tendons_and_drag_act_as_in_c():
    """Every field of a model with much in it, contacts included, until rounding grows: 1e-5 over 25 steps.

    Left out is the orientation of bodies: a tool tilted out of its plane meets the floor differently on MJX from the
    first contact on. Without contacts it agrees, see above.
    """
    env = MjxEnv(RichArm(), x64=True)
    variants = _changed(env, np.random.default_rng(0))
    shown = _play(env, _batched(env, variants, len(variants)))
    without_effect: set[str] = set()
    _compare(env, variants, shown, 1e-5, without_effect, steps=25, left_out=("body_quat",))
    acting = {name for fields in variants for name in fields} - without_effect
    assert {
        "geom_friction",
        "geom_solref",
        "tendon_stiffness",
        "opt.wind",
        "body_gravcomp",
    } <= acting


@pytest.mark.slow
def test_inverted_pendulum_with_other_masses_is_c_per_model():
    """Specification 14.6: eight pairs of masses with what MuJoCo derives from them, 50 steps, 1e-6."""
    from dynrl.bench.physics_training import mjx_figures

    figures = {figure.name: figure for figure in mjx_figures(models=24)}
    assert [figure.passed for figure in figures.values()] == [True, True], figures


@pytest.mark.slow
def test_a_simulation_that_diverges_ends_its_own_episode(free):
    """Gravity beyond reason in one lane: it terminates with finite numbers, the other does not notice."""
    params = _batched(free, [{}, {"opt.gravity": np.array([0.0, 0.0, -1e13])}], LANES)
    shown, calm = _play(free, params), _play(free, _batched(free, [], LANES))
    assert shown.terminated[1].any() and not shown.terminated[0].any()
    assert shown.info["diverged"][1][shown.terminated[1]].all()
    assert np.isfinite(shown.next_observation).all() and np.isfinite(shown.reward).all()
    np.testing.assert_array_equal(shown.next_observation[0], calm.next_observation[0])


@pytest.mark.slow
def test_hopper_falls_as_it_does_in_c():
    """With contacts only distributions agree: lengths and returns of 96 episodes of random actions on each engine.

    Two-sample Kolmogorov-Smirnov, false alarm 1e-3 for each of the two, seeds fixed.
    """
    task = make_world("dynrl/Hopper-v0")
    params = {name: value[None].repeat(96, 0) for name, value in MjxEnv(task).default_params.items()}
    keys = jax.vmap(jax.random.key)(np.arange(96))
    shown = rollout(MjxEnv(task), _random, keys, params=params, num_steps=60, collect=_reward_and_mask)
    mjx_reward, mask = jax.device_get(shown)
    env, rng = MujocoVectorEnv(task, 96, autoreset_mode="SameStep"), np.random.default_rng(0)
    env.reset(seed=0)
    alive, c_reward, c_length = np.ones(96, bool), np.zeros(96), np.zeros(96)
    for _ in range(60):
        _, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, (96, 3)).astype(np.float32))
        c_reward += np.where(alive, reward, 0.0)
        c_length += alive
        alive &= ~(terminated | truncated)
    assert ks_2samp(mask.sum(1), c_length).pvalue > 1e-3
    assert ks_2samp(mjx_reward.sum(1), c_reward).pvalue > 1e-3
    assert alive.mean() < 0.3


def _random(state, observation, key):
    return jax.random.uniform(key, (3,), jnp.float32, -1.0, 1.0), state


def _reward_and_mask(transition):
    return transition.reward, transition.mask


@pytest.mark.slow
def test_the_faces_take_it_and_a_stored_episode_goes_on():
    """Four lanes are four single environments, auto-resets included; a restored episode plays the same numbers."""
    env = MjxEnv(FreeArm(horizon=6), x64=True)
    many = VectorEnv(env, 4, autoreset_mode="SameStep")
    singles = SyncVectorEnv([lambda: GymnasiumEnv(env)] * 4, autoreset_mode="SameStep")
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(many.reset(seed=3)[0], singles.reset(seed=3)[0], rtol=0, atol=1e-12)
    for _ in range(15):
        action = rng.uniform(-1, 1, (4, 1)).astype(np.float32)
        ours, theirs = many.step(action), singles.step(action)
        for mine, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)
    one, twin = singles.envs[0], GymnasiumEnv(env)
    twin.load_state_dict(one.state_dict())
    action = np.array([0.5], np.float32)
    for mine, other in zip(one.step(action)[:4], twin.step(action)[:4], strict=True):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(ValueError, match="outside the space"):
        one.step(np.array([3.0], np.float32))
