"""Interventions on wolf–sheep–grass: removing and adding animals, and editing a microstate to given counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.abm import Intervention, Population, died, place, size, split, subset, whole
from dynrl.abm.arrays import namespace
from dynrl.abm.draws import integers

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams, WolfSheepState

Array = Any


def asked(model: WolfSheep, state: WolfSheepState, u: Array, key: Any) -> tuple[Array, Array, Array]:
    """The fractions `u` `[2]` as whole sheep and wolves, cut to those there; returns `(amount [2], whether it was cut,
    the flag invalid)`. What is not finite counts as 0 and raises the flag."""
    xp = namespace(state.countdown, u)
    u = xp.asarray(u).astype(np.float32)
    finite = xp.isfinite(u)
    u = xp.where(finite, u, 0)
    if not model.allow_stocking:
        u = xp.maximum(u, 0)
    population = xp.stack([size(state.sheep), size(state.wolves)]).astype(np.float32)
    wish = whole(key, u * population, model.rounding)
    amount = xp.minimum(wish, population).astype(np.float32)
    return amount, (wish > population).any(), state.invalid | ~finite.all()


def dosed(
    model: WolfSheep, state: WolfSheepState, u: Array, keys: Any, params: WolfSheepParams
) -> tuple[WolfSheepState, Intervention, Array]:
    """Remove the fractions `u` of sheep and wolves `[2]`; returns `(state, what was done, animals without room)`."""
    amount, saturated, invalid = asked(model, state, u, keys[0])
    xp = namespace(state.countdown, amount)
    missing = xp.zeros((), np.int32)
    changed = []
    herds = ((state.sheep, params.gain_sheep), (state.wolves, params.gain_wolf))
    for i, (herd, gain) in enumerate(herds):
        herd = died(herd, subset(keys[1 + i], herd.alive, xp.maximum(amount[i], 0)))
        if model.allow_stocking:
            herd, without = added(model, herd, xp.maximum(-amount[i], 0), gain, keys[1 + i])
            missing = missing + without
        changed.append(herd)
    state = state._replace(sheep=changed[0], wolves=changed[1], invalid=invalid)
    return state, Intervention(amount, saturated), missing


def added(
    model: WolfSheep, herd: Population, number: Array, gain: Array, key: Any
) -> tuple[Population, Array]:
    """The herd with `number` new animals, and how many of them found no slot."""
    capacity = herd.alive.shape[0]
    xp = namespace(herd.cell)
    whole_number = xp.asarray(number).astype(np.int32)
    placed = place(herd, model.newcomers(key, capacity, whole_number, gain))
    return placed.population, placed.overflow + xp.maximum(whole_number - capacity, 0)


def resized(
    model: WolfSheep, state: WolfSheepState, macro: Array, params: WolfSheepParams, key: Any
) -> WolfSheepState:
    """See `WolfSheep.edited`."""
    keys = split(key, 5)
    xp = namespace(state.countdown, macro)
    wanted = xp.maximum(xp.floor(xp.asarray(macro) + np.float32(0.5)), 0).astype(np.int32)
    herds = []
    for i, (herd, gain, target) in enumerate(
        ((state.wolves, params.gain_wolf, wanted[0]), (state.sheep, params.gain_sheep, wanted[1]))
    ):
        surplus = size(herd) - target
        herd = died(herd, subset(keys[i], herd.alive, xp.maximum(surplus, 0)))
        herds.append(added(model, herd, xp.maximum(-surplus, 0), gain, keys[i])[0])
    clock = xp.minimum(state.countdown, params.regrowth)
    grown = clock == 0
    surplus = grown.sum(dtype=np.int32) - wanted[2]
    eaten = subset(keys[2], grown, xp.maximum(surplus, 0))
    regrown = subset(keys[3], ~grown, xp.maximum(-surplus, 0))
    fresh = 1 + integers(keys[4], clock.shape, xp.maximum(params.regrowth, 1))
    clock = xp.where(eaten, fresh, xp.where(regrown, 0, clock)).astype(np.int32)
    return state._replace(wolves=herds[0], sheep=herds[1], countdown=clock)
