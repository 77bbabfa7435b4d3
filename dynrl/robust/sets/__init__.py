"""Uncertainty sets over parameter vectors psi: boxes, finite sets, ellipsoids, boxes with a limited rate of change."""

from dynrl.robust.sets.box import UncertaintySet
from dynrl.robust.sets.definition import set_from_dict, set_from_json
from dynrl.robust.sets.ellipsoid import Ellipsoid
from dynrl.robust.sets.finite_set import FiniteSet
from dynrl.robust.sets.rate_limited import RateLimited
from dynrl.robust.sets.unit_cube import METHODS, unit_sample

__all__ = [
    "METHODS",
    "Ellipsoid",
    "FiniteSet",
    "RateLimited",
    "UncertaintySet",
    "set_from_dict",
    "set_from_json",
    "unit_sample",
]
