"""A set from its definition as a JSON value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dynrl.robust.parameter import Param
from dynrl.robust.sets.box import UncertaintySet
from dynrl.robust.sets.ellipsoid import Ellipsoid
from dynrl.robust.sets.finite_set import FiniteSet
from dynrl.robust.sets.rate_limited import RateLimited


def set_from_dict(definition: dict[str, Any]) -> UncertaintySet:
    """The set whose `to_dict` this is.

    Raises:
        ValueError: a key is missing, the kind is unknown, or there are not as many nominal values as parameters.
    """
    kinds = ("UncertaintySet", "FiniteSet", "Ellipsoid", "RateLimited")
    needed = {"kind", "params", "nominal", "inertia", "grid_endpoint", "name"}
    kind = definition.get("kind")
    needed |= {"FiniteSet": {"points"}, "RateLimited": {"rate"}}.get(str(kind), set())
    missing = sorted(needed - set(definition))
    if missing:
        raise ValueError(f"the definition of an uncertainty set lacks {missing[0]!r}.")
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}, expected one of {list(kinds)}.")
    chosen = _unbound(kind, definition)
    if len(definition["nominal"]) != chosen.dim:
        raise ValueError(
            f"the definition has {len(definition['nominal'])} nominal values, expected {chosen.dim}: "
            f"{list(chosen.names)}."
        )
    chosen._nominal = np.array([np.nan if value is None else value for value in definition["nominal"]])
    return chosen


def _unbound(kind: str, definition: dict[str, Any]) -> UncertaintySet:
    params = [Param.from_dict(param) for param in definition["params"]]
    rest = (definition["inertia"], definition["grid_endpoint"], definition["name"])
    if kind == "FiniteSet":
        return FiniteSet(definition["points"], params, *rest)
    if kind == "Ellipsoid":
        return Ellipsoid(params, *rest)
    box = UncertaintySet(params, *rest)
    return RateLimited(box, definition["rate"]) if kind == "RateLimited" else box


def set_from_json(text: str) -> UncertaintySet:
    """The set whose `to_json` this is."""
    return set_from_dict(json.loads(text))
