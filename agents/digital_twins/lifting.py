"""Lifting: what was found on a metamodel is executed, unchanged, on the agent-based model, and judged there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynrl.abm.model import AgentBasedModel
from dynrl.abm.simulate import Cohort, simulate
from dynrl.agents.digital_twins.controllers import Controller, policy
from dynrl.agents.digital_twins.objectives import SetPoint

__all__ = ["Lifted", "Summary", "Triple", "lift", "paired_difference", "summarise", "wilson_interval"]

Array = Any


class Summary(NamedTuple):
    """Costs over seeds.

    Attributes:
        mean, standard_error, median: of the costs.
        cvar: mean of the worst tenth.
        runs: number of seeds.
    """

    mean: float
    standard_error: float
    median: float
    cvar: float
    runs: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.4f} ± {self.standard_error:.4f} (median {self.median:.4f}, CVaR10 {self.cvar:.4f})"
        )


class Lifted(NamedTuple):
    """A controller on the agent-based model, one row per seed.

    Attributes:
        cost: J1 `[S]`.
        full_cost: mean of the instant cost over all steps `[S]`.
        macro: `[S, T + 1, n]`.
        command: `[S, T, m]`.
        amount: agents moved `[S, T, m]`.
        extinct: whether a component with a target was 0 at the end `[S]` bool.
        overflow: births cancelled for want of room, over all runs; must be 0.
    """

    cost: NDArray[np.float64]
    full_cost: NDArray[np.float64]
    macro: NDArray[np.float32]
    command: NDArray[np.float32]
    amount: NDArray[np.float32]
    extinct: NDArray[np.bool_]
    overflow: int


class Triple(NamedTuple):
    """What section 4.4 of the specification asks to report of every controller.

    Attributes:
        predicted: cost on the metamodel, NaN where there is none.
        lifted: on the agent-based model.
        uncontrolled: on the agent-based model without control, same seeds.
    """

    predicted: float
    lifted: Summary
    uncontrolled: Summary


def lift(
    model: AgentBasedModel,
    controller: Controller | None,
    objective: SetPoint,
    *,
    seeds: int | Sequence[int] = 100,
    steps: int = 600,
    hold: int = 10,
    params: Any = None,
) -> Lifted:
    """Plays a controller on the agent-based model of ONE patient; equal seeds give paired runs.

    Args:
        model: what is played.
        controller: None for no control.
        objective: the set-point.
        seeds: a number of them from 0, or the seeds.
        steps, hold: length of a run and of a decision, in steps.
        params: the patient's constants; None for the model's own.
    """
    if controller is None:
        cohort = simulate(model, params, None, steps=steps, seeds=seeds)
    else:
        state = (controller, controller.start())
        cohort = simulate(model, params, policy, steps=steps, seeds=seeds, policy_state=state, hold=hold)
    return judge(cohort, objective)


def judge(cohort: Cohort, objective: SetPoint) -> Lifted:
    """Costs of a cohort of one patient."""
    macro = np.asarray(cohort.macro[0])
    wanted = [number for number, target in enumerate(objective.targets) if target is not None]
    return Lifted(
        cost=np.asarray(objective.cost(macro), np.float64),
        full_cost=np.asarray(objective.full_cost(macro), np.float64),
        macro=macro,
        command=np.asarray(cohort.command[0]),
        amount=np.asarray(cohort.amount[0]),
        extinct=(macro[:, -1, wanted] == 0).any(-1),
        overflow=int(cohort.overflow.sum()),
    )


def summarise(cost: Array) -> Summary:
    """Mean, standard error, median and CVaR10 of costs `[S]`.

    Raises:
        ValueError: no cost, or one that is not finite.
    """
    cost = np.asarray(cost, np.float64)
    if cost.ndim != 1 or not len(cost) or not np.isfinite(cost).all():
        raise ValueError(f"expected finite costs [S], got shape {cost.shape}")
    worst = np.sort(cost)[-max(round(len(cost) / 10), 1) :]
    error = cost.std(ddof=1) / np.sqrt(len(cost)) if len(cost) > 1 else float("nan")
    return Summary(float(cost.mean()), float(error), float(np.median(cost)), float(worst.mean()), len(cost))


def paired_difference(cost: Array, other: Array) -> tuple[float, float]:
    """Mean of `cost - other` over common seeds, and its standard error."""
    difference = np.asarray(cost, np.float64) - np.asarray(other, np.float64)
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def wilson_interval(count: int, runs: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share `count / runs` (Wilson, 1927), 95 % for the default z.

    Raises:
        ValueError: not `0 <= count <= runs` with `runs >= 1`.
    """
    if runs < 1 or not 0 <= count <= runs:
        raise ValueError(f"count={count} of runs={runs}: expected 0 <= count <= runs, runs >= 1")
    share, square = count / runs, z**2
    centre = (share + square / (2 * runs)) / (1 + square / runs)
    half = z / (1 + square / runs) * np.sqrt(share * (1 - share) / runs + square / (4 * runs**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)
