"""Rows of `dynrl bench physics`: JAX worlds, MJX against the C engine, and training in one program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dynrl.bench import Figure
from dynrl.learning.on_device import PPO, initial_seeds, proceed_seeds
from dynrl.registry import make_functional, make_world

CARTPOLE = (
    make_functional("dynrl/CartPole-v0"),
    PPO(
        total_timesteps=98_304,
        num_envs=8,
        num_steps=128,
        num_epochs=10,
        num_minibatches=8,
        learning_rate=1e-3,
        anneal=True,
        discount=0.98,
        gae_lambda=0.9,
        normalise_rewards=False,
    ),
)
PENDULUM = (
    make_functional("dynrl/Pendulum-v0"),
    PPO(
        total_timesteps=200_000,
        num_envs=8,
        num_steps=200,
        num_epochs=10,
        num_minibatches=25,
        learning_rate=1e-3,
        anneal=True,
        discount=0.9,
    ),
)
"""A world and the hyper-parameters that solve it; configs/physics holds the same."""

_LANES, _STEPS = 4096, 200


def figures(quick: bool) -> Iterator[Figure]:
    """All rows of this file; `quick` leaves out what takes long to compile or to train."""
    yield from classic_control_figures(quick)
    yield from training_figures(quick)
    if not quick:
        yield from mjx_figures()


def trained_returns(env: Any, ppo: PPO, seeds: int, episodes: int) -> np.ndarray:
    """Train `seeds` seeds as one program; returns `[seeds, episodes]` of fresh deterministic episodes."""
    import jax

    from dynrl.faces.rollout import rollout

    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    states, _ = proceed_seeds(ppo, env, initial_seeds(ppo, env, keys), ppo.num_updates)
    play = jax.vmap(
        lambda state: rollout(
            env,
            _likeliest,
            jax.random.key(10_000),
            num_envs=episodes,
            policy_state=ppo.policy(env, state),
            collect=_reward,
        )
    )
    return np.asarray(jax.jit(play)(states)).sum(-1)


def training_figures(quick: bool) -> Iterator[Figure]:
    """PPO on classic control: the worst of eight seeds, and the processor time of all eight, compilation included."""
    settings = (("CartPole", CARTPOLE, 475.0), ("Pendulum", PENDULUM, -250.0))
    for name, setting, bar in settings[: 1 if quick else None]:
        begin = time.process_time()
        worst = trained_returns(*setting, seeds=8, episodes=50).mean(1).min()
        seconds = time.process_time() - begin
        yield Figure(
            f"on-device PPO, {name}: worst mean return of 8 seeds",
            f">= {bar:g}",
            f"{worst:.1f}",
            worst >= bar,
        )
        yield Figure(
            f"on-device PPO, {name}: processor time of 8 seeds",
            "<= 120 s",
            f"{seconds:.0f} s",
            seconds <= 120,
        )


def classic_control_figures(quick: bool) -> Iterator[Figure]:
    """Steps per second of whole episodes in one program, random actions' cost left out."""
    import jax

    from dynrl.faces.rollout import rollout

    names = (
        ("Pendulum", "CartPole")
        if quick
        else ("Pendulum", "CartPole", "MountainCar", "ContinuousMountainCar", "Acrobot")
    )
    for name in names:
        env = make_functional(f"dynrl/{name}-v0")
        action = np.zeros_like(env.action_space.sample())
        play = jax.jit(
            lambda key, env=env, action=action: rollout(
                env, _constant, key, num_envs=_LANES, num_steps=_STEPS, policy_state=action, collect=_reward
            ).sum(1)
        )
        jax.block_until_ready(play(jax.random.key(0)))
        rates = []
        for repetition in range(5):
            begin = time.perf_counter()
            jax.block_until_ready(play(jax.random.key(repetition)))
            rates.append(_LANES * _STEPS / (time.perf_counter() - begin))
        rate = float(np.median(rates))
        bar = (
            1e6 if name == "Acrobot" else 5e6
        )  # Acrobot integrates with four stages and draws a random torque
        yield Figure(f"{name} in JAX, {_LANES} lanes, steps/s", f">= {bar:.0e}", f"{rate:.2e}", rate >= bar)


