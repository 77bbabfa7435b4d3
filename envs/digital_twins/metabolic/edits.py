"""Changing a metabolic microstate as little as needed to have a given macrostate."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.abm.arrays import namespace, put
from dynrl.abm.draws import integers, split
from dynrl.abm.population import subset
from dynrl.abm.relabel import relabelled
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
_AS_REST = np.array([1, 0, 2], np.int32)  # exchanges free (0) and bound (1); its own inverse


def edited(model: MetabolicGrid, state: MetabolicState, macro: Array, key: Any) -> MetabolicState:
    """See `MetabolicGrid.edited`. Numbers below 0, and enzymes beyond those that exist, are cut to the nearest possible
    ones: first the free E1 and the half E2 are granted, then the inhibited and the full."""
    xp = namespace(state.kind, macro)
    of_first, of_second, of_molecules = split(key, 3)
    macro = xp.maximum(xp.floor(xp.nan_to_num(xp.asarray(macro)) + 0.5), 0).astype(np.int32)
    # An E1 that is not free or inhibited is bound, an E2 that is not half or full is empty: state 0 of `relabelled`.
    first = relabelled(of_first, xp.asarray(_AS_REST)[state.load[: model.n1]], (macro[3], macro[4]))
    second = relabelled(of_second, state.load[model.n1 :], (macro[5], macro[6]))
    load = xp.concatenate([xp.asarray(_AS_REST)[first], second])
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
