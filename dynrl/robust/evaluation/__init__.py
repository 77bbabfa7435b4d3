"""Whole episodes of one policy on many models at once. Names are imported on first use."""

from typing import Any

_HOMES = {
    "BatchEvaluator": "dynrl.robust.evaluation.batch",
    "Evaluator": "dynrl.robust.evaluation.returns",
    "FunctionalEvaluator": "dynrl.robust.evaluation.functional",
    "GymnasiumEvaluator": "dynrl.robust.evaluation.gym",
    "ParamsOf": "dynrl.robust.evaluation.params",
    "Returns": "dynrl.robust.evaluation.returns",
    "episode_seeds": "dynrl.robust.evaluation.seeds",
    "join_episodes": "dynrl.robust.evaluation.returns",
    "join_models": "dynrl.robust.evaluation.returns",
    "make_evaluator": "dynrl.robust.evaluation.choice",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.robust.evaluation' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
