"""Finite robust Markov decision processes: exact solvers, static solvers and IWOCS.

"The robust value" has several meanings, with different numbers (`guess_the_button` has five). Rectangular sets and a
dynamic adversary: `robust_value_iteration`, `robust_policy_iteration`. A kernel picked once from a list:
`solve_static`, `history_dependent_value`. Brackets on both: `iwocs`.
"""

from dynrl.robust.tabular.balls import SAKL, SAL1, SAChi2, SAContamination
from dynrl.robust.tabular.batched import BatchSolution, solve_batch
from dynrl.robust.tabular.dynamic import (
    modified_robust_policy_iteration,
    robust_policy_evaluation,
    robust_policy_iteration,
    robust_value_iteration,
)
from dynrl.robust.tabular.finite import StaticFinite, StaticParametric, hull
from dynrl.robust.tabular.guess_the_button import guess_the_button
from dynrl.robust.tabular.history import HistoryBounds, history_dependent_value
from dynrl.robust.tabular.iwocs import Iteration, IWOCSResult, iwocs
from dynrl.robust.tabular.mdp import RobustMDP, RobustSolution
from dynrl.robust.tabular.ordinary import Optimum, optimal, policy_values
from dynrl.robust.tabular.pictures import plot_grid_policy, plot_iwocs
from dynrl.robust.tabular.polytopes import SAFinite, SAInterval
from dynrl.robust.tabular.rectangular import Game, Outcome, Rectangular, SARectangular
from dynrl.robust.tabular.s_rectangular import SL1
from dynrl.robust.tabular.simulation import MonteCarlo, simulate
from dynrl.robust.tabular.static import (
    DeterministicOptimum,
    StaticSolution,
    best_deterministic,
    smallest_optimum,
    solve_static,
)
from dynrl.robust.tabular.wasserstein import SAWasserstein
from dynrl.robust.tabular.worst_kernel import Model

__all__ = [
    "SAKL",
    "SAL1",
    "SL1",
    "BatchSolution",
    "DeterministicOptimum",
    "Game",
    "HistoryBounds",
    "IWOCSResult",
    "Iteration",
    "Model",
    "MonteCarlo",
    "Optimum",
    "Outcome",
    "Rectangular",
    "RobustMDP",
    "RobustSolution",
    "SAChi2",
    "SAContamination",
    "SAFinite",
    "SAInterval",
    "SARectangular",
    "SAWasserstein",
    "StaticFinite",
    "StaticParametric",
    "StaticSolution",
    "best_deterministic",
    "guess_the_button",
    "history_dependent_value",
    "hull",
    "iwocs",
    "modified_robust_policy_iteration",
    "optimal",
    "plot_grid_policy",
    "plot_iwocs",
    "policy_values",
    "robust_policy_evaluation",
    "robust_policy_iteration",
    "robust_value_iteration",
    "simulate",
    "smallest_optimum",
    "solve_batch",
    "solve_static",
]
