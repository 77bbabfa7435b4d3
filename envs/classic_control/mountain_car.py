"""`dynrl/MountainCar-v0` and `dynrl/ContinuousMountainCar-v0`: rock a weak car out of a valley."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.envs.classic_control.drawing import BLACK, GREY, TEAL, Canvas
from dynrl.envs.classic_control.world import ClassicControl


class CarParams(NamedTuple):
    """Constants of `MountainCar` under the names of Gymnasium's attributes, all `[]`.

    Attributes:
        min_position, max_position: ends of the track.
        max_speed: per step.
        goal_position, goal_velocity: at or beyond both the episode ends.
        force, gravity: change of speed per step, by the motor and at most by the slope.
        low, high: the start position is uniform between these.
    """

    min_position: Any = -1.2
    max_position: Any = 0.6
    max_speed: Any = 0.07
    goal_position: Any = 0.5
    goal_velocity: Any = 0.0
    force: Any = 0.001
    gravity: Any = 0.0025
    low: Any = -0.6
    high: Any = -0.4


class ContinuousCarParams(NamedTuple):
    """Constants of `ContinuousMountainCar` under the names of Gymnasium's attributes, all `[]`; `gravity` has none
    there.

    Attributes:
        min_action, max_action: the motor's input is clipped to these.
        min_position, max_position: ends of the track.
        max_speed: per step.
        goal_position, goal_velocity: at or beyond both the episode ends.
        power, gravity: change of speed per step, by the motor at full input and at most by the slope.
        low, high: the start position is uniform between these.
    """

    min_action: Any = -1.0
    max_action: Any = 1.0
    min_position: Any = -1.2
    max_position: Any = 0.6
    max_speed: Any = 0.07
    goal_position: Any = 0.45
    goal_velocity: Any = 0.0
    power: Any = 0.0015
    gravity: Any = 0.0025
    low: Any = -0.6
    high: Any = -0.4


class CarState(NamedTuple):
    """Position along the track and change of it per step, both `[]`."""

    position: Any
    velocity: Any


@dataclass(frozen=True)
class _Valley(ClassicControl):
    """The track, its ends and its goal."""

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        params = self.get_default_params()
        low = np.array([params.min_position, -params.max_speed], np.float32)
        high = np.array([params.max_position, params.max_speed], np.float32)
        return spaces.Box(low, high, dtype=np.float32)

    def initial(self, rng: Any, params: Any = None) -> CarState:
        position = params.low + jax.random.uniform(rng) * (params.high - params.low)
        return CarState(position, jnp.zeros_like(position))

    def observation(self, state: CarState, rng: Any, params: Any = None) -> Any:
        return jnp.stack(state)

    def terminal(self, state: CarState, rng: Any, params: Any = None) -> Any:
        return (state.position >= params.goal_position) & (state.velocity >= params.goal_velocity)

    def render_image(self, state: CarState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        left, right = float(params.min_position), float(params.max_position)
        canvas = Canvas((left, -0.2), (right, right - left - 0.2))
        track = np.linspace(left, right, 40)
        for x, following in pairwise(track):
            canvas.bar((x, _height(x)), (following, _height(following)), 0.01, BLACK)
        flag = float(params.goal_position)
        canvas.bar((flag, _height(flag)), (flag, _height(flag) + 0.15), 0.015, TEAL)
        x = float(state.position)
        canvas.disc((x, _height(x) + 0.05), 0.05, GREY)
        return canvas.image()


@dataclass(frozen=True)
class MountainCar(_Valley):
    """Rock a car out of a valley that it cannot climb at once: Gymnasium's `MountainCar-v0` (Moore, 1990).

    ## Action space
    `Discrete(3)`: accelerate to the left, not at all, to the right.

    ## Observation space
    `Box(float32)`: position in [−1.2, 0.6], velocity in [−0.07, 0.07] per step.

    ## Rewards
    −1 for every step.

    ## Starting state
    At rest, position uniform between `low` and `high` (−0.6 and −0.4), which are reset options.

    ## Episode end
    Terminates at the goal on the right hill (position ≥ 0.5); truncated after `horizon` steps. The left end stops the
    car.

    ## Constants
    See `CarParams`. The spaces stay those of the defaults.

    Args:
        horizon: steps per episode.
        x64: compute in float64.

    ## Version history
    v0: first version.
    """

    @cached_property
    def action_space(self) -> spaces.Discrete:  # type: ignore[override]
        return spaces.Discrete(3)

    def get_default_params(self) -> CarParams:  # type: ignore[override]
        return CarParams()

    def transition(self, state: CarState, action: Any, rng: Any, params: Any = None) -> CarState:
        return _roll(state, (action - 1) * params.force, params)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return -jnp.ones(())


@dataclass(frozen=True)
class ContinuousMountainCar(_Valley):
    """The same with a motor that can be throttled: Gymnasium's `MountainCarContinuous-v0`.

    ## Action space
    `Box(-1, 1, (1,), float32)`: input of the motor.

    ## Observation space
    `Box(float32)`: position in [−1.2, 0.6], velocity in [−0.07, 0.07] per step.

    ## Rewards
    −0.1 times the squared action, and 100 for the step that reaches the goal.

    ## Starting state
    At rest, position uniform between `low` and `high` (−0.6 and −0.4), which are reset options.

    ## Episode end
    Terminates at the goal on the right hill (position ≥ 0.45); truncated after `horizon` steps. The left end stops the
    car.

    ## Constants
    See `ContinuousCarParams`. The spaces stay those of the defaults.

    Args:
        horizon: steps per episode.
        x64: compute in float64; Gymnasium rounds its state to float32 after every step, this world does not.

    ## Version history
    v0: first version.
    """

    horizon: int = 999

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def get_default_params(self) -> ContinuousCarParams:  # type: ignore[override]
        return ContinuousCarParams()

    def transition(self, state: CarState, action: Any, rng: Any, params: Any = None) -> CarState:
        force = jnp.clip(action[0], params.min_action, params.max_action)
        return _roll(state, force * params.power, params)

    def reward(self, state: Any, action: Any, next_state: CarState, rng: Any, params: Any = None) -> Any:
        return 100.0 * self.terminal(next_state, rng, params) - 0.1 * action[0] ** 2


def _roll(state: CarState, push: Any, params: Any) -> CarState:
    velocity = state.velocity + push - params.gravity * jnp.cos(3.0 * state.position)
    velocity = jnp.clip(velocity, -params.max_speed, params.max_speed)
    position = jnp.clip(state.position + velocity, params.min_position, params.max_position)
    stopped = (position == params.min_position) & (velocity < 0)
    return CarState(position, jnp.where(stopped, 0.0, velocity))


def _height(x: float) -> float:
    return float(np.sin(3.0 * x) * 0.45 + 0.55)
