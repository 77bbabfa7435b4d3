"""The same network on four back ends: the sequential definition, plain or compiled, and the array form in NumPy or
JAX. They agree in distribution; each repeats itself exactly from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.draws import whole
from dynrl.envs.digital_twins.metabolic.model import MetabolicGrid
from dynrl.envs.digital_twins.metabolic.rules import MetabolicParams, checked_rates
from dynrl.envs.digital_twins.metabolic.sequential import compiled_run, run

__all__ = ["Backend", "Trajectories", "trajectories"]

Backend = Literal["seq", "numba", "numpy", "jax"]


class Trajectories(NamedTuple):
    """Runs from the empty state, NumPy arrays.

    Attributes:
        macro: `[R, T + 1, 7]`, the empty state first.
        harvested: molecules of product per step `[R, T]`.
        supplied: molecules of substrate per step `[R, T]`.
        overflow: inflow cancelled for want of slots `[R]`; sequential runs make room.
    """

    macro: np.ndarray
    harvested: np.ndarray
    supplied: np.ndarray
    overflow: np.ndarray


def trajectories(
    model: MetabolicGrid,
    inflow: Any,
    *,
    seeds: int | Sequence[int] = 1,
    backend: Backend = "jax",
    params: MetabolicParams | None = None,
) -> Trajectories:
    """Run the network once per seed under a schedule of inflow.

    Args:
        model: sizes and rounding.
        inflow: molecules per step `[T]`, or a schedule for each seed `[R, T]`.
        seeds: R whole numbers, or a number R of them from 0.
        backend: `"seq"`: the definition in plain Python; `"numba"`: the same text compiled; `"numpy"`; `"jax"`.
        params: the rates; None for the default.

    Raises:
        ValueError: inflow that is negative, above the model's limit or not finite; wrong shapes; unknown back end.
        ImportError: `"numba"` without Numba.
    """
    seeds = range(seeds) if isinstance(seeds, (int, np.integer)) else seeds
    schedule = np.asarray(inflow, np.float32)
    if schedule.ndim not in (1, 2) or (schedule.ndim == 2 and len(schedule) != len(seeds)):
        raise ValueError(f"inflow has shape {schedule.shape}, expected [T] or [{len(seeds)}, T]")
    if not ((schedule >= 0) & (schedule <= model.control_limit)).all():
        raise ValueError(
            f"inflow must lie between 0 and {model.control_limit} molecules per step, and be finite"
        )
    schedule = np.broadcast_to(schedule, (len(seeds), schedule.shape[-1]))
    rates = checked_rates(model.default_params() if params is None else params)
    if backend == "jax":
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
        macro, *rest = jax.tree.map(np.asarray, _compiled(model, keys, schedule, rates))
        return Trajectories(macro, *rest)
    if backend == "numpy":
        return _stacked([_array_run(model, u, seed, rates) for u, seed in zip(schedule, seeds, strict=True)])
    if backend not in ("seq", "numba"):
        raise ValueError(f"backend is {backend!r}, expected 'seq', 'numba', 'numpy' or 'jax'")
    function = run if backend == "seq" else compiled_run()
    numbers = np.array(rates, np.float64)
    runs = []
    for u, seed in zip(schedule, seeds, strict=True):
        rng = np.random.default_rng(seed)
        amounts = u if model.rounding == "stochastic" else whole(rng, u, model.rounding)
        record = function(amounts.astype(np.float64), model.length, model.n1, model.n2, numbers, rng)
        runs.append((record[:, :7].astype(np.float32), record[1:, 7], record[1:, 8], 0))
    return _stacked(runs)


def _stacked(runs: Sequence[tuple]) -> Trajectories:
    return Trajectories(*(np.stack(column) for column in zip(*runs, strict=True)))


def _array_run(model: MetabolicGrid, inflow: np.ndarray, seed: int, params: Any) -> tuple:
    rng = np.random.default_rng(seed)
    state = model.init(rng, params)
    macro, harvested, supplied = [model.macro(state)], [], []
    for u in inflow:
        stepped = model.step(state, u[None], rng, params)
        state = stepped.state
        macro.append(stepped.macro)
        harvested.append(state.harvested)
        supplied.append(state.supplied)
    return np.array(macro), np.array(harvested, np.int32), np.array(supplied, np.int32), int(state.overflow)


@partial(jax.jit, static_argnums=0)
def _compiled(model: MetabolicGrid, keys: Any, schedule: Any, params: Any) -> Any:
    def one(job: tuple[Any, Any]) -> Any:
        key, inflow = job
        first, later = jax.random.split(key)
        state = model.init(first, params)

        def step(state: Any, at: tuple[Any, Any]) -> Any:
            stepped = model.step(state, at[0][None], jax.random.fold_in(later, at[1]), params)
            return stepped.state, (stepped.macro, stepped.state.harvested, stepped.state.supplied)

        steps = jnp.arange(schedule.shape[1])
        last, (macro, harvested, supplied) = jax.lax.scan(step, state, (inflow, steps))
        return jnp.concatenate([model.macro(state)[None], macro]), harvested, supplied, last.overflow

    # Few runs side by side stay in the cache.
    return jax.lax.map(one, (keys, schedule), batch_size=min(64, schedule.shape[0]))
