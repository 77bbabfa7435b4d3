"""Wolf–sheep–grass in machine code for CPUs: batches of grids, animal by animal, at a cost proportional to the living.

Random walks and NetLogo's movement need no random order: in each cell the animals that eat are drawn one after the
other with the probability (meals left) / (animals left), which makes every set of the right size equally likely
(selection sampling: Fan, Muller, Rezucha 1962; Knuth, TAOCP 2, algorithm S). The variant `chase` takes the animals in a
random order, as the definition does, so it is exact here.

The loops avoid branches on chance: a mispredicted one costs more than a random number.

Needs Numba (extra `medical`).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams

__all__ = ["NativeCohort"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32, _S40 = (np.uint64(shift) for shift in (27, 30, 31, 32, 40))
_MOVEMENT = {"rw4": 0, "rw8": 0, "netlogo": 1, "chase": 2}


def _mixed(state):
    """64 random bits from a counter (splitmix64: Steele, Lea, Flood 2014)."""
    z = (state ^ (state >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


def _share(word, bound):
    """A word as a uniform number in {0 .. bound − 1}."""
    return np.int64(((word >> _S32) * np.uint64(bound)) >> _S32)


def _word(rng):
    """The next word of a stream; `rng` is its counter `[1]`. Hot loops keep the counter in a register instead."""
    rng[0] += _GOLDEN
    return _mixed(rng[0])


def _unit(rng):
    return np.float32(_word(rng) >> _S40) * np.float32(2**-24)


def _below(rng, bound):
    return _share(_word(rng), bound)


def _settle(rng, cell, body, start, stop, gain, whole_energy, height, width):
    for i in range(start, stop):
        energy = 2 * gain * _unit(rng)
        body[0, i] = math.floor(energy) if whole_energy else energy
        if body.shape[0] > 1:
            body[1, i], body[2, i] = width * _unit(rng), height * _unit(rng)
            body[3, i] = np.float32(360) * _unit(rng)
            cell[i] = int(body[2, i]) * width + int(body[1, i])
        else:
            cell[i] = _below(rng, height * width)


def _forward(cell, body, i, height, width):
    angle = body[3, i] * np.float32(math.pi / 180)
    x, y = body[1, i] + np.float32(math.sin(angle)), body[2, i] + np.float32(math.cos(angle))
    # A tiny negative number plus the length rounds to the length itself: that is 0 again.
    x = x + width if x < 0 else x
    y = y + height if y < 0 else y
    body[1, i], body[2, i] = x - width if x >= width else x, y - height if y >= height else y
    cell[i] = int(body[2, i]) * width + int(body[1, i])


def _walk(rng, cell, body, number, netlogo, neighbours, degree, at, height, width):
    """All move; `at` counts them by cell."""
    if netlogo:
        for i in range(number):
            turned = body[3, i] + np.float32(_below(rng, 50) - _below(rng, 50))
            body[3, i] = turned - 360 if turned >= 360 else (turned + 360 if turned < 0 else turned)
            _forward(cell, body, i, height, width)
            at[cell[i]] += 1
    else:
        counter = rng[0]
        for i in range(number):
            counter += _GOLDEN
            here = cell[i]
            there = neighbours[here, _share(_mixed(counter), degree[here])]
            cell[i] = there
            at[there] += 1
        rng[0] = counter


def _chase(rng, cell, i, neighbours, degree, danger, wanted, grown):
    """To a neighbour without `danger`, if possible one that has what is `wanted` (`grown`: grass, a clock at 0)."""
    here = cell[i]
    free = good = 0
    for k in range(degree[here]):
        place = neighbours[here, k]
        if danger[place] == 0:
            free += 1
            good += (wanted[place] == 0) == grown
    if free == 0:
        return
    left = _below(rng, good if good > 0 else free)
    for k in range(degree[here]):
        place = neighbours[here, k]
        if danger[place] == 0 and (good == 0 or (wanted[place] == 0) == grown):
            if left == 0:
                cell[i] = place
                return
            left -= 1


def _shuffled(rng, order, number):
    for i in range(number):
        order[i] = i
    for last in range(number - 1, 0, -1):
        other = _below(rng, last + 1)
        order[last], order[other] = order[other], order[last]


def _lived(rng, cell, body, ate, number, gain, birth, netlogo, height, width, parents):
    """Metabolism, meal, death and birth; returns `(alive now, births cancelled for want of room)`."""
    capacity = len(cell)
    threshold = np.uint64(np.float64(birth) * 2.0**32)
    kept = born = 0
    counter = rng[0]
    for i in range(number):
        counter += _GOLDEN
        energy = body[0, i] - 1 + gain * ate[i]
        lives = energy >= 0
        cell[kept] = cell[i]
        body[0, kept] = energy
        for column in range(1, body.shape[0]):
            body[column, kept] = body[column, i]
        parents[born] = kept
        born += lives & ((_mixed(counter) >> _S32) < threshold)
        kept += lives
    rng[0] = counter
    room = min(born, capacity - kept)
    # Where there is no room for all, those who give birth are those in the first slots, as elsewhere.
    for b in range(room):
        parent, child = parents[b], kept + b
        body[0, parent] /= 2
        cell[child] = cell[parent]
        for column in range(body.shape[0]):
            body[column, child] = body[column, parent]
        if netlogo:
            turned = body[3, child] + np.float32(360) * _unit(rng)
            body[3, child] = turned - 360 if turned >= 360 else turned
            _forward(cell, body, child, height, width)
    return kept + room, born - room


def _one_step(
    rng,
    movement,
    whole_energy,
    numbers,
    cell_s,
    body_s,
    cell_w,
    body_w,
    clock,
    rates,
    neighbours,
    degree,
    height,
    width,
    at,
    meals,
    ate,
    order,
):
    """Sheep, wolves, grass, in place, herds being at the front of their arrays; `numbers` is changed too; returns the
    births cancelled."""
    flock, pack = numbers[0], numbers[1]
    netlogo, regrowth = movement == 1, int(rates[4])
    cells = height * width
    if movement == 2:
        at[:cells] = 0
        for i in range(pack):
            at[cell_w[i]] += 1
        _shuffled(rng, order, flock)
        for k in range(flock):
            i = order[k]
            _chase(rng, cell_s, i, neighbours, degree, at, clock, True)
            ate[i] = clock[cell_s[i]] == 0
            if ate[i]:
                clock[cell_s[i]] = regrowth + 1
    else:
        at[:cells] = 0
        _walk(rng, cell_s, body_s, flock, netlogo, neighbours, degree, at, height, width)
        counter = rng[0]
        for i in range(flock):
            counter += _GOLDEN
            here = cell_s[i]
            # One of those left is drawn where there is no grass too, see above.
            eats = (clock[here] == 0) & (_share(_mixed(counter), at[here]) == 0)
            at[here] -= 1
            ate[i] = eats
            clock[here] = regrowth + 1 if eats else clock[here]
        rng[0] = counter
    flock, lost1 = _lived(rng, cell_s, body_s, ate, flock, rates[0], rates[2], netlogo, height, width, order)
    # `meals`: sheep of each cell, then those to be eaten.
    meals[:cells] = 0
    at[:cells] = 0
    for i in range(flock):
        meals[cell_s[i]] += 1
    if movement == 2:
        nobody = np.zeros(cells, np.int32)
        left = meals.copy()
        _shuffled(rng, order, pack)
        for k in range(pack):
            i = order[k]
            _chase(rng, cell_w, i, neighbours, degree, nobody, left, False)
            ate[i] = left[cell_w[i]] > 0
            left[cell_w[i]] -= ate[i]
        for place in range(cells):
            at[place] = meals[place] - left[place]
    else:
        _walk(rng, cell_w, body_w, pack, netlogo, neighbours, degree, at, height, width)
        eaten = order  # not needed for an order here, and there are at least as many entries as cells
        for place in range(cells):
            eaten[place] = min(at[place], meals[place])
        counter = rng[0]
        for i in range(pack):
            counter += _GOLDEN
            here = cell_w[i]
            eats = _share(_mixed(counter), at[here]) < eaten[here]
            ate[i] = eats
            eaten[here] -= eats
            at[here] -= 1
        rng[0] = counter
        # The number of sheep killed in a cell: how many of its meals are gone.
        for i in range(pack):
            at[cell_w[i]] += ate[i]
    kept = 0
    counter = rng[0]
    for i in range(flock):
        counter += _GOLDEN
        here = cell_s[i]
        dies = _share(_mixed(counter), meals[here]) < at[here]
        at[here] -= dies
        meals[here] -= 1
        cell_s[kept] = here
        for column in range(body_s.shape[0]):
            body_s[column, kept] = body_s[column, i]
        kept += not dies
    rng[0] = counter
    pack, lost2 = _lived(rng, cell_w, body_w, ate, pack, rates[1], rates[3], netlogo, height, width, order)
    for place in range(cells):
        clock[place] -= clock[place] > 0
    numbers[0], numbers[1] = kept, pack
    return lost1 + lost2


def _settle_all(
    rngs, whole_energy, numbers, cells_s, bodies_s, cells_w, bodies_w, clocks, rates, height, width
):
    """The first state of every grid of a batch."""
    for e in range(len(clocks)):
        rng = rngs[e]
        _settle(rng, cells_s[e], bodies_s[e], 0, numbers[e, 0], rates[e, 0], whole_energy, height, width)
        _settle(rng, cells_w[e], bodies_w[e], 0, numbers[e, 1], rates[e, 1], whole_energy, height, width)
        for place in range(height * width):
            grown = _unit(rng) < 0.5
            k = _below(rng, max(int(rates[e, 4]), 1))
            clocks[e, place] = 0 if grown or k == 0 else k + 1


def _dosed(rng, cell, body, number, fraction, rounding, gain, whole_energy, height, width):
    """Removes a fraction of the animals, or adds one; returns `(animals now, dose given, newcomers without room)`."""
    amount = np.float64(fraction) * number
    lower = math.floor(amount + 0.5) if rounding == 1 else math.floor(amount)
    if rounding == 0 and _unit(rng) < amount - lower:
        lower += 1
    dose = min(int(lower), number)
    if dose > 0:
        kept, removed = 0, dose
        for i in range(number):
            if _below(rng, number - i) < removed:
                removed -= 1
            else:
                cell[kept] = cell[i]
                for column in range(body.shape[0]):
                    body[column, kept] = body[column, i]
                kept += 1
        return kept, dose, 0
    grown = min(number - dose, len(cell))
    _settle(rng, cell, body, number, grown, gain, whole_energy, height, width)
    return grown, number - grown, number - dose - grown


def _run_all(
    rngs,
    movement,
    whole_energy,
    rounding,
    numbers,
    cells_s,
    bodies_s,
    cells_w,
    bodies_w,
    clocks,
    rates,
    fractions,
    neighbours,
    degree,
    height,
    width,
):
    """Every grid of a batch through all steps of `fractions` `[S, T, 2]`, one grid after the other: its arrays stay in
    the cache. Returns the record `[S, T, 6]`."""
    batch, steps = fractions.shape[:2]
    cells = height * width
    record = np.zeros((batch, steps, 6), np.int32)
    most = max(cells_s.shape[1], cells_w.shape[1])
    at, meals = np.zeros(cells, np.int32), np.zeros(cells, np.int32)
    ate, order = np.zeros(most, np.bool_), np.zeros(max(most, cells), np.int32)
    for e in range(batch):
        for t in range(steps):
            numbers[e, 0], given_s, lost_s = _dosed(
                rngs[e],
                cells_s[e],
                bodies_s[e],
                numbers[e, 0],
                fractions[e, t, 0],
                rounding,
                rates[e, 0],
                whole_energy,
                height,
                width,
            )
            numbers[e, 1], given_w, lost_w = _dosed(
                rngs[e],
                cells_w[e],
                bodies_w[e],
                numbers[e, 1],
                fractions[e, t, 1],
                rounding,
                rates[e, 1],
                whole_energy,
                height,
                width,
            )
            lost = _one_step(
                rngs[e],
                movement,
                whole_energy,
                numbers[e],
                cells_s[e],
                bodies_s[e],
                cells_w[e],
                bodies_w[e],
                clocks[e],
                rates[e],
                neighbours,
                degree,
                height,
                width,
                at,
                meals,
                ate,
                order,
            )
            grass = 0
            for place in range(cells):
                grass += clocks[e, place] == 0
            record[e, t, 0], record[e, t, 1], record[e, t, 2] = numbers[e, 1], numbers[e, 0], grass
            record[e, t, 3], record[e, t, 4] = given_s, given_w
            record[e, t, 5] = lost + lost_s + lost_w
    return record


_PARTS = (
    "_mixed",
    "_share",
    "_word",
    "_unit",
    "_below",
    "_settle",
    "_forward",
    "_walk",
    "_chase",
    "_shuffled",
    "_lived",
    "_one_step",
    "_settle_all",
    "_dosed",
    "_run_all",
)


@cache
def _compiled() -> dict[str, Any]:
    try:
        import numba
    except ImportError as error:
        raise ImportError(
            'backend="numba" needs Numba: pip install "dynrl[medical]"; backend="jax" needs nothing more'
        ) from error
    namespace = {**globals()}
    for name in _PARTS:
        plain = globals()[name]
        # Each function sees the compiled ones, not the plain ones, under the names in its text.
        bound = type(plain)(plain.__code__, namespace, name)
        namespace[name] = numba.njit(bound, nogil=True, error_model="numpy")
    return namespace


class NativeCohort:
    """A batch of grids on the CPU, stepped in place and without JAX.

    Args:
        model: rules and capacities.
        params: constants, leaves `[]` or `[S]`; None for the default.
        seeds: whole numbers `[S]`; equal seeds give equal runs, whatever else is in the batch.

    Attributes:
        clocks: steps until each patch is grown `[S, N]`.

    Raises:
        ImportError: Numba is not installed.
        ValueError: constants out of range.
    """

    def __init__(self, model: WolfSheep, params: WolfSheepParams | None, seeds: Any):
        seeds = np.asarray(seeds)
        self.model = model
        params = model.default_params() if params is None else model.checked(params)
        leaves = [np.broadcast_to(np.asarray(leaf), seeds.shape) for leaf in params]
        self._rates = np.stack(leaves[:5], axis=1).astype(np.float32)
        self._numbers = np.stack(leaves[5:], axis=1).astype(np.int64)
        self._rngs = np.array([[_spread(int(seed))] for seed in seeds], np.uint64)
        columns = 4 if model.variant == "netlogo" else 1
        self._herds: list[np.ndarray] = []
        for capacity in (model.capacity_sheep, model.capacity_wolves):
            self._herds.append(np.zeros((len(seeds), capacity), np.int32))
            self._herds.append(np.zeros((len(seeds), columns, capacity), np.float32))
        self.clocks = np.zeros((len(seeds), model.grid.cells), np.int32)
        self._settings = (_MOVEMENT[model.variant], model.energy_init == "int")
        place = (self._numbers, *self._herds, self.clocks, self._rates)
        _compiled()["_settle_all"](self._rngs, self._settings[1], *place, *model.grid.shape)

    def macro(self) -> np.ndarray:
        """Wolves, sheep and grown patches `[S, 3]`, float32."""
        grown = (self.clocks == 0).sum(axis=1)
        return np.column_stack([self._numbers[:, ::-1], grown]).astype(np.float32)

    def step(self, fractions: Any) -> np.ndarray:
        """One step; see `run`. Returns the record `[S, 6]`."""
        return self.run(np.asarray(fractions, np.float32)[:, None])[:, 0]

    def run(self, fractions: Any) -> np.ndarray:
        """Steps in which the fractions of sheep and wolves `[S, T, 2]` are removed beforehand.

        Returns:
            Wolves, sheep, grown patches, sheep removed, wolves removed, and births and newcomers cancelled for want of
            room, int32 `[S, T, 6]`.

        Raises:
            ValueError: fractions of another shape, not finite, or negative without `allow_stocking`.
        """
        fractions = np.ascontiguousarray(fractions, np.float32)
        model, batch = self.model, len(self.clocks)
        if fractions.ndim != 3 or fractions.shape[0] != batch or fractions.shape[2] != 2:
            raise ValueError(f"fractions have shape {fractions.shape}, expected ({batch}, steps, 2)")
        if not np.isfinite(fractions).all() or (fractions.min(initial=0) < 0 and not model.allow_stocking):
            raise ValueError("fractions must be finite, and not negative without allow_stocking")
        kind: Any = "moore" if model.variant == "rw8" else "von_neumann"
        grid = model.grid
        return _compiled()["_run_all"](
            self._rngs,
            *self._settings,
            ("stochastic", "half_up", "floor").index(model.rounding),
            self._numbers,
            *self._herds,
            self.clocks,
            self._rates,
            fractions,
            grid.neighbours(kind),
            grid.degrees(kind),
            *grid.shape,
        )


def _spread(seed: int) -> int:
    # Neighbouring seeds would be neighbouring places of one and the same stream.
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
