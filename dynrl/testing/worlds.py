"""A small world that uses everything a functional environment may use, for tests of faces, agents and
checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.functional import FunctionalEnv


class WalkState(NamedTuple):
    """Position `[2]` and length `[]` of the path so far."""

    position: Any
    travelled: Any


@dataclass(frozen=True)
class RandomWalk(FunctionalEnv):
    """A point in the plane that is pushed, drifts and shakes; an episode ends when it leaves a disc.

    | action (index) | meaning | min | max |
    |---|---|---|---|
    | 0, 1 | push along x, y | −1 | 1 |

    The observation is the position `[2]`, or with `observe="dict"` a dict with `position` and `outside`
    (Discrete(2)). The reward is minus the distance from the centre. Constants (`params`): `start [2]`, `drift
    [2]`, `noise []` (standard deviation), `limit []` (radius).

    Reset options: `start`, two numbers.
    """

    horizon: int | None = 20
    observe: str = "position"
    limit: float = field(default=2.0, compare=False)
    noise: float = field(default=0.3, compare=False)

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (3, 20),
        "observe": ("position", "dict"),
        "limit": (0.5, 2.0, 10.0),
        "noise": (0.0, 0.3),
    }

    def __post_init__(self) -> None:
        if self.observe not in ("position", "dict"):
            raise ValueError(f"observe is {self.observe!r}, expected 'position' or 'dict'.")

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        position = spaces.Box(-np.inf, np.inf, (2,), np.float64 if self.x64 else np.float32)
        if self.observe == "position":
            return position
        return spaces.Dict({"position": position, "outside": spaces.Discrete(2)})

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def get_default_params(self, **kwargs: Any) -> Any:
        return {
            "start": jnp.zeros(2),
            "drift": jnp.array([0.1, -0.05]),
            "noise": jnp.asarray(self.noise, float),
            "limit": jnp.asarray(self.limit, float),
        }

    def initial(self, rng: Any, params: Any = None) -> WalkState:
        shake = 0.1 * jax.random.normal(rng, (2,))
        return WalkState(params["start"] + shake, 0.0)

    def transition(self, state: WalkState, action: Any, rng: Any, params: Any = None) -> WalkState:
        shake = params["noise"] * jax.random.normal(jax.random.fold_in(rng, 0), (2,))
        step = 0.3 * action + params["drift"] + shake
        return WalkState(state.position + step, state.travelled + jnp.linalg.norm(step))

    def observation(self, state: WalkState, rng: Any, params: Any = None) -> Any:
        if self.observe == "position":
            return state.position
        return {"position": state.position, "outside": self.terminal(state, rng, params).astype(int)}

    def reward(
        self, state: WalkState, action: Any, next_state: WalkState, rng: Any, params: Any = None
    ) -> Any:
        return -jnp.linalg.norm(next_state.position)

    def terminal(self, state: WalkState, rng: Any, params: Any = None) -> Any:
        return jnp.linalg.norm(state.position) > params["limit"]

    def state_info(self, state: WalkState, params: Any = None) -> dict[str, Any]:
        return {"travelled": state.travelled, "world": {"limit": params["limit"]}}

    def transition_info(
        self, state: WalkState, action: Any, next_state: WalkState, params: Any = None
    ) -> dict[str, Any]:
        moved = next_state.position - state.position
        return {
            "travelled": next_state.travelled,
            "moved": moved,
            "pushed": jnp.any(action != 0),
            "world": {"limit": params["limit"], "quadrant": jnp.sum(next_state.position > 0)},
        }

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        unknown = sorted(set(options) - {"start"})
        if unknown:
            raise ValueError(f"RandomWalk knows no reset option {unknown[0]!r}; it takes 'start'.")
        if "start" not in options:
            return params
        start = np.asarray(options["start"], float)
        if start.shape != (2,) or not np.isfinite(start).all():
            raise ValueError(f"reset option 'start' is {options['start']!r}, expected two finite numbers.")
        return {**params, "start": start}

    def render_image(self, state: WalkState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        image = np.full((32, 32, 3), 255, np.uint8)
        row, column = np.clip(16 + 14 * np.asarray(state.position) / params["limit"], 0, 31).astype(int)
        image[row, column] = 0
        return image


@dataclass(frozen=True)
class PreciseRandomWalk(RandomWalk):
    """`RandomWalk` computed in float64."""

    x64: ClassVar[bool] = True


class Day(NamedTuple):
    """Number of the day, hours played on it, both `[]` int32."""

    number: Any
    hour: Any


@dataclass(frozen=True)
class Diary(FunctionalEnv):
    """Days in their order: an episode is one day of four hours, the last of the `days` breaks off after two.

    The action is ignored. The observation is `[day, hour]`, the reward a random number. After the last day comes the
    first. Constants (`params`): `first []`, the day to begin with, and `days []`. Reset options: `first`.
    """

    horizon: int | None = None
    observation_space = spaces.Box(0, 100, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def get_default_params(self, **kwargs: Any) -> Any:
        return {"first": jnp.zeros((), jnp.int32), "days": jnp.asarray(3, jnp.int32)}

    def initial(self, rng: Any, params: Any = None) -> Day:
        return Day(params["first"], jnp.zeros((), jnp.int32))

    def following(self, last: Day, rng: Any, params: Any = None) -> Day:
        return Day((last.number + 1) % params["days"], jnp.zeros((), jnp.int32))

    def transition(self, state: Day, action: Any, rng: Any, params: Any = None) -> Day:
        return state._replace(hour=state.hour + 1)

    def observation(self, state: Day, rng: Any, params: Any = None) -> Any:
        return jnp.stack([state.number, state.hour]).astype(jnp.float32)

    def reward(self, state: Day, action: Any, next_state: Day, rng: Any, params: Any = None) -> Any:
        return jax.random.uniform(rng)

    def terminal(self, state: Day, rng: Any, params: Any = None) -> Any:
        return state.hour >= 4

    def truncated(self, state: Day, rng: Any, params: Any = None) -> Any:
        return (state.number == params["days"] - 1) & (state.hour >= 2)

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        if unknown := sorted(set(options) - {"first"}):
            raise ValueError(f"Diary knows no reset option {unknown[0]!r}; it takes 'first'.")
        return {**params, "first": np.int32(options["first"])} if options else params
