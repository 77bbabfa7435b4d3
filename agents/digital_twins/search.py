"""Search on the agent-based model itself: the best constant on a grid, and evolution strategies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from dynrl.abm.model import AgentBasedModel
from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.controllers import Constant, Controller
from dynrl.agents.digital_twins.lifting import lift
from dynrl.agents.digital_twins.objectives import SetPoint

__all__ = ["Found", "best_constant", "evolve"]

Array = Any


class Found(NamedTuple):
    """The result of a search on the agent-based model.

    Attributes:
        controller: the best.
        cost: its mean cost on the seeds of the search (optimistic: judge it on others).
        costs: of everything tried, in order.
        agent_steps: steps of the agent-based model that were played.
    """

    controller: Controller
    cost: float
    costs: NDArray[np.float64]
    agent_steps: int


def best_constant(
    model: AgentBasedModel,
    objective: SetPoint,
    grid: Sequence[Sequence[float]],
    *,
    seeds: int | Sequence[int] = 16,
    steps: int = 600,
    params: Any = None,
) -> Found:
    """The constant command of least mean cost, every combination of `grid` (values per channel) in one compiled call.

    Raises:
        ValueError: not one list of values per channel.
    """
    if len(grid) != len(model.control_names):
        raise ValueError(f"grid has {len(grid)} channels, the model {len(model.control_names)}")
    tried = np.array(list(itertools.product(*grid)), np.float32)
    count = seeds if isinstance(seeds, int) else len(seeds)
    schedules = np.broadcast_to(tried[:, None], (len(tried), steps, tried.shape[1]))
    cohort = simulate(model, params, schedules, steps=steps, seeds=seeds)
    costs = np.asarray(objective.cost(cohort.macro)).mean(1).astype(np.float64)
    best = int(np.argmin(costs))
    return Found(Constant(jnp.asarray(tried[best])), float(costs[best]), costs, len(tried) * count * steps)


def evolve(
    model: AgentBasedModel,
    controller: Controller,
    objective: SetPoint,
    *,
    generations: int = 20,
    population: int = 8,
    sigma: float = 0.3,
    seeds: int = 4,
    steps: int = 600,
    hold: int = 1,
    params: Any = None,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Found:
    """Tunes all arrays of a controller on the agent-based model by CMA-ES (Hansen, 2016).

    Each generation plays the same new seeds for all candidates, so that they are compared on common random numbers.

    Args:
        model: what is played.
        controller: where the search begins, such as `LinearFeedback` or a `FeedbackNet`.
        objective: the set-point.
        generations, population, sigma: of CMA-ES.
        seeds: per candidate.
        steps, hold, params: of the runs.
        seed: of CMA-ES.
        report: called with the number of each generation and its best cost.

    Raises:
        ImportError: `cma` is not installed.
    """
    try:
        import cma
    except ImportError as error:
        raise ImportError("evolution strategies need cma: pip install 'dynrl[medical]'") from error
    weights, rest = eqx.partition(controller, eqx.is_inexact_array)
    flat, unflatten = ravel_pytree(weights)
    options = {"popsize": population, "seed": seed + 1, "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(np.asarray(flat, np.float64), sigma, options)
    costs: list[float] = []
    for generation in range(generations):
        candidates = strategy.ask()
        drawn = list(range(generation * seeds, (generation + 1) * seeds))
        found = []
        for candidate in candidates:
            trial = eqx.combine(unflatten(jnp.asarray(candidate, flat.dtype)), rest)
            played = lift(model, trial, objective, seeds=drawn, steps=steps, hold=hold, params=params)
            found.append(float(played.cost.mean()))
        strategy.tell(candidates, found)
        costs += found
        if report is not None:
            report(generation, min(found))
    mean = eqx.combine(
        unflatten(jnp.asarray(strategy.mean, flat.dtype)), rest
    )  # less lucky than the best seen
    fresh = list(range(generations * seeds, generations * seeds + 4 * seeds))
    cost = float(lift(model, mean, objective, seeds=fresh, steps=steps, hold=hold, params=params).cost.mean())
    played_steps = (generations * population * seeds + 4 * seeds) * steps
    return Found(mean, cost, np.asarray(costs), played_steps)
