"""The classic robots of Gymnasium's MuJoCo suite, as tasks that run on every engine."""

from typing import Any

__all__ = ["InvertedPendulum"]

_HOMES = {"InvertedPendulum": "inverted_pendulum"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.envs.mujoco_robots' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"dynrl.envs.mujoco_robots.{_HOMES[name]}"), name)
