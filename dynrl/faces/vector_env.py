"""A functional environment as a `gymnasium.vector.VectorEnv`: thousands of copies in one compiled step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dynrl.faces import conversion
from dynrl.faces.episode import key_from_seed, last_state, where
from dynrl.faces.gymnasium_env import as_array, checked_render_mode
from dynrl.faces.lanes import Lanes, Stepped, dense_info, joined_infos, reset_lanes, step_lanes
from dynrl.faces.params import batched_params, broadcast, take
from dynrl.functional import FunctionalEnv, require_functional
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree


class VectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` copies, stepped together and reset on the device.

    It behaves exactly as `gymnasium.vector.SyncVectorEnv` of `GymnasiumEnv`s does, environment for
    environment and seed for seed, with one difference: `final_obs` is a dense array `[N, ...]` (zero where
    `_final_obs` is False), not an array of objects.

    Args:
        func_env: the world.
        num_envs: number of copies N.
        params: constants; each leaf has the default's shape (shared) or `[N, *shape]` (one value per
            environment).
        autoreset_mode: `NEXT_STEP` (the step after an end resets and ignores its action) or `SAME_STEP` (the
            ending step already returns the new episode; the old one's last words are in `final_obs` and
            `final_info`).
        array_backend: `"numpy"`, or `"jax"` to leave observations, rewards, flags and infos on the device.
            There every info key is always present and its mask tells which rows hold.
        render_mode: None or one of `func_env.metadata["render_modes"]`.

    Raises:
        TypeError: `func_env` cannot be compiled.
        ValueError: wrong `num_envs`, `params`, mode or backend.
    """

    def __init__(
        self,
        func_env: FunctionalEnv,
        num_envs: int,
        params: Any = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        array_backend: str = "numpy",
        render_mode: str | None = None,
    ):
        self.func_env = require_functional(func_env)
        self.num_envs = _checked_count(num_envs)
        self.autoreset_mode = _checked_mode(autoreset_mode)
        if array_backend not in ("numpy", "jax"):
            raise ValueError(f"array_backend is {array_backend!r}, expected 'numpy' or 'jax'.")
        self.array_backend = array_backend
        self.render_mode = checked_render_mode(func_env, render_mode)
        self.metadata = {**func_env.metadata, "autoreset_mode": self.autoreset_mode}
        if array_backend == "jax":
            self.metadata["jax"] = True
        self.single_observation_space = deepcopy(func_env.observation_space)
        self.single_action_space = deepcopy(func_env.action_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.params = params
        self._keys: np.ndarray | None = None
        self._lanes: Lanes | None = None
        self._done = np.zeros(self.num_envs, bool)

    @property
    def params(self) -> Any:
        """The world's constants, a pytree of NumPy arrays; setting it takes effect at once, in running
        episodes too."""
        return self._params

    @params.setter
    def params(self, params: Any) -> None:
        self._params, self._axes = batched_params(self.func_env, params, self.num_envs)
        self._on_device = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode everywhere.

        Args:
            seed: environment `i` gets `seed + i`, or `seed[i]` of a list; None continues the chain of random
                keys.
            options: constants of these episodes, see `func_env.apply_options`; gone after the next
                auto-reset.

        Raises:
            ValueError: an unknown option, or a list of another length than `num_envs`.
        """
        episode_params = self._option_params(options or {})
        seeded = self._seed(seed)
        with jax.enable_x64(self.func_env.x64):
            lanes_params, axes = self._device_params(), self._axes
            if episode_params is not None:
                lanes_params, axes = episode_params, (0,) * len(self._axes)
            begun = reset_lanes(self.func_env, axes, self._keys, lanes_params)
            last = last_state(self.func_env, None if self._lanes is None else self._lanes.episode)
            if last is not None and not options and not seeded.all():
                following = reset_lanes(self.func_env, axes, self._keys, lanes_params, last)
                begun = where(jnp.asarray(seeded), begun, following)
            episode, observation, info = begun
            self._lanes = Lanes(episode, jnp.zeros(self.num_envs, bool), episode_params)
        self._done = np.zeros(self.num_envs, bool)
        everywhere = np.ones(self.num_envs, bool)
        if self.array_backend == "jax":
            return observation, dense_info(info, jnp.asarray(everywhere))
        info = jax.device_get(info)
        return conversion.to_space(self.single_observation_space, observation), conversion.batched_info(
            info, everywhere
        )

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one action per environment, `[N, *shape]`.

        Raises:
            ValueError: an action of wrong shape or dtype, NaN, or outside the space, named with its
                environment; nothing has changed then.
            gymnasium.error.ResetNeeded: never reset.
        """
        if self._lanes is None:
            raise ResetNeeded("cannot step: the environments were never reset; call reset() first.")
        resetting = self._done if self.autoreset_mode is AutoresetMode.NEXT_STEP else None
        checked = self._check(actions, resetting)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        with jax.enable_x64(self.func_env.x64):
            self._lanes, shown = step_lanes(
                self.func_env, self._axes, same_step, self._lanes, self._device_params(), checked
            )
        if self.array_backend == "jax":
            return self._jax_result(shown, resetting)
        return self._numpy_result(shown, resetting)

    def restart(self, chosen: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes in some environments, with the `params` as they are now; their random keys go on.

        For callers that change `params` when an episode ends: the one that auto-reset began has the old ones.

        Args:
            chosen: which, `[N]` bool.

        Returns:
            observations and infos of a reset; rows outside `chosen` mean nothing.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self._lanes is None:
            raise ResetNeeded("cannot restart: the environments were never reset; call reset() first.")
        mask, (episode, done, own) = jnp.asarray(chosen), self._lanes
        with jax.enable_x64(self.func_env.x64):
            params = self._device_params()
            begun, observation, info = reset_lanes(self.func_env, self._axes, episode.key, params)
            own = None if own is None else where(mask, broadcast(params, self._axes, self.num_envs), own)
            self._lanes = Lanes(where(mask, begun, episode), done & ~mask, own)
        self._done = self._done & ~np.asarray(chosen)
        if self.array_backend == "jax":
            return observation, dense_info(info, mask)
        info = conversion.batched_info(jax.device_get(info), np.asarray(chosen))
        return conversion.to_space(self.single_observation_space, observation), info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return one picture `[H, W, 3]` per environment, None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self.render_mode is None:
            return None
        if self._lanes is None:
            raise ResetNeeded("cannot render: the environments were never reset; call reset() first.")
        states = conversion.to_host(self._lanes.episode.state)
        return tuple(
            self.func_env.render_image(
                jax.tree.map(lambda leaf, i=i: leaf[i], states), self._running_params(i)
            )
            for i in range(self.num_envs)
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the running episodes' future depends on, as named arrays.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self._lanes is None:
            raise ResetNeeded("there are no episodes to store; call reset() first.")
        return flatten_tree(conversion.to_host(self._lanes), prefix="env")

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue the episodes that `state_dict` stored; the env must be built with the same settings and
        params.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, unexpected, or of another shape or dtype.
        """
        with_params = any(name.startswith("env/params") for name in arrays)
        keys = np.zeros((self.num_envs, 2), np.uint32)
        with jax.enable_x64(self.func_env.x64):
            shapes, _, _ = jax.eval_shape(
                lambda *args: reset_lanes(self.func_env, self._axes, *args), keys, self._params
            )
            episode = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        params = broadcast(self._params, self._axes, self.num_envs) if with_params else None
        lanes = Lanes(episode, np.zeros(self.num_envs, bool), params)
        self._lanes = unflatten_tree(lanes, arrays, prefix="env")
        self._done = np.array(self._lanes.done)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lanes": conversion.to_host(self._lanes), "_on_device": None}

    def _seed(self, seed: int | Sequence[int | None] | None) -> np.ndarray:
        """Renew the keys of the environments that have a seed; returns which, `[N]` bool."""
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed has {len(seeds)} entries, expected one per environment: {self.num_envs}.")
        negative = [value for value in seeds if value is not None and value < 0]
        if negative:
            raise gymnasium.error.Error(f"seed {negative[0]} is negative, expected a non-negative integer.")
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
        if self._lanes is not None:
            self._keys = np.array(self._lanes.episode.key)
        elif self._keys is None:
            drawn = self.np_random.integers(2**32, size=self.num_envs)
            self._keys = np.stack([key_from_seed(int(value)) for value in drawn])
        for i, value in enumerate(seeds):
            if value is not None:
                self._keys[i] = key_from_seed(int(value))
        return np.array([value is not None for value in seeds])

    def _option_params(self, options: Mapping[str, Any]) -> Any:
        # Per environment where anything differs between environments: `apply_options` knows single worlds
        # only.
        if not options:
            return None
        apply = self.func_env.apply_options
        if all(axis is None for axis in self._axes):
            single = apply(self._params, options)
            return broadcast(batched_params(self.func_env, single, None)[0], self._axes, self.num_envs)
        applied = [apply(take(self._params, self._axes, i), options) for i in range(self.num_envs)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *applied)

    def _running_params(self, index: int) -> Any:
        if self._lanes is not None and self._lanes.params is not None:
            return conversion.to_host(jax.tree.map(lambda leaf: leaf[index], self._lanes.params))
        return take(self._params, self._axes, index)

    def _device_params(self) -> Any:
        if self._on_device is None:
            self._on_device = jax.device_put(self._params)
        return self._on_device

    def _check(self, actions: Any, resetting: np.ndarray | None) -> np.ndarray:
        actions = as_array(actions)
        if actions.ndim == 0 or len(actions) != self.num_envs:
            raise ValueError(
                f"actions have shape {actions.shape}, expected {self.num_envs} rows: {self.action_space}."
            )
        if resetting is None or not resetting.any():
            return self.func_env.check_actions(actions)
        # The environments that are about to be reset ignore their action, whatever it is.
        live = self.func_env.check_actions(actions[~resetting])
        checked = np.zeros((self.num_envs, *live.shape[1:]), live.dtype)
        checked[~resetting] = live
        return checked

    def _numpy_result(self, shown: Stepped, resetting: np.ndarray | None) -> tuple:
        space = self.single_observation_space
        terminated, truncated = np.array(shown.terminated), np.array(shown.truncated)
        ended = terminated | truncated
        self._done = ended
        infos: dict[str, Any] = {}
        fresh = ended if resetting is None else resetting
        if not fresh.all():
            infos = conversion.batched_info(jax.device_get(shown.info), ~fresh)
        if fresh.any():
            reset_infos = conversion.batched_info(jax.device_get(shown.reset_info), fresh)
            infos = conversion.merged_infos(infos, reset_infos, fresh)
            if resetting is None:
                infos |= self._last_words(shown, ended)
        observation = conversion.to_space(space, shown.observation)
        return observation, np.array(shown.reward, np.float64), terminated, truncated, infos

    def _last_words(self, shown: Stepped, ended: np.ndarray) -> dict[str, Any]:
        return {
            "final_obs": conversion.to_space(self.single_observation_space, shown.final_observation),
            "_final_obs": ended.copy(),
            "final_info": conversion.batched_info(jax.device_get(shown.final_info), ended),
            "_final_info": ended.copy(),
        }

    def _jax_result(self, shown: Stepped, resetting: np.ndarray | None) -> tuple:
        ended = shown.terminated | shown.truncated
        self._done = np.array(ended)
        fresh = ended if resetting is None else jnp.asarray(resetting)
        infos = joined_infos(shown.info, shown.reset_info, fresh)
        if resetting is None:
            infos |= {"final_obs": shown.final_observation, "_final_obs": ended}
            infos |= {"final_info": dense_info(shown.final_info, ended), "_final_info": ended}
        return shown.observation, shown.reward, shown.terminated, shown.truncated, infos


def _checked_count(num_envs: int) -> int:
    if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
        raise ValueError(f"num_envs is {num_envs!r}, expected a positive integer.")
    return int(num_envs)


def _checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        mode = AutoresetMode(mode)
    except ValueError:
        mode = AutoresetMode.DISABLED
    if mode is AutoresetMode.DISABLED:
        raise ValueError("autoreset_mode must be AutoresetMode.NEXT_STEP or AutoresetMode.SAME_STEP.")
    return mode
