"""Monte-Carlo evaluation of a policy on a list of kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP

__all__ = ["Estimate", "MonteCarlo", "simulate"]

NEGLIGIBLE = 1e-16
"""Discount below which a reward changes no digit of a return, so that the episode need not go on."""


@dataclass(frozen=True)
class MonteCarlo:
    """How returns are estimated.

    Attributes:
        rollouts: episodes per kernel; the same random numbers for every kernel and every policy.
        max_steps: longest episode.
        seed: of the random numbers.
    """

    rollouts: int = 300
    max_steps: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rollouts < 2 or self.max_steps < 1:
            raise ValueError(
                f"rollouts is {self.rollouts} and max_steps {self.max_steps}; expected at least 2 (for a standard "
                "error) and 1."
            )


class Estimate(NamedTuple):
    """Attributes:
    mean: discounted return under each kernel, `[K]`.
    error: standard error of the mean, `[K]`.
    steps: environment steps taken.
    """

    mean: np.ndarray
    error: np.ndarray
    steps: int


def simulate(mdp: RobustMDP, kernels: np.ndarray, policy: np.ndarray, how: MonteCarlo) -> Estimate:
    """Play a policy `[S, A]` on each of the kernels `[K, S, A, S']`, all episodes side by side."""
    rng = np.random.default_rng(how.seed)
    shape = len(kernels), how.rollouts
    model = np.broadcast_to(np.arange(len(kernels))[:, None], shape)
    cumulative_kernel, cumulative_policy = np.cumsum(kernels, axis=-1), np.cumsum(policy, axis=-1)
    state = np.broadcast_to(_pick(np.cumsum(mdp.initial), rng.random(how.rollouts)), shape)
    returns, discount, steps = np.zeros(shape), 1.0, 0
    alive = ~mdp.terminal[state]
    for _ in range(how.max_steps):
        if not alive.any() or discount < NEGLIGIBLE:
            break
        draws = rng.random((2, how.rollouts))
        action = _pick(cumulative_policy[state], draws[0])
        after = _pick(cumulative_kernel[model, state, action], draws[1])
        reward = mdp.reward[state, action]
        if mdp.reward.ndim == 3:
            reward = mdp.reward[state, action, after]
        returns += np.where(alive, discount * reward, 0.0)
        steps += int(alive.sum())
        discount *= mdp.gamma
        state = np.where(alive, after, state)
        alive = alive & ~mdp.terminal[state]
    return Estimate(returns.mean(axis=1), returns.std(axis=1, ddof=1) / np.sqrt(how.rollouts), steps)


def _pick(cumulative: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """The index at which `cumulative [..., n]` passes `draw [...]`; rounding at the upper end is no index."""
    return np.minimum(
        (cumulative <= draw[..., None] * cumulative[..., -1:]).sum(axis=-1), cumulative.shape[-1] - 1
    )
