"""Wolf–sheep–grass as it is defined: animals act one after the other, in a random order.

Plain Python on NumPy arrays, and the same text compiled by Numba (extra `medical`), which gives the same bytes. Every
other back end is held against this one. All random numbers are `rng.random()`, one per choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

__all__ = [
    "CHASE",
    "ENERGY",
    "HEADING",
    "NETLOGO",
    "RW",
    "Herd",
    "X",
    "Y",
    "begin",
    "compiled",
    "empty_herd",
    "run",
    "step",
]

RW, NETLOGO, CHASE = 0, 1, 2
"""Ways of moving."""

ENERGY, X, Y, HEADING = 0, 1, 2, 3
"""Columns of a herd's bodies; headings in degrees."""

Herd = tuple[np.ndarray, np.ndarray]
"""Animals of a species in the first n slots: cells int64 `[C]` and bodies float64 `[C, 4]`."""


def empty_herd(capacity: int) -> Herd:
    """Slots for `capacity` animals."""
    return np.zeros(capacity, np.int64), np.zeros((capacity, 4))


def _copy(herd, target, source):
    """Write the animal in slot `source` to slot `target` as well."""
    cell, body = herd
    cell[target] = cell[source]
    for column in range(4):
        body[target, column] = body[source, column]


def _below(rng, bound):
    """Uniform in {0 .. bound − 1}."""
    return int(rng.random() * bound)


