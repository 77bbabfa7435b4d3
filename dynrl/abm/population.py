"""A species of agents in arrays of fixed capacity: living ones sit in slots, newborns take free slots, nothing is
sorted.

The cost of a step is proportional to the capacity, not to the number alive. Slots of the dead carry garbage: mask every
read with `alive`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dynrl.abm.arrays import loop, namespace, put
from dynrl.abm.draws import integers, priorities

__all__ = ["Placed", "Population", "died", "enlarged", "place", "scattered", "size", "subset"]

Array = Any


class Population(NamedTuple):
    """Agents of one species.

    Attributes:
        cell: where each is, index into the flat grid (row · width + column), int32 `[C]`.
        alive: which slots hold an agent, bool `[C]`.
        attributes: what else an agent has, a dict of arrays `[C, ...]`.
    """

    cell: Array
    alive: Array
    attributes: dict[str, Array]


class Placed(NamedTuple):
    """Attributes:
    population: with the newcomers.
    accepted: which of them found a slot, bool `[M]`.
    overflow: how many did not, int32 `[]`.
    """

    population: Population
    accepted: Array
    overflow: Array


def size(population: Population) -> Array:
    """Number alive, int32 `[]`."""
    return population.alive.sum(dtype=np.int32)


def died(population: Population, who: Array) -> Population:
    """Without the agents `who` `[C]` bool."""
    return population._replace(alive=population.alive & ~who)


def place(population: Population, newcomers: Population) -> Placed:
    """Put the newcomers into free slots, in order of index; those for whom there is no slot are counted, not lost
    silently.

    Args:
        population: capacity C.
        newcomers: any capacity M; `alive` says which rows are there. For births M = C and row i is the child of i, so
            `accepted` says which parents really gave birth.
    """
    xp = namespace(population.cell, newcomers.cell)
    capacity, offered = population.alive.shape[0], newcomers.alive.shape[0]
    free = ~population.alive
    free_rank, rank = _two_ranks(free, newcomers.alive)
    room = free_rank[-1] + 1
    accepted = newcomers.alive & (rank < room)
    # Newcomer with rank r goes where the r-th free slot is. Writing the newcomer's index by rank and letting each slot
    # read it needs one scatter, however many attributes there are.
    source = put(capacity, rank, xp.arange(offered, dtype=np.int32), accepted)
    births = xp.minimum(rank[-1] + 1, room)
    taken = free & (free_rank < births)
    row = source[xp.maximum(free_rank, 0)]

    def filled(old: Array, new: Array) -> Array:
        where = taken.reshape(taken.shape + (1,) * (old.ndim - 1))
        return xp.where(where, new[row].astype(old.dtype), old)

    attributes = {
        name: filled(values, newcomers.attributes[name]) for name, values in population.attributes.items()
    }
    placed = Population(filled(population.cell, newcomers.cell), population.alive | taken, attributes)
    return Placed(placed, accepted, rank[-1] + 1 - births)


def _two_ranks(first: Array, second: Array) -> tuple[Array, Array]:
    """Number of True up to and including each entry, minus 1, of two masks."""
    xp = namespace(first, second)
    if first.shape != second.shape or first.shape[0] >= 2**15:
        return xp.cumsum(first, dtype=np.int32) - 1, xp.cumsum(second, dtype=np.int32) - 1
    # Two counts in the halves of a word: prefix sums are dear.
    both = xp.cumsum(first.astype(np.int32) + (second.astype(np.int32) << 16), dtype=np.int32)
    return (both & 0xFFFF) - 1, (both >> 16) - 1


def subset(key: Any, among: Array, number: Array) -> Array:
    """A uniformly random subset of exactly min(number, how many there are) of the agents `among`, bool `[C]`.

    Args:
        key: JAX key or NumPy generator.
        among: bool `[C]`.
        number: how many to choose `[]`, not negative.

    The smallest priority of the chosen ones is found bit by bit: 32 counts, no sort.
    """
    xp = namespace(among, number)
    agents = among.shape[0]
    number = xp.minimum(xp.asarray(number).astype(np.int32), among.sum(dtype=np.int32))

    def chosen(turn: Array) -> Array:
        words = priorities(key, agents, turn)

        # Largest t that at least `number` priorities reach; they are distinct, so exactly that many do.
        def refined(state: tuple[Array, Array]) -> tuple[Array, Array]:
            threshold, bit = state
            higher = threshold | bit
            reached = (among & (words >= higher)).sum(dtype=np.int32)
            return xp.where(reached >= number, higher, threshold), bit >> 1

        # (No constant to start from: the compiler would unroll the loop, and take seconds for it.)
        first = (xp.zeros((), np.uint32), xp.where(number > 0, np.uint32(2**31), np.uint32(0)))
        threshold, _ = loop(lambda state: state[1] > 0, refined, first, xp=xp)
        return among & (words >= threshold) & (number > 0)

    # A loop of one turn at most, because in a batch a conditional would be worked out for everybody always: steps in
    # which nobody is chosen cost nothing. The draws depend on the turn, or the compiler would make them beforehand.
    def body(state: tuple[Array, Array]) -> tuple[Array, Array]:
        return state[0] + 1, chosen(state[0])

    start = (xp.zeros((), np.uint32), among & (number > 0))
    return loop(lambda state: (state[0] == 0) & (number > 0), body, start, xp=xp)[1]


def enlarged(population: Population, capacity: int) -> Population:
    """The same agents with more slots; outside compiled code, because shapes change (compile anew).

    Raises:
        ValueError: fewer slots than before.
    """
    old = population.alive.shape[0]
    if capacity < old:
        raise ValueError(f"capacity is {capacity}, but the population has {old} slots; it can only grow")
    xp = namespace(population.cell)

    def longer(values: Array) -> Array:
        return xp.concatenate([values, xp.zeros((capacity - old, *values.shape[1:]), values.dtype)])

    attributes = {name: longer(values) for name, values in population.attributes.items()}
    return Population(longer(population.cell), longer(population.alive), attributes)


def scattered(key: Any, capacity: int, number: Array, cells: int, attributes: dict[str, Array]) -> Population:
    """A population whose first `number` slots hold agents at uniformly random cells.

    Args:
        key: JAX key or NumPy generator.
        capacity: slots.
        number: agents `[]`, at most `capacity`.
        cells: of the grid.
        attributes: of every slot, arrays `[C, ...]`.
    """
    cell = integers(key, (capacity,), cells)
    xp = namespace(cell)
    return Population(cell, xp.arange(capacity) < number, attributes)
