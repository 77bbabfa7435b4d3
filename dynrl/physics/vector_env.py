"""A MuJoCo task on the C engine as a `gymnasium.vector.VectorEnv`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dynrl.physics.episodes import Episodes, Step
from dynrl.physics.face_input import (
    checked_autoreset_mode,
    checked_count,
    checked_forces,
    checked_ids,
    checked_render_mode,
    checked_seeds,
    metadata_of,
    refuse_options,
    require_reset,
    set_state,
)
from dynrl.physics.rendering import Screen
from dynrl.physics.task import MujocoTask


class MujocoVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` simulations of a task on a thread pool.

    Environment `i` of a reset with seed `s` is, number for number, a `MujocoEnv` reset with seed `s + i`, at any number
    of environments and threads. `final_obs` is a dense array `[N, n]` (zero where `_final_obs` is False). A simulation
    that diverges ends its own episode: terminated, `info["diverged"]`, reward 0, and the last observation before it.

    Args:
        task: what is observed and rewarded.
        num_envs: number of simulations N.
        params: model fields that differ from the nominal model's, `{name: [*shape] or [N, *shape]}`.
        autoreset_mode: `NEXT_STEP` (the step after an end resets and ignores its action) or `SAME_STEP` (the ending
            step already returns the new episode; the old one's last words are in `final_obs` and `final_info`).
        num_threads: 0 for one per core that this process may use.
        render_mode: None, `"rgb_array"` or `"human"`.

    Attributes:
        task: as given.
        watched: the environment that the mode `"human"` shows.
        before_autoreset: called with the ids `[k]` of the environments that are about to begin a new episode by
            themselves; it may change their parameters.

    Raises:
        ValueError: wrong `num_envs`, mode, fields or render mode.
    """

    def __init__(
        self,
        task: MujocoTask,
        num_envs: int,
        params: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        num_threads: int = 0,
        render_mode: str | None = None,
    ):
        self.task = task
        self.num_envs = checked_count("num_envs", num_envs)
        self.autoreset_mode = checked_autoreset_mode(autoreset_mode)
        self.metadata = {**metadata_of(task), "autoreset_mode": self.autoreset_mode}
        self.render_mode = checked_render_mode(self.metadata, render_mode)
        self.single_observation_space = deepcopy(task.observation_space)
        self.single_action_space = deepcopy(task.action_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._episodes = Episodes(task, self.num_envs, num_threads, params)
        self._screen = Screen(task)
        self.watched = 0
        self._done = np.zeros(self.num_envs, bool)
        self._seeded = False
        self.before_autoreset: Callable[[np.ndarray], object] | None = None

    @property
    def model(self) -> mujoco.MjModel:
        """The nominal model; do not write to it, use `set_params`."""
        return self.task.model

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The model fields that were ever set, `[N, *shape]`."""
        return self._episodes.simulations.params

    def set_params(self, fields: Mapping[str, Any], ids: Any = None) -> None:
        """Change model fields, at once, in running episodes too.

        Args:
            fields: `{name: [*shape] or [k, *shape]}`, names as in `mujoco.batch.MODEL_FIELDS`, with what `mj_setConst`
                derives from them.
            ids: of which environments, `[k]`; None for all.

        Raises:
            ValueError: an unknown field, a wrong shape, a number that is not finite; nothing has changed then.
        """
        self._episodes.simulations.set_params(fields, checked_ids(ids, self.num_envs))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere.

        Args:
            seed: environment `i` gets `seed + i`, or `seed[i]` of a list; None continues the chain of random numbers.
            options: none is known.

        Raises:
            ValueError: an option, a negative seed, or a list of another length than `num_envs`.
        """
        refuse_options(self.task, options)
        seeds = checked_seeds(seed, self.num_envs)
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
        for i, value in enumerate(seeds):
            if value is None and not self._seeded:
                value = int(self.np_random.integers(2**63))
            if value is not None:
                self._episodes.seed(i, value)
        self._seeded = True
        observation, info = self._episodes.begin()
        self._done = np.zeros(self.num_envs, bool)
        self._show()
        return observation, _masked(info, np.ones(self.num_envs, bool))

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one action per environment, `[N, nu]`.

        Raises:
            ValueError: an action of wrong shape or dtype, NaN, or outside the space, named with its environment;
                nothing has changed then.
            gymnasium.error.ResetNeeded: never reset.
        """
        require_reset(self._seeded, "step")
        shown = self._step(actions)
        self._show()
        return shown

    def _step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._step_and_reset(self._episodes.advance(self._episodes.check(actions)))
        live = ~self._done
        if live.all():
            shown = self._episodes.advance(self._episodes.check(actions))
            info = _masked(shown.info, live)
        else:
            shown, info = self._reset_or_step(actions, live)
        self._done = shown.terminated | shown.truncated
        return shown.observation, shown.reward, shown.terminated, shown.truncated, info

    def set_forces(self, forces: Any, ids: Any = None) -> None:
        """Push on bodies until the next reset of each episode: forces (N) and torques (N m) in the world frame.

        Args:
            forces: `[k, nbody, 6]`.
            ids: in which environments, `[k]`; None for all.

        Raises:
            ValueError: a wrong shape, or a number that is not finite.
        """
        chosen = checked_ids(ids, self.num_envs)
        count = self.num_envs if chosen is None else len(chosen)
        self._episodes.simulations.set_forces(checked_forces(self.task, forces, count), chosen)

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the simulations stand: positions `[N, nq]` and velocities `[N, nv]`, copied."""
        now = self._episodes.simulations.now
        return now.qpos.copy(), now.qvel.copy()

    def set_state(self, qpos: Any, qvel: Any, ids: Any = None) -> np.ndarray:
        """Move simulations to positions `[k, nq]` and velocities `[k, nv]` in their running episodes.

        Returns:
            the observations there, `[k, n]`.

        Raises:
            ValueError: a wrong shape, or a number that is not finite.
        """
        chosen = checked_ids(ids, self.num_envs)
        return set_state(self._episodes, qpos, qvel, np.arange(self.num_envs) if chosen is None else chosen)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the running episodes' future depends on, parameters included, as named arrays.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        require_reset(self._seeded, "store episodes")
        return {**self._episodes.state_dict(), "done": self._done.copy()}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue the episodes that `state_dict` stored; task and `num_envs` must be the same.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, or of another shape.
        """
        self._episodes.load_state_dict(arrays)
        self._seeded, self._done = True, np.array(arrays["done"])

    def picture(self, index: int) -> np.ndarray:
        """Return environment `index` as it stands, `[480, 480, 3]` uint8, in any render mode.

        Raises:
            ValueError: no such environment.
            gymnasium.error.ResetNeeded: never reset.
            gymnasium.error.DependencyNotInstalled: neither EGL nor OSMesa works here.
        """
        require_reset(self._seeded, "render")
        checked_ids(index, self.num_envs)
        return self._screen.picture(self._episodes.simulations, index)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return one picture per environment in the mode `"rgb_array"`; `picture` gives one of them. None in others.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
            gymnasium.error.DependencyNotInstalled: neither EGL nor OSMesa works here.
        """
        if self.render_mode != "rgb_array":
            return None
        return tuple(self.picture(index) for index in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Free the window and what is held of OpenGL."""
        self._screen.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._screen.show(self._episodes.simulations, self.watched)

    def _step_and_reset(self, shown: Step) -> tuple:
        ended = shown.terminated | shown.truncated
        if ended.any():
            last_words = {
                "final_obs": np.where(ended[:, None], shown.observation, 0.0),
                "_final_obs": ended.copy(),
                "final_info": _masked({name: value.copy() for name, value in shown.info.items()}, ended),
                "_final_info": ended.copy(),
            }
            info = self._begin(ended, shown.observation, shown.info) | last_words
        else:
            info = _masked(shown.info, ~ended)
        return shown.observation, shown.reward, shown.terminated, shown.truncated, info

    def _reset_or_step(self, actions: Any, live: np.ndarray) -> tuple[Step, dict[str, Any]]:
        checked = self._episodes.check(actions, live)
        if live.any():
            shown = self._episodes.advance(checked, np.flatnonzero(live))
        else:
            n = self.num_envs
            observation = np.empty((n, *self.task.observation_space.shape))
            shown = Step(observation, np.zeros(n), np.zeros(n, bool), np.zeros(n, bool), {})
        fresh = ~live
        for values in (shown.reward, shown.terminated, shown.truncated):
            values[fresh] = 0
        return shown, self._begin(fresh, shown.observation, shown.info)

    def _begin(
        self, fresh: np.ndarray, observation: np.ndarray, info: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Begin episodes where `fresh [N]`; writes their rows of `observation` and `info`, returns the masked info."""
        ids = np.flatnonzero(fresh)
        if self.before_autoreset is not None:
            self.before_autoreset(ids)
        observation[ids], begun = self._episodes.begin(ids)
        result: dict[str, Any] = {}
        if len(ids) < self.num_envs:
            for value in info.values():
                value[ids] = 0
            result = _masked(info, ~fresh)
        for name, value in begun.items():
            if name in result:
                result[f"_{name}"] = np.ones(self.num_envs, bool)
            else:
                result[name] = np.zeros((self.num_envs, *value.shape[1:]), value.dtype)
                result[f"_{name}"] = fresh.copy()
            result[name][ids] = value
        return result


def _masked(info: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    # One mask for all: a copy for each key is a tenth of a step of few environments.
    return {key: each for name, value in info.items() for key, each in ((name, value), (f"_{name}", mask))}
