"""A vector environment as a Stable-Baselines3 `VecEnv`. Needs `pip install dynrl[sb3]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from dynrl.faces.vector_env import VectorEnv
from dynrl.registry import make_vector_env

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
except ImportError as error:
    raise ImportError("SB3VecEnv needs Stable-Baselines3: pip install dynrl[sb3]") from error


class SB3VecEnv(VecEnv):
    """`num_envs` copies in one step, for Stable-Baselines3's and SBX's algorithms.

    Infos carry every key of the environment's info, `terminal_observation` where an episode ended and
    `TimeLimit.truncated` as SB3 expects them. SB3 seeds with `seed()`: environment `i` gets `seed + i` at the
    next reset.

    Args:
        env: a vector env of this library in SAME_STEP mode with NumPy arrays, or a registered name.
        num_envs: number of copies, when `env` is a name.
        kwargs: the named environment's constructor arguments; `backend` and `num_threads` of a MuJoCo task.

    Raises:
        ValueError: a vector env in another mode or backend; an unknown name; `num_envs` or arguments beside a
            vector env.
        ImportError: Stable-Baselines3 is not installed.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv | str, num_envs: int | None = None, **kwargs: Any):
        if isinstance(env, str):
            env = make_vector_env(env, num_envs or 1, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
        elif num_envs is not None or kwargs:
            raise ValueError("num_envs and environment arguments go with a name; a vector env has its own.")
        mode = env.metadata.get("autoreset_mode")
        on_device = isinstance(env, VectorEnv) and env.array_backend != "numpy"
        if mode is not AutoresetMode.SAME_STEP or on_device:
            raise ValueError(
                "SB3VecEnv needs a vector env with autoreset_mode='SameStep' and array_backend='numpy', "
                f"got {getattr(mode, 'value', mode)!r} and {'jax' if on_device else 'numpy'!r}."
            )
        # Gymnasium types seeds and pictures more narrowly than its own vector envs do.
        self.env: Any = env
        self._actions: np.ndarray | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start an episode everywhere, with the seeds and options that SB3 set."""
        seed = None if all(value is None for value in self._seeds) else list(self._seeds)
        options = _shared_options(self._options)
        observation, infos = self.env.reset(seed=seed, options=options)
        self.reset_infos = _rows(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions `[N, *shape]` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Play them; returns `(observations, rewards [N] float32, dones [N], infos)`.

        Raises:
            ValueError: an action of wrong shape or dtype, NaN, or outside the space.
        """
        observation, reward, terminated, truncated, infos = self.env.step(self._actions)
        dones = terminated | truncated
        final_observation, final_info = infos.pop("final_obs", None), infos.pop("final_info", {})
        infos.pop("_final_obs", None), infos.pop("_final_info", None)
        rows = _rows(infos, self.num_envs)
        for index in np.flatnonzero(dones).tolist():
            self.reset_infos[index] = rows[index]
            rows[index] = _row(final_info, index)
            rows[index]["terminal_observation"] = _pick(final_observation, index)
        for row, cut in zip(rows, np.asarray(truncated & ~terminated).tolist(), strict=True):
            row["TimeLimit.truncated"] = cut
        return observation, reward.astype(np.float32), dones, rows

    def close(self) -> None:
        """Close the vector env."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the vector env, once per asked environment (they share it)."""
        return [getattr(self.env, attr_name)] * len(self._picked(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector env, for all environments.

        Raises:
            ValueError: only some environments are asked; per-environment constants go through `env.params`.
        """
        if len(self._picked(indices)) != self.num_envs:
            raise ValueError(
                "environments share their attributes: leave indices out, or give per-env params."
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector env; its result once per asked environment."""
        return [getattr(self.env, method_name)(*args, **kwargs)] * len(self._picked(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Return False for every asked environment: there are no wrappers inside."""
        return [False] * len(self._picked(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return one picture `[H, W, 3]` per environment."""
        return self.env.render() or [None] * self.num_envs

    def _picked(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))


def _shared_options(options: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    options = list(options)
    if any(each != options[0] for each in options):
        raise ValueError("reset options differ between environments; give per-env params to the VectorEnv.")
    return options[0] or None


def _rows(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return the info of every environment. Whole columns at a time: SB3 asks for it in each step."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for name, value in infos.items():
        mask = infos.get(f"_{name}")
        if mask is None:
            continue
        chosen = np.flatnonzero(mask).tolist()
        if isinstance(value, dict):
            column = _rows(value, num_envs)
        elif value.ndim == 1 and value.dtype != object:
            column = value.tolist()
        else:
            column = [each.copy() for each in value]
        for index in chosen:
            rows[index][name] = column[index]
    return rows


def _row(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the info of one environment: the keys whose mask holds there."""
    row: dict[str, Any] = {}
    for name, value in infos.items():
        mask = infos.get(f"_{name}")
        if mask is not None and mask[index]:
            row[name] = _row(value, index) if isinstance(value, dict) else _scalar(value[index])
    return row


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value.copy()


def _pick(observation: Any, index: int) -> Any:
    if isinstance(observation, dict):
        return {name: _pick(value, index) for name, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_pick(value, index) for value in observation)
    return observation[index]
