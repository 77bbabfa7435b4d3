"""What goes around a `RobustEnv`: randomisation at every reset, and observations that tell or help to infer psi."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from dynrl.robust.robust_env import robust_env_of
from dynrl.robust.sets import METHODS
from dynrl.robust.vector import neutral_action

Sampler = Callable[[np.random.Generator, int], np.ndarray]


class DomainRandomization(gymnasium.Wrapper, RecordConstructorArgs):
    """Draws new parameters at every reset, for the whole episode (Tobin et al. 2017).

    The random numbers are the environment's own (`np_random`): `reset(seed=)` determines psi too, and no global
    generator is touched. A reset whose options name a psi uses that one.

    Args:
        env: a `RobustEnv`, or wrappers around one.
        sampler: `"uniform"`, `"sobol"` or `"lhs"` (single draws of a scrambled sequence), or `(rng, n) -> psi [n, d]`.

    Raises:
        ValueError: an unknown sampler, or no `RobustEnv` below.
    """

    def __init__(self, env: gymnasium.Env, sampler: str | Sampler = "uniform"):
        RecordConstructorArgs.__init__(self, sampler=sampler)
        gymnasium.Wrapper.__init__(self, env)
        if isinstance(sampler, str) and sampler not in METHODS:
            raise ValueError(f"sampler is {sampler!r}, expected one of {list(METHODS)}, or a function.")
        self._sampler = sampler
        self._robust = robust_env_of(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with new parameters."""
        options = dict(options or {})
        if "psi" in options:
            return self.env.reset(seed=seed, options=options)
        if seed is not None:
            # Seeds the environment's generator, from which psi is then drawn; the episode itself starts below.
            self.env.reset(seed=seed)
        return self.env.reset(options={**options, "psi": self._draw()})

    def _draw(self) -> np.ndarray:
        rng, uset = self.env.unwrapped.np_random, self._robust.uset
        if isinstance(self._sampler, str):
            return uset.sample(rng, 1, self._sampler)[0]
        return np.asarray(self._sampler(rng, 1), float).reshape(uset.dim)


class ParamObservation(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Appends psi, scaled to the unit cube, to the observation: an oracle that knows the physics.

    Args:
        env: a `RobustEnv`, or wrappers around one, with observations `Box [n]`.

    Raises:
        ValueError: other observations, or no `RobustEnv` below.
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        self._robust = robust_env_of(env)
        dim = self._robust.uset.dim
        # Nominal values may be outside the set, so the bounds of the unit cube are no bounds here.
        self.observation_space = _extended(env.observation_space, np.full(dim, -np.inf), np.full(dim, np.inf))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        unit = self._robust.uset.to_unit(self._robust.psi)
        return np.concatenate([observation, unit.astype(observation.dtype)])


class HistoryObservation(gymnasium.Wrapper, RecordConstructorArgs):
    """Appends the last k observations and actions, newest first, so that a memoryless policy can infer the physics.

    At the start of an episode the history is its first observation, with actions of zero.

    Args:
        env: with observations `Box [n]` and actions `Box`.
        k: how many past pairs.

    Raises:
        ValueError: other spaces, or k < 1.
    """

    def __init__(self, env: gymnasium.Env, k: int):
        RecordConstructorArgs.__init__(self, k=k)
        gymnasium.Wrapper.__init__(self, env)
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1.")
        if not isinstance(env.action_space, spaces.Box):
            raise ValueError(f"a history of actions needs a Box action space, got {env.action_space}.")
        self.k = k
        observed, acted = _box(env.observation_space), env.action_space
        low = np.concatenate([observed.low, acted.low.ravel()])
        high = np.concatenate([observed.high, acted.high.ravel()])
        # Zero stands for actions before the first one, whatever the action space.
        low[len(observed.low) :] = np.minimum(low[len(observed.low) :], 0)
        high[len(observed.low) :] = np.maximum(high[len(observed.low) :], 0)
        self.observation_space = _extended(observed, np.tile(low, k), np.tile(high, k))
        self._action_size = acted.low.size
        self._pairs: deque[np.ndarray] = deque(maxlen=k)
        self._last: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode, with a history of its first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        still = np.zeros(self._action_size, observation.dtype)
        self._pairs.extend([np.concatenate([observation, still])] * self.k)
        self._last = np.array(observation)
        return self._with_history(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        pair = np.concatenate([self._last, np.asarray(action, observation.dtype).ravel()])
        self._pairs.appendleft(pair)
        self._last = np.array(observation)  # an environment may write the next one into the same array
        return self._with_history(observation), reward, terminated, truncated, info

    def _with_history(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, *self._pairs])


class ActionDelay(gymnasium.Wrapper, RecordConstructorArgs):
    """Every action arrives `delay` steps late; until the first does, the actuators get zero.

    For a delay that is uncertain, put `Param("delay.action", 0, 3)` into the set of a `RobustEnv` instead.

    Args:
        env: with Box or Discrete actions.
        delay: in control steps.

    Raises:
        ValueError: a negative delay, or another action space.
    """

    def __init__(self, env: gymnasium.Env, delay: int):
        RecordConstructorArgs.__init__(self, delay=delay)
        gymnasium.Wrapper.__init__(self, env)
        if delay < 0 or delay != int(delay):
            raise ValueError(f"delay is {delay}, expected a whole number of steps, 0 or more.")
        self.delay = int(delay)
        self._still = neutral_action(env.action_space)
        self._pending: deque[Any] = deque()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with nothing on its way."""
        self._pending = deque([self._still] * self.delay)
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Send one action, and play the one that arrives."""
        self._pending.append(copy(action))  # the caller may fill the same array again
        return self.env.step(self._pending.popleft())


def _box(space: gymnasium.Space) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"observations are {space}, expected a Box of one axis.")
    return space


def _extended(space: gymnasium.Space, low: np.ndarray, high: np.ndarray) -> spaces.Box:
    box = _box(space)
    wider = [
        np.concatenate([ours, more]).astype(box.dtype) for ours, more in ((box.low, low), (box.high, high))
    ]
    return spaces.Box(wider[0], wider[1], dtype=box.dtype)
