"""Robust value iteration and policy iteration for rectangular sets, and for the hulls of others.

Nature answers in every state: the dynamic adversary, which for rectangular sets and stationary policies is as strong as
one that picks a kernel once (Iyengar 2005; Nilim & El Ghaoui 2005; Wiesemann, Kuhn & Rustem 2013).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP, RobustSolution, as_policy, solve_linear
from dynrl.robust.tabular.rectangular import TIE, Game, Rectangular

__all__ = [
    "modified_robust_policy_iteration",
    "robust_policy_evaluation",
    "robust_policy_iteration",
    "robust_value_iteration",
]


def robust_value_iteration(
    mdp: RobustMDP, tolerance: float = 1e-9, max_iterations: int = 1_000_000
) -> RobustSolution:
    """Repeat `V ← max_a min_p [r + γ p · V]`, a γ-contraction.

    Stops when the value changes by at most `tolerance (1 − γ) / (2 γ)`: it is then within `tolerance / 2` of the
    robust value, and the policy within `tolerance` of the best.

    Raises:
        ValueError: a tolerance that is not positive.
        RuntimeError: not there after `max_iterations` sweeps.
    """
    return modified_robust_policy_iteration(mdp, 0, tolerance, max_iterations)


def modified_robust_policy_iteration(
    mdp: RobustMDP, evaluations: int = 20, tolerance: float = 1e-9, max_iterations: int = 1_000_000
) -> RobustSolution:
    """Value iteration with `evaluations` cheaper backups of the greedy policy after each (Kaufman & Schaefer 2013).

    Raises:
        ValueError: a tolerance that is not positive, fewer than 0 evaluations.
        RuntimeError: not there after `max_iterations` sweeps.
    """
    _check(tolerance, evaluations)
    rectangular, gamma = mdp.rectangular, mdp.gamma
    enough = tolerance * (1 - gamma) / (2 * gamma) if gamma > 0 else np.inf
    value = np.zeros(mdp.num_states)
    for iteration in range(1, max_iterations + 1):
        outcome = mdp.outcome(value)
        if evaluations:
            game = mdp.mask_terminal(rectangular.game(outcome), rectangular.nominal_kernel)
            after = game.value
        else:
            after = np.where(mdp.terminal, 0.0, rectangular.game_value(outcome))
        change = float(np.abs(after - value).max())
        value = after
        if change <= enough:
            return _solution(mdp, rectangular, value, iteration)
        for _ in range(evaluations):
            transition, reward = _response(mdp, rectangular, game.policy, value)
            value = reward + gamma * transition @ value
    raise RuntimeError(
        f"value iteration still changes by {change:.3g} after {max_iterations} sweeps; allow more, or ask for less."
    )


def robust_policy_evaluation(
    mdp: RobustMDP, policy: Any, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a policy is worth at least, by policy iteration of the adversary.

    Fix nature's rows, solve `(I − γ P) V = r` exactly, choose the rows anew; finite for polytopes, Newton's method for
    the others.

    Args:
        policy: actions `[S]` or action probabilities `[S, A]`.
        start: a value `[S]` for nature's first rows; zero where not given.

    Returns:
        The worst-case value `[S]` and a worst kernel `[S, A, S']`, completed at the pairs that the policy never plays.

    Raises:
        ValueError: the policy does not fit the problem.
    """
    rectangular, policy = mdp.rectangular, as_policy(mdp, policy)
    value = np.zeros(mdp.num_states) if start is None else start
    best = np.full(mdp.num_states, np.inf)
    while True:
        transition, reward = _response(mdp, rectangular, policy, value)
        value = solve_linear(transition, reward, mdp.gamma)
        if not (value < best - 1e-14 * np.maximum(1.0, np.abs(value))).any():
            break
        best = np.minimum(best, value)
    value = np.minimum(best, value)
    rows = rectangular.worst_rows(policy, mdp.outcome(value))
    return value, np.where(mdp.terminal[:, None, None], rectangular.nominal_kernel, rows)


def robust_policy_iteration(mdp: RobustMDP, max_iterations: int = 1000) -> RobustSolution:
    """Evaluate a policy against nature, improve it greedily, until nothing improves.

    Raises:
        RuntimeError: still improving after `max_iterations` policies.
    """
    rectangular = mdp.rectangular
    value = np.zeros(mdp.num_states)
    game = mdp.mask_terminal(rectangular.game(mdp.outcome(value)), rectangular.nominal_kernel)
    policy, worst = game.policy, np.full(mdp.num_states, -np.inf)
    for iteration in range(1, max_iterations + 1):
        value, _ = robust_policy_evaluation(mdp, policy, value)
        if not (value > worst + TIE * np.maximum(1.0, np.abs(value))).any():
            return _solution(mdp, rectangular, np.maximum(value, worst), iteration)
        worst = value
        game = mdp.mask_terminal(rectangular.game(mdp.outcome(value)), rectangular.nominal_kernel)
        better = game.value > value + TIE * np.maximum(1.0, np.abs(value))
        policy = np.where(better[:, None], game.policy, policy)
    raise RuntimeError(f"policy iteration still improves after {max_iterations} policies; allow more.")


def _response(
    mdp: RobustMDP, rectangular: Rectangular, policy: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    transition, reward = rectangular.response(policy, mdp.outcome(value))
    return np.where(mdp.terminal[:, None], 0.0, transition), np.where(mdp.terminal, 0.0, reward)


def _solution(mdp: RobustMDP, rectangular: Rectangular, value: np.ndarray, iterations: int) -> RobustSolution:
    game: Game = mdp.mask_terminal(rectangular.game(mdp.outcome(value)), rectangular.nominal_kernel)
    return RobustSolution(
        value=game.value,
        q=game.q,
        policy=game.policy,
        worst_kernel=game.rows,
        residual=float(np.abs(game.value - value).max()),
        iterations=iterations,
        bound_kind="exact" if isinstance(mdp.ambiguity, Rectangular) else "hull",
    )


def _check(tolerance: float, evaluations: int) -> None:
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance!r}, expected a positive number.")
    if evaluations < 0:
        raise ValueError(f"evaluations is {evaluations!r}, expected a whole number of at least 0.")