def _random_order(rng, number):
    order = np.arange(number)
    for last in range(number - 1, 0, -1):
        other = _below(rng, last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def _chosen(rng, neighbours, degree, cell, avoided, wanted, zero_is_wanted):
    """Among the neighbours that hold nothing `avoided`, one that has what is `wanted`, else any; −1 if there is none.

    Grass is wanted where its countdown is 0, sheep where their count is not.
    """
    free = good = 0
    for k in range(degree[cell]):
        place = neighbours[cell, k]
        if avoided[place] == 0:
            free += 1
            good += (wanted[place] == 0) == zero_is_wanted
    if free == 0:
        return -1
    left = _below(rng, good if good > 0 else free)
    for k in range(degree[cell]):
        place = neighbours[cell, k]
        if avoided[place] == 0 and (good == 0 or (wanted[place] == 0) == zero_is_wanted):
            if left == 0:
                return place
            left -= 1
    return -1


def _forward(herd, i, height, width):
    """One unit along the heading; 0 is up (+y), clockwise."""
    cell, body = herd
    angle = math.radians(body[i, HEADING])
    x = (body[i, X] + math.sin(angle)) % width
    y = (body[i, Y] + math.cos(angle)) % height
    # A tiny negative number modulo the width rounds to the width itself.
    body[i, X] = x if x < width else 0.0
    body[i, Y] = y if y < height else 0.0
    cell[i] = int(body[i, Y]) * width + int(body[i, X])


def _moved(rng, herd, i, movement, neighbours, degree, height, width, avoided, wanted, zero_is_wanted):
    cell, body = herd
    if movement == RW:
        cell[i] = neighbours[cell[i], _below(rng, degree[cell[i]])]
    elif movement == NETLOGO:
        body[i, HEADING] = (body[i, HEADING] + _below(rng, 50) - _below(rng, 50)) % 360
        _forward(herd, i, height, width)
    else:
        place = _chosen(rng, neighbours, degree, cell[i], avoided, wanted, zero_is_wanted)
        if place >= 0:
            cell[i] = place


def _born(rng, herd, parent, child, movement, height, width):
    herd[1][parent, ENERGY] /= 2
    _copy(herd, child, parent)
    if movement == NETLOGO:
        herd[1][child, HEADING] = (herd[1][child, HEADING] + 360 * rng.random()) % 360
        _forward(herd, child, height, width)


def _compacted(herd, alive, number):
    kept = 0
    for i in range(number):
        if alive[i]:
            _copy(herd, kept, i)
            kept += 1
    return kept


def sheep_phase(
    rng, sheep, number, wolf_counts, countdown, params, movement, neighbours, degree, height, width
):
    """Every sheep acts once; returns `(sheep now, births cancelled for want of room)`."""
    cell, body = sheep
    capacity = len(cell)
    alive = np.ones(capacity, np.bool_)
    gain, reproduce, regrowth = params[0], params[2], int(params[4])
    total, overflow = number, 0
    for i in _random_order(rng, number):
        _moved(rng, sheep, i, movement, neighbours, degree, height, width, wolf_counts, countdown, True)
        body[i, ENERGY] -= 1
        if countdown[cell[i]] == 0:
            body[i, ENERGY] += gain
            countdown[cell[i]] = regrowth + 1
        if body[i, ENERGY] < 0:
            alive[i] = False
        elif rng.random() < reproduce:
            if total == capacity:
                overflow += 1
            else:
                _born(rng, sheep, i, total, movement, height, width)
                total += 1
    return _compacted(sheep, alive, total), overflow


def wolf_phase(rng, wolves, number, sheep, flock, params, movement, neighbours, degree, height, width):
    """Every wolf acts once; returns `(wolves now, sheep now, births cancelled for want of room)`."""
    (cell, body), sheep_cell = wolves, sheep[0]
    capacity = len(cell)
    alive = np.ones(capacity, np.bool_)
    gain, reproduce = params[1], params[3]
    # Sheep of each cell as a linked list.
    cells = height * width
    nobody = np.zeros(cells, np.int64)
    counts, first = np.zeros(cells, np.int64), np.full(cells, -1)
    following, eaten = np.full(len(sheep_cell), -1), np.zeros(len(sheep_cell), np.bool_)
    for j in range(flock):
        following[j] = first[sheep_cell[j]]
        first[sheep_cell[j]] = j
        counts[sheep_cell[j]] += 1
    total, overflow = number, 0
    for i in _random_order(rng, number):
        _moved(rng, wolves, i, movement, neighbours, degree, height, width, nobody, counts, False)
        body[i, ENERGY] -= 1
        here = cell[i]
        if counts[here] > 0:
            before, prey = -1, first[here]
            for _ in range(_below(rng, counts[here])):
                before, prey = prey, following[prey]
            if before < 0:
                first[here] = following[prey]
            else:
                following[before] = following[prey]
            counts[here] -= 1
            eaten[prey] = True
            body[i, ENERGY] += gain
        if body[i, ENERGY] < 0:
            alive[i] = False
        elif rng.random() < reproduce:
            if total == capacity:
                overflow += 1
            else:
                _born(rng, wolves, i, total, movement, height, width)
                total += 1
    return _compacted(wolves, alive, total), _compacted(sheep, ~eaten, flock), overflow


def removed(rng, herd, number, dose, initial_energy, whole_energy, height, width):
    """Takes `dose` uniformly random animals out, or puts −dose new ones at random places; returns `(animals now, dose
    given, animals for whom there was no room)`."""
    given = min(dose, number)
    for _ in range(given):
        i = _below(rng, number)
        number -= 1
        _copy(herd, i, number)
    room = len(herd[0]) - number
    overflow = max(-given - room, 0)
    for i in range(number, number + max(-given - overflow, 0)):
        _settled(rng, herd, i, initial_energy, whole_energy, height, width)
    return number + max(-given - overflow, 0), given + overflow, overflow


def _settled(rng, herd, i, initial_energy, whole_energy, height, width):
    """A new animal at a uniformly random place."""
    cell, body = herd
    body[i, X], body[i, Y], body[i, HEADING] = width * rng.random(), height * rng.random(), 360 * rng.random()
    cell[i] = int(body[i, Y]) * width + int(body[i, X])
    body[i, ENERGY] = initial_energy * rng.random()
    if whole_energy:
        body[i, ENERGY] = math.floor(body[i, ENERGY])


def grow_grass(countdown):
    """One step closer to being grown, everywhere."""
    for place in range(len(countdown)):
        if countdown[place] > 0:
            countdown[place] -= 1


def begin(rng, sheep, wolves, countdown, params, numbers, whole_energy, height, width):
    """Animals and grass at the start (spec of NetLogo's model: half of the patches grown, the others somewhere on
    their way)."""
    for herd, number, gain in ((sheep, numbers[0], params[0]), (wolves, numbers[1], params[1])):
        for i in range(number):
            _settled(rng, herd, i, 2 * gain, whole_energy, height, width)
    for place in range(len(countdown)):
        grown = rng.random() < 0.5
        k = _below(rng, max(params[4], 1.0))
        countdown[place] = 0 if grown or k == 0 else k + 1


def step(
    rng,
    sheep,
    wolves,
    countdown,
    numbers,
    doses,
    params,
    movement,
    whole_energy,
    neighbours,
    degree,
    height,
    width,
):
    """Intervene, then sheep, wolves, grass.

    Args:
        rng: `numpy.random.Generator`.
        sheep, wolves: herds, changed in place.
        countdown: steps until each patch is grown `[N]`, changed in place.
        numbers: `(sheep, wolves)` alive.
        doses: `(sheep, wolves)` to remove, whole numbers; negative ones are added.
        params: gain_sheep, gain_wolf, p_sheep, p_wolf, regrowth `[5]`.
        movement: RW, NETLOGO or CHASE.
        whole_energy: whether newly settled animals have whole energies.
        neighbours, degree: of the grid, `[N, k]` and `[N]`.
        height, width: of the grid.

    Returns:
        `(sheep, wolves, sheep removed, wolves removed, overflow)`.
    """
    flock, given_sheep, none1 = removed(
        rng, sheep, numbers[0], doses[0], 2 * params[0], whole_energy, height, width
    )
    pack, given_wolves, none2 = removed(
        rng, wolves, numbers[1], doses[1], 2 * params[1], whole_energy, height, width
    )
    wolf_counts = np.zeros(height * width, np.int64)
    for i in range(pack):
        wolf_counts[wolves[0][i]] += 1
    flock, none3 = sheep_phase(
        rng, sheep, flock, wolf_counts, countdown, params, movement, neighbours, degree, height, width
    )
    pack, flock, none4 = wolf_phase(
        rng, wolves, pack, sheep, flock, params, movement, neighbours, degree, height, width
    )
    grow_grass(countdown)
    return flock, pack, given_sheep, given_wolves, none1 + none2 + none3 + none4


def run(
    rng,
    sheep,
    wolves,
    countdown,
    numbers,
    doses,
    params,
    movement,
    whole_energy,
    neighbours,
    degree,
    height,
    width,
):
    """`len(doses)` steps; returns wolves, sheep, grown cells, sheep removed, wolves removed and overflow after each
    `[T, 6]`."""
    record = np.zeros((len(doses), 6), np.int64)
    flock, pack = numbers
    for t in range(len(doses)):
        flock, pack, given_sheep, given_wolves, overflow = step(
            rng,
            sheep,
            wolves,
            countdown,
            (flock, pack),
            (doses[t, 0], doses[t, 1]),
            params,
            movement,
            whole_energy,
            neighbours,
            degree,
            height,
            width,
        )
        grown = 0
        for place in range(len(countdown)):
            grown += countdown[place] == 0
        record[t, 0], record[t, 1], record[t, 2] = pack, flock, grown
        record[t, 3], record[t, 4], record[t, 5] = given_sheep, given_wolves, overflow
    return record


@cache
def compiled() -> dict[str, Callable[..., Any]]:
    """`begin`, `step` and `run` compiled by Numba; some seconds on the first use.

    Raises:
        ImportError: Numba is not installed.
    """
    try:
        import numba
    except ImportError as error:
        raise ImportError(
            'the compiled sequential model needs Numba: pip install "dynrl[medical]"; backend="seq" with '
            "compiled=False is the same in plain Python"
        ) from error
    namespace = {**globals()}
    for name in (
        "_below",
        "_copy",
        "_random_order",
        "_chosen",
        "_forward",
        "_moved",
        "_born",
        "_compacted",
        "_settled",
        "sheep_phase",
        "wolf_phase",
        "removed",
        "grow_grass",
        "begin",
        "step",
        "run",
    ):
        plain = globals()[name]
        # Each function sees the compiled ones, not the plain ones, under the names in its text.
        bound = type(plain)(plain.__code__, namespace, name)
        namespace[name] = numba.njit(bound, nogil=True)
    return {name: namespace[name] for name in ("begin", "step", "run")}
