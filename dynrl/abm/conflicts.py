"""Who gets what when several agents want the same thing in the same cell, decided by random priority, without sorting.

A sequential model lets agents act one after the other in a random order. The functions here give the same distribution
in one sweep, *provided that an agent's wish does not depend on what others did earlier in the same phase*:

* one thing per cell (`winners`): the first of a uniformly random order among those who want it is a uniformly random
  one of them;
* k agents that each take one of m things (`match`): min(k, m) uniformly random agents get min(k, m) uniformly random
  distinct things;
* a stock of n in each cell (`claims`): the first n in a random order (`ranks`) are served.

Random walks, and reactions among the molecules of a cell, are exact in this sense. Movement towards or away from
others is not: a mover sees what earlier movers left. Deciding all such moves at once from the picture at the start of
the phase is a different model (in wolf–sheep–grass with chasing wolves: 71 wolves where there should be 119). Cut the
random order into micro-batches (`batches`), decide from the state at the start of each batch and settle conflicts
inside it; with more batches the error vanishes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dynrl.abm.arrays import loop, namespace, scatter_max
from dynrl.abm.draws import integers, priorities

__all__ = ["Matched", "batches", "claims", "match", "ranks", "winners"]

Array = Any


class Matched(NamedTuple):
    """Attributes:
    takers: who took something, bool `[K]`.
    taken: what was taken, bool `[M]`.
    unsettled: takers left hungry beside something left, because `max_rounds` ran out, int32 `[]`; 0 means exact.
    """

    takers: Array
    taken: Array
    unsettled: Array


def winners(cell: Array, contending: Array, priority: Array, cells: int) -> Array:
    """One uniformly random contender of each cell, bool `[C]`.

    Args:
        cell: of each agent `[C]`, within the grid where `contending`.
        contending: who wants to win `[C]` bool.
        priority: distinct random uint32 `[C]`, from `dynrl.abm.draws.priorities`.
        cells: of the grid.
    """
    best = scatter_max(cells, cell, priority, contending)
    return contending & (priority == best[cell])


def ranks(key: Any, cell: Array, among: Array, cells: int, max_rounds: int | None = None) -> Array:
    """Place of each agent in a uniformly random order of its cell, from 0, int32 `[C]`; 2^31 − 1 for those not `among`.

    One round per rank, that is as many as the fullest cell has agents.

    Args:
        key: JAX key or NumPy generator.
        cell: of each agent `[C]`.
        among: who is ranked `[C]` bool.
        cells: of the grid.
        max_rounds: ranks from this on are not worked out and stay 2^31 − 1; None for all.
    """
    xp = namespace(cell, among)
    priority = priorities(key, cell.shape[0])
    last = np.int32(2**31 - 1)

    def body(state: Any) -> Any:
        waiting, rank, round_ = state
        won = winners(cell, waiting, priority, cells)
        return waiting & ~won, xp.where(won, round_, rank), round_ + 1

    start = (among, xp.full(cell.shape, last, np.int32), xp.zeros((), np.int32))
    return loop(lambda state: state[0].any(), body, start, xp=xp, most=max_rounds)[1]


def claims(key: Any, cell: Array, claiming: Array, stock: Array, max_rounds: int | None = None) -> Array:
    """Who is served from the `stock` of its cell: the first stock[cell] claimants in a random order, bool `[C]`.

    Args:
        key: JAX key or NumPy generator.
        cell: of each agent `[C]`.
        claiming: who wants one unit `[C]` bool.
        stock: units in each cell `[N]`, whole numbers.
        max_rounds: most units of one cell that are handed out; None for all.
    """
    xp = namespace(cell, claiming, stock)
    priority = priorities(key, cell.shape[0])
    cells = stock.shape[0]

    def body(state: Any) -> Any:
        waiting, served, left = state
        waiting = waiting & (left[cell] > 0)
        won = winners(cell, waiting, priority, cells)
        # One winner at most in each cell: every cell's stock falls by one or not at all.
        return waiting & ~won, served | won, left - 1

    start = (claiming & (stock[cell] > 0), xp.zeros(cell.shape, bool), stock)
    return loop(lambda state: state[0].any(), body, start, xp=xp, most=max_rounds)[1]


def match(
    key: Any,
    taker_cell: Array,
    taking: Array,
    thing_cell: Array,
    there: Array,
    cells: int,
    max_rounds: int | None = None,
) -> Matched:
    """In each cell min(k, m) uniformly random takers get one of min(k, m) uniformly random things.

    Args:
        key: JAX key or NumPy generator.
        taker_cell: `[K]`.
        taking: who wants one thing `[K]` bool.
        thing_cell: `[M]`.
        there: which things can be taken `[M]` bool.
        cells: of the grid.
        max_rounds: None to go on until no taker stands beside a thing, which needs max over cells of min(k, m) rounds
            (usually at most 4; in a batch the slowest member decides); a number for a fixed count, whose remainder is
            reported as `unsettled`.
    """
    xp = namespace(taker_cell, thing_cell)
    of_takers = priorities(key, taker_cell.shape[0])
    of_things = priorities(key, thing_cell.shape[0], stream=1)

    def body(state: Any) -> Any:
        waiting, left, _ = state
        best_taker = scatter_max(cells, taker_cell, of_takers, waiting)
        best_thing = scatter_max(cells, thing_cell, of_things, left)
        took = waiting & (of_takers == best_taker[taker_cell]) & (best_thing[taker_cell] > 0)
        went = left & (of_things == best_thing[thing_cell]) & (best_taker[thing_cell] > 0)
        waiting = waiting & ~took
        both = waiting & (best_thing[taker_cell] > 0)
        return waiting, left & ~went, both.any()

    start = (taking, there, taking.any())
    waiting, left, _ = loop(lambda state: state[2], body, start, xp=xp, most=max_rounds)
    if max_rounds is None:
        unsettled = xp.zeros((), np.int32)
    else:
        beside = scatter_max(cells, thing_cell, of_things, left)[taker_cell] > 0
        unsettled = (waiting & beside).sum(dtype=np.int32)
    return Matched(taking & ~waiting, there & ~left, unsettled)


def batches(key: Any, agents: int, number: int) -> Array:
    """A uniformly random batch 0 .. `number` − 1 for each agent, int32 `[agents]`: taken one after the other, a random
    order cut into pieces of about equal size."""
    return integers(key, (agents,), number)
