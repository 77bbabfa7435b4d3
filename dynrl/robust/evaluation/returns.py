"""What evaluating a policy gives: one number per model and episode, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Returns:
    """Episodes of one policy on `N` models, `m` episodes each.

    Attributes:
        returns: `[N, m]` float64, undiscounted sum of the rewards; never NaN.
        discounted: `[N, m]` float64, the sum of `gamma**t * reward_t`.
        lengths: `[N, m]` int64, steps played.
        terminated: `[N, m]` bool, the world ended the episode (not the clock).
        diverged: `[N, m]` bool, the simulation blew up or the policy's action was not finite; such an episode counts
            as terminated, with the return until then plus the evaluator's `failure_return`.
        env_steps: environment steps played in all; the sum of `lengths`.
    """

    returns: np.ndarray
    discounted: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    diverged: np.ndarray
    env_steps: int

    @property
    def num_models(self) -> int:
        return len(self.returns)

    @property
    def num_episodes(self) -> int:
        return self.returns.shape[1]

    @staticmethod
    def of_episodes(
        num_models: int, returns: Any, discounted: Any, lengths: Any, terminated: Any, diverged: Any
    ) -> Returns:
        """From flat arrays `[num_models * m]`, the episodes of a model side by side."""

        def table(values: Any, dtype: Any) -> np.ndarray:
            return np.asarray(values).astype(dtype).reshape(num_models, -1)

        steps = table(lengths, np.int64)
        return Returns(
            table(returns, np.float64),
            table(discounted, np.float64),
            steps,
            table(terminated, bool),
            table(diverged, bool),
            int(steps.sum()),
        )


def join_models(parts: Sequence[Returns]) -> Returns:
    """The models of all parts one below the other."""
    return _join(parts, axis=0)


def join_episodes(parts: Sequence[Returns]) -> Returns:
    """The episodes of all parts side by side, for the same models."""
    return _join(parts, axis=1)


def _join(parts: Sequence[Returns], axis: int) -> Returns:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=axis)

    return Returns(
        joined("returns"),
        joined("discounted"),
        joined("lengths"),
        joined("terminated"),
        joined("diverged"),
        sum(part.env_steps for part in parts),
    )


class Evaluator(Protocol):
    """Plays whole episodes: `evaluator(policy, psi [N, d], episode_seeds [m]) -> Returns`.

    The same `psi` row, episode seed and policy give the same bytes, whatever stands beside them in the call: order,
    split into blocks, threads and processes do not matter. Every model meets the same episode seeds (common random
    numbers). `psi` is in natural units, in the order of the uncertainty set's names.
    """

    def __call__(
        self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray
    ) -> Returns: ...


def require_evaluator(evaluator: Any) -> None:
    """Raises: TypeError: something that cannot play episodes, such as an environment; names what makes an evaluator."""
    if not callable(evaluator):
        raise TypeError(
            f"the evaluator is of type {type(evaluator).__name__}; expected what dynrl.robust.make_evaluator(env, "
            "uset) gives."
        )


def checked_request(psi: Any, episode_seeds: Any, dim: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return `(psi [N, d] float64, episode_seeds [m] int64)`.

    Raises:
        ValueError: wrong shape, nothing to evaluate, a value that is not finite, or a negative seed.
    """
    models = np.array(psi, dtype=np.float64, ndmin=2)
    if models.ndim != 2 or not len(models) or (dim is not None and models.shape[1] != dim):
        expected = "[N, d]" if dim is None else f"[N, {dim}]"
        raise ValueError(f"psi has shape {np.shape(psi)}, expected {expected} with at least one model.")
    if not np.isfinite(models).all():
        bad = int(np.flatnonzero(~np.isfinite(models).all(axis=1))[0])
        raise ValueError(f"psi of model {bad} is not finite: {models[bad]}.")
    seeds = np.asarray(episode_seeds)
    if seeds.ndim != 1 or not len(seeds) or seeds.dtype.kind not in "iu":
        raise ValueError(f"episode_seeds must be a list of integers, one per episode, got {episode_seeds!r}.")
    if (seeds < 0).any() or (seeds >= 2**31).any():
        raise ValueError(f"episode seeds must lie in [0, 2**31), got {seeds.min()} to {seeds.max()}.")
    return models, seeds.astype(np.int64)
