"""What all sheep do, and what all wolves do, in one step: the parallel form of `sequential`, for NumPy and JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.abm import Placed, Population, claims, counts, died, place, priorities
from dynrl.abm.arrays import namespace, scatter_max
from dynrl.abm.draws import below, bits, unit

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams, WolfSheepState

Array = Any


def sheep_phase(
    model: WolfSheep, state: WolfSheepState, keys: Any, params: WolfSheepParams
) -> tuple[Placed, Array]:
    """Every sheep acts once; returns the sheep with their newborn, and the countdowns after grazing."""
    sheep, cells = state.sheep, model.grid.cells
    if model.variant == "chase":
        from dynrl.envs.digital_twins.wolf_sheep.chase import graze

        sheep, ate, countdown = graze(model, state, keys[0], params)
    else:
        sheep = _moved(model, sheep, keys[0])
        xp = namespace(sheep.cell)
        grown = state.countdown == 0
        hungry = sheep.alive & grown[sheep.cell]
        priority = priorities(keys[0], sheep.cell.shape[0])
        # The winner of each patch; the patches that have one are the eaten ones.
        best = scatter_max(cells, sheep.cell, priority, hungry)
        ate = hungry & (priority == best[sheep.cell])
        countdown = xp.where(best > 0, params.regrowth + 1, state.countdown).astype(np.int32)
    return _lived(model, sheep, ate, params.gain_sheep, params.p_sheep, keys[1]), countdown


def wolf_phase(
    model: WolfSheep, sheep: Population, wolves: Population, keys: Any, params: WolfSheepParams
) -> tuple[Placed, Population, Array]:
    """Every wolf acts once; returns the wolves with their newborn, the sheep that are left, and how many wolves went
    hungry beside a sheep because `max_rounds` ran out."""
    cells = model.grid.cells
    flock = counts(sheep.cell, sheep.alive, cells)
    if model.variant == "chase":
        from dynrl.envs.digital_twins.wolf_sheep.chase import hunt

        wolves, fed, left = hunt(model, wolves, flock, keys[0])
        kills = flock - left
    else:
        wolves = _moved(model, wolves, keys[0])
        fed = claims(keys[0], wolves.cell, wolves.alive, flock, model.max_rounds)
        kills = counts(wolves.cell, fed, cells)
    eaten = claims(keys[1], sheep.cell, sheep.alive, kills, model.max_rounds)
    unsettled = _unsettled(model, wolves, fed, flock, kills)
    pack = _lived(model, wolves, fed, params.gain_wolf, params.p_wolf, keys[1])
    return pack, died(sheep, eaten), unsettled


def _unsettled(model: WolfSheep, wolves: Population, fed: Array, flock: Array, kills: Array) -> Array:
    xp = namespace(flock)
    if model.max_rounds is None:
        return xp.zeros((), np.int32)
    hungry = wolves.alive & ~fed & ((flock - kills)[wolves.cell] > 0)
    return hungry.sum(dtype=np.int32)


def _moved(model: WolfSheep, animals: Population, key: Any) -> Population:
    if model.variant != "netlogo":
        kind: Any = "von_neumann" if model.variant == "rw4" else "moore"
        return animals._replace(cell=model.grid.step(key, animals.cell, kind))
    pairs = below(bits(key, animals.cell.shape), 2500)
    turned = animals.attributes["heading"] + (pairs // 50 - pairs % 50)
    return _forward(model, animals, turned)


def _lived(model: WolfSheep, animals: Population, ate: Array, gain: Any, birth: Any, key: Any) -> Placed:
    """Metabolism, meal, death and birth, in this order."""
    xp = namespace(animals.cell)
    energy = animals.attributes["energy"] - 1 + xp.where(ate, gain, 0).astype(np.float32)
    alive = animals.alive & (energy >= 0)
    bearing = alive & (unit(bits(key, alive.shape, stream=1)) < birth)
    animals = animals._replace(alive=alive, attributes={**animals.attributes, "energy": energy})
    children = animals._replace(
        alive=bearing, attributes={**animals.attributes, "energy": (energy / 2).astype(np.float32)}
    )
    if model.variant == "netlogo":
        turned = animals.attributes["heading"] + 360 * unit(bits(key, alive.shape, stream=2))
        children = _forward(model, children, turned)
    placed = place(animals, children)
    # A cancelled birth costs nothing; the energies of parents are halved in the slots that they keep.
    halved = xp.where(placed.accepted, energy / 2, placed.population.attributes["energy"]).astype(np.float32)
    population = placed.population._replace(attributes={**placed.population.attributes, "energy": halved})
    return placed._replace(population=population)


def _forward(model: WolfSheep, animals: Population, heading: Array) -> Population:
    xp = namespace(heading)
    heading = xp.mod(heading, 360).astype(np.float32)
    angle = heading * np.float32(np.pi / 180)
    x = _wrapped(animals.attributes["x"] + xp.sin(angle), model.width)
    y = _wrapped(animals.attributes["y"] + xp.cos(angle), model.height)
    attributes = {**animals.attributes, "x": x, "y": y, "heading": heading}
    return animals._replace(cell=cell_of(x, y, model), attributes=attributes)


def _wrapped(place_: Array, length: int) -> Array:
    xp = namespace(place_)
    inside = xp.where(place_ < 0, place_ + length, place_)
    # A tiny negative number plus the length rounds to the length itself: that is 0 again.
    inside = xp.where(inside >= length, inside - length, inside)
    return inside.astype(np.float32)


def cell_of(x: Array, y: Array, model: WolfSheep) -> Array:
    """The cell in which a place lies, int32."""
    return (y.astype(np.int32) * model.width + x.astype(np.int32)).astype(np.int32)
