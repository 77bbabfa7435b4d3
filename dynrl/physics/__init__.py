"""MuJoCo worlds: a task is written once and runs on MuJoCo's C engine, on MJX and on MuJoCo Warp."""

from typing import Any

__all__ = ["MujocoEnv", "MujocoTask", "MujocoVectorEnv", "Outcome", "PhysicsState"]

_HOMES = {
    "MujocoEnv": "dynrl.physics.single_env",
    "MujocoTask": "dynrl.physics.task",
    "MujocoVectorEnv": "dynrl.physics.vector_env",
    "Outcome": "dynrl.physics.task",
    "PhysicsState": "dynrl.physics.state",
}


def __getattr__(name: str) -> Any:
    # On first use, so that a program that needs no physics does not load the engine.
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.physics' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
