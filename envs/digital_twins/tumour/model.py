"""A tumour on a lattice, immune cells that fight it or help it, and a drug that changes their mind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dynrl.abm.arrays import namespace, scatter_add
from dynrl.abm.conflicts import claims, winners
from dynrl.abm.draws import integers, priorities, split, uniform
from dynrl.abm.fields import diffused, evaporated, neighbour_sum
from dynrl.abm.model import Intervention, Stepped
from dynrl.abm.population import Population, died, place
from dynrl.abm.space import Grid, counts

__all__ = ["MOST_IMMUNE_CELLS", "TumourImmuneModel", "TumourParams", "TumourState", "checked_params"]

Array = Any

MOST_IMMUNE_CELLS = 4
"""Immune cells that fit into one site."""

_RECRUITS = 8  # largest number of immune cells that arrive in a step


class TumourParams(NamedTuple):
    """Leaves `[]` float32. Probabilities are per step and cell; a factor level is in units of what one cell secretes
    in a step.

    Attributes:
        division: a tumour cell with room beside it divides, without help.
        help: how many times more with saturating pro-tumour factor.
        apoptosis: a tumour cell dies by itself.
        killing: it dies besides, with saturating anti-tumour factor and no pro-tumour factor.
        protection: part of the killing that saturating pro-tumour factor prevents, 0 to 1.
        anti_half, pro_half: levels with half of the effect (Hill exponent 2).
        turning: a type 1 cell in a full neighbourhood turns into type 2.
        crowding_half: part of the 9 sites with a tumour cell at which half of that is reached (Hill exponent 4).
        returning: a type 2 cell turns back under saturating drug.
        drug_half: drug level with half of the effect (Hill exponent 6).
        drug_keep: part of the drug level that is left after a step; under a constant dose d the level tends to d.
        recruitment: mean number of immune cells (type 1) that arrive in a step, at most 8.
        loss: an immune cell leaves or dies.
        attraction: log-odds by which a step towards a unit of debris is preferred.
        radius: of the disc of tumour cells at the beginning.
        immune: type 1 cells at the beginning.
    """

    division: Any = 0.06
    help: Any = 1.0
    apoptosis: Any = 0.001
    killing: Any = 0.4
    protection: Any = 0.9
    anti_half: Any = 0.6
    pro_half: Any = 0.4
    turning: Any = 0.3
    crowding_half: Any = 0.3
    returning: Any = 0.6
    drug_half: Any = 0.7
    drug_keep: Any = 0.9
    recruitment: Any = 2.2
    loss: Any = 0.005
    attraction: Any = 2.0
    radius: Any = 8.0
    immune: Any = 150.0


_POSITIVE = ("anti_half", "pro_half", "crowding_half", "drug_half")
_PROBABILITIES = (
    "division",
    "apoptosis",
    "killing",
    "protection",
    "turning",
    "returning",
    "drug_keep",
    "loss",
)


class TumourState(NamedTuple):
    """Attributes:
    tumour: whether a tumour cell is there, bool `[H, W]`.
    immune: immune cells; attribute `kind` is 1 or 2, int32 `[C]`.
    anti: anti-tumour factor `[H, W]` float32.
    pro: pro-tumour factor `[H, W]` float32.
    debris: of dead tumour cells `[H, W]` float32.
    drug: level in the blood, the same everywhere `[]` float32.
    overflow: arrivals cancelled so far for want of slots `[]` int32.
    invalid: whether a dose was ever not finite (it counts as 0) `[]` bool.
    """

    tumour: Array
    immune: Population
    anti: Array
    pro: Array
    debris: Array
    drug: Array
    overflow: Array
    invalid: Array


@dataclass(frozen=True)
class TumourImmuneModel:
    """One tumour cell and up to four immune cells per site of a bounded lattice.

    Has `init`, `step` and `macro` of `dynrl.abm.model.AgentBasedModel`, so `dynrl.abm.simulate` runs cohorts; it has no
    `edited`. Everybody acts at once by definition, from the state at the beginning of the phase. One step:

    1. The drug level moves towards the dose, d. Immune cells leave at random, and new ones of type 1 arrive at random
       sites with room.
    2. Type 1 turns into type 2 where tumour cells crowd; the drug turns type 2 back into type 1.
    3. Every immune cell steps to one of the 9 sites of its block, rather where debris is; where more come than there is
       room for, random ones stay where they were.
    4. Type 1 adds 1 to the anti-tumour factor of its site, type 2 to the pro-tumour factor. Both spread and decay, and
       so does debris.
    5. Tumour cells die, by themselves and by the anti-tumour factor, against which the pro-tumour factor protects; the
       dead become debris. The others divide into a random free neighbour site; of several into one site one succeeds.

    The control is the dose, 0 to 1. The structure follows the tumour–immune example of PhysiGym (a Gymnasium face of
    PhysiCell); the rules on the lattice and their constants are our own, calibrated so that an untreated tumour fills
    the domain, a constant full dose clears it and half of it does not.

    Args:
        height, width: of the lattice.
        capacity: slots for immune cells.

    Raises:
        ValueError: sizes that are no whole numbers.
    """

    macro_names: ClassVar[tuple[str, ...]] = ("tumour", "type 1", "type 2", "debris", "drug")
    control_names: ClassVar[tuple[str, ...]] = ("dose",)
    control_low: ClassVar[tuple[float, ...]] = (0.0,)
    control_high: ClassVar[tuple[float, ...]] = (1.0,)

    height: int = 64
    width: int = 64
    capacity: int = 1024

    def __post_init__(self) -> None:
        _ = self.grid
        value = self.capacity
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"capacity is {value!r}, expected a whole number of at least 1")

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.height, self.width, torus=False)

    @property
    def macro_scale(self) -> tuple[float, ...]:
        return (self.grid.cells / 2, 300.0, 300.0, self.grid.cells / 16, 1.0)

    def default_params(self) -> TumourParams:
        """The calibrated constants."""
        return checked_params(TumourParams())

    def grown(self) -> TumourImmuneModel:
        """The same model with twice the capacity."""
        return replace(self, capacity=2 * self.capacity)

    def init(self, key: Any, params: TumourParams) -> TumourState:
        """A disc of tumour cells in the middle, type 1 cells at random sites (at most as many as there are slots)."""
        placing, deciding = split(key, 2)
        cell = integers(placing, (self.capacity,), self.grid.cells)
        xp = namespace(cell)
        number = xp.arange(self.capacity)
        wanted = number < params.immune
        room = xp.full(self.grid.cells, MOST_IMMUNE_CELLS, np.int32)
        alive = claims(deciding, cell, wanted, room)
        row, column = np.divmod(np.arange(self.grid.cells), self.width)
        distance = np.hypot(row - (self.height - 1) / 2, column - (self.width - 1) / 2).reshape(
            self.grid.shape
        )
        nothing = xp.zeros(self.grid.shape, np.float32)
        return TumourState(
            tumour=xp.asarray(distance.astype(np.float32)) <= params.radius,
            immune=Population(cell, alive, {"kind": xp.ones(self.capacity, np.int32)}),
            anti=nothing,
            pro=nothing,
            debris=nothing,
            drug=xp.zeros((), np.float32),
            overflow=xp.zeros((), np.int32),
            invalid=xp.zeros((), bool),
        )

    def step(self, state: TumourState, u: Array | None, key: Any, params: TumourParams) -> Stepped:
        """One step under the dose `u` `[1]`."""
        turnover, turning, moving, tumour = split(key, 4)
        xp = namespace(state.tumour, key)
        asked = xp.zeros((), np.float32) if u is None else xp.asarray(u)[0].astype(np.float32)
        finite = xp.isfinite(asked)
        asked = xp.where(finite, asked, np.float32(0))
        dose = xp.clip(asked, np.float32(0), np.float32(1))

        drug = params.drug_keep * state.drug + (1 - params.drug_keep) * dose
        immune, missing = self._renewed(state.immune, turnover, params)
        immune = self._turned(immune, state.tumour, drug, turning, params)
        immune = self._moved(immune, state.debris, moving, params)
        anti, pro = self._secreted(state, immune)
        alive, debris = self._grown(state, anti, pro, tumour, params)
        after = TumourState(
            alive, immune, anti, pro, debris, drug, state.overflow + missing, state.invalid | ~finite
        )
        return Stepped(after, self.macro(after), Intervention(dose[None], dose != asked), missing)

    def macro(self, state: TumourState) -> Array:
        """Numbers of tumour, type 1 and type 2 cells, amount of debris, drug level; float32 `[5]`."""
        xp = namespace(state.tumour)
        kind, alive = state.immune.attributes["kind"], state.immune.alive
        numbers = [state.tumour.sum(dtype=np.int32)]
        numbers += [(alive & (kind == which)).sum(dtype=np.int32) for which in (1, 2)]
        return xp.stack([*(number.astype(np.float32) for number in numbers), state.debris.sum(), state.drug])

    def _room(self, immune: Population) -> Array:
        return MOST_IMMUNE_CELLS - counts(immune.cell, immune.alive, self.grid.cells)

    def _renewed(self, immune: Population, key: Any, params: TumourParams) -> tuple[Population, Array]:
        leaving, arriving, placing, deciding = split(key, 4)
        immune = died(immune, uniform(leaving, (self.capacity,)) < params.loss)
        xp = namespace(immune.cell)
        come = uniform(arriving, (_RECRUITS,)) < params.recruitment / _RECRUITS
        cell = integers(placing, (_RECRUITS,), self.grid.cells)
        come = claims(deciding, cell, come, self._room(immune))
        placed = place(immune, Population(cell, come, {"kind": xp.ones(_RECRUITS, np.int32)}))
        return placed.population, placed.overflow

    def _turned(
        self, immune: Population, tumour: Array, drug: Array, key: Any, params: TumourParams
    ) -> Population:
        xp = namespace(immune.cell)
        crowd = neighbour_sum(tumour.astype(np.float32), "moore_self", torus=False).reshape(-1) / 9
        chance = xp.where(
            immune.attributes["kind"] == 1,
            params.turning * _hill(crowd, params.crowding_half, 4)[immune.cell],
            params.returning * _hill(drug, params.drug_half, 6),
        )
        turned = uniform(key, (self.capacity,)) < chance
        kind = xp.where(turned, 3 - immune.attributes["kind"], immune.attributes["kind"]).astype(np.int32)
        return immune._replace(attributes={"kind": kind})

    def _moved(self, immune: Population, debris: Array, key: Any, params: TumourParams) -> Population:
        choosing, deciding = split(key, 2)
        xp = namespace(immune.cell)
        options = xp.asarray(self.grid.neighbours("moore_self"))[immune.cell]
        smell = params.attraction * xp.minimum(debris.reshape(-1)[options], np.float32(4))
        # At an edge the list repeats the cell itself: only the first of the repetitions counts.
        there = np.arange(9) < xp.asarray(self.grid.degrees("moore_self"))[immune.cell][:, None]
        weight = xp.where(there, xp.exp(smell), np.float32(0))
        until = xp.cumsum(weight, axis=1)
        drawn = uniform(choosing, (self.capacity,))[:, None] * until[:, -1:]
        target = xp.take_along_axis(
            options, (until[:, :-1] <= drawn).sum(axis=1, dtype=np.int32)[:, None], axis=1
        )
        target = target[:, 0]
        moving = immune.alive & (target != immune.cell)
        # Those who leave make no room for those who come in the same step, so no site is ever too full.
        goes = claims(deciding, target, moving, self._room(immune), MOST_IMMUNE_CELLS)
        return immune._replace(cell=xp.where(goes, target, immune.cell))

    def _secreted(self, state: TumourState, immune: Population) -> tuple[Array, Array]:
        fields = []
        for field, kind in ((state.anti, 1), (state.pro, 2)):
            secreted = scatter_add(
                self.grid.cells, immune.cell, immune.alive & (immune.attributes["kind"] == kind)
            )
            field = field + secreted.reshape(self.grid.shape).astype(np.float32)
            fields.append(evaporated(diffused(field, np.float32(0.5), torus=False), np.float32(0.8), 1e-4))
        return fields[0], fields[1]

    def _grown(
        self, state: TumourState, anti: Array, pro: Array, key: Any, params: TumourParams
    ) -> tuple[Array, Array]:
        dying, dividing, choosing, deciding = split(key, 4)
        xp = namespace(state.tumour)
        cells = self.grid.cells
        helped = _hill(pro, params.pro_half, 2).reshape(-1)
        killed = (
            params.killing * _hill(anti, params.anti_half, 2).reshape(-1) * (1 - params.protection * helped)
        )
        death = 1 - (1 - params.apoptosis) * (1 - killed)
        tumour = state.tumour.reshape(-1)
        dead = tumour & (uniform(dying, (cells,)) < death)
        living = tumour & ~dead
        target = self.grid.step(choosing, xp.arange(cells, dtype=np.int32), "moore")
        divides = living & (uniform(dividing, (cells,)) < params.division * (1 + params.help * helped))
        # A dead cell's site is free from the next step on.
        divides = divides & ~tumour[target]
        succeeds = winners(target, divides, priorities(deciding, cells), cells)
        born = scatter_add(cells, target, succeeds) > 0
        debris = state.debris + dead.reshape(self.grid.shape).astype(np.float32)
        debris = evaporated(diffused(debris, np.float32(0.5), torus=False), np.float32(0.9), 1e-4)
        return (living | born).reshape(self.grid.shape), debris


def checked_params(params: TumourParams) -> TumourParams:
    """Return `params` as float32 arrays.

    Raises:
        ValueError: a constant that is not finite or negative, a probability above 1, a half-effect level of 0, or a
            recruitment above 8.
    """
    checked = []
    for name, value in zip(TumourParams._fields, params, strict=True):
        array = np.asarray(value, np.float32)
        if not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{name} is {value}, expected a finite number of at least 0")
        if name in _PROBABILITIES and (array > 1).any():
            raise ValueError(f"{name} is {value}, expected a probability from 0 to 1")
        if name in _POSITIVE and (array == 0).any():
            raise ValueError(f"{name} is {value}, expected a level above 0")
        if name == "recruitment" and (array > _RECRUITS).any():
            raise ValueError(f"recruitment is {value}, expected at most {_RECRUITS} cells per step")
        checked.append(array)
    return TumourParams(*checked)


def _hill(level: Array, half: Any, exponent: int) -> Array:
    """Hill response: 0 at level 0, 1/2 at `half`, 1 for large levels."""
    power = (level / half) ** exponent
    return power / (1 + power)
