"""`dynrl bench core`: how fast the faces and the start-up are, and whether killed runs resume exactly."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dynrl.bench import Figure
from dynrl.bench.crash import crash_figures

ENV = "dynrl/DLBAds-v0"
NUM_ENVS = 1024
HORIZON = 200
VECTOR_BAR, ROLLOUT_BAR, HELP_BAR = 50, 500, 0.5
HEAVY = ("torch", "brax", "matplotlib", "ray", "mujoco", "tensorboard")


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure of `dynrl bench core`."""
    yield from start_up_figures()
    yield from face_figures(quick)
    yield from crash_figures(quick)


def face_figures(quick: bool) -> Iterator[Figure]:
    """Steps per second of `VectorEnv` and `rollout` beside Gymnasium's `SyncVectorEnv` of the same env."""
    from gymnasium.vector import SyncVectorEnv

    from dynrl import VectorEnv, make_functional
    from dynrl.testing.checks import single

    env = make_functional(ENV, horizon=HORIZON)
    sync = SyncVectorEnv([partial(single, env)] * NUM_ENVS)
    peer = _step_rate(sync, steps=2 if quick else 10)
    vector = _step_rate(VectorEnv(env, NUM_ENVS), steps=HORIZON if quick else 5 * HORIZON)
    yield _rate_figure("VectorEnv", vector, peer, VECTOR_BAR)
    yield _rate_figure("rollout", _rollout_rate(env, 2 if quick else 10), peer, ROLLOUT_BAR)


def start_up_figures() -> Iterator[Figure]:
    """Time of `dynrl --help`, and what `import dynrl` brings in."""
    program = "from dynrl.cli import main; raise SystemExit(main(['--help']))"
    seconds = min(_timed(lambda: _python(program)) for _ in range(5))
    bare = min(_timed(lambda: _python("import numpy, gymnasium")) for _ in range(5))
    yield Figure(
        name="dynrl --help, best of 5",
        bar=f"<= {HELP_BAR} s",
        measured=f"{seconds:.2f} s",
        passed=seconds <= HELP_BAR,
        peer=f"import numpy, gymnasium: {bare:.2f} s",
    )
    imported = _python(
        f"import sys, dynrl; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    ).split()
    yield Figure(
        name="import dynrl imports none of " + ", ".join(HEAVY),
        bar="none",
        measured=", ".join(imported) or "none",
        passed=not imported,
    )


def _step_rate(env: Any, steps: int) -> float:
    env.action_space.seed(0)
    actions = env.action_space.sample()
    env.reset(seed=0)
    env.step(actions)
    return env.num_envs * steps / _timed(lambda: [env.step(actions) for _ in range(steps)])


def _rollout_rate(env: Any, repeats: int) -> float:
    import jax

    from dynrl import rollout

    play = partial(rollout, env, _first_action, num_envs=NUM_ENVS, collect=_reward)
    jax.block_until_ready(play(0))
    seconds = _timed(lambda: [jax.block_until_ready(play(seed)) for seed in range(repeats)])
    return NUM_ENVS * HORIZON * repeats / seconds


def _first_action(policy_state: Any, observation: Any, key: Any) -> tuple[Any, Any]:
    return 0, policy_state


def _reward(transition: Any) -> Any:
    return transition.reward


def _rate_figure(name: str, rate: float, peer: float, bar: int) -> Figure:
    return Figure(
        name=f"{name} of {ENV}, {NUM_ENVS} envs, against SyncVectorEnv",
        bar=f">= {bar}x",
        measured=f"{rate / peer:.0f}x ({rate:,.0f} steps/s)",
        passed=rate >= bar * peer,
        peer=f"SyncVectorEnv: {peer:,.0f} steps/s",
    )


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
