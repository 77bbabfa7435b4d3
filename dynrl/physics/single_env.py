"""A MuJoCo task on the C engine as a `gymnasium.Env`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.error import ResetNeeded

from dynrl.physics.episodes import Episodes
from dynrl.physics.face_input import (
    checked_forces,
    checked_ids,
    checked_render_mode,
    metadata_of,
    refuse_options,
    require_reset,
    set_state,
)
from dynrl.physics.rendering import Screen
from dynrl.physics.task import MujocoTask


class MujocoEnv(gymnasium.Env):
    """One simulation of a task.

    Args:
        task: what is observed and rewarded.
        params: model fields that differ from the nominal model's, `{name: [*shape]}`.
        render_mode: None, `"rgb_array"` or `"human"`.

    Attributes:
        task: as given.

    Raises:
        ValueError: an unknown field, a wrong shape, an unknown render mode.
    """

    def __init__(
        self, task: MujocoTask, params: Mapping[str, Any] | None = None, render_mode: str | None = None
    ):
        self.task = task
        self.metadata = metadata_of(task)
        self.render_mode = checked_render_mode(self.metadata, render_mode)
        self.observation_space = deepcopy(task.observation_space)
        self.action_space = deepcopy(task.action_space)
        self._episodes = Episodes(task, 1, 1, params)
        self._screen = Screen(task)
        self._seeded, self._ended = False, True

    @property
    def model(self) -> mujoco.MjModel:
        """The nominal model; do not write to it, use `set_params`."""
        return self.task.model

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The model fields that were ever set, `[*shape]`."""
        return {name: value[0] for name, value in self._episodes.simulations.params.items()}

    def set_params(self, fields: Mapping[str, Any], ids: Any = None) -> None:
        """Change model fields `{name: [*shape] or [1, *shape]}`, at once, in the running episode too.

        Raises:
            ValueError: an unknown field, a wrong shape, a number that is not finite; nothing has changed then.
        """
        self._episodes.simulations.set_params(fields, checked_ids(ids, 1))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: starts the chain of random numbers anew; None continues it.
            options: none is known.

        Raises:
            ValueError: an option.
        """
        refuse_options(self.task, options)
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**63))
        if seed is not None:
            self._episodes.seed(0, seed)
            self._seeded = True
        observation, info = self._episodes.begin()
        self._ended = False
        self._show()
        return observation[0], _first(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one action `[nu]`.

        Raises:
            ValueError: an action of wrong shape or dtype, NaN, or outside the space; nothing has changed then.
            gymnasium.error.ResetNeeded: no episode is running.
        """
        if self._ended:
            why = "the episode has ended" if self._seeded else "the environment was never reset"
            raise ResetNeeded(f"cannot step: {why}; call reset() first.")
        shown = self._episodes.advance(self._episodes.check([action]))
        terminated, truncated = bool(shown.terminated[0]), bool(shown.truncated[0])
        self._ended = terminated or truncated
        self._show()
        return shown.observation[0], float(shown.reward[0]), terminated, truncated, _first(shown.info)

    def set_forces(self, forces: Any) -> None:
        """Push on bodies until the next reset: forces (N) and torques (N m) in the world frame, `[nbody, 6]`.

        Raises:
            ValueError: a wrong shape, or a number that is not finite.
        """
        self._episodes.simulations.set_forces(checked_forces(self.task, [forces], 1))

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the simulation stands: position `[nq]` and velocity `[nv]`, copied."""
        now = self._episodes.simulations.now
        return now.qpos[0].copy(), now.qvel[0].copy()

    def set_state(self, qpos: Any, qvel: Any) -> np.ndarray:
        """Move to a position `[nq]` and velocity `[nv]` in the running episode; returns the observation there.

        Raises:
            ValueError: a wrong shape, or a number that is not finite.
        """
        return set_state(self._episodes, [qpos], [qvel], np.array([0]))[0]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the running episode's future depends on, as named arrays.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        require_reset(self._seeded, "store an episode")
        return {**self._episodes.state_dict(), "ended": np.array(self._ended)}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue the episode that `state_dict` stored; the task must be the same.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, or of another shape.
        """
        self._episodes.load_state_dict(arrays)
        self._seeded, self._ended = True, bool(arrays["ended"])

    def render(self) -> np.ndarray | None:
        """Return a picture `[480, 480, 3]` uint8 in the mode `"rgb_array"`; None in `"human"`, which shows every step.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
            gymnasium.error.DependencyNotInstalled: neither EGL nor OSMesa works here.
        """
        if self.render_mode is None:
            return None
        require_reset(self._seeded, "render")
        return (
            self._screen.picture(self._episodes.simulations, 0) if self.render_mode == "rgb_array" else None
        )

    def close(self) -> None:
        """Free the window and what is held of OpenGL."""
        self._screen.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._screen.show(self._episodes.simulations, 0)


def _first(info: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value[0].item() if value.ndim == 1 else value[0] for name, value in info.items()}
