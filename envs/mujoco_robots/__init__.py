"""The classic robots of Gymnasium's MuJoCo suite, as tasks that run on every engine."""

from typing import Any

__all__ = [
    "Ant",
    "HalfCheetah",
    "Hopper",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Reacher",
    "Swimmer",
    "Walker2d",
]

_HOMES = {
    "Ant": "ant",
    "HalfCheetah": "half_cheetah",
    "Hopper": "hopper",
    "HumanoidStandup": "humanoid_standup",
    "InvertedDoublePendulum": "inverted_double_pendulum",
    "InvertedPendulum": "inverted_pendulum",
    "Reacher": "reacher",
    "Swimmer": "swimmer",
    "Walker2d": "walker2d",
}


def __getattr__(name: str) -> Any:
    # One robot is loaded when it is asked for, and the engine with it.
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.envs.mujoco_robots' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"dynrl.envs.mujoco_robots.{_HOMES[name]}"), name)
