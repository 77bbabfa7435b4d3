"""IWOCS: a robust problem as a sequence of ordinary ones (Zouitine, Geist & Rachelson 2024, arXiv:2410.06212).

Solve the models met so far, act on the pessimistic minimum of their optimal values, look for the model that is worst
for that candidate, and go on with it. Every round gives a bracket: what the best candidate achieves against every
model, and what no policy can exceed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dynrl.robust.tabular.dynamic import robust_policy_iteration
from dynrl.robust.tabular.finite import StaticFinite, StaticParametric
from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.ordinary import optimal
from dynrl.robust.tabular.rectangular import SARectangular, greedy
from dynrl.robust.tabular.simulation import MonteCarlo
from dynrl.robust.tabular.worst_kernel import Model, Search, WorstCase, search_for

__all__ = ["IWOCSResult", "Iteration", "iwocs"]

Escape = Literal["hull", "next_worst", "stop"]
Status = Literal["certified", "estimated", "stalled", "max_iter", "budget"]


@dataclass(frozen=True, eq=False)
class Iteration:
    """One round.

    Attributes:
        policy: the candidate π_i, `[S, A]`.
        optimum: `J*` of the newest model.
        pessimistic: `Q_i(s0, π_i(s0))`, the value that the candidate hopes for: the smallest of the solved models', or
            that of their rectangular hull.
        worst: the candidate's value under the worst model that was found for it.
        error: standard error of `worst`, 0 where exact.
        lower, upper: the bracket after this round.
    """

    policy: np.ndarray
    optimum: float
    pessimistic: float
    worst: float
    error: float
    lower: float
    upper: float


@dataclass(frozen=True, eq=False)
class IWOCSResult:
    """What IWOCS found.

    Attributes:
        policy: the candidate with the best worst case, the earliest of those that tie, `[S, A]`.
        status: `"certified"`: `gap` is at most the tolerance. `"estimated"`: the stopping rule held within three
            standard errors of simulated returns. `"stalled"`: the search brings nothing new and the gap is open, as it
            may have to be for a set that is not rectangular. `"max_iter"`, `"budget"`: out of rounds or evaluations.
        lower: what `policy` achieves against every model.
        upper: `min_j J*` over the models solved: no policy, randomised or with memory, can guarantee more against a
            kernel that is picked once.
        gap: `upper - lower`.
        bound_kind: `"exact"`; `"grid"`: exact for the points of a parametric grid, silent between them; `"estimated"`:
            `lower` comes from simulation.
        deterministic_optimal: the paper's test fired, so that no deterministic policy is better by more than the
            tolerance, even where `gap` is open.
        models: solved, in order.
        history: of the rounds.
        evaluations: of a policy: one per kernel of a list, one per search of a rectangular set.
        env_steps: simulated, 0 without `monte_carlo`.
        wall_s: seconds.
    """

    policy: np.ndarray
    status: Status
    lower: float
    upper: float
    gap: float
    bound_kind: str
    deterministic_optimal: bool
    models: tuple[Model, ...]
    history: tuple[Iteration, ...]
    evaluations: int
    env_steps: int
    wall_s: float

    def __str__(self) -> str:
        certain = {
            "exact": "",
            "grid": " (at the points of the grid)",
            "estimated": " (lower end estimated by simulation)",
        }
        return (
            f"{self.status} after {len(self.history)} iterations, {len(self.models)} models: the policy guarantees "
            f"{self.lower:.6g}, no policy of any kind more than {self.upper:.6g}; gap {self.gap:.3g}"
            f"{certain[self.bound_kind]}"
        )


def iwocs(
    mdp: RobustMDP,
    first: str | int | np.ndarray = "nominal",
    max_iterations: int = 200,
    tolerance: float = 1e-9,
    escape: Escape | None = None,
    max_evaluations: int | None = None,
    monte_carlo: MonteCarlo | None = None,
) -> IWOCSResult:
    """Solve a robust problem by incremental worst-case search.

    Args:
        first: the first model: `"nominal"` (of a list: its first), `"centre"`, `"worst for nominal"` (for the
            policy that is optimal there), the number of a kernel of a static set, or a kernel `[S, A, S']` of the set.
        max_iterations: rounds at most.
        tolerance: ε, of the stopping test and of the certificate.
        escape: what to do when the worst model was solved before and the gap is open. `"hull"`: act on the rectangular
            hull of the models met, which closes the gap of any (s,a)-rectangular set; the default for those.
            `"next_worst"`: take the worst model that was not solved; the default for lists. `"stop"`: the paper's loop.
        max_evaluations: of policies, at most; None for no limit.
        monte_carlo: estimate the candidates' values by simulation instead of linear solves; lists only.

    Raises:
        ValueError: an argument that is wrong; says which.
    """
    _check(mdp, max_iterations, tolerance, escape, max_evaluations)
    begin = time.perf_counter()
    if escape is None:
        escape = "hull" if isinstance(mdp.ambiguity, SARectangular) else "next_worst"
        escape = "stop" if not isinstance(mdp.ambiguity, (SARectangular, StaticFinite)) else escape
    run = _Run(mdp, search_for(mdp, monte_carlo), tolerance, escape)
    status = run.loop(first, max_iterations, max_evaluations)
    exact = "grid" if isinstance(mdp.ambiguity, StaticParametric) else "exact"
    return IWOCSResult(
        policy=run.best,
        status=status,
        lower=run.lower,
        upper=run.upper,
        gap=run.upper - run.lower,
        bound_kind=exact if monte_carlo is None else "estimated",
        deterministic_optimal=run.deterministic_optimal,
        models=tuple(run.models),
        history=tuple(run.history),
        evaluations=run.evaluations,
        env_steps=run.env_steps,
        wall_s=time.perf_counter() - begin,
    )


class _Run:
    """The state of the loop."""

    def __init__(self, mdp: RobustMDP, search: Search, tolerance: float, escape: Escape) -> None:
        self.mdp, self.search, self.tolerance, self.escape = mdp, search, tolerance, escape
        self.models: list[Model] = []
        self.history: list[Iteration] = []
        self.minimum_q = np.full((mdp.num_states, mdp.num_actions), np.inf)
        self.best: np.ndarray = np.eye(mdp.num_actions)[np.zeros(mdp.num_states, int)]
        self.lower, self.upper = -np.inf, np.inf
        self.on_hull = self.deterministic_optimal = False
        self.evaluations = self.env_steps = 0

    def loop(self, first: Any, max_iterations: int, max_evaluations: int | None) -> Status:
        self._solve(self.search.first(first))
        optimum = self.upper
        while True:
            policy, hoped = self._candidate()
            worst = self._against(policy)
            self.history.append(
                Iteration(policy, optimum, hoped, worst.value, worst.error, self.lower, self.upper)
            )
            if abs(worst.value - hoped) <= self.tolerance + 3 * worst.error:
                ended = self._test_fired(exact=worst.error == 0)
                if ended is not None:
                    return ended
            if self.upper - self.lower <= self.tolerance:
                return "certified" if worst.error == 0 else "estimated"
            if len(self.history) >= max_iterations:
                return "max_iter"
            if max_evaluations is not None and self.evaluations + self.search.cost > max_evaluations:
                return "budget"
            model = worst.model
            if model.among(self.models):
                if self.escape == "hull" and not self.on_hull:
                    self.on_hull = True
                    continue
                other = self._next_worst(policy) if self.escape == "next_worst" else None
                if other is None:
                    return "stalled"
                model = other
            optimum = self._solve(model)

    def _solve(self, model: Model) -> float:
        solved = optimal(self.mdp, model.kernel)
        optimum = self.mdp.start_value(solved.value)
        self.models.append(model)
        self.minimum_q = np.minimum(self.minimum_q, solved.q)
        self.upper = min(self.upper, optimum)
        return optimum

    def _candidate(self) -> tuple[np.ndarray, float]:
        """π_i and what it hopes for."""
        if self.on_hull:
            solution = robust_policy_iteration(self._hull())
            return solution.policy, self.mdp.start_value(solution.value)
        return greedy(self.minimum_q), self.mdp.start_value(self.minimum_q.max(axis=1))

    def _against(self, policy: np.ndarray) -> WorstCase:
        worst = self.search.worst(policy)
        self.evaluations += worst.evaluations
        self.env_steps += worst.env_steps
        if worst.value > self.lower:
            self.lower, self.best = worst.value, policy
        return worst

    def _test_fired(self, exact: bool) -> Status | None:
        """What the paper's stopping test proves; None: the gap is open, and there is an escape to try."""
        if isinstance(self.mdp.ambiguity, SARectangular):
            if self.upper - self.lower > self.tolerance:
                # The saddle of the hull is a model of the set whose optimum closes the gap for every kind of policy.
                self._solve(Model(robust_policy_iteration(self._hull()).worst_kernel))
            self.deterministic_optimal = True
            return "certified" if self.upper - self.lower <= self.tolerance else "stalled"
        # min over models of Q*(s0, a) bounds every policy that plays a first, for one start state; not their mixtures.
        single_start = int((self.mdp.initial > 0).sum()) == 1
        self.deterministic_optimal |= exact and single_start and not self.on_hull
        if not exact:
            return "estimated"
        return "stalled" if self.escape == "stop" and self.upper - self.lower > self.tolerance else None

    def _next_worst(self, policy: np.ndarray) -> Model | None:
        self.evaluations += self.search.cost
        return self.search.next_worst(policy, self.models)

    def _hull(self) -> RobustMDP:
        kernels = StaticFinite(np.stack([model.kernel for model in self.models]))
        return RobustMDP(self.mdp.reward, self.mdp.gamma, self.mdp.initial, kernels, self.mdp.terminal)


def _check(
    mdp: RobustMDP, max_iterations: int, tolerance: float, escape: str | None, max_evaluations: int | None
) -> None:
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations!r}, expected at least 1.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance!r}, expected at least 0.")
    if escape not in (None, "hull", "next_worst", "stop"):
        raise ValueError(f"escape is {escape!r}, expected 'hull', 'next_worst' or 'stop'.")
    least = len(mdp.ambiguity) if isinstance(mdp.ambiguity, StaticFinite) else 1
    if max_evaluations is not None and max_evaluations < least:
        raise ValueError(f"max_evaluations is {max_evaluations!r}, and one search takes {least}.")
