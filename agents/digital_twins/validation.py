"""How good a metamodel is: whole roll-outs, coverage of its band, steady states under constant commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.abm.model import AgentBasedModel
from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.data import Trajectories
from dynrl.agents.digital_twins.metamodel import Metamodel, roll_out

__all__ = ["Validation", "steady_states", "validate"]

Array = Any


class Validation(NamedTuple):
    """Errors of a metamodel, in its scaled units.

    Attributes:
        rmse_runs: root-mean-square error of whole roll-outs against single runs, per component `[n]`.
        rmse_means: the same against means over runs of the same commands `[n]`; NaN without an ensemble.
        coverage: share of single-run values inside the 90 % band of random roll-outs; NaN for one without noise.
    """

    rmse_runs: NDArray[np.float64]
    rmse_means: NDArray[np.float64]
    coverage: float


def validate(
    metamodel: Metamodel, data: Trajectories, ensemble: Trajectories | None = None, *, samples: int = 64
) -> Validation:
    """Compares whole roll-outs with runs that were not fitted.

    Args:
        metamodel: fitted.
        data: validation runs.
        ensemble: runs that all start alike under the same commands; their mean is what a deterministic metamodel
            stands for.
        samples: random roll-outs per run, for the band.
    """
    data = jax.tree.map(jnp.asarray, data)
    runs = jax.jit(jax.vmap(lambda m, u, c: roll_out(metamodel, m, u, c)))
    scale = np.asarray(metamodel.scale)
    missed = (np.asarray(runs(data.macro[:, 0], data.control, data.context)) - np.asarray(data.macro)) / scale
    means = np.full(len(scale), np.nan)
    if ensemble is not None:
        first = jax.tree.map(jnp.asarray, ensemble)
        found = roll_out(metamodel, first.macro[:, 0].mean(0), first.control[0], first.context[0])
        means = np.sqrt((((np.asarray(found) - np.asarray(first.macro).mean(0)) / scale) ** 2).mean(0))
    return Validation(np.sqrt((missed**2).mean((0, 1))), means, _coverage(metamodel, data, samples))


def _coverage(metamodel: Metamodel, data: Trajectories, samples: int) -> float:
    keys = jax.random.split(jax.random.key(0), samples)

    def band(macro: Array, control: Array, context: Array) -> Array:
        return jax.vmap(lambda key: roll_out(metamodel, macro, control, context, key))(keys)

    drawn = np.asarray(jax.jit(jax.vmap(band))(data.macro[:, 0], data.control, data.context))
    if np.ptp(drawn, axis=1).max() == 0:
        return float("nan")
    low, high = np.quantile(drawn, 0.05, axis=1), np.quantile(drawn, 0.95, axis=1)
    macro = np.asarray(data.macro)
    # Counts are whole, the band is not: half an animal either way belongs to it.
    return float(((macro >= low - 0.5) & (macro <= high + 0.5))[:, 1:].mean())


def steady_states(
    metamodel: Metamodel,
    model: AgentBasedModel,
    commands: Sequence[Sequence[float]],
    *,
    steps: int = 600,
    tail: int = 200,
    seeds: int = 8,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean macrostates over the last `tail` steps under constant commands, of the metamodel and of the agents.

    Args:
        metamodel: fitted, without contexts.
        model: what it stands for.
        commands: constants to try `[C, m]`.
        steps, tail, seeds: of the runs.

    Returns:
        two arrays `[C, n]`.
    """
    held = np.asarray(commands, np.float32)
    strides = steps // metamodel.stride
    schedule = np.broadcast_to(held[:, None], (len(held), steps, held.shape[1]))
    cohort = simulate(model, None, schedule, steps=steps, seeds=seeds)
    truth = np.asarray(cohort.macro)
    start = jnp.asarray(truth[0, :, 0].mean(0))
    keys = jax.random.split(jax.random.key(0), 32)

    def play(command: Array) -> Array:
        control = jnp.broadcast_to(command, (strides, len(command)))
        return jax.vmap(lambda key: roll_out(metamodel, start, control, jnp.zeros(0), key))(keys)

    found = np.asarray(jax.vmap(play)(jnp.asarray(held)))
    last = max(tail // metamodel.stride, 1)
    return found[:, :, -last:].mean((1, 2), dtype=np.float64), truth[:, :, -tail:].mean(
        (1, 2), dtype=np.float64
    )
