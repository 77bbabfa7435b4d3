"""Many independent runs on any back end, for comparing them: the sequential definition, NumPy and JAX."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dynrl.abm import simulate
from dynrl.envs.digital_twins.wolf_sheep import sequential
from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams
from dynrl.envs.digital_twins.wolf_sheep.native import NativeCohort

__all__ = ["BACKENDS", "Backend", "ensemble", "sequential_run"]

Backend = Literal["seq", "python", "numpy", "jax", "numba"]
BACKENDS: tuple[Backend, ...] = ("seq", "python", "numpy", "jax", "numba")

_MOVEMENT = {
    "rw4": sequential.RW,
    "rw8": sequential.RW,
    "netlogo": sequential.NETLOGO,
    "chase": sequential.CHASE,
}


def ensemble(
    model: WolfSheep,
    params: WolfSheepParams | None = None,
    *,
    steps: int,
    seeds: int,
    backend: Backend = "jax",
    first_seed: int = 0,
) -> np.ndarray:
    """Wolves, sheep and grown patches of runs without intervention, float32 `[seeds, steps + 1, 3]`.

    Args:
        model: rules and capacities.
        params: constants; None for the default.
        steps: of each run.
        seeds: number of runs.
        backend: `"seq"`: one animal after the other, compiled by Numba; `"python"`: the same text in plain Python and
            the same numbers, slowly; `"numpy"`; `"jax"`; `"numba"`: see `native`. Back ends agree in distribution, not
            run by run.
        first_seed: seeds are this number and those after it.

    Raises:
        ValueError: unknown back end.
        ImportError: `"seq"` or `"numba"` without Numba.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(map(repr, BACKENDS))}")
    params = model.default_params() if params is None else model.checked(params)
    numbers = range(first_seed, first_seed + seeds)
    if backend == "jax":
        return np.asarray(simulate(model, params, steps=steps, seeds=numbers).macro[0])
    if backend == "numba":
        cohort = NativeCohort(model, params, numbers)
        first = cohort.macro()[:, None]
        record = cohort.run(np.zeros((seeds, steps, 2), np.float32))
        return np.concatenate([first, record[..., :3].astype(np.float32)], axis=1)
    if backend == "numpy":
        return np.stack([_numpy_run(model, params, steps, seed) for seed in numbers])
    doses = np.zeros((steps, 2), np.int64)
    compiled = backend == "seq"
    runs = [sequential_run(model, params, doses, seed, compiled=compiled)[:, :3] for seed in numbers]
    return np.stack(runs).astype(np.float32)


def sequential_run(
    model: WolfSheep, params: WolfSheepParams, doses: np.ndarray, seed: int, *, compiled: bool = True
) -> np.ndarray:
    """One run of the definition: wolves, sheep, grown patches, sheep removed, wolves removed and births cancelled.

    Whole numbers `[T + 1, 6]`, the first row before any step.

    Args:
        model: rules and capacities.
        params: constants of one patient.
        doses: sheep and wolves to remove before each step, whole numbers `[T, 2]`; negative ones are added.
        seed: of the run.
        compiled: by Numba; else in plain Python, with the same numbers.

    Raises:
        ImportError: `compiled` without Numba.
    """
    grid = model.grid
    rng = np.random.default_rng(seed)
    functions: Any = sequential.compiled() if compiled else {"begin": sequential.begin, "run": sequential.run}
    sheep, wolves = (
        sequential.empty_herd(model.capacity_sheep),
        sequential.empty_herd(model.capacity_wolves),
    )
    countdown = np.zeros(grid.cells, np.int64)
    rates = np.array(params[:5], np.float64)
    numbers = (int(params.initial_sheep), int(params.initial_wolves))
    whole_energy = model.energy_init == "int"
    functions["begin"](rng, sheep, wolves, countdown, rates, numbers, whole_energy, grid.height, grid.width)
    first = [numbers[1], numbers[0], int((countdown == 0).sum()), 0, 0, 0]
    kind: Any = "moore" if model.variant == "rw8" else "von_neumann"
    record = functions["run"](
        rng,
        sheep,
        wolves,
        countdown,
        numbers,
        np.asarray(doses, np.int64).reshape(-1, 2),
        rates,
        _MOVEMENT[model.variant],
        whole_energy,
        grid.neighbours(kind),
        grid.degrees(kind),
        grid.height,
        grid.width,
    )
    return np.vstack([first, record])


def _numpy_run(model: WolfSheep, params: WolfSheepParams, steps: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    state = model.init(rng, params)
    record, none = [model.macro(state)], np.zeros(2, np.float32)
    for _ in range(steps):
        stepped = model.step(state, none, rng, params)
        state = stepped.state
        record.append(stepped.macro)
    return np.stack(record)
