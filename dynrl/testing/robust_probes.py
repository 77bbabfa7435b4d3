"""Games with known solutions for robust learners: the smallest uncertain worlds, as robust vector environments.

Each is a formula of the action and of the parameter psi; the best policy against the worst psi, and what it is worth,
follow by hand. A learner that does not find them will find nothing larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

__all__ = ["SADDLE", "TARGET", "Box", "GameVectorEnv", "RobustProbe"]


@dataclass(frozen=True)
class RobustProbe:
    """A repeated game: every step pays `reward(action, psi)`.

    Attributes:
        reward: of `action [N]` in [-1, 1] and `psi [N]`; `[N]`.
        low, high, nominal: of psi.
        robust_action: best action against the worst psi.
        robust_value: what one step of it is worth against the worst psi.
        nominal_action: best action at the nominal psi.
    """

    reward: Callable[[Any, Any], Any]
    low: float
    high: float
    nominal: float
    robust_action: float
    robust_value: float
    nominal_action: float

    def worst_reward(self, action: float) -> float:
        """The least reward of one step over psi, on a grid of 2001 values."""
        return float(self.reward(action, np.linspace(self.low, self.high, 2001)).min())


TARGET = RobustProbe(
    lambda action, psi: 1 - np.square(action - psi),
    low=-0.2,
    high=1.0,
    nominal=-0.2,
    robust_action=0.4,
    robust_value=1 - 0.6**2,
    nominal_action=-0.2,
)
"""Hit psi. The worst psi is the farther end, so the best action is the middle; two candidates are needed, for against
either end alone the best action is that end."""

SADDLE = RobustProbe(
    lambda action, psi: -np.square(action - 0.3) + (action - 0.3) * (psi + 0.2) + np.square(psi + 0.2),
    low=-1.0,
    high=1.0,
    nominal=0.6,
    robust_action=0.3,
    robust_value=0.0,
    nominal_action=0.7,
)
"""Concave in the action and convex in psi: both gradients vanish at (0.3, -0.2), a saddle point in pure strategies."""


@dataclass(frozen=True)
class Box:
    """The least of an uncertainty set: an interval for each parameter.

    Attributes:
        low, high, nominal: `[d]`.
    """

    low: np.ndarray
    high: np.ndarray
    nominal: np.ndarray

    @property
    def dim(self) -> int:
        return len(self.low)

    def to_unit(self, psi: Any) -> np.ndarray:
        return (np.asarray(psi) - self.low) / (self.high - self.low)

    def from_unit(self, unit: Any) -> np.ndarray:
        return self.low + np.asarray(unit) * (self.high - self.low)

    def sample(self, rng: np.random.Generator, count: int, method: str = "uniform") -> np.ndarray:
        return rng.uniform(self.low, self.high, (count, self.dim))


class GameVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` lanes of a `RobustProbe` as a robust vector environment: SAME_STEP auto-reset, `psi` and `set_psi`.

    The observation is the constant 1.

    Args:
        game: the reward and the interval of psi.
        num_envs: lanes N.
        sampler: `(rng, k) -> psi [k, 1]` of lanes that begin an episode; None keeps psi.
        horizon: steps of an episode.
        time_limit: whether episodes are truncated at the horizon (a learner bootstraps) or terminated.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        game: RobustProbe,
        num_envs: int,
        sampler: Callable[[np.random.Generator, int], np.ndarray] | None = None,
        horizon: int = 10,
        time_limit: bool = False,
    ) -> None:
        self.game, self.num_envs, self.horizon, self.time_limit = game, num_envs, horizon, time_limit
        self.uset = Box(*(np.array([value]) for value in (game.low, game.high, game.nominal)))
        self.single_observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.single_action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.sampler = sampler
        self.psi = np.tile(self.uset.nominal, (num_envs, 1))
        self._age = np.zeros(num_envs, int)

    def set_psi(self, psi: Any, ids: Sequence[int] | np.ndarray | None = None) -> None:
        """New parameters `[N, 1]`, or `[len(ids), 1]` of some lanes, from the next step on."""
        self.psi[slice(None) if ids is None else ids] = psi

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._age[:] = 0
        self._begin(np.arange(self.num_envs))
        return np.ones((self.num_envs, 1), np.float32), {"psi": self.psi.copy()}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        reward = self.game.reward(np.asarray(actions, np.float64)[:, 0], self.psi[:, 0])
        self._age += 1
        done = self._age >= self.horizon
        observation = np.ones((self.num_envs, 1), np.float32)
        info: dict[str, Any] = {}
        if done.any():
            info = {"final_obs": observation.copy(), "_final_obs": done.copy()}
            self._age[done] = 0
            self._begin(np.flatnonzero(done))
        never = np.zeros_like(done)
        terminated, truncated = (never, done) if self.time_limit else (done, never)
        return observation, reward, terminated, truncated, {**info, "psi": self.psi.copy()}

    def _begin(self, ids: np.ndarray) -> None:
        if self.sampler is not None:
            self.psi[ids] = self.sampler(self.np_random, len(ids))
