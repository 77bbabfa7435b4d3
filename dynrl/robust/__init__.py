"""Robust control: uncertainty sets, worst-case search, reports, and solvers of robust decision problems.

Names are imported on first use: `import dynrl.robust` loads neither JAX nor MuJoCo.
"""

from typing import Any

_MODULES = {
    "adversary": ("ActionRobust", "DynamicAdversary", "mixed_actions"),
    "benchmark_sets": ("force_set", "uset"),
    "effect": ("Effect", "check_effect"),
    "evaluation": ("Evaluator", "Returns", "make_evaluator"),
    "executors": ("ParallelEvaluator",),
    "parameter": ("Param",),
    "policy": ("FunctionPolicy", "HostPolicy", "RobustPolicy", "as_policy"),
    "measurements": ("Bracket",),
    "report": ("RobustnessReport", "robustness_report", "write_report"),
    "robust_env": ("RobustEnv",),
    "search": ("WorstCase", "worst_case_search"),
    "sets": ("Ellipsoid", "FiniteSet", "RateLimited", "UncertaintySet", "set_from_dict", "set_from_json"),
    "tabular": ("IWOCSResult", "RobustMDP", "iwocs", "robust_policy_iteration", "robust_value_iteration"),
    "vector": ("RobustVectorEnv", "make_robust_vec"),
    "wrappers": ("ActionDelay", "DomainRandomization", "HistoryObservation", "ParamObservation"),
}
_HOMES = {name: f"dynrl.robust.{module}" for module, names in _MODULES.items() for name in names}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynrl.robust' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
