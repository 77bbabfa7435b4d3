"""Steps per second of MuJoCo robots on the C engine beside EnvPool and Gymnasium's `SyncVectorEnv`, and their equality
with Gymnasium's environments."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dynrl.bench import Figure
from dynrl.physics.single_env import MujocoEnv
from dynrl.physics.vector_env import MujocoVectorEnv
from dynrl.registry import make_world

ROBOTS = ("HalfCheetah", "Hopper", "Ant")
ALL_ROBOTS = (
    "Ant",
    "HalfCheetah",
    "Hopper",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Reacher",
    "Swimmer",
    "Walker2d",
)
THREADS = 2
ENVPOOL_BAR, SYNC_BAR = 1.0, 2.0
EQUAL = 1e-9
ADVICE = "pip install dynrl[bench] (in a checkout: make bench-peers)"


def figures(quick: bool) -> Iterator[Figure]:
    """The rows of this file in `dynrl bench physics`."""
    differences = [largest_difference(name, 200) for name in ALL_ROBOTS]
    worst = max(differences)
    yield Figure(
        "nine robots against Gymnasium v5, 200 steps with resets: largest difference of observation or reward",
        f"≤ {EQUAL:g}",
        f"{worst:.2g}",
        worst <= EQUAL,
    )
    for name in ROBOTS:
        for num_envs in (64,) if quick else (64, 256, 1024):
            yield from _speed_rows(name, num_envs, 7 if quick else 11)


def _speed_rows(name: str, num_envs: int, repetitions: int) -> Iterator[Figure]:
    what = f"{name}, {num_envs} envs, {THREADS} threads"
    rates = throughput(name, num_envs, repetitions)
    ours = np.array(rates["dynrl"])
    for peer, bar in (("EnvPool", ENVPOOL_BAR), ("SyncVectorEnv", SYNC_BAR)):
        figure = f"{what}: env steps/s, times {peer}"
        if peer not in rates:
            yield Figure(figure, f"≥ {bar:g}", f"not measured: {peer} is missing, {ADVICE}", False)
            continue
        theirs = np.array(rates[peer])
        # Pairs are neighbours in time, so that what else the machine does weighs on both.
        ratio = float(np.median(ours / theirs))
        yield Figure(
            figure,
            f"≥ {bar:g}",
            f"{ratio:.2f} ({np.median(ours):,.0f}/s)",
            ratio >= bar,
            f"{peer} {np.median(theirs):,.0f}/s",
        )


def throughput(name: str, num_envs: int, repetitions: int) -> dict[str, list[float]]:
    """Step one robot in turn with each library: random actions, observations, rewards and resets included.

    All reset in the step after an end, and use their own version of the same model and frame skip.

    Args:
        name: of the robot.
        num_envs: environments in one vector env.
        repetitions: of the whole round; the first is thrown away.

    Returns:
        library -> env steps per second of each repetition; EnvPool only where it is installed.
    """
    task: Any = make_world(f"dynrl/{name}-v0")
    with _quiet_engines():
        envs: dict[str, Any] = {"dynrl": MujocoVectorEnv(task, num_envs, num_threads=THREADS)}
        if find_spec("envpool") is not None:
            envs["EnvPool"] = _envpool(name, num_envs, task.frame_skip)
        envs["SyncVectorEnv"] = SyncVectorEnv(
            [lambda: gymnasium.make(f"{name}-v5")] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP
        )
        for library in ("dynrl", "SyncVectorEnv"):
            envs[library].reset(seed=0)
    rng, space = np.random.default_rng(0), task.action_space
    steps = max(2, 2048 // num_envs)
    actions = rng.uniform(space.low, space.high, (steps, num_envs, *space.shape)).astype(np.float32)
    dtypes = {library: env.action_space.dtype for library, env in envs.items()}
    played = {library: actions.astype(dtype) for library, dtype in dtypes.items()}
    rates: dict[str, list[float]] = {library: [] for library in envs}
    for repetition in range(repetitions + 1):
        for library, env in envs.items():
            rate = num_envs * steps / _seconds(env.step, played[library])
            if repetition:
                rates[library].append(rate)
    for env in envs.values():
        env.close()
    return rates


def _envpool(name: str, num_envs: int, frame_skip: int) -> Any:
    import envpool

    env = envpool.make(f"{name}-v5", env_type="gymnasium", num_envs=num_envs, num_threads=THREADS, seed=0)
    assert env.config["frame_skip"] == frame_skip
    env.reset()
    return env


@contextlib.contextmanager
def _quiet_engines() -> Iterator[None]:
    # MuJoCo writes the same note about HalfCheetah's model once for each environment.
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _seconds(step: Callable[[np.ndarray], Any], actions: np.ndarray) -> float:
    begin = time.perf_counter()
    for played in actions:
        step(played)
    return time.perf_counter() - begin


def largest_difference(name: str, steps: int) -> float:
    """Play a robot beside Gymnasium's from the same states with the same random actions.

    Returns:
        the largest difference of an element of an observation, or of a reward; infinite where one ends and the other
        does not.
    """
    task: Any = make_world(f"dynrl/{name}-v0")
    ours = MujocoEnv(task)
    with _quiet_engines():
        theirs: Any = gymnasium.make(f"{name}-v5").unwrapped
    ours.action_space.seed(0)
    _same_start(ours, theirs, 0)
    worst = 0.0
    for step in range(steps):
        action = ours.action_space.sample() * np.float32(0.3 if step < steps // 2 else 1.0)
        shown, expected = ours.step(action), theirs.step(action)
        if shown[2] != bool(expected[2]):
            return np.inf
        worst = max(worst, float(np.abs(shown[0] - expected[0]).max()), abs(shown[1] - float(expected[1])))
        if shown[2] or shown[3]:
            _same_start(ours, theirs, None)
    theirs.close()
    return worst


def _same_start(ours: MujocoEnv, theirs: Any, seed: int | None) -> None:
    ours.reset(seed=seed)
    qpos, qvel = ours.state()
    mujoco.mj_resetData(theirs.model, theirs.data)
    theirs.set_state(qpos, qvel)
