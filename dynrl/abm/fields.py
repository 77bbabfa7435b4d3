"""Substances on the grid: spreading to neighbours, decay, and what agents add."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dynrl.abm.arrays import namespace
from dynrl.abm.space import OFFSETS

__all__ = ["diffused", "evaporated", "neighbour_sum"]

Array = Any


def neighbour_sum(
    field: Array, neighbourhood: Literal["von_neumann", "moore", "moore_self"] = "moore", torus: bool = True
) -> Array:
    """Sum over the neighbours of each cell, `[..., H, W]`; beyond a bounded edge there is nothing."""
    xp = namespace(field)
    if torus:
        total = xp.zeros_like(field)
        for down, right in OFFSETS[neighbourhood]:
            total = total + xp.roll(field, (-down, -right), axis=(-2, -1))
        return total
    height, width = field.shape[-2:]
    padded = xp.pad(field, [(0, 0)] * (field.ndim - 2) + [(1, 1), (1, 1)])
    total = xp.zeros_like(field)
    for down, right in OFFSETS[neighbourhood]:
        total = total + padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]
    return total


def diffused(
    field: Array,
    fraction: Any,
    neighbourhood: Literal["von_neumann", "moore"] = "moore",
    torus: bool = True,
) -> Array:
    """The field after every cell has handed `fraction` of its content to its neighbours in equal parts.

    Mass is conserved to float32 rounding (1e-5 relative); at a bounded edge the parts of missing neighbours stay.

    Args:
        field: `[..., H, W]`.
        fraction: what leaves a cell, in [0, 1], a number or an array that broadcasts.
        neighbourhood: who receives.
        torus: whether edges touch.
    """
    xp = namespace(field)
    part = fraction * field / len(OFFSETS[neighbourhood])
    if torus:
        return field - fraction * field + neighbour_sum(part, neighbourhood)
    receivers = neighbour_sum(xp.ones(field.shape[-2:], field.dtype), neighbourhood, torus=False)
    return field - part * receivers + neighbour_sum(part, neighbourhood, torus=False)


def evaporated(field: Array, keep: Any, least: float = 0.0, most: float = 1e12) -> Array:
    """The field times `keep`, 0 where less than `least` is left, at most `most` (beyond which float32 products
    overflow)."""
    xp = namespace(field)
    field = xp.minimum(field * keep, np.float32(most))
    return xp.where(field < least, np.float32(0), field)
