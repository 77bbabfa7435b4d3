"""The variant in which sheep flee and wolves hunt: a mover sees what earlier movers of the same step left behind.

The random order is cut into batches; the animals of a batch decide from what the batches before them left, and share
out grass or sheep among themselves at random. In a dense setting (50 × 50 cells, 800 sheep, 40 wolves) one batch
leaves 71 wolves instead of 119 at step 200; 16 batches leave 3 % too few at step 100, where they are most off, and 32
less than 1 % (500 runs against 4000 of the exact machine code).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm import Population, claims, counts, priorities, split
from dynrl.abm.arrays import namespace, scatter_max
from dynrl.abm.draws import below, bits

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams, WolfSheepState

Array = Any


def graze(
    model: WolfSheep, state: WolfSheepState, key: Any, params: WolfSheepParams
) -> tuple[Population, Array, Array]:
    """Sheep move and eat, batch after batch; returns the moved sheep, who ate `[C]`, and the countdowns `[N]`."""
    wolves, cells = state.wolves, model.grid.cells
    danger = counts(wolves.cell, wolves.alive, cells) > 0

    def act(countdown: Array, cell: Array, alive: Array, batch_key: Any) -> tuple[Array, Array, Array]:
        xp = namespace(cell)
        cell = _chosen(model, cell, batch_key, ~danger, countdown == 0)
        hungry = alive & (countdown[cell] == 0)
        priority = priorities(batch_key, cell.shape[0])
        best = scatter_max(cells, cell, priority, hungry)
        ate = hungry & (priority == best[cell])
        return xp.where(best > 0, params.regrowth + 1, countdown).astype(np.int32), cell, ate

    return _in_batches(model, state.sheep, state.countdown, act, key)


def hunt(model: WolfSheep, wolves: Population, flock: Array, key: Any) -> tuple[Population, Array, Array]:
    """Wolves move and eat, batch after batch; returns the moved wolves, who ate `[C]`, and the sheep left in each cell
    `[N]`. Which sheep die can wait: only their number matters to the wolves."""
    cells = model.grid.cells

    def act(left: Array, cell: Array, alive: Array, batch_key: Any) -> tuple[Array, Array, Array]:
        cell = _chosen(model, cell, batch_key, None, left > 0)
        ate = claims(batch_key, cell, alive, left, model.max_rounds)
        return left - counts(cell, ate, cells), cell, ate

    return _in_batches(model, wolves, flock, act, key)


def _in_batches(
    model: WolfSheep, animals: Population, world: Array, act: Any, key: Any
) -> tuple[Population, Array, Array]:
    if namespace(animals.cell) is np:
        return _living_in_batches(model, animals, world, act, key)
    capacity = animals.alive.shape[0]
    batch = -(-capacity // model.batches)
    # Slots behind the last stand for nobody and fill the last batch.
    padding = batch * model.batches - capacity
    filler = jnp.arange(capacity, capacity + padding, dtype=np.int32)
    slots = jnp.concatenate([_random_order(key, capacity), filler])
    cell = jnp.pad(animals.cell, (0, padding))[slots].reshape(model.batches, batch)
    alive = jnp.pad(animals.alive, (0, padding))[slots].reshape(model.batches, batch)

    def body(world: Array, batch_: Any) -> Any:
        world, cell, ate = act(world, *batch_)
        return world, (cell, ate)

    world, (moved, ate) = jax.lax.scan(body, world, (cell, alive, split(key, model.batches)))
    numbers = jnp.arange(slots.shape[0], dtype=np.int32)
    back = jnp.zeros_like(numbers).at[slots].set(numbers, unique_indices=True)[:capacity]
    animals = animals._replace(cell=moved.reshape(-1)[back])
    return animals, ate.reshape(-1)[back] & animals.alive, world


def _living_in_batches(
    model: WolfSheep, animals: Population, world: Array, act: Any, rng: Any
) -> tuple[Population, Array, Array]:
    """The same in NumPy, where shapes may depend on how many are alive."""
    living = np.flatnonzero(animals.alive)
    order = living[_random_order(rng, len(living))] if len(living) else living
    cell, ate = animals.cell.copy(), np.zeros_like(animals.alive)
    for some in np.array_split(order, model.batches):
        if len(some):
            world, cell[some], ate[some] = act(world, cell[some], np.ones(len(some), bool), rng)
    return animals._replace(cell=cell), ate, world


def _random_order(key: Any, number: int) -> Array:
    words = priorities(key, number)
    xp = namespace(words)
    return xp.argsort(words).astype(np.int32)


def _chosen(model: WolfSheep, cell: Array, key: Any, free: Array | None, wanted: Array) -> Array:
    """Uniformly one of the neighbours that are `free` and `wanted`, if there are any, else one that is `free`, else the
    cell itself; `free` None means all."""
    xp = namespace(cell)
    neighbours = xp.asarray(model.grid.neighbours("von_neumann"))[cell]  # [C, 4]
    listed = np.arange(4) < xp.asarray(model.grid.degrees("von_neumann"))[cell][:, None]
    open_ = listed if free is None else listed & free[neighbours]
    good = open_ & wanted[neighbours]
    candidates = xp.where(good.any(axis=1, keepdims=True), good, open_)
    number = candidates.sum(axis=1, dtype=np.int32)
    nth = below(bits(key, cell.shape), xp.maximum(number, 1))
    place = xp.cumsum(candidates, axis=1, dtype=np.int32) - 1
    chosen = (candidates & (place == nth[:, None])).argmax(axis=1)
    target = xp.take_along_axis(neighbours, chosen[:, None], axis=1)[:, 0]
    return xp.where(number > 0, target, cell).astype(np.int32)
