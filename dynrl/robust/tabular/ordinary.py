"""One kernel at a time: ordinary values, optimal policies, and a policy on many kernels at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP, as_policy, solve_linear
from dynrl.robust.tabular.rectangular import TIE, greedy

__all__ = ["Optimum", "optimal", "policy_values"]

CHUNK_NUMBERS = 4_000_000
"""Most float64 numbers in the matrices of one batch of linear solves (32 MB)."""


class Optimum(NamedTuple):
    """The solution of an ordinary problem.

    Attributes:
        value: V*, `[S]`.
        q: Q*, `[S, A]`.
        policy: greedy, `[S, A]`; the lowest index among actions that tie.
    """

    value: np.ndarray
    q: np.ndarray
    policy: np.ndarray


def optimal(mdp: RobustMDP, kernel: np.ndarray, allowed: np.ndarray | None = None) -> Optimum:
    """The optimum under one kernel `[S, A, S']`, by policy iteration.

    Args:
        allowed: `[S, A]` bool, the actions that may be played; all of them where not given.
    """
    allowed = np.ones(kernel.shape[:2], bool) if allowed is None else allowed
    policy = np.eye(kernel.shape[1])[allowed.argmax(axis=1)]
    best = np.full(mdp.num_states, -np.inf)
    while True:
        value = policy_values(mdp, kernel[None], policy)[0]
        q = np.where(mdp.terminal[:, None], 0.0, mdp.outcome(value).expected(kernel))
        q = np.where(allowed, q, -np.inf)
        if not (value > best + TIE * np.maximum(1.0, np.abs(value))).any():
            return Optimum(q.max(axis=1), q, greedy(q))
        best = value
        better = q.max(axis=1) > value + TIE * np.maximum(1.0, np.abs(value))
        policy = np.where(better[:, None], greedy(q), policy)


def policy_values(mdp: RobustMDP, kernels: np.ndarray, policy: Any) -> np.ndarray:
    """The value of a policy (`[S]` or `[S, A]`) under each of the kernels `[K, S, A, S']`: `[K, S]`.

    Batched linear solves, in chunks that bound the memory.
    """
    policy = as_policy(mdp, policy)
    size = max(1, CHUNK_NUMBERS // mdp.num_states**2)
    return np.concatenate(
        [
            solve_linear(*chain(mdp, kernels[begin : begin + size], policy), mdp.gamma)
            for begin in range(0, len(kernels), size)
        ]
    )


def chain(mdp: RobustMDP, kernels: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Markov chains of policies `[..., S, A]` under kernels `[..., S, A, S']`: matrices `[..., S, S']`, rewards
    `[..., S]`; terminal states lead nowhere."""
    transition = (policy[..., None, :] @ kernels)[..., 0, :]
    if mdp.reward.ndim == 2:
        reward = (policy * mdp.reward).sum(axis=-1)
    else:
        reward = (policy * (kernels * mdp.reward).sum(axis=-1)).sum(axis=-1)
    reward = np.broadcast_to(reward, transition.shape[:-1])
    return np.where(mdp.terminal[:, None], 0.0, transition), np.where(mdp.terminal, 0.0, reward)
