"""`dynrl/Pendulum-v0`: swing a pendulum up and hold it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.envs.classic_control.drawing import BLACK, RED, Canvas
from dynrl.envs.classic_control.world import ClassicControl


class PendulumParams(NamedTuple):
    """Constants under the names of Gymnasium's attributes, all `[]`.

    Attributes:
        max_speed: rad/s.
        max_torque: N m.
        dt: seconds per step.
        g: gravity, m/s².
        m, l: mass and length of the rod, kg, m.
        x_init, y_init: start angle and speed are uniform within ± these, rad, rad/s.
    """

    max_speed: Any = 8.0
    max_torque: Any = 2.0
    dt: Any = 0.05
    g: Any = 10.0
    m: Any = 1.0
    l: Any = 1.0  # noqa: E741 (Gymnasium's name)
    x_init: Any = np.pi
    y_init: Any = 1.0


class PendulumState(NamedTuple):
    """Angle from upright, rad, not wrapped, and its speed, rad/s; both `[]`."""

    theta: Any
    theta_dot: Any


@dataclass(frozen=True)
class Pendulum(ClassicControl):
    """Swing a pendulum up with a motor too weak to lift it at once, and hold it there: Gymnasium's `Pendulum-v1`.

    ## Action space
    `Box(-2, 2, (1,), float32)`: torque, N m.

    ## Observation space
    `Box(float32)`:

    | index | meaning | min | max | unit |
    |---|---|---|---|---|
    | 0 | cosine of the angle from upright | −1 | 1 | 1 |
    | 1 | sine of it | −1 | 1 | 1 |
    | 2 | angular velocity | −8 | 8 | rad/s |

    ## Rewards
    −(θ² + 0.1 θ̇² + 0.001 u²), with the angle θ wrapped to [−π, π) and the torque u, both before the step.

    ## Starting state
    Angle uniform in ±π rad (`x_init`), speed in ±1 rad/s (`y_init`); both are reset options.

    ## Episode end
    Truncated after `horizon` steps; never terminates.

    ## Constants
    See `PendulumParams`. The spaces stay those of the default speed and torque.

    Args:
        horizon: steps per episode.
        x64: compute in float64.

    ## Version history
    v0: first version.
    """

    reset_options: ClassVar[tuple[str, ...]] = ("x_init", "y_init")

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-2.0, 2.0, (1,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        high = np.array([1.0, 1.0, 8.0], np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def get_default_params(self) -> PendulumParams:  # type: ignore[override]
        return PendulumParams()

    def initial(self, rng: Any, params: Any = None) -> PendulumState:
        unit = jax.random.uniform(rng, (2,), minval=-1.0)
        return PendulumState(unit[0] * params.x_init, unit[1] * params.y_init)

    def transition(self, state: PendulumState, action: Any, rng: Any, params: Any = None) -> PendulumState:
        gravity = 3.0 * params.g / (2.0 * params.l) * jnp.sin(state.theta)
        torque = 3.0 / (params.m * params.l**2) * _torque(action, params)
        faster = state.theta_dot + (gravity + torque) * params.dt
        speed = jnp.clip(faster, -params.max_speed, params.max_speed)
        return PendulumState(state.theta + speed * params.dt, speed)

    def observation(self, state: PendulumState, rng: Any, params: Any = None) -> Any:
        return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta), state.theta_dot])

    def reward(self, state: PendulumState, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        angle = (state.theta + np.pi) % (2.0 * np.pi) - np.pi
        return -(angle**2 + 0.1 * state.theta_dot**2 + 0.001 * _torque(action, params) ** 2)

    def terminal(self, state: PendulumState, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), bool)

    def render_image(self, state: PendulumState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        reach = 1.2 * float(params.l)
        canvas = Canvas((-reach, -reach), (reach, reach))
        end = (float(params.l * -np.sin(state.theta)), float(params.l * np.cos(state.theta)))
        canvas.bar((0.0, 0.0), end, 0.2, RED)
        canvas.disc((0.0, 0.0), 0.04, BLACK)
        return canvas.image()


def _torque(action: Any, params: PendulumParams) -> Any:
    return jnp.clip(action[0], -params.max_torque, params.max_torque)
