"""The search for the model on which a policy does worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dynrl.robust.evaluation.returns import Evaluator, Returns, require_evaluator
from dynrl.robust.evaluation.seeds import episode_seeds as draw_seeds
from dynrl.robust.evaluation.seeds import generator
from dynrl.robust.search.auto import Auto
from dynrl.robust.search.cmaes import CMAES
from dynrl.robust.search.designs import Corners, Grid, Method, Proposals, Sobol
from dynrl.robust.search.random_local import RandomLocal
from dynrl.robust.sets import FiniteSet
from dynrl.robust.statistics import lower_cvar, lower_quantile

METHODS: dict[str, Callable[[], Method]] = {
    "auto": Auto,
    "cmaes": CMAES,
    "corners": Corners,
    "grid": Grid,
    "random+local": RandomLocal,
    "sobol": Sobol,
}
OBJECTIVES = ("mean", "quantile", "cvar")


class Box(Protocol):
    """What the search reads of an uncertainty set: `[d]` bounds in natural units, and the way from the unit cube."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def low(self) -> np.ndarray: ...
    @property
    def high(self) -> np.ndarray: ...
    def to_unit(self, psi: Any) -> np.ndarray: ...
    def from_unit(self, unit: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Trace:
    """Every model that was evaluated, in order.

    Attributes:
        psi: `[E, d]`, natural units.
        values: `[E]`, the objective.
        generation: `[E]`, which batch it belonged to.
        diverged: `[E]`, share of episodes that diverged.
    """

    psi: np.ndarray
    values: np.ndarray
    generation: np.ndarray
    diverged: np.ndarray

    @property
    def worst_so_far(self) -> np.ndarray:
        """`[E]`, the lowest value up to each evaluation."""
        return np.minimum.accumulate(self.values)


@dataclass(frozen=True)
class WorstCase:
    """What a search found. The value is an upper bound of the true minimum: no search can promise more.

    Attributes:
        psi: `[d]`, the worst model; of equal ones the first.
        value: its objective.
        names: of the parameters.
        evaluations: models evaluated.
        env_steps: environment steps played.
        partial: whether the budget ended the search in the middle of a batch.
        stopped: `"budget"`, or `"exhausted"` when the method had nothing left to propose.
        method, objective, alpha, episode_seeds, seed: what was asked for.
        trace: everything that was evaluated.
    """

    psi: np.ndarray
    value: float
    names: tuple[str, ...]
    evaluations: int
    env_steps: int
    partial: bool
    stopped: str
    method: str
    objective: str
    alpha: float
    episode_seeds: tuple[int, ...]
    seed: int
    trace: Trace = field(repr=False)


def worst_case_search(
    policy: Any,
    evaluator: Evaluator,
    uset: Box,
    method: str | Method = "auto",
    budget: int = 2000,
    objective: str = "mean",
    *,
    alpha: float = 0.1,
    episodes: int = 1,
    episode_seeds: Sequence[int] | None = None,
    seed: int = 0,
    on_batch: Callable[[int, float], None] | None = None,
) -> WorstCase:
    """Search the set for the model with the lowest objective, every generation being one batch.

    Every model meets the same episodes (common random numbers), so that models are compared and not luck. The value
    of the winner is therefore optimistic about these episodes: report it from fresh ones (`robustness_report`).

    Args:
        policy: whatever the evaluator takes.
        evaluator: plays the episodes.
        uset: the box; parameters with `low == high` stay fixed. Of a `FiniteSet` every model is evaluated, whatever
            the method.
        method: `"auto"`, `"cmaes"`, `"corners"`, `"grid"`, `"random+local"`, `"sobol"`, or one of these classes with
            its settings, such as `Grid(n=20)` or `CMAES(population=100, generations=6, sigma=0.5)`.
        budget: models to evaluate at most.
        objective: of the episodes' undiscounted returns: `"mean"`, `"quantile"` or `"cvar"` (mean of the lowest).
        alpha: of the quantile or CVaR, in (0, 1].
        episodes: per model, their seeds drawn from `seed`.
        episode_seeds: the seeds themselves, instead of `episodes`.
        seed: of the search's draws and of the episodes.
        on_batch: called after every batch with `(models evaluated so far, lowest value so far)`.

    Raises:
        ValueError: an unknown method or objective, or a budget below 1.
        TypeError: an evaluator that is none.
    """
    require_evaluator(evaluator)
    if budget < 1:
        raise ValueError(f"budget is {budget}, expected at least one model evaluation.")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is unknown, expected one of {', '.join(OBJECTIVES)}.")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha}, expected a number in (0, 1].")
    seeds = draw_seeds(seed, episodes, "search") if episode_seeds is None else np.asarray(episode_seeds)
    chosen, name = _method(method)
    space: _FreeBox | _AsGiven = _FreeBox(uset)
    rng = generator(seed, "search method")
    batches: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    evaluations, env_steps, partial, stopped = 0, 0, False, "exhausted"
    lowest = math.inf
    proposals = _single_model() if not space.dim else chosen.proposals(space.dim, rng)
    if isinstance(uset, FiniteSet):
        # There is nothing to search for: every model is evaluated, as far as the budget goes.
        space, name = _AsGiven(), "all models"
        proposals = _one_batch(uset.points)
    points = next(proposals)
    while True:
        allowed = points[: budget - evaluations]
        partial = len(allowed) < len(points)
        psi = space.from_unit(allowed)
        played = _evaluated(evaluator, policy, psi, seeds, uset.names)
        values = objective_values(played.returns, objective, alpha)
        batches.append((psi, values, played.diverged.mean(axis=1)))
        evaluations, env_steps = evaluations + len(psi), env_steps + played.env_steps
        lowest = min(lowest, float(values.min()))
        if on_batch is not None:
            on_batch(evaluations, lowest)
        if partial or evaluations == budget:
            stopped = "budget"
            break
        try:
            points = proposals.send(values)
        except StopIteration:
            break
    trace = Trace(
        np.concatenate([batch[0] for batch in batches]),
        np.concatenate([batch[1] for batch in batches]),
        np.repeat(np.arange(len(batches)), [len(batch[0]) for batch in batches]),
        np.concatenate([batch[2] for batch in batches]),
    )
    worst = int(np.argmin(trace.values))
    return WorstCase(
        psi=trace.psi[worst],
        value=float(trace.values[worst]),
        names=tuple(uset.names),
        evaluations=evaluations,
        env_steps=env_steps,
        partial=partial,
        stopped=stopped,
        method=name,
        objective=objective,
        alpha=alpha,
        episode_seeds=tuple(int(s) for s in seeds),
        seed=seed,
        trace=trace,
    )


