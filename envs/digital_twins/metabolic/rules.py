"""What the regulated metabolic network is made of: names, rates, and checks of what a user gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["MACRO_NAMES", "MACRO_SCALE", "MetabolicParams", "checked_rates"]

MACRO_NAMES = ("S", "I", "P", "E1 free", "E1 inhibited", "E2 half", "E2 full")
"""The macrostate: free substrate, intermediate and product, and how many enzymes are in which state."""

MACRO_SCALE = (200.0, 100.0, 15.0, 60.0, 60.0, 120.0, 120.0)


class MetabolicParams(NamedTuple):
    """Probabilities per step, every leaf `[]` float.

    Attributes:
        a1: a free E1 takes a substrate of its cell.
        c1: a bound E1 releases an intermediate.
        ah: a free E1 takes a product of its cell and is inhibited.
        ch: an inhibited E1 releases the product.
        a2: an E2 that is not full takes an intermediate of its cell.
        d2: a half E2 loses its intermediate again.
        c2: a full E2 releases a product.
        delta_s: a free substrate disappears.
        delta_i: a free intermediate disappears.
        kx: a free product is harvested.
    """

    a1: Any = 0.5
    c1: Any = 0.2
    ah: Any = 0.8
    ch: Any = 0.01
    a2: Any = 0.5
    d2: Any = 0.3
    c2: Any = 0.3
    delta_s: Any = 0.02
    delta_i: Any = 0.01
    kx: Any = 0.02


def checked_rates(params: MetabolicParams) -> MetabolicParams:
    """Return `params` as float32 arrays.

    Raises:
        ValueError: a rate outside [0, 1] or not finite; names it.
    """
    checked = []
    for name, value in zip(MetabolicParams._fields, params, strict=True):
        array = np.asarray(value, np.float32)
        if not ((array >= 0) & (array <= 1)).all():  # also refuses NaN
            raise ValueError(f"rate {name} is {value}, expected a probability per step from 0 to 1")
        checked.append(array)
    return MetabolicParams(*checked)
