"""The regulated metabolic network, one molecule and one enzyme after the other: the definition.

`run` is plain Python on NumPy arrays; `compiled_run` is the same text compiled by Numba, and draws the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["compiled_run", "run"]


def run(controls: Any, length: int, n1: int, n2: int, rates: Any, rng: np.random.Generator) -> Any:
    """Simulate from the empty state.

    Args:
        controls: substrate inflow per step `[T]`.
        length: side of the torus.
        n1, n2: numbers of enzymes E1 and E2.
        rates: in the order of `MetabolicParams` `[10]` float64.
        rng: of every draw.

    Returns:
        `[T + 1, 9]` int64: the seven numbers of `MACRO_NAMES` after each step, molecules harvested and molecules
        supplied in it. The first row is the empty state.
    """
    a1, c1, ah, ch, a2, d2, c2, delta_s, delta_i, kx = rates
    lost = np.array([delta_s, delta_i, kx])  # by kind: 0 substrate, 1 intermediate, 2 product
    cells = length * length
    capacity = np.int64(np.ceil(controls).sum()) + 1  # every molecule was once a substrate
    kind = np.zeros(capacity, np.int64)
    cell = np.zeros(capacity, np.int64)
    free = 0  # the first so many slots hold the free molecules
    here = np.zeros((3, cells), np.int64)
    cell1 = rng.integers(0, cells, n1)
    cell2 = rng.integers(0, cells, n2)
    state1 = np.zeros(n1, np.int64)  # 0 free, 1 bound, 2 inhibited
    state2 = np.zeros(n2, np.int64)  # intermediates held
    released_kind = np.zeros(n1 + n2, np.int64)
    released_cell = np.zeros(n1 + n2, np.int64)
    record = np.zeros((len(controls) + 1, 9), np.int64)
    record[0, 3] = n1

    for time in range(len(controls)):
        u = controls[time]
        inflow = int(np.floor(u))
        if rng.random() < u - np.floor(u):
            inflow += 1
        for _ in range(inflow):
            kind[free] = 0
            cell[free] = rng.integers(0, cells)
            free += 1

        for i in range(free):
            row = (cell[i] // length + rng.integers(-1, 2)) % length
            cell[i] = row * length + (cell[i] + rng.integers(-1, 2)) % length
        for i in range(n1):
            row = (cell1[i] // length + rng.integers(-1, 2)) % length
            cell1[i] = row * length + (cell1[i] + rng.integers(-1, 2)) % length
        for i in range(n2):
            row = (cell2[i] // length + rng.integers(-1, 2)) % length
            cell2[i] = row * length + (cell2[i] + rng.integers(-1, 2)) % length

        harvested = 0
        i = 0
        while i < free:
            if rng.random() < lost[kind[i]]:
                if kind[i] == 2:
                    harvested += 1
                free -= 1
                kind[i], cell[i] = kind[free], cell[free]
            else:
                i += 1

        here[:] = 0
        for i in range(free):
            here[kind[i], cell[i]] += 1
        released = 0

        for e in rng.permutation(n1):
            taken = -1
            if state1[e] == 0:
                if here[2, cell1[e]] > 0 and rng.random() < ah:
                    taken = 2
                    state1[e] = 2
                elif here[0, cell1[e]] > 0 and rng.random() < a1:
                    taken = 0
                    state1[e] = 1
            elif state1[e] == 1:
                if rng.random() < c1:
                    state1[e] = 0
                    released_kind[released], released_cell[released] = 1, cell1[e]
                    released += 1
            elif rng.random() < ch:
                state1[e] = 0
                released_kind[released], released_cell[released] = 2, cell1[e]
                released += 1
            if taken >= 0:
                here[taken, cell1[e]] -= 1
                i = 0
                while kind[i] != taken or cell[i] != cell1[e]:
                    i += 1
                free -= 1
                kind[i], cell[i] = kind[free], cell[free]

        for e in rng.permutation(n2):
            if state2[e] == 2:
                if rng.random() < c2:
                    state2[e] = 0
                    released_kind[released], released_cell[released] = 2, cell2[e]
                    released += 1
            elif here[1, cell2[e]] > 0 and rng.random() < a2:
                state2[e] += 1
                here[1, cell2[e]] -= 1
                i = 0
                while kind[i] != 1 or cell[i] != cell2[e]:
                    i += 1
                free -= 1
                kind[i], cell[i] = kind[free], cell[free]
            elif state2[e] == 1 and rng.random() < d2:
                state2[e] = 0
                released_kind[released], released_cell[released] = 1, cell2[e]
                released += 1

        for i in range(released):
            kind[free], cell[free] = released_kind[i], released_cell[i]
            free += 1

        after = record[time + 1]
        for i in range(free):
            after[kind[i]] += 1
        for e in range(n1):
            if state1[e] == 0:
                after[3] += 1
            elif state1[e] == 2:
                after[4] += 1
        for e in range(n2):
            if state2[e] > 0:
                after[4 + state2[e]] += 1
        after[7], after[8] = harvested, inflow
    return record


@functools.cache
def compiled_run() -> Callable[..., Any]:
    """Return `run` compiled.

    Raises:
        ImportError: Numba is not installed.
    """
    try:
        from numba import njit
    except ImportError as missing:
        raise ImportError(
            "the compiled sequential back end needs Numba: pip install dynrl[medical], or use backend='seq'"
        ) from missing
    return njit(cache=True)(run)
