"""Vector environments whose lanes have parameters of their own: our C engine, our functional worlds, and any others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from dynrl.robust.binding import (
    Columns,
    force_element,
    parameter_map,
    world_of,
)
from dynrl.robust.sets import UncertaintySet

Redraw = Callable[[np.ndarray], bool]


class Lanes(Protocol):
    """What `RobustVectorEnv` asks of a vector environment.

    Attributes:
        env: the vector environment, in SAME_STEP mode.
        delays: whether it delays actions itself.
    """

    delays: bool

    @property
    def env(self) -> gymnasium.vector.VectorEnv: ...

    def apply(self, psi: np.ndarray, ids: np.ndarray) -> None:
        """Give the environments `ids [k]` the parameters `psi [k, d]`, at once."""

    def after_begin(self, psi: np.ndarray, ids: np.ndarray) -> None:
        """Repeat what the start of an episode took away in the environments `ids`."""

    def step(self, actions: Any, redraw: Redraw) -> tuple:
        """Step; call `redraw(ids)` where episodes ended, before the next ones begin if that can be; it says whether
        parameters changed."""


class MujocoLanes:
    """Simulations on the C engine; parameters are model fields and forces."""

    delays = False

    def __init__(
        self, task: Any, uset: UncertaintySet, num_envs: int, num_threads: int, render_mode: str | None
    ):
        from dynrl.physics.vector_env import MujocoVectorEnv

        self.env = MujocoVectorEnv(task, num_envs, None, AutoresetMode.SAME_STEP, num_threads, render_mode)
        world = world_of(task)
        self._columns = Columns(uset.params)
        self._map = parameter_map(uset, world, num_threads)
        self._elements = [force_element(world, uset.params[i]) for i in self._columns.force]

    def apply(self, psi: np.ndarray, ids: np.ndarray) -> None:
        if self._map is not None:
            self.env.set_params(self._map.fields(psi[:, self._columns.model]), ids)
        self.after_begin(psi, ids)

    def after_begin(self, psi: np.ndarray, ids: np.ndarray) -> None:
        if not self._elements:
            return
        forces = np.zeros((len(ids), self.env.model.nbody, 6))
        for column, (body, axis) in zip(self._columns.force, self._elements, strict=True):
            forces[:, body, axis] = psi[:, column]
        self.env.set_forces(forces, ids)

    def step(self, actions: Any, redraw: Redraw) -> tuple:
        self.env.before_autoreset = redraw
        return self.env.step(actions)


class FunctionalLanes:
    """Copies of a functional world; parameters are leaves of its `params`, or model fields of a task on MJX."""

    delays = False

    def __init__(self, func_env: Any, uset: UncertaintySet, num_envs: int, render_mode: str | None):
        from dynrl.faces.vector_env import VectorEnv
        from dynrl.robust.evaluation.params import ParamsOf

        self.env = VectorEnv(func_env, num_envs, None, AutoresetMode.SAME_STEP, render_mode=render_mode)
        delay = Columns(uset.params).delay
        self._constant = [i for i in range(uset.dim) if i not in delay]
        constants = [uset.names[i] for i in self._constant]
        self._params_of = ParamsOf(func_env, uset.subset(constants)) if constants else None
        self._psi = np.repeat(uset.nominal[None], num_envs, axis=0)

    def apply(self, psi: np.ndarray, ids: np.ndarray) -> None:
        self._psi[ids] = psi
        if self._params_of is not None:
            self.env.params = self._params_of(self._psi[:, self._constant])

    def after_begin(self, psi: np.ndarray, ids: np.ndarray) -> None:
        pass

    def step(self, actions: Any, redraw: Redraw) -> tuple:
        observation, reward, terminated, truncated, info = self.env.step(actions)
        ended = terminated | truncated
        if ended.any() and redraw(np.flatnonzero(ended)):
            from dynrl.faces.conversion import merged_infos

            # The episodes that began inside the compiled step had the old constants.
            fresh, begun = self.env.restart(ended)
            observation = np.where(ended.reshape((-1,) + (1,) * (observation.ndim - 1)), fresh, observation)
            info = merged_infos(info, begun, ended)
        return observation, reward, terminated, truncated, info


class LoopLanes:
    """Any Gymnasium environments, one after another in Python; for convenience, not for speed.

    Raises:
        ValueError: one environment that stands for two, or observations that are no array.
    """

    delays = True

    def __init__(self, envs: Sequence[gymnasium.Env], uset: UncertaintySet):
        from dynrl.robust.robust_env import RobustEnv

        if len({id(env.unwrapped) for env in envs}) < len(envs):
            raise ValueError(
                "the function gave the same environment twice; it must make a new one at each call."
            )
        space = envs[0].observation_space
        if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            raise ValueError(
                f"lanes need observations in one array, got {space}; wrap the environment in "
                "gymnasium.wrappers.FlattenObservation."
            )
        self._envs = [RobustEnv(env, uset, sticky=True) for env in envs]
        self.env: gymnasium.vector.VectorEnv = gymnasium.vector.SyncVectorEnv(
            [partial(_itself, env) for env in self._envs], autoreset_mode=AutoresetMode.SAME_STEP
        )
        self._redraw: Redraw | None = None
        for i, env in enumerate(self._envs):
            env.before_reset = partial(self._before_reset, i)

    def apply(self, psi: np.ndarray, ids: np.ndarray) -> None:
        for row, i in zip(psi, ids, strict=True):
            self._envs[i].set_psi(row)

    def after_begin(self, psi: np.ndarray, ids: np.ndarray) -> None:
        pass

    def step(self, actions: Any, redraw: Redraw) -> tuple:
        self._redraw = redraw
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._redraw = None
        ended = terminated | truncated
        if ended.any():
            # As the other lanes have it: a dense array.
            final = np.zeros_like(observation)
            final[ended] = np.stack(list(info["final_obs"][ended]))
            info["final_obs"] = final
        return observation, np.asarray(reward, float), terminated, truncated, info

    def _before_reset(self, index: int) -> None:
        if self._redraw is not None:
            self._redraw(np.array([index]))


def _itself(env: gymnasium.Env) -> gymnasium.Env:
    return env
