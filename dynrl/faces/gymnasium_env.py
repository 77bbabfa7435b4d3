"""A functional environment as a `gymnasium.Env`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.error import ResetNeeded

from dynrl.faces import conversion
from dynrl.faces.episode import Episode, advance, begin, key_from_seed, last_state
from dynrl.faces.params import checked_params
from dynrl.functional import FunctionalEnv, require_functional
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree

_begin = jax.jit(begin, static_argnums=0)
_advance = jax.jit(advance, static_argnums=0)


class GymnasiumEnv(gymnasium.Env):
    """One environment, stepped from Python; compiled, NumPy out.

    Equal functional environments share compiled code, so a thousand instances compile once. Instances pickle
    and deep-copy, and the copy continues exactly as the original would.

    Args:
        func_env: the world.
        params: its constants; None for `func_env.default_params`.
        render_mode: None or one of `func_env.metadata["render_modes"]`.

    Attributes:
        func_env: the world.

    Raises:
        TypeError: `func_env` cannot be compiled (not a frozen dataclass, not hashable).
        ValueError: `params` of another structure or shape; unknown render mode.
    """

    def __init__(self, func_env: FunctionalEnv, params: Any = None, render_mode: str | None = None):
        self.func_env = require_functional(func_env)
        self.metadata = dict(func_env.metadata)
        self.render_mode = checked_render_mode(func_env, render_mode)
        self.observation_space = deepcopy(func_env.observation_space)
        self.action_space = deepcopy(func_env.action_space)
        self.params = params
        self._key: np.ndarray | None = None
        self._episode: Episode | None = None
        self._option_params: Any = None
        self._ended = False

    @property
    def params(self) -> Any:
        """The world's constants, a pytree; setting it takes effect at once, unless the episode has options of
        its
        own."""
        return self._params

    @params.setter
    def params(self, params: Any) -> None:
        self._params = checked_params(self.func_env, params)
        self._on_device: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: starts the chain of random keys anew; None continues it.
            options: constants of this one episode, see `func_env.apply_options`.

        Raises:
            ValueError: an option that the environment does not know.
        """
        own = (
            checked_params(self.func_env, self.func_env.apply_options(self._params, options))
            if options
            else None
        )
        super().reset(seed=seed)
        if seed is not None:
            self._key = key_from_seed(seed)
        elif self._key is None:
            self._key = key_from_seed(int(self.np_random.integers(2**32)))
        key = self._key if self._episode is None or seed is not None else self._episode.key
        last = None if seed is not None or options else last_state(self.func_env, self._episode)
        with jax.enable_x64(self.func_env.x64):
            self._option_params = own
            self._episode, observation, info = _begin(self.func_env, key, self._running_params(), last)
        self._ended = False
        return conversion.to_single(self.observation_space, observation), conversion.single_info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one action.

        Raises:
            ValueError: an action of wrong shape or dtype, NaN, or outside the space; nothing has changed
                then.
            gymnasium.error.ResetNeeded: no episode is running.
        """
        if self._episode is None or self._ended:
            why = "the episode has ended" if self._ended else "the environment was never reset"
            raise ResetNeeded(f"cannot step: {why}; call reset() first.")
        checked = self.func_env.check_actions(as_array(action)[None])[0]
        with jax.enable_x64(self.func_env.x64):
            self._episode, shown = _advance(self.func_env, self._episode, checked, self._running_params())
        outcome = jax.tree.map(np.asarray, shown)
        terminated, truncated = bool(outcome.terminated), bool(outcome.truncated)
        self._ended = terminated or truncated
        observation = conversion.to_single(self.observation_space, outcome.observation)
        return observation, float(outcome.reward), terminated, truncated, conversion.single_info(outcome.info)

    def render(self) -> np.ndarray | None:
        """Return the picture `[H, W, 3]` uint8 of the current state, None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self.render_mode is None:
            return None
        if self._episode is None:
            raise ResetNeeded("cannot render: the environment was never reset; call reset() first.")
        state, params = conversion.to_host((self._episode.state, self._running_params()))
        return self.func_env.render_image(state, params)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the running episode's future depends on, as named arrays.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self._episode is None:
            raise ResetNeeded("there is no episode to store; call reset() first.")
        return flatten_tree((self._episode, np.array(self._ended), self._option_params), prefix="env")

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue the episode that `state_dict` stored; the env must be built with the same settings.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, unexpected, or of another shape or dtype.
        """
        with jax.enable_x64(self.func_env.x64):
            start = partial(begin, self.func_env)
            shapes, _, _ = jax.eval_shape(start, key_from_seed(0), self._params)
            episode = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        with_options = any(name.startswith("env/2") for name in arrays)
        template = (episode, np.array(False), self._params if with_options else None)
        self._episode, ended, self._option_params = unflatten_tree(template, arrays, prefix="env")
        self._ended = bool(ended)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_episode": conversion.to_host(self._episode), "_on_device": None}

    def _running_params(self) -> Any:
        if self._option_params is not None:
            return self._option_params
        if self._on_device is None:
            self._on_device = jax.device_put(self._params)
        return self._on_device


def checked_render_mode(func_env: FunctionalEnv, render_mode: str | None) -> str | None:
    """Return `render_mode` if the environment offers it.

    Raises:
        ValueError: it does not.
    """
    offered = func_env.metadata["render_modes"]
    if render_mode is not None and render_mode not in offered:
        raise ValueError(
            f"{type(func_env).__name__} offers no render_mode {render_mode!r}; "
            f"expected None or one of {list(offered)}."
        )
    return render_mode


def as_array(action: Any) -> np.ndarray:
    """Return what came as an action as an array.

    Raises:
        ValueError: it is none.
    """
    try:
        return np.asarray(action)
    except ValueError as error:
        raise ValueError(f"action {action!r} is no array: {error}") from error