def objective_values(returns: np.ndarray, objective: str, alpha: float) -> np.ndarray:
    """The objective `[N]` of `returns [N, m]`."""
    if objective == "mean":
        return returns.mean(axis=1)
    reduce = lower_quantile if objective == "quantile" else lower_cvar
    return np.array([reduce(row, alpha) for row in returns])


def _method(method: str | Method) -> tuple[Method, str]:
    if not isinstance(method, str):
        return method, repr(method)
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown, expected one of {', '.join(sorted(METHODS))}.")
    return METHODS[method](), method


def _evaluated(
    evaluator: Evaluator, policy: Any, psi: np.ndarray, seeds: np.ndarray, names: Sequence[str]
) -> Returns:
    try:
        return evaluator(policy, psi, seeds)
    except Exception as error:
        first = ", ".join(f"{name}={value!r}" for name, value in zip(names, psi[0].tolist(), strict=True))
        error.add_note(
            f"while evaluating {len(psi)} models, the first of them {first}, with the episode seeds {seeds.tolist()}."
        )
        raise


def _single_model() -> Proposals:
    """All that a set without free parameters has to offer."""
    return _one_batch(np.zeros((1, 0)))


def _one_batch(points: np.ndarray) -> Proposals:
    yield points


class _AsGiven:
    """Models proposed in natural units."""

    dim = 1

    def from_unit(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, dtype=np.float64)


class _FreeBox:
    """The unit cube of the parameters that vary."""

    def __init__(self, uset: Box) -> None:
        low, high = np.asarray(uset.low, float), np.asarray(uset.high, float)
        self._free = high > low
        self._uset = uset
        self.dim = int(self._free.sum())

    def from_unit(self, points: np.ndarray) -> np.ndarray:
        unit = np.zeros((len(points), len(self._free)))
        unit[:, self._free] = points
        return np.asarray(self._uset.from_unit(unit), dtype=np.float64)
