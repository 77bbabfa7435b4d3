"""The backend `warp`: one clear error where it cannot run, and C's numbers where it can."""

import copy

import gymnasium as gym
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import dynrl.physics.warp_env
from dynrl.faces.rollout import rollout
from dynrl.physics.snapshot import write_fields
from dynrl.physics.warp_env import WarpEnv
from dynrl.testing.arms import FreeArm

_HAS_GPU = any(device.platform in ("gpu", "cuda") for device in jax.devices())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(dynrl.physics.warp_env.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install warp-lang; without a GPU use the backend `batch`"):
        gym.make("dynrl/InvertedPendulum-v0", backend="warp")


@pytest.mark.skipif(_HAS_GPU, reason="there is a GPU")
def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(dynrl.physics.warp_env.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match=r"needs an NVIDIA GPU, and JAX sees only cpu"):
        WarpEnv(FreeArm())


@pytest.mark.slow
def test_parameters_of_each_simulation_act_as_in_c():
    """50 steps of four arms of other masses, gravity and damping: float32's rounding apart."""
    pytest.importorskip("warp")
    env = WarpEnv(FreeArm(), on_cpu=True, max_contacts=64)
    model, factor = env.task.model, np.linspace(0.6, 1.8, 4)[:, None]
    fields = {
        "body_mass": model.body_mass * factor,
        "body_subtreemass": model.body_subtreemass * factor,
        "dof_damping": model.dof_damping * factor,
        "opt.gravity": model.opt.gravity * factor,
    }
    keys = jax.vmap(jax.random.key)(np.arange(4))
    shown = jax.device_get(rollout(env, _policy, keys, params=env.complete(fields), num_steps=50))
    for lane in range(4):
        changed = copy.copy(model)
        write_fields(changed, fields, lane)
        data = mujoco.MjData(changed)
        data.qpos, data.qvel = shown.observation[lane, 0, :2], shown.observation[lane, 0, 2:4]
        for step, action in enumerate(shown.action[lane]):
            data.ctrl = action
            mujoco.mj_step(changed, data, env.task.frame_skip)
            found = shown.next_observation[lane, step, :4]
            np.testing.assert_allclose(found, np.concatenate([data.qpos, data.qvel]), rtol=0, atol=1e-4)


def _policy(state, observation, key):
    return jnp.sin(3.0 * observation[:1]).astype(jnp.float32), state
