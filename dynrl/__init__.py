"""dynrl: reinforcement learning and control for systems whose dynamics are the hard part.

Importing the package registers its environments with Gymnasium; everything else is imported when it is first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dynrl.registry import make_functional, register_agent, register_all, register_env

if TYPE_CHECKING:
    from dynrl.agent import Agent
    from dynrl.faces.brax import BraxEnv
    from dynrl.faces.gymnasium_env import GymnasiumEnv
    from dynrl.faces.rollout import rollout
    from dynrl.faces.sb3 import SB3VecEnv
    from dynrl.faces.vector_env import VectorEnv
    from dynrl.functional import FunctionalEnv

__all__ = [
    "Agent",
    "BraxEnv",
    "FunctionalEnv",
    "GymnasiumEnv",
    "SB3VecEnv",
    "VectorEnv",
    "make_functional",
    "register_agent",
    "register_env",
    "rollout",
]

_LAZY = {
    "Agent": "dynrl.agent",
    "BraxEnv": "dynrl.faces.brax",
    "FunctionalEnv": "dynrl.functional",
    "GymnasiumEnv": "dynrl.faces.gymnasium_env",
    "SB3VecEnv": "dynrl.faces.sb3",
    "VectorEnv": "dynrl.faces.vector_env",
    "rollout": "dynrl.faces.rollout",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dynrl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_all()
