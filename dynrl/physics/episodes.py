"""Episodes of a task, side by side on the C engine: what both faces are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dynrl.errors import FileFormatError
from dynrl.functional import check_actions
from dynrl.physics.batch import Simulations
from dynrl.physics.random_numbers import key_of, unit_numbers
from dynrl.physics.state import PhysicsState
from dynrl.physics.task import MujocoTask


class Step(NamedTuple):
    """What a step of N episodes shows.

    Attributes:
        observation: `[N, n]`.
        reward: `[N]` float64.
        terminated, truncated: `[N]` bool, never both.
        info: arrays `[N, ...]`; `diverged` is among them.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, np.ndarray]


class Episodes:
    """`num` episodes, each with its own random numbers, step counter and simulation.

    Args:
        task: of which.
        num: how many, N.
        num_threads: of the engine; 0 for one per core.
        params: model fields, `[*shape]` or `[N, *shape]`.

    Attributes:
        task, num: as given.
        simulations: the physics.
        elapsed: steps since the reset, `[N]`.
    """

    def __init__(
        self, task: MujocoTask, num: int, num_threads: int = 0, params: Mapping[str, Any] | None = None
    ):
        self.task, self.num, self.num_threads = task, num, num_threads
        self.simulations = Simulations(task, num, num_threads)
        self.simulations.set_params(params or {})
        self.elapsed = np.zeros(num, np.int64)
        self._keys = np.zeros(num, np.uint64)
        self._episode = np.zeros(num, np.uint64)
        self._low, self._high = task.action_space.low, task.action_space.high

    def seed(self, index: int, seed: int) -> None:
        """Let the next reset of episode `index` be the first one of a seed."""
        self._keys[index] = key_of(seed)
        self._episode[index] = 0

    def begin(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Begin new episodes, of all or of `ids [k]`; returns observations `[k, n]` and infos `[k, ...]`."""
        where = slice(None) if ids is None else ids
        numbers = unit_numbers(
            self._keys[where], self._episode[where], self.task.num_uniform, self.task.num_normal
        )
        self._episode[where] += np.uint64(1)
        self.elapsed[where] = 0
        self.simulations.begin(ids, *self.task.initial(*numbers))
        state = _rows(self.simulations.now, where)
        observation = np.array(self.task.observation(state), np.float64)
        return observation, _arrays(self.task.reset_info(state), len(observation))

    def advance(self, actions: np.ndarray, ids: np.ndarray | None = None) -> Step:
        """Play checked actions `[N, nu]`.

        Args:
            actions: of all episodes.
            ids: which are played, `[k]`; None for all. The rows of the others mean nothing, and they must `begin` next.
        """
        task, simulations = self.task, self.simulations
        diverged = simulations.advance(actions, ids)
        after = simulations.live
        outcome = task.outcome(simulations.now, actions, after)
        reward = np.asarray(outcome.reward, np.float64)
        terminated = task.terminal(after) if outcome.terminated is None else outcome.terminated
        terminated = np.array(terminated, bool)
        observation = task.observation(after)
        info = _arrays(outcome.info, self.num)
        if not math.isfinite(float(observation.sum() + reward.sum())):
            unreadable = ~(np.isfinite(observation).all(-1) & np.isfinite(reward))
            diverged = unreadable if diverged is None else diverged | unreadable
        if diverged is None:
            info["diverged"] = np.zeros(self.num, bool)
        else:
            observation[diverged] = task.observation(_rows(simulations.now, diverged))
            reward[diverged] = 0.0
            terminated |= diverged
            for value in info.values():
                value[diverged] = 0
            info["diverged"] = diverged
        simulations.keep(None if diverged is None else ~diverged)
        self.elapsed += 1
        truncated = np.zeros(self.num, bool)
        if task.horizon is not None:
            np.greater_equal(self.elapsed, task.horizon, out=truncated)
            truncated &= ~terminated
        return Step(observation, reward, terminated, truncated, info)

    def observe(self, ids: np.ndarray) -> np.ndarray:
        """Return the observations `[k, n]` of the states in which episodes `ids [k]` stand."""
        return np.array(self.task.observation(_rows(self.simulations.now, ids)), np.float64)

    def check(self, actions: Any, live: np.ndarray | None = None) -> np.ndarray:
        """Return actions `[N, nu]` as float32; where `live [N]` is False they may be anything.

        Raises:
            ValueError: wrong shape or dtype, NaN, or outside the space; names the first offending environment.
        """
        space = self.task.action_space
        actions = _as_array(actions, space)
        if actions.ndim == 0 or len(actions) != self.num:
            raise ValueError(
                f"actions have shape {actions.shape}, expected {self.num} rows, each of {space}."
            )
        if actions.dtype == np.float32 and actions.shape[1:] == space.shape:
            # NaN compares false, so that one pass sees all that can be wrong.
            good = (actions >= self._low) & (actions <= self._high)
            if good.all():
                return actions
        if live is None:
            return check_actions(space, actions)
        checked = np.zeros((self.num, *space.shape), np.float32)
        checked[live] = check_actions(space, actions[live])
        return checked

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the running episodes' future depends on, as named arrays."""
        return {
            "elapsed": self.elapsed.copy(),
            "keys": self._keys.copy(),
            "episode": self._episode.copy(),
            **self.simulations.state_dict(),
        }

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state_dict` returned; parameters that it does not name become nominal.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, or of another shape.
        """
        for name, like in self.state_dict().items():
            if name.startswith("params/"):
                continue
            if name not in arrays:
                raise FileFormatError(f"the stored episodes have no array {name!r}.")
            if arrays[name].shape != like.shape:
                raise FileFormatError(
                    f"the stored array {name!r} has shape {arrays[name].shape}, expected {like.shape}: "
                    f"another task, or another number of environments."
                )
        self.elapsed[:], self._keys[:] = arrays["elapsed"], arrays["keys"]
        self._episode[:] = arrays["episode"]
        self.simulations.load_state_dict(arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "num": self.num,
            "num_threads": self.num_threads,
            "arrays": self.state_dict(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["task"], state["num"], state["num_threads"])  # type: ignore[misc]
        self.load_state_dict(state["arrays"])


def _rows(state: PhysicsState, where: Any) -> PhysicsState:
    if isinstance(where, slice):
        return state
    return PhysicsState(*(None if value is None else value[where] for value in state))


def _arrays(info: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    # Fresh arrays: infos outlive the engine's buffers.
    return {
        name: np.array(value) if np.ndim(value) else np.full(count, value) for name, value in info.items()
    }


def _as_array(actions: Any, space: spaces.Box) -> np.ndarray:
    try:
        return np.asarray(actions)
    except ValueError as error:
        raise ValueError(f"actions are no array ({error}); expected {space}.") from error
