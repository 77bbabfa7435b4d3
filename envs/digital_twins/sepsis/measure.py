"""Figures of the sepsis model: agreement with the sequential reference, speed, mortality of a cohort."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.bench import Figure
from dynrl.envs.digital_twins.sepsis.fields import GRID, MEDIATORS, Patient
from dynrl.envs.digital_twins.sepsis.model import SepsisModel
from dynrl.envs.digital_twins.sepsis.native import NativeSepsis
from dynrl.envs.digital_twins.sepsis.reference import SequentialSepsis, injured_cells

__all__ = [
    "Agreement",
    "agreement",
    "figures",
    "native_courses",
    "parallel_courses",
    "seconds_per_step",
    "sequential_courses",
]

STEPS = (50, 100, 200, 400)
QUANTITIES = ("oxygen deficit", "infection", *MEDIATORS)


COMPARED = (Patient(0.1, 4, 2, 2, 20), Patient(0.05, 5, 3, 0, 25))
"""A patient whose infection is fought down slowly, and one who dies of it."""


def figures(quick: bool) -> Iterator[Figure]:
    """The sepsis model beside its sequential reference: the start, the course, the speed."""
    found = [int(injured_cells(GRID, radius).sum()) for radius in (14, 15, 20)]
    yield Figure(
        "sepsis: cells infected within radius 14, 15, 20",
        "613, 709, 1257",
        ", ".join(map(str, found)),
        found == [613, 709, 1257],
    )
    for patient in COMPARED[:1] if quick else COMPARED:
        compared = agreement(patient, 8 if quick else 24, 51 if quick else GRID)
        off = np.abs(compared.found - compared.sequential)[:, 0]
        yield Figure(
            f"sepsis: oxygen deficit at steps {', '.join(map(str, STEPS))}, spread {patient.infect_spread}",
            "within 3 standard errors + 3 %",
            ", ".join(f"{value:.0f}" for value in compared.found[:, 0]),
            bool((off <= compared.allowed[:, 0]).all()),
            "sequential: " + ", ".join(f"{value:.0f}" for value in compared.sequential[:, 0]),
        )
        yield Figure(
            f"sepsis: infection and mediators there, spread {patient.infect_spread}",
            "at least 50 of 52 within 3 standard errors + 3 %",
            f"{compared.within[:, 1:].sum()} of {compared.within[:, 1:].size}",
            bool(compared.within[:, 1:].sum() >= compared.within[:, 1:].size - 2),
        )
        native = agreement(patient, 8 if quick else 24, 51 if quick else GRID, form="native")
        yield Figure(
            f"sepsis: all 56 totals in machine code, spread {patient.infect_spread}",
            "at least 54 of 56 within 3 standard errors + 3 %",
            f"{native.within.sum()} of {native.within.size}",
            bool(native.within.sum() >= native.within.size - 2),
        )
    seconds = seconds_per_step(steps=100 if quick else 300)
    yield Figure(
        "sepsis: one step of one patient in machine code, 101 x 101",
        "<= 2 ms (published C++)",
        f"{1e3 * seconds['native']:.2f} ms",
        seconds["native"] <= 2e-3,
        f"the sequential reference with Numba in the same run: {1e3 * seconds['sequential']:.1f} ms",
    )
    yield Figure(
        "sepsis: one step of one patient, 101 x 101",
        "<= 6 ms",
        f"{1e3 * seconds['parallel']:.1f} ms",
        seconds["parallel"] <= 6e-3,
        f"sequential with Numba: {1e3 * seconds['sequential']:.1f} ms; published C++: about 2 ms",
    )


class Agreement(NamedTuple):
    """Two ensembles compared, every array `[steps, 14]` in the order of `QUANTITIES`.

    Attributes:
        found, sequential: means of the form under test and of the reference.
        error: standard error of their difference.
        allowed: 3 standard errors + 3 % of the sequential mean.
    """

    found: np.ndarray
    sequential: np.ndarray
    error: np.ndarray
    allowed: np.ndarray

    @property
    def within(self) -> np.ndarray:
        """Which differences are allowed `[steps, 14]` bool."""
        return np.abs(self.found - self.sequential) <= self.allowed


def agreement(
    patient: Patient,
    runs: int = 40,
    grid: int = GRID,
    steps: Sequence[int] = STEPS,
    multipliers: Any = None,
    seed: int = 0,
    form: Literal["parallel", "native"] = "parallel",
) -> Agreement:
    """Compare a form of the model with the reference on the totals at `steps`."""
    courses = parallel_courses if form == "parallel" else native_courses
    found = courses(patient, runs, grid, steps, multipliers, seed)
    sequential = sequential_courses(patient, runs, grid, steps, multipliers, seed)
    error = np.sqrt((found.var(0, ddof=1) + sequential.var(0, ddof=1)) / runs)
    mean = sequential.mean(0)
    return Agreement(found.mean(0), mean, error, 3 * error + 0.03 * np.abs(mean))


def sequential_courses(
    patient: Patient,
    runs: int,
    grid: int = GRID,
    steps: Sequence[int] = STEPS,
    multipliers: Any = None,
    seed: int = 0,
    compiled: bool = True,
) -> np.ndarray:
    """Totals of the reference at `steps`, `[runs, len(steps), 14]`."""
    courses = []
    for run in range(runs):
        model = SequentialSepsis(patient, seed + run, grid, compiled=compiled)
        course = []
        for step in range(1, max(steps) + 1):
            model.step(multipliers)
            if step in steps:
                course.append([model.oxygen_deficit, *model.totals])
        courses.append(course)
    return np.array(courses)


def native_courses(
    patient: Patient,
    runs: int,
    grid: int = GRID,
    steps: Sequence[int] = STEPS,
    multipliers: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """Totals in machine code at `steps`, `[runs, len(steps), 14]`; its runs share no seed with the reference's."""
    courses = []
    for run in range(runs):
        model = NativeSepsis(patient, 1_000_000 + seed + run, grid)
        course = []
        for step in sorted(steps):
            model.run(step - model.time, multipliers)
            course.append([model.oxygen_deficit, *model.totals])
        courses.append(course)
    return np.array(courses)


