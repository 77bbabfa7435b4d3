"""Randomised stationary policies against a list of kernels: a hard problem, so a local search from several starts."""

from __future__ import annotations

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.ordinary import chain, optimal, policy_values

__all__ = ["best_randomised"]


def best_randomised(
    mdp: RobustMDP, kernels: np.ndarray, start: np.ndarray, starts: int, seed: int
) -> tuple[float, np.ndarray]:
    """The best `min_k J^π_k` of a sequential quadratic programme from several policies, and the policy `[S, A]`.

    Maximises t subject to `J^π_k ≥ t`, with exact gradients `∂J_k/∂π(a|s) = visits_k(s) Q_k(s, a)` (Sutton et al.
    2000). Starts: uniform, the mean of the kernels' optimal policies, `start [S, A]`, and random ones.
    """
    rng = np.random.default_rng(seed)
    uniform = np.full(start.shape, 1 / start.shape[1])
    optima = np.mean([optimal(mdp, kernel).policy for kernel in kernels], axis=0)
    given = [uniform, optima, 0.9 * start + 0.1 * uniform]
    drawn = [rng.dirichlet(np.ones(start.shape[1]), start.shape[0]) for _ in range(max(0, starts - 3))]
    best, policy = _guaranteed(mdp, kernels, start), start
    for begin in [*given, *drawn][: max(1, starts)]:
        found = _ascend(mdp, kernels, begin)
        value = _guaranteed(mdp, kernels, found)
        if value > best:
            best, policy = value, found
    return best, policy


def _guaranteed(mdp: RobustMDP, kernels: np.ndarray, policy: np.ndarray) -> float:
    return float((policy_values(mdp, kernels, policy) @ mdp.initial).min())


def _ascend(mdp: RobustMDP, kernels: np.ndarray, start: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    size, scale = start.size, max(1.0, float(np.abs(mdp.reward).max()) / (1 - mdp.gamma))
    sums = np.hstack([np.kron(np.eye(len(start)), np.ones(start.shape[1])), np.zeros((len(start), 1))])

    def margins(point: np.ndarray) -> np.ndarray:
        values = policy_values_of_weights(mdp, kernels, point[:-1].reshape(start.shape))[0]
        return values / scale - point[-1]

    def slopes(point: np.ndarray) -> np.ndarray:
        gradient = policy_values_of_weights(mdp, kernels, point[:-1].reshape(start.shape))[1]
        return np.hstack([gradient.reshape(len(kernels), -1) / scale, -np.ones((len(kernels), 1))])

    begin = np.append(start.ravel(), _guaranteed(mdp, kernels, start) / scale)
    done = minimize(
        lambda point: -point[-1],
        begin,
        jac=lambda _point: np.append(np.zeros(size), -1.0),
        bounds=[(0.0, 1.0)] * size + [(None, None)],
        constraints=[
            {"type": "ineq", "fun": margins, "jac": slopes},
            {"type": "eq", "fun": lambda point: sums @ point - 1, "jac": lambda _point: sums},
        ],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 300},
    )
    policy = np.maximum(done.x[:-1].reshape(start.shape), 0.0)
    total = policy.sum(axis=1, keepdims=True)
    return np.where(total > 0, policy, 1.0) / np.where(total > 0, total, start.shape[1])


def policy_values_of_weights(
    mdp: RobustMDP, kernels: np.ndarray, policy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`J_k [K]` and its gradient `[K, S, A]` at action weights that need not sum to 1."""
    transition, reward = chain(mdp, kernels, policy)
    system = np.eye(mdp.num_states) - mdp.gamma * transition
    value = np.linalg.solve(system, reward[..., None])[..., 0]
    visits = np.linalg.solve(np.swapaxes(system, 1, 2), np.broadcast_to(mdp.initial, value.shape)[..., None])
    q = np.stack([mdp.outcome(each).expected(kernel) for each, kernel in zip(value, kernels, strict=True)])
    q = np.where(mdp.terminal[:, None], 0.0, q)
    return value @ mdp.initial, visits * q
