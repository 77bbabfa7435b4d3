"""The sepsis model in JAX: every cell of a kind at once, `vmap`-able over patients and therapies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.envs.digital_twins.sepsis.fields import (
    GRID,
    HEADINGS,
    INJURY_PERIOD,
    LARGEST,
    MEDIATORS,
    MOST_TRIES,
    SITES,
    START,
    Patient,
)
from dynrl.envs.digital_twins.sepsis.mobile import (
    AGE,
    BLOCK,
    CELL,
    COLUMNS,
    HEADING,
    LIFE,
    SCORE,
    Crowd,
    Neutrophils,
    monocyte_phase,
    neutrophil_phase,
    place,
    th0_phase,
    th1_phase,
    th2_phase,
)
from dynrl.envs.digital_twins.sepsis.tissue import (
    FIRST_MEDIATOR,
    Tissue,
    endothelium_step,
    spread_substances,
    substances_at_rest,
    unit,
    words,
)

__all__ = ["SepsisModel", "SepsisState", "Totals"]

_SEEDS = 24
_PEAK = {"pmn": 20480, "monocyte": 128, "th0": 192, "th1": 320, "th2": 320}
"""Room on the published grid. PMN births are limited to 310 per step, at 51 steps of life; the others are born at one
cell per step, and TH0 of at most 101 steps add to TH1 and TH2: six standard deviations above the mean."""

_MOST_INJURIES = 32


class Totals(NamedTuple):
    """Attributes:
    oxygen_deficit: missing oxygen, in cells `[]`.
    infection: sum over the grid, divided by 100 `[]`.
    mediators: sums over the grid, divided by 100 `[12]`, in the order of `fields.MEDIATORS`.
    """

    oxygen_deficit: Any
    infection: Any
    mediators: Any


class SepsisState(NamedTuple):
    """Attributes:
    tissue: the endothelial cells.
    occupied: mobile cells and birth sites on each `[n]` int32.
    pmn: neutrophils.
    monocyte, th0, th1, th2: `[columns, capacity]` float32 each.
    sites: cells in which TH0, TH1 and TH2 are born `[3, s]` int32.
    totals: sums after the last step.
    time: steps taken `[]` int32.
    overflow: cells that were not born for want of room, since the start `[]` int32; 0 in a healthy run.
    clipped: whether a mediator's sum has ever reached 1e12 `[]` bool, where fields are clipped.
    """

    tissue: Tissue
    occupied: Any
    pmn: Neutrophils
    monocyte: Any
    th0: Any
    th1: Any
    th2: Any
    sites: Any
    totals: Totals
    time: Any
    overflow: Any
    clipped: Any


@dataclass(frozen=True)
class SepsisModel:
    """The innate-immune-response model on a torus (An and Cockrell), in parallel form.

    It agrees with `SequentialSepsis` in distribution up to what a cell's neighbours do within the same step; the tests
    say how closely. Numbers of cells and sites scale with the area, the injury's radius with the side.

    Args:
        grid: side of the torus, at least 3; 101 is the published size.

    Raises:
        ValueError: a bad grid.
    """

    grid: int = GRID

    def __post_init__(self) -> None:
        if self.grid != int(self.grid) or self.grid < 3:
            raise ValueError(f"grid must be a whole number of at least 3, but is {self.grid}")

    @property
    def cells(self) -> int:
        """Endothelial cells n."""
        return self.grid**2

    @property
    def scale(self) -> float:
        """Area relative to the published grid."""
        return self.cells / GRID**2

    @property
    def sites(self) -> int:
        """Birth sites of each kind."""
        return max(1, round(SITES * self.scale))

    @cached_property
    def around(self) -> np.ndarray:
        """Neighbours in the order of the headings, flat `[n * 8]` int32."""
        y, x = np.divmod(np.arange(self.cells), self.grid)
        shifted = [(y + dy) % self.grid * self.grid + (x + dx) % self.grid for dx, dy in HEADINGS]
        return np.stack(shifted, 1).reshape(-1).astype(np.int32)

    def init(self, key: Any, patient: Patient) -> SepsisState:
        """The first state: cells at random sites, a disk infected."""
        seeds = jax.random.bits(key, (_SEEDS,), jnp.uint32)
        n, sites = self.cells, self.sites
        occupied = jnp.zeros(n, jnp.int32)
        rows = {}
        for index, (kind, count) in enumerate(START.items()):
            count = round(count * self.scale)
            rows[kind], cells = self._first(kind, count, seeds[3 * index : 3 * index + 3])
            occupied = occupied.at[cells].add(1)
        # All five kinds of sites take room; only where TH cells are born matters besides.
        placed = self._random_cells(seeds[-1], 5 * sites).reshape(5, sites)
        occupied = occupied.at[placed.reshape(-1)].add(1)
        y, x = np.divmod(np.arange(n), self.grid)
        from_centre = (x - self.grid // 2) ** 2 + (y - self.grid // 2) ** 2
        injured = from_centre <= (patient.injury * self.grid / GRID) ** 2
        tissue = Tissue(
            oxy=jnp.full(n, 100.0, jnp.float32),
            infection=jnp.where(injured, 100.0, 0.0).astype(jnp.float32),
            roll=jnp.zeros(n, jnp.float32),
            stick=jnp.zeros(n, jnp.float32),
            activated=jnp.zeros(n, bool),
            substances=substances_at_rest(n),
        )
        return SepsisState(
            tissue=tissue,
            occupied=occupied,
            pmn=Neutrophils(rows["pmn"], jnp.asarray(round(START["pmn"] * self.scale), jnp.int32)),
            monocyte=rows["monocyte"],
            th0=rows["th0"],
            th1=rows["th1"],
            th2=rows["th2"],
            sites=placed[2:],
            totals=self._totals(tissue),
            time=jnp.zeros((), jnp.int32),
            overflow=jnp.zeros((), jnp.int32),
            clipped=jnp.zeros((), bool),
        )

    def step(
        self, state: SepsisState, multipliers: Any, antibiotic: Any, key: Any, patient: Patient
    ) -> SepsisState:
        """Let every cell act once.

        Args:
            state: before.
            multipliers: of the mediators `[12]`, in the order of `fields.MEDIATORS`; ones for no therapy.
            antibiotic: factor on the infection `[]`; 1 for none, 0.2 in the public code.
            key: random key.
            patient: who is ill.
        """
        seeds = jax.random.bits(key, (_SEEDS,), jnp.uint32)
        m = jnp.asarray(multipliers, jnp.float32)
        around = jnp.asarray(self.around)
        crowd = Crowd(state.tissue.substances, state.occupied)
        crowd, th0, to_th1, to_th2 = th0_phase(crowd, state.th0, around, seeds[:3])
        th1, lost_1 = place(state.th1, self._turned(th0, seeds[3]), to_th1)
        th2, lost_2 = place(state.th2, self._turned(th0, seeds[4]), to_th2)
        th0 = th0.at[AGE].set(jnp.where(to_th1 | to_th2, -1.0, th0[AGE]))
        tissue = state.tissue._replace(substances=crowd.substances)
        tissue = endothelium_step(tissue, patient, m, seeds[5:7], self.grid)
        crowd = crowd._replace(substances=tissue.substances)
        births = self._pmn_births(state.totals.mediators[-1], seeds[7])
        crowd, pmn, lost_3 = neutrophil_phase(crowd, state.pmn, tissue, around, m, births, seeds[8:10])
        crowd, monocyte, tissue = monocyte_phase(crowd, state.monocyte, tissue, around, m, seeds[10])
        crowd, th1 = th1_phase(crowd, th1, around, m, seeds[11])
        crowd, th2 = th2_phase(crowd, th2, around, m, seeds[12])
        occupied = crowd.occupied
        monocyte, occupied, lost_4 = self._monocyte_births(monocyte, occupied, seeds[13:15])
        lost = lost_1 + lost_2 + lost_3 + lost_4
        born = []
        for rows, cells, kind, index in (
            (th1, state.sites[1], "th1", 15),
            (th2, state.sites[2], "th2", 16),
            (th0, state.sites[0], "th0", 17),
        ):
            rows, occupied, none = self._germ_births(rows, cells, occupied, kind, seeds[index])
            born.append(rows)
            lost = lost + none
        tissue = tissue._replace(
            infection=self._reinfected(tissue.infection, state.time + 1, patient, seeds[18:20]) * antibiotic,
            substances=spread_substances(crowd.substances, self.grid),
        )
        totals = self._totals(tissue)
        return SepsisState(
            tissue=tissue,
            occupied=occupied,
            pmn=pmn,
            monocyte=monocyte,
            th0=born[2],
            th1=born[0],
            th2=born[1],
            sites=state.sites,
            totals=totals,
            time=state.time + 1,
            overflow=state.overflow + lost,
            clipped=state.clipped | (totals.mediators.max() * 100 >= LARGEST),
        )

    def counts(self, state: SepsisState) -> Any:
        """Living PMN, monocytes, TH0, TH1 and TH2 `[5]` int32."""
        populations = (state.pmn.rows, state.monocyte, state.th0, state.th1, state.th2)
        return jnp.stack([(rows[AGE] >= 0).sum() for rows in populations]).astype(jnp.int32)

    def _totals(self, tissue: Tissue) -> Totals:
        sums = tissue.substances.sum(0) / 100
        return Totals(
            # Summed as a deficit: the difference of two large sums would lose what is left of a healing patient.
            oxygen_deficit=(1 - tissue.oxy / 100).sum(),
            infection=tissue.infection.sum() / 100,
            mediators=sums[FIRST_MEDIATOR : FIRST_MEDIATOR + len(MEDIATORS)],
        )

    def _capacity(self, kind: str) -> int:
        # A small piece of tissue fluctuates relatively more.
        room = _PEAK[kind] * self.scale
        return (
            math.ceil((room + 4 * math.sqrt(room) + 8) / BLOCK) * BLOCK
            if kind == "pmn"
            else (math.ceil(room + 4 * math.sqrt(room * (1 - min(self.scale, 1.0))) + 8 * (self.scale < 1)))
        )

    def _random_cells(self, seed: Any, count: int) -> Any:
        return (unit(words(seed, count)) * self.cells).astype(jnp.int32)

    def _first(self, kind: str, count: int, seeds: Any) -> tuple[Any, Any]:
        rows = jnp.zeros((COLUMNS[kind], self._capacity(kind)), jnp.float32).at[AGE].set(-1.0)
        cells = self._random_cells(seeds[0], count)
        headings = (words(seeds[1], count) >> 29).astype(jnp.float32)
        rows = rows.at[CELL, :count].set(cells.astype(jnp.float32)).at[HEADING, :count].set(headings)
        rows = rows.at[AGE, :count].set(jnp.floor(unit(words(seeds[2], count)) * 50))
        return (rows.at[LIFE, :count].set(10.0) if kind == "pmn" else rows), cells

    def _turned(self, th0: Any, seed: Any) -> Any:
        """TH0 as TH1 or TH2: the score goes, the heading is drawn anew."""
        headings = (words(seed, th0.shape[1]) >> 29).astype(jnp.float32)
        return th0[:SCORE].at[HEADING].set(headings)

    def _pmn_births(self, gcsf: Any, seed: Any) -> Any:
        """How many PMN the marrow sends out, given the GCSF total at the beginning of the step."""
        tries = self.sites * (1 + jnp.minimum(gcsf / self.scale, MOST_TRIES) / 100).astype(jnp.int32)
        most = self.sites * (1 + MOST_TRIES // 100)
        drawn = (unit(words(seed, most)) < 0.1) & (jnp.arange(most) < tries)
        return drawn.sum().astype(jnp.int32)

    def _monocyte_births(self, rows: Any, occupied: Any, seeds: Any) -> tuple[Any, Any, Any]:
        random = words(seeds[0], self.sites)
        born = unit(random) < 0.01
        cells = self._random_cells(seeds[1], self.sites)
        return self._born(rows, occupied, cells, born, words(seeds[0] + 1, self.sites), 50)

    def _germ_births(
        self, rows: Any, cells: Any, occupied: Any, kind: str, seed: Any
    ) -> tuple[Any, Any, Any]:
        born = unit(words(seed, self.sites)) < 0.01
        return self._born(rows, occupied, cells, born, words(seed + 1, self.sites), 100)

    def _born(
        self, rows: Any, occupied: Any, cells: Any, born: Any, random: Any, age: int
    ) -> tuple[Any, Any, Any]:
        newcomers = jnp.zeros((rows.shape[0], self.sites), jnp.float32)
        newcomers = newcomers.at[CELL].set(cells.astype(jnp.float32)).at[AGE].set(float(age))
        newcomers = newcomers.at[HEADING].set((random >> 29).astype(jnp.float32))
        rows, lost = place(rows, newcomers, born)
        # Those that found no slot are the last ones.
        settled = born & (jnp.cumsum(born) <= born.sum() - lost)
        return rows, occupied.at[cells].add(settled.astype(jnp.int32)), lost

    def _reinfected(self, infection: Any, time: Any, patient: Patient, seeds: Any) -> Any:
        room = math.ceil(_MOST_INJURIES * max(self.scale, 1.0)) + 1
        expected = jnp.asarray(patient.recurrent_injuries, jnp.float32) * self.scale
        count = (expected + unit(words(seeds[0], 1))[0]).astype(jnp.int32)
        due = (time % INJURY_PERIOD == 0) & (jnp.arange(room) < count)
        cells = self._random_cells(seeds[1], room)
        return infection.at[jnp.where(due, cells, self.cells)].set(100.0, mode="drop")
