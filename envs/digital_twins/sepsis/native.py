"""The sepsis model in machine code for CPUs: the reference's rules, cell after cell, without Python between the steps.

The rules are the text of `rules`, so in distribution a course is that of `SequentialSepsis` up to the rounding of
diffusion. What is faster: cells at rest, on which the rules change nothing, are passed over; evaporation and diffusion
run along rows, one pass per substance; a course of many steps is one call.

Needs Numba (extra `medical`).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dynrl.envs.digital_twins.sepsis import course
from dynrl.envs.digital_twins.sepsis.fields import GRID, MEDIATORS, MOST_TRIES, RUNNING, Patient
from dynrl.envs.digital_twins.sepsis.reference import SequentialSepsis, compiled_rules

__all__ = ["Limits", "NativeSepsis"]

_KINDS = ("pmn", "monocyte", "th0", "th1", "th2")
_NO_BOUNDS = (-1.0, -1.0, -1.0)


class Limits(NamedTuple):
    """Shares of missing oxygen.

    Attributes:
        stop: below it, therapy stops for good.
        healed: below it, after at least 100 steps off therapy, a patient is healed.
        died: above it, it is dead.
    """

    stop: float = 100 / GRID**2
    healed: float = 50 / GRID**2
    died: float = 8160 / GRID**2


class NativeSepsis:
    """The innate-immune-response model of one patient, one cell after the other, in compiled courses.

    Args:
        patient: who is ill.
        seed: of NumPy's generator; the same seed gives the same course, and the first state of `SequentialSepsis`.
        grid: side of the torus, at least 3.

    Attributes:
        f: fields `[19, n]` float32, as in `SequentialSepsis`.
        counts: living PMN, monocytes, TH0, TH1, TH2 `[5]` int64.

    Raises:
        ValueError: a bad patient or grid.
        ImportError: Numba is missing.
    """

    def __init__(self, patient: Patient | None = None, seed: int = 0, grid: int = GRID) -> None:
        first = SequentialSepsis(patient, seed, grid, compiled=False)
        self.patient, self.grid, self.rng = first.patient, first.grid, first.rng
        self.f, self.occupied, self._around = first.f, first.occupied, first.around
        self.counts = np.array([len(first.rows[kind]) for kind in _KINDS])
        self._rows = tuple(first.rows[kind] for kind in _KINDS)
        self._sites = tuple(first.sites[kind] for kind in _KINDS)
        self._status = np.array([0, -1, RUNNING])
        self._totals = np.zeros(2 + len(MEDIATORS))
        _loops()["add_up"](self.f, self._totals)

    @property
    def time(self) -> int:
        """Steps taken."""
        return int(self._status[course.TIME])

    @property
    def off(self) -> int:
        """Steps since therapy stopped for good; -1 while it goes on."""
        return int(self._status[course.OFF])

    @property
    def outcome(self) -> int:
        """0 while the illness goes on, 1 healed, 2 died; known only of courses with limits."""
        return int(self._status[course.OUTCOME])

    @property
    def oxygen_deficit(self) -> float:
        """Missing oxygen, in cells: 0 is healthy, `grid²` is no oxygen at all."""
        return float(self._totals[0])

    @property
    def totals(self) -> np.ndarray:
        """Infection and the mediators summed over the grid, divided by 100 `[13]`."""
        return self._totals[1:].copy()

    def run(
        self,
        steps: int,
        multipliers: np.ndarray | None = None,
        antibiotic: float = 1.0,
        limits: Limits | None = None,
    ) -> tuple[int, np.ndarray]:
        """Let every cell act `steps` times.

        Args:
            steps: at least 0.
            multipliers: of the mediators `[12]`; None for no therapy.
            antibiotic: factor on the infection per step; 1 for none.
            limits: judge the patient after every step, stop the therapy by them, and end the course with an outcome;
                None for a course that no one looks at.

        Returns:
            steps taken, fewer than asked for once there is an outcome, and the sums of the mediator totals over them
            `[12]`.
        """
        m = np.ones(len(MEDIATORS)) if multipliers is None else np.asarray(multipliers, float)
        begun, sums = self.time, np.zeros(len(MEDIATORS))
        patient = (
            float(self.patient.oxy_heal),
            float(self.patient.infect_spread),
            int(self.patient.infect_repeat),
            float(self.patient.recurrent_injuries),
        )
        bounds = (
            _NO_BOUNDS if limits is None else (float(limits.stop), float(limits.healed), float(limits.died))
        )
        while self.time < begun + steps and self.outcome == RUNNING:
            self._make_room()
            _loops()["course"](
                begun + steps,
                self.f,
                self.occupied,
                self._around,
                self._rows,
                self.counts,
                self._sites,
                self._order,
                self._totals,
                sums,
                self._status,
                patient,
                m,
                float(antibiotic),
                bounds,
                self.rng,
            )
        return self.time - begun, sums

    def _make_room(self) -> None:
        """Twice the room that the next step may need, so that courses are seldom interrupted."""
        newcomers = [len(sites) + int(self.counts[course.TH0]) for sites in self._sites]
        newcomers[course.PMN] *= 1 + MOST_TRIES // 100
        rows = []
        for old, count, most in zip(self._rows, self.counts, newcomers, strict=True):
            room = np.zeros((max(len(old), 2 * (int(count) + most)), old.shape[1]))
            room[:count] = old[:count]
            rows.append(room)
        self._rows = tuple(rows)
        self._order = np.zeros(max(self.f.shape[1], *map(len, rows)), np.int64)


@cache
def _loops() -> dict[str, Any]:
    rules = compiled_rules()
    from numba import njit

    # Each function sees the compiled ones, not the plain ones, under the names in its text.
    namespace = {**vars(course), "rules": rules}
    for name in course.LOOPS:
        plain = vars(course)[name]
        namespace[name] = njit(type(plain)(plain.__code__, namespace, name), nogil=True, error_model="numpy")
    return namespace