def parallel_courses(
    patient: Patient,
    runs: int,
    grid: int = GRID,
    steps: Sequence[int] = STEPS,
    multipliers: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """Totals of the parallel form at `steps`, `[runs, len(steps), 14]`."""
    model, m = (
        SepsisModel(grid),
        jnp.ones(len(MEDIATORS)) if multipliers is None else jnp.asarray(multipliers),
    )
    courses = []
    for run in range(runs):
        key = jax.random.fold_in(jax.random.key(seed), run)
        state = _started(model, key, patient)
        course = []
        for step in sorted(steps):
            state = _stepped(model, state, key, patient, m, step - int(state.time))
            course.append([state.totals.oxygen_deficit, state.totals.infection, *state.totals.mediators])
        courses.append(jax.device_get(course))
    return np.array(courses, float)


def seconds_per_step(patient: Patient | None = None, grid: int = GRID, steps: int = 300) -> dict[str, float]:
    """Seconds of one step of one patient, in the middle of the illness, for every form, the best of three runs."""
    patient = Patient() if patient is None else patient
    model, key, one = SepsisModel(grid), jax.random.key(0), jnp.ones(len(MEDIATORS))
    state = _stepped(model, _started(model, key, patient), key, patient, one, 100)
    reference = SequentialSepsis(patient, 0, grid)
    for _ in range(100):
        reference.step()
    native = NativeSepsis(patient, 0, grid)
    native.run(100)
    times: dict[str, list[float]] = {"parallel": [], "sequential": [], "native": []}
    for _ in range(3):
        begun = time.perf_counter()
        state = jax.block_until_ready(_stepped(model, state, key, patient, one, steps))
        times["parallel"].append((time.perf_counter() - begun) / steps)
        begun = time.perf_counter()
        for _ in range(steps):
            reference.step()
        times["sequential"].append((time.perf_counter() - begun) / steps)
        begun = time.perf_counter()
        native.run(steps)
        times["native"].append((time.perf_counter() - begun) / steps)
    return {name: min(seconds) for name, seconds in times.items()}


@partial(jax.jit, static_argnums=0)
def _started(model: SepsisModel, key: Any, patient: Patient) -> Any:
    return model.init(key, patient)


@partial(jax.jit, static_argnums=0)
def _stepped(model: SepsisModel, state: Any, key: Any, patient: Patient, m: Any, count: Any) -> Any:
    def body(_: Any, state: Any) -> Any:
        return model.step(state, m, 1.0, jax.random.fold_in(key, state.time), patient)

    return jax.lax.fori_loop(0, count, body, state)
