"""Robust vector environments in which an adversary plays the parameters in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from dynrl.agents.robust.training import final_observations, sizes_of
from dynrl.learning.networks import to_unit
from dynrl.robust.vector import RobustVectorEnv

__all__ = ["GameVectorEnv", "in_half_ranges"]


def in_half_ranges(uset: Any, psi: Any) -> np.ndarray:
    """Parameters counted from the middle of their intervals in half-ranges, `[..., d]` in [-1, 1]."""
    return 2 * np.asarray(uset.to_unit(psi)) - 1


def from_half_ranges(uset: Any, omega: Any) -> np.ndarray:
    """Reverses `in_half_ranges`."""
    return uset.from_unit((np.asarray(omega, np.float64) + 1) / 2)


class GameVectorEnv(gymnasium.vector.VectorEnv):
    """One action for two: the agent's, and the adversary's b in [-1, 1]^d, which decides the parameters of the step.

    Without a rate, b is mapped affinely to the set: the adversary may choose anew in every step (a dynamic adversary,
    as in Pinto et al., RARL, 2017). With a rate L, the parameters drift: `psi <- clip(psi + L b)` in units of each
    range, from where the environment's sampler begins the episode (Zouitine et al., time-constrained robust MDPs,
    2024; a fraction of each range instead of raw units, of the logarithm's where a parameter's scale is logarithmic).

    Observations are `[s | psi | previous s | previous action]`: psi in [-1, 1] as it was before the step to come; in an
    episode's first step the previous observation is the first one and the previous action 0. Players see the columns
    they may: `own`, `parameters`, `history`.

    Args:
        env: gives every lane its parameters.
        uset: its uncertainty set.
        rate: L; None for free choice.
    """

    def __init__(self, env: RobustVectorEnv, uset: Any, rate: float | None = None) -> None:
        """Raises: ValueError: a rate that is not positive."""
        if rate is not None and not rate > 0:
            raise ValueError(
                f"rate must be positive, or None for an adversary without constraint, got {rate}"
            )
        self.env, self.uset, self.rate, self.num_envs = env, uset, rate, env.num_envs
        self.metadata = env.metadata
        self.observation_size, self.action_size = sizes_of(env)
        space: Any = env.single_action_space
        o = self.observation_size
        self.own = tuple(range(o))
        self.parameters = tuple(range(o, o + uset.dim))
        self.history = tuple(range(o + uset.dim, 2 * o + uset.dim + self.action_size))
        one = np.ones(uset.dim, np.float32)
        self.single_action_space = Box(
            np.concatenate([space.low, -one]), np.concatenate([space.high, one]), dtype=np.float32
        )
        width = 2 * o + uset.dim + self.action_size
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._last: Any = None
        self._omega = np.zeros((self.num_envs, uset.dim))

    @property
    def agent_action_space(self) -> Any:
        """The action space of the agent alone."""
        return self.env.single_action_space

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        still = np.zeros((self.num_envs, self.action_size))
        self._last = np.array(observation)
        self._omega = in_half_ranges(self.uset, self.env.psi)
        return self._row(observation, self._omega, observation, still), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        actions = np.asarray(actions)
        played, b = actions[:, : self.action_size], np.asarray(actions[:, self.action_size :], np.float64)
        # Kept here and not read back from psi: a whole-number parameter would round small moves away.
        omega = np.clip(b if self.rate is None else self._omega + 2 * self.rate * b, -1, 1)
        self.env.set_psi(from_half_ranges(self.uset, omega))
        observation, reward, terminated, truncated, info = self.env.step(played)
        done = terminated | truncated
        space: Any = self.env.single_action_space
        unit = to_unit(played, space.low, space.high)
        row = self._row(observation, omega, self._last, unit)
        self._omega = omega
        if done.any():
            ended = final_observations(observation, info, done)
            info = {**info, "final_obs": self._row(ended, omega, self._last, unit), "_final_obs": done}
            begun = np.where(done[:, None], in_half_ranges(self.uset, self.env.psi), omega)
            row[done] = self._row(observation, begun, observation, np.zeros_like(unit))[done]
            self._omega = begun
        self._last = np.array(observation)
        return row, reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()

    def _row(self, *parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
