"""Robust control: uncertainty sets, worst-case search, reports, and solvers of robust decision problems.

Names are imported on first use: `import dynrl.robust` loads neither JAX nor MuJoCo.
"""

from typing import Any

_HOMES = {
    "ActionDelay": "dynrl.robust.wrappers",
    "ActionRobust": "dynrl.robust.adversary",
    "DomainRandomization": "dynrl.robust.wrappers",
    "DynamicAdversary": "dynrl.robust.adversary",
    "Ellipsoid": "dynrl.robust.sets",
    "FiniteSet": "dynrl.robust.sets",
    "HistoryObservation": "dynrl.robust.wrappers",
    "Param": "dynrl.robust.parameter",
    "ParamObservation": "dynrl.robust.wrappers",
    "RateLimited": "dynrl.robust.sets",
    "RobustEnv": "dynrl.robust.robust_env",
    "RobustVectorEnv": "dynrl.robust.vector",
    "UncertaintySet": "dynrl.robust.sets",
    "check_effect": "dynrl.robust.effect",
    "make_robust_vec": "dynrl.robust.vector",
    "uset": "dynrl.robust.benchmark_sets",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.robust' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
