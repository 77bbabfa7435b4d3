"""Several systems or settings in one compiled program: whatever is a number may differ between them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.run_functions import step_chunk
from dynrl.agents.bandits.simulation import Simulation, SimulationResult
from dynrl.bandits import DLBSystem
from dynrl.compilation import jit_by_class

_advance = jit_by_class(jax.vmap(step_chunk, in_axes=(0, 0, 0, 0, None)))


def simulate_many(
    problems: Sequence[tuple[DLBSystem, BanditAgent]],
    horizon: int,
    seeds: Sequence[int] | np.ndarray,
    *,
    record: int = 200,
) -> list[SimulationResult]:
    """Runs every (system, agent) on the same seeds, round by round, all in one batch.

    The pairs may differ in every number (matrices, noise, λ, δ, ρ̄, bounds); schedules may differ too. On one
    problem `simulate` is faster, because holds that all runs share are real branches there.

    Args:
        problems: systems of one shape, agents of one kind with the same number of candidates.
        horizon: T.
        seeds: one run per problem and seed.
        record: how many records to keep.

    Returns:
        One result per problem, equal to that of `simulate` on the step path.

    Raises:
        ValueError: no problems, or problems that differ in more than numbers.
    """
    if not problems:
        raise ValueError("simulate_many() got no problems")
    simulations = [Simulation(system, agent, horizon, seeds, record=record) for system, agent in problems]
    shapes = [_shape((each.world, each.algorithm, each.carry)) for each in simulations]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"problem {number} is not of the same kind as problem 0 (agent class, its non-numeric settings, "
                "number of candidates and sizes of the system must be equal): run it with simulate()"
            )
    first = simulations[0]
    with jax.enable_x64(True):
        world, algorithm = _stack([(each.world, each.algorithm) for each in simulations])
        lanes = _stack([each.lanes() for each in simulations])
        while not first.done:
            inputs = _stack([each.inputs() for each in simulations])
            lanes = _advance(world, algorithm, lanes, inputs, first.keys)
            for number, each in enumerate(simulations):
                each.absorb(jax.tree.map(operator.itemgetter(number), lanes))
    return [each.result() for each in simulations]


def _shape(tree: Any) -> tuple[Any, list[tuple[int, ...]]]:
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