def mjx_figures(models: int = 200) -> Iterator[Figure]:
    """1000 parameter vectors and one compilation; and the difference of `models` of them from the C engine."""
    import jax

    env, params, count = _pendulums(1000)
    lanes, steps = 50, 50
    compiled: Any = jax.jit(_mjx_observations, static_argnums=0)
    shown, inputs = [], []
    for first in range(0, count, lanes):
        part = {name: value[first : first + lanes] for name, value in params.items()}
        with jax.enable_x64(True):
            observation, action = jax.device_get(compiled(env, part, jax.random.key(first)))
        shown.append(observation)
        inputs.append(action)
    programs = compiled._cache_size()
    yield Figure("MJX: programs compiled for 1000 parameter vectors", "1", str(programs), programs == 1)
    worst = _difference_from_c(env, params, np.concatenate(shown), np.concatenate(inputs), models, steps)
    yield Figure(
        "MJX against per-model C MuJoCo, InvertedPendulum, 50 steps, x64",
        "<= 1e-6",
        f"{worst:.1e}",
        worst <= 1e-6,
    )


def _pendulums(count: int) -> tuple[Any, dict[str, np.ndarray], int]:
    """InvertedPendulum in float64 with `count` pairs of masses, and all that follows from them."""
    from dynrl.physics.mjx_env import MjxEnv
    from dynrl.physics.parameters import ParameterMap
    from dynrl.physics.task import MujocoTask
    from dynrl.robust.parameter import Param

    task = make_world("dynrl/InvertedPendulum-v0")
    assert isinstance(task, MujocoTask)
    env = MjxEnv(task, x64=True)
    bounds = {"pole": (1.0, 31.0), "cart": (1.0, 11.0)}
    masses = ParameterMap(
        task.model, [Param(f"body:{name}.mass", *interval) for name, interval in bounds.items()]
    )
    low, high = np.array(list(bounds.values())).T
    psi = np.random.default_rng(0).uniform(low, high, (count, 2))
    return env, masses.fields(psi), count


def _mjx_observations(env: Any, fields: dict[str, Any], key: Any) -> tuple[Any, Any]:
    from dynrl.faces.rollout import rollout

    lanes = len(next(iter(fields.values())))
    shared = {name: value for name, value in env.default_params.items() if name not in fields}
    play = rollout(
        env, _wiggle, key, num_envs=lanes, num_steps=50, params={**shared, **fields}, collect=_seen
    )
    return play


def _difference_from_c(
    env: Any, params: dict[str, np.ndarray], shown: np.ndarray, actions: np.ndarray, models: int, steps: int
) -> float:
    import copy

    import mujoco

    from dynrl.physics.snapshot import write_fields

    worst, nq = 0.0, env.task.model.nq
    for index in np.linspace(0, len(shown) - 1, models).astype(int):
        model = copy.copy(env.task.model)
        write_fields(model, params, index)
        data = mujoco.MjData(model)
        data.qpos, data.qvel = shown[index, 0, :nq], shown[index, 0, nq:]
        for step in range(steps - 1):
            data.ctrl = actions[index, step]
            mujoco.mj_step(model, data, env.task.frame_skip)
            found = np.concatenate([data.qpos, data.qvel])
            if abs(found[1]) > 0.2:  # the episode has ended
                break
            worst = max(worst, float(np.abs(found - shown[index, step + 1]).max()))
    return worst


def _likeliest(policy: Any, observation: Any, key: Any) -> tuple[Any, Any]:
    return policy.act(observation[None], ())[0][0], policy


def _constant(action: Any, observation: Any, key: Any) -> tuple[Any, Any]:
    return action, action


def _wiggle(state: Any, observation: Any, key: Any) -> tuple[Any, Any]:
    import jax.numpy as jnp

    return (3.0 * jnp.sin(5.0 * observation[:1] + 7.0 * observation[1:2])).astype(jnp.float32), state


def _reward(transition: Any) -> Any:
    return transition.reward


def _seen(transition: Any) -> tuple[Any, Any]:
    return transition.observation, transition.action
