"""`dynrl/Acrobot-v0`: swing the tip of a two-link chain up by its middle joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.envs.classic_control.drawing import BLACK, GOLD, TEAL, Canvas
from dynrl.envs.classic_control.world import ClassicControl


class AcrobotParams(NamedTuple):
    """Constants under the names of Gymnasium's attributes, `[]` but for `AVAIL_TORQUE`; `gravity` has none there.

    Attributes:
        dt: seconds per step.
        LINK_LENGTH_1, LINK_LENGTH_2: m.
        LINK_MASS_1, LINK_MASS_2: kg.
        LINK_COM_POS_1, LINK_COM_POS_2: of the centres of mass from the joints, m.
        LINK_MOI: moment of inertia of each link, kg m².
        MAX_VEL_1, MAX_VEL_2: of the joints, rad/s.
        AVAIL_TORQUE: of the three actions `[3]`, N m.
        torque_noise_max: uniform noise on the torque is within ± this, N m.
        gravity: m/s².
        low, high: each part of the start state is uniform between these.
    """

    dt: Any = 0.2
    LINK_LENGTH_1: Any = 1.0
    LINK_LENGTH_2: Any = 1.0
    LINK_MASS_1: Any = 1.0
    LINK_MASS_2: Any = 1.0
    LINK_COM_POS_1: Any = 0.5
    LINK_COM_POS_2: Any = 0.5
    LINK_MOI: Any = 1.0
    MAX_VEL_1: Any = 4 * np.pi
    MAX_VEL_2: Any = 9 * np.pi
    AVAIL_TORQUE: Any = np.array([-1.0, 0.0, 1.0])
    torque_noise_max: Any = 0.0
    gravity: Any = 9.8
    low: Any = -0.1
    high: Any = 0.1


class AcrobotState(NamedTuple):
    """Angle of the first link from hanging down, of the second from the first, rad, and their speeds; all `[]`."""

    theta1: Any
    theta2: Any
    theta1_dot: Any
    theta2_dot: Any


@dataclass(frozen=True)
class Acrobot(ClassicControl):
    """Swing the free end of two links above a line, with a motor in the joint between them: Gymnasium's `Acrobot-v1`
    (Sutton, 1996).

    ## Action space
    `Discrete(3)`: torque of −1, 0 or 1 N m on the joint between the links.

    ## Observation space
    `Box(float32)`:

    | index | meaning | min | max | unit |
    |---|---|---|---|---|
    | 0, 1 | cosine and sine of the first angle; 0 hangs down | −1 | 1 | 1 |
    | 2, 3 | cosine and sine of the second angle, from the first link | −1 | 1 | 1 |
    | 4 | angular velocity of the first | −4π | 4π | rad/s |
    | 5 | angular velocity of the second | −9π | 9π | rad/s |

    ## Rewards
    −1 for every step, 0 for the one that reaches the line.

    ## Starting state
    Four numbers uniform between `low` and `high` (−0.1 and 0.1), which are reset options.

    ## Episode end
    Terminates when −cos θ₁ − cos(θ₁ + θ₂) > 1; truncated after `horizon` steps.

    ## Constants
    See `AcrobotParams`. The spaces stay those of the default speeds.

    Args:
        horizon: steps per episode.
        x64: compute in float64.
        book_or_nips: equations of Sutton and Barto's `"book"`, or of the `"nips"` paper of 1996.

    ## Version history
    v0: first version.
    """

    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (7, 100),
        "book_or_nips": ("book", "nips"),
    }

    horizon: int = 500
    book_or_nips: str = "book"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.book_or_nips not in ("book", "nips"):
            raise ValueError(f"book_or_nips is {self.book_or_nips!r}, expected 'book' or 'nips'.")

    @cached_property
    def action_space(self) -> spaces.Discrete:  # type: ignore[override]
        return spaces.Discrete(3)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        default = AcrobotParams()
        high = np.array([1.0, 1.0, 1.0, 1.0, default.MAX_VEL_1, default.MAX_VEL_2], np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def get_default_params(self) -> AcrobotParams:  # type: ignore[override]
        return AcrobotParams()

    def initial(self, rng: Any, params: Any = None) -> AcrobotState:
        return AcrobotState(*(params.low + jax.random.uniform(rng, (4,)) * (params.high - params.low)))

    def transition(self, state: AcrobotState, action: Any, rng: Any, params: Any = None) -> AcrobotState:
        noise = jax.random.uniform(rng, minval=-1.0) * params.torque_noise_max
        torque = jnp.asarray(params.AVAIL_TORQUE, float)[action] + noise
        theta1, theta2, theta1_dot, theta2_dot = self._runge_kutta(jnp.stack(state), torque, params)
        return AcrobotState(
            _wrapped(theta1),
            _wrapped(theta2),
            jnp.clip(theta1_dot, -params.MAX_VEL_1, params.MAX_VEL_1),
            jnp.clip(theta2_dot, -params.MAX_VEL_2, params.MAX_VEL_2),
        )

    def observation(self, state: AcrobotState, rng: Any, params: Any = None) -> Any:
        one, two = state.theta1, state.theta2
        angles = [jnp.cos(one), jnp.sin(one), jnp.cos(two), jnp.sin(two)]
        return jnp.stack([*angles, state.theta1_dot, state.theta2_dot])

    def reward(self, state: Any, action: Any, next_state: AcrobotState, rng: Any, params: Any = None) -> Any:
        return jnp.where(self.terminal(next_state, rng, params), 0.0, -1.0)

    def terminal(self, state: AcrobotState, rng: Any, params: Any = None) -> Any:
        return -jnp.cos(state.theta1) - jnp.cos(state.theta2 + state.theta1) > 1.0

    def render_image(self, state: AcrobotState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        one, two = float(params.LINK_LENGTH_1), float(params.LINK_LENGTH_2)
        reach = one + two + 0.2
        canvas = Canvas((-reach, -reach), (reach, reach))
        canvas.bar((-reach, 1.0), (reach, 1.0), 0.02, BLACK)
        first, second = float(state.theta1), float(state.theta1 + state.theta2)
        elbow = (one * np.sin(first), -one * np.cos(first))
        tip = (elbow[0] + two * np.sin(second), elbow[1] - two * np.cos(second))
        for start, end in (((0.0, 0.0), elbow), (elbow, tip)):
            canvas.bar(start, end, 0.2, TEAL)
            canvas.disc(start, 0.1, GOLD)
        return canvas.image()

    def _runge_kutta(self, state: Any, torque: Any, params: AcrobotParams) -> Any:
        def slope(at: Any) -> Any:
            return jnp.stack(self._derivative(at, torque, params))

        first = slope(state)
        second = slope(state + params.dt / 2.0 * first)
        third = slope(state + params.dt / 2.0 * second)
        fourth = slope(state + params.dt * third)
        return state + params.dt / 6.0 * (first + 2 * second + 2 * third + fourth)

    def _derivative(self, state: Any, torque: Any, params: AcrobotParams) -> tuple[Any, ...]:
        theta1, theta2, theta1_dot, theta2_dot = state
        m1, m2, inertia = params.LINK_MASS_1, params.LINK_MASS_2, params.LINK_MOI
        l1, c1, c2 = params.LINK_LENGTH_1, params.LINK_COM_POS_1, params.LINK_COM_POS_2
        cos2, sin2 = jnp.cos(theta2), jnp.sin(theta2)
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos2) + 2 * inertia
        d2 = m2 * (c2**2 + l1 * c2 * cos2) + inertia
        phi2 = m2 * c2 * params.gravity * jnp.cos(theta1 + theta2 - np.pi / 2.0)
        phi1 = (
            -m2 * l1 * c2 * theta2_dot**2 * sin2
            - 2 * m2 * l1 * c2 * theta2_dot * theta1_dot * sin2
            + (m1 * c1 + m2 * l1) * params.gravity * jnp.cos(theta1 - np.pi / 2.0)
            + phi2
        )
        centrifugal = m2 * l1 * c2 * theta1_dot**2 * sin2 if self.book_or_nips == "book" else 0.0
        theta2_acc = (torque + d2 / d1 * phi1 - centrifugal - phi2) / (m2 * c2**2 + inertia - d2**2 / d1)
        return theta1_dot, theta2_dot, -(d2 * theta2_acc + phi1) / d1, theta2_acc


def _wrapped(angle: Any) -> Any:
    """The angle within [−π, π]; π and −π stay what they are."""
    turns = jnp.ceil(jnp.maximum(jnp.abs(angle) - np.pi, 0.0) / (2.0 * np.pi))
    return angle - jnp.sign(angle) * turns * 2.0 * np.pi
