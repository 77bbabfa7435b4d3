"""The functional environment: written once as pure functions of arrays, seen through many faces.

A `FunctionalEnv` is a frozen dataclass on top of `gymnasium.experimental.functional.FuncEnv`. Its methods are
pure JAX functions of `(state, action, rng, params)`; the faces (`GymnasiumEnv`, `VectorEnv`, `SB3VecEnv`,
`BraxEnv`, `rollout`) compile them.

Nothing can raise inside compiled code: a wrong value there becomes NaN or is clamped. Everything that a user
can get wrong is therefore checked in NumPy before it enters (`check_actions`, `apply_options`, the
dataclass's own `__post_init__`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces
from gymnasium.experimental.functional import FuncEnv


class FunctionalEnv(FuncEnv):
    """Base class of every environment: the world as pure functions, without time.

    Subclasses are frozen dataclasses. Their compared fields are static settings that select the computation;
    a field that only feeds `params` is declared `dataclasses.field(compare=False)`. Environments that compare
    equal share compiled code, so inside the pure functions read numbers from `params` and never from a
    `compare=False` field.

    Every constant of the world is a leaf of `params`. The step counter, truncation at `horizon`, random keys
    and auto-reset belong to the faces. One key per step is handed to `transition`, `reward`, `terminal` and
    `observation` alike: use `jax.random.fold_in(rng, i)` or `split` where two of them need independent draws.

    Attributes:
        horizon: number of steps after which an episode that has not terminated is truncated; None means
            never.
        x64: whether the faces compute in float64. The functions themselves must work in both precisions.
        metadata: Gymnasium's metadata; list `"rgb_array"` in `render_modes` where `render_image` is given.
        option_choices: constructor arguments and values worth trying, drawn by `dynrl.testing.check_env`.
        gymnasium_class: `"module:Class"` of a `GymnasiumEnv` subclass that `gymnasium.make` builds; None for
            `GymnasiumEnv`.
    """

    horizon: int | None
    x64: ClassVar[bool] = False
    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": []}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {}
    gymnasium_class: ClassVar[str | None] = None

    @cached_property
    def default_params(self) -> Any:  # type: ignore[override]
        """The world's constants as a pytree of read-only NumPy arrays, from `get_default_params()`."""
        with jax.enable_x64(self.x64):
            return jax.tree.map(_read_only, self.get_default_params())

    def get_default_params(self, **kwargs: Any) -> Any:
        """Return the world's constants as a pytree of arrays. Default: no constants."""
        return ()

    def following(self, last: Any, rng: Any, params: Any = None) -> Any:
        """Return the first state of the episode after one that ended in the state `last`. Default: `initial`.

        For worlds whose episodes come in an order, such as the days of a log. A reset with a seed or with options
        begins anew, with `initial`.
        """
        return self.initial(rng, params)

    def truncated(self, state: Any, rng: Any, params: Any = None) -> Any:
        """Return whether the episode is cut short here, `[]` bool, for a reason other than `horizon`: the data end."""
        return jnp.zeros((), bool)

    def state_info(self, state: Any, params: Any = None) -> dict[str, Any]:
        """Return the `info` of a reset: a dict (may be nested) of arrays."""
        return {}

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        """Return the `info` of a step: a dict (may be nested) of arrays."""
        return {}

    def render_image(self, state: Any, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Return an image `[H, W, 3]` uint8 of the state. Runs in NumPy, outside compiled code."""
        raise NotImplementedError(f"{type(self).__name__} offers no picture; its render_modes are empty.")

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        """Check actions that come from outside and return them in the action space's dtype.

        Args:
            actions: `[N, *action_space.shape]`, one row per environment.

        Raises:
            ValueError: wrong shape or dtype, NaN, or outside the space; names the first offending
                environment.
        """
        return check_actions(self.action_space, actions)

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        """Return the params of one episode, from `reset(options=...)`.

        Raises:
            ValueError: an option that this environment does not know.
        """
        if options:
            raise ValueError(
                f"{type(self).__name__} knows no reset option {sorted(options)[0]!r}; it takes none. "
                "Pass constants through `params` instead."
            )
        return params


def require_functional(env: Any) -> FunctionalEnv:
    """Return `env` if the faces can compile it.

    Raises:
        TypeError: not a `FunctionalEnv`, not a frozen dataclass, or not hashable.
    """
    if not isinstance(env, FunctionalEnv):
        raise TypeError(
            f"expected a dynrl.FunctionalEnv, got {type(env).__name__}; "
            "dynrl.make_functional(name) builds a registered one."
        )
    name = type(env).__name__
    if not dataclasses.is_dataclass(env) or not type(env).__dataclass_params__.frozen:
        raise TypeError(f"{name} must be a frozen dataclass: decorate it with @dataclass(frozen=True).")
    try:
        hash(env)
    except TypeError as error:
        raise TypeError(
            f"{name} is not hashable ({error}), so compiled code cannot be shared: make static settings "
            "hashable (tuples, frozen dataclasses) and declare array fields `field(compare=False)`, feeding "
            "`params`."
        ) from error
    return env


def check_actions(space: Space, actions: Any) -> np.ndarray:
    """Check a batch of actions `[N, *space.shape]` against a Box, Discrete, MultiDiscrete or MultiBinary
    space.

    Raises:
        ValueError: wrong shape or dtype, NaN, or out of range.
        NotImplementedError: another kind of space; override `FunctionalEnv.check_actions`.
    """
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise NotImplementedError(
            f"override check_actions for an action space of type {type(space).__name__}."
        )
    try:
        actions = np.asarray(actions)
    except ValueError as error:
        raise ValueError(f"actions are no array ({error}); expected {space}.") from error
    if actions.shape[1:] != space.shape:
        raise ValueError(f"action has shape {actions.shape[1:]}, expected {space.shape}: {space}.")
    if actions.dtype == np.bool_ and not isinstance(space, spaces.MultiBinary):
        raise ValueError(f"action has dtype bool, expected {space.dtype}: {space}.")
    if not np.can_cast(actions.dtype, space.dtype, casting="same_kind") and not (
        actions.dtype.kind in "iu" and np.dtype(space.dtype).kind in "iu"
    ):
        raise ValueError(f"action has dtype {actions.dtype}, expected {space.dtype}: {space}.")
    if actions.dtype.kind == "f" and not np.isfinite(actions).all():
        _reject(actions, ~np.isfinite(actions), "is not finite", space)
    low, high = _bounds(space)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and that is outside
        cast = actions.astype(space.dtype) if actions.dtype.kind == "f" else actions
    outside = (cast < low) | (cast > high)
    if outside.any():
        _reject(actions, outside, "is outside the space", space)
    return cast.astype(space.dtype, copy=False)


def _bounds(space: Space) -> tuple[Any, Any]:
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return 0, 1


def _reject(actions: np.ndarray, wrong: np.ndarray, what: str, space: Space) -> None:
    index = tuple(np.argwhere(wrong)[0])
    where = f" (environment {index[0]})" if len(actions) > 1 else ""
    raise ValueError(f"action {actions[index[0]]!r} {what}{where}, expected {space}.")


def _read_only(leaf: Any) -> np.ndarray:
    array = np.array(leaf)
    array.flags.writeable = False
    return array
