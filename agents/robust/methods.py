"""The methods of robust training by name."""

from __future__ import annotations

from typing import Any

from dynrl.registry import Entry, find, load

__all__ = ["METHODS", "find_method"]


def _method(name: str, target: str, summary: str) -> tuple[str, Entry]:
    return name, Entry(name, f"dynrl.agents.robust.{target}", summary)


METHODS: dict[str, Entry] = dict(
    (
        _method("nominal", "domain_randomisation:NominalSAC", "SAC at the nominal parameters"),
        _method(
            "dr", "domain_randomisation:RandomisedSAC", "SAC on parameters drawn afresh in every episode"
        ),
        _method("m2td3", "m2td3:M2TD3", "TD3 against the worst of several learned parameters"),
        _method("soft_m2td3", "m2td3:SoftM2TD3", "M2TD3 against the mean of its learned parameters"),
        _method("m2sac", "m2sac:M2SAC", "SAC against the worst of several learned parameters"),
        _method("rarl", "rarl:RARL", "TD3 against an adversary that plays the parameters in every step"),
        _method("m3ddpg", "m3ddpg:M3DDPG", "minimax DDPG against an adversary over the parameters"),
        _method(
            "action_robust", "action_robust:ActionRobust", "TD3 against an adversary's share in its actions"
        ),
        _method("time_constrained", "time_constrained:TimeConstrained", "TD3 against parameters that drift"),
        _method(
            "policy_search",
            "policy_search:WorstCasePolicySearch",
            "evolves a linear policy against a growing set of worst models",
        ),
        _method("iwocs", "iwocs:DeepIWOCS", "specialists of incrementally searched worst cases"),
    )
)
"""Each entry is a class with a frozen dataclass `Config`, made as `method(config)`, that keeps the protocol
`training.RobustLearner`."""


def find_method(name: str) -> Any:
    """The class of the method called `name`.

    Raises:
        ValueError: no such method; suggests close names.
    """
    return load(find(METHODS, "robust method", name))
