"""Changing a metabolic microstate as little as needed to have a given macrostate."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.abm.arrays import namespace, put
from dynrl.abm.draws import integers, priorities, split
from dynrl.abm.population import subset
from dynrl.envs.digital_twins.metabolic.model import (
    BOUND,
    EMPTY,
    INTERMEDIATE,
    PRODUCT,
    SUBSTRATE,
    MetabolicGrid,
    MetabolicState,
)

__all__ = ["edited"]

Array = Any
_FREE = (SUBSTRATE, INTERMEDIATE, PRODUCT)


def edited(model: MetabolicGrid, state: MetabolicState, macro: Array, key: Any) -> MetabolicState:
    """See `MetabolicGrid.edited`. Numbers below 0, and enzymes beyond those that exist, are cut to the nearest possible
    ones: first the free E1 and the half E2 are granted, then the inhibited and the full."""
    xp = namespace(state.kind, macro)
    of_first, of_second, of_molecules = split(key, 3)
    macro = xp.maximum(xp.floor(xp.nan_to_num(xp.asarray(macro)) + 0.5), 0).astype(np.int32)
    load = xp.concatenate(
        [
            _reassigned(of_first, state.load[: model.n1], macro[3], macro[4], free=0, other=2, rest=1),
            _reassigned(of_second, state.load[model.n1 :], macro[5], macro[6], free=1, other=2, rest=0),
        ]
    )
    kind, cell, overflow = xp.where(state.kind == BOUND, EMPTY, state.kind), state.cell, state.overflow
    draws = [split(draw, 3) for draw in split(of_molecules, 3)]
    changes = []
    for which, number, (removing, _, _) in zip(_FREE, macro[:3], draws, strict=True):
        there = kind == which
        change = number - there.sum(dtype=np.int32)
        kind = xp.where(subset(removing, there, xp.maximum(-change, 0)), EMPTY, kind)
        changes.append(xp.maximum(change, 0))
    kind, load, held, missing = _held_again(model, kind, load)
    overflow = overflow + missing
    for which, change, (_, adding, placing) in zip(_FREE, changes, draws, strict=True):
        empty = kind == EMPTY
        added = subset(adding, empty, change)
        overflow = overflow + xp.maximum(change - empty.sum(dtype=np.int32), 0)
        kind = xp.where(added, which, kind).astype(np.int32)
        cell = xp.where(added, integers(placing, cell.shape, model.grid.cells), cell)
    return state._replace(kind=kind, cell=cell, load=load, held=held, overflow=overflow)


def _reassigned(
    key: Any, load: Array, first: Array, second: Array, *, free: int, other: int, rest: int
) -> Array:
    """Loads with `first` of them `free` and `second` of them `other`, the others `rest`; as few as possible change."""
    xp = namespace(load)
    first = xp.minimum(first, load.shape[0])
    second = xp.minimum(second, load.shape[0] - first)
    wanted = {free: first, other: second, rest: load.shape[0] - first - second}
    leaving = xp.zeros(load.shape, bool)
    for draw, (value, target) in zip(split(key, 4), wanted.items(), strict=False):
        there = load == value
        leaving = leaving | subset(draw, there, xp.maximum(there.sum(dtype=np.int32) - target, 0))
    # Those who leave their state fill what the other states lack, in a random order.
    order = priorities(split(key, 4)[3], load.shape[0])
    rank = (leaving[None, :] & (order[None, :] < order[:, None])).sum(axis=1, dtype=np.int32)
    filled = xp.zeros((), np.int32)
    for value, target in wanted.items():
        lacking = target - ((load == value) & ~leaving).sum(dtype=np.int32)
        here = leaving & (rank >= filled) & (rank < filled + lacking)
        load = xp.where(here, value, load).astype(np.int32)
        leaving, filled = leaving & ~here, filled + lacking
    return load


def _held_again(model: MetabolicGrid, kind: Array, load: Array) -> tuple[Array, Array, Array, Array]:
    """Slots for what the enzymes hold: the kinds `[C]` with them, the loads `[E]`, the slots `[E, 2]`, and how many
    enzymes had to let go because free molecules left no slot."""
    xp = namespace(kind)
    empty = kind == EMPTY
    rank = xp.cumsum(empty, dtype=np.int32) - 1
    slot = put(kind.shape[0], rank, xp.arange(kind.shape[0], dtype=np.int32), empty)
    is_first = xp.arange(load.shape[0]) < model.n1
    needs = xp.where(is_first, (load > 0).astype(np.int32), load)
    after = xp.cumsum(needs, dtype=np.int32)
    # Needs are met in order, so the enzymes that get nothing are the last ones.
    without = (after > rank[-1] + 1) & (needs > 0)
    used = xp.where(without, 0, after).max(initial=0)
    held = slot[xp.clip(xp.stack([after - needs, after - needs + 1], axis=1), 0, kind.shape[0] - 1)]
    kind = xp.where(empty & (rank < used), BOUND, kind).astype(np.int32)
    return kind, xp.where(without, 0, load).astype(np.int32), held, without.sum(dtype=np.int32)
