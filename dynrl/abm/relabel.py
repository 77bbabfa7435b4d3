"""Giving agents other states so that each state has a wanted number of them, with as few changes as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynrl.abm.arrays import namespace
from dynrl.abm.draws import split
from dynrl.abm.population import subset

__all__ = ["relabelled"]

Array = Any


def relabelled(key: Any, label: Array, wanted: Sequence[Array]) -> Array:
    """Labels with wanted[k] agents in state k; those who change, and what they change to, are chosen at random.

    Args:
        key: JAX key or NumPy generator.
        label: state of each agent, 0 .. K − 1, integers `[C]`.
        wanted: numbers of the states 1 .. K − 1, whole numbers `[]`; state 0 gets the rest. Numbers below 0, and agents
            that are not there, are cut, the later states first.
    """
    xp = namespace(label, *wanted)
    left = xp.asarray(label.shape[0], np.int32)
    targets = []
    for number in wanted:
        number = xp.clip(xp.asarray(number).astype(np.int32), 0, left)
        targets.append(number)
        left = left - number
    targets.insert(0, left)
    leaves, fills = (split(half, len(targets)) for half in split(key, 2))
    leaving, lacking = xp.zeros(label.shape, bool), []
    for value, target in enumerate(targets):
        there = label == value
        surplus = there.sum(dtype=np.int32) - target
        leaving = leaving | subset(leaves[value], there, xp.maximum(surplus, 0))
        lacking.append(xp.maximum(-surplus, 0))
    for value, missing in enumerate(lacking):
        arriving = subset(fills[value], leaving, missing)
        label = xp.where(arriving, value, label).astype(label.dtype)
        leaving = leaving & ~arriving
    return label
