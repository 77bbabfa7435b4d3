"""`dynrl/CartPole-v0`: keep a pole upright on a cart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.envs.classic_control.drawing import BLACK, GOLD, GREY, Canvas
from dynrl.envs.classic_control.world import ClassicControl


class CartPoleParams(NamedTuple):
    """Constants under the names of Gymnasium's attributes, all `[]`.

    Gymnasium also keeps `total_mass` and `polemass_length`, which go stale when a mass or the length is changed;
    here they are computed from these.

    Attributes:
        gravity: m/s².
        masscart, masspole: kg.
        length: half the pole's, m.
        force_mag: N.
        tau: seconds per step.
        theta_threshold_radians, x_threshold: beyond these the episode ends, rad, m.
        low, high: each part of the start state is uniform between these.
    """

    gravity: Any = 9.8
    masscart: Any = 1.0
    masspole: Any = 0.1
    length: Any = 0.5
    force_mag: Any = 10.0
    tau: Any = 0.02
    theta_threshold_radians: Any = 12 * 2 * np.pi / 360
    x_threshold: Any = 2.4
    low: Any = -0.05
    high: Any = 0.05


class CartPoleState(NamedTuple):
    """Position of the cart, m, its speed, angle of the pole from upright, rad, and its speed; all `[]`."""

    x: Any
    x_dot: Any
    theta: Any
    theta_dot: Any


@dataclass(frozen=True)
class CartPole(ClassicControl):
    """Push a cart left or right so that the pole on it stays upright: Gymnasium's `CartPole-v1`.

    ## Action space
    `Discrete(2)`: 0 pushes with −10 N, 1 with +10 N.

    ## Observation space
    `Box(float32)`:

    | index | meaning | min | max | unit |
    |---|---|---|---|---|
    | 0 | position of the cart | −4.8 | 4.8 | m |
    | 1 | its velocity | −∞ | ∞ | m/s |
    | 2 | angle of the pole | −0.42 | 0.42 | rad |
    | 3 | its velocity | −∞ | ∞ | rad/s |

    ## Rewards
    1 for every step, the last one too. With `sutton_barto_reward`: 0, and −1 for the step that falls.

    ## Starting state
    Four numbers uniform between `low` and `high` (−0.05 and 0.05), which are reset options.

    ## Episode end
    Terminates when the pole leans by more than 12° or the cart is further than 2.4 m from the middle; truncated after
    `horizon` steps.

    ## Constants
    See `CartPoleParams`. The spaces stay those of the default thresholds.

    Args:
        horizon: steps per episode.
        x64: compute in float64.
        sutton_barto_reward: see above.
        kinematics_integrator: `"euler"`, or `"semi-implicit"`, which moves with the new velocities.

    ## Version history
    v0: first version.
    """

    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (7, 100),
        "sutton_barto_reward": (False, True),
        "kinematics_integrator": ("euler", "semi-implicit"),
    }

    horizon: int = 500
    sutton_barto_reward: bool = False
    kinematics_integrator: str = "euler"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kinematics_integrator not in ("euler", "semi-implicit"):
            raise ValueError(
                f"kinematics_integrator is {self.kinematics_integrator!r}, expected 'euler' or 'semi-implicit'."
            )

    @cached_property
    def action_space(self) -> spaces.Discrete:  # type: ignore[override]
        return spaces.Discrete(2)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        default = CartPoleParams()
        bounds = [default.x_threshold * 2, np.inf, default.theta_threshold_radians * 2, np.inf]
        high = np.array(bounds, np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def get_default_params(self) -> CartPoleParams:  # type: ignore[override]
        return CartPoleParams()

    def initial(self, rng: Any, params: Any = None) -> CartPoleState:
        return CartPoleState(*(params.low + jax.random.uniform(rng, (4,)) * (params.high - params.low)))

    def transition(self, state: CartPoleState, action: Any, rng: Any, params: Any = None) -> CartPoleState:
        # R. V. Florian, "Correct equations for the dynamics of the cart-pole system" (2007), without friction.
        x, x_dot, theta, theta_dot = state
        force = jnp.where(action == 1, params.force_mag, -params.force_mag)
        total_mass, polemass_length = params.masspole + params.masscart, params.masspole * params.length
        cos, sin = jnp.cos(theta), jnp.sin(theta)
        push = (force + polemass_length * theta_dot**2 * sin) / total_mass
        inertia = params.length * (4.0 / 3.0 - params.masspole * cos**2 / total_mass)
        theta_acc = (params.gravity * sin - cos * push) / inertia
        x_acc = push - polemass_length * theta_acc * cos / total_mass
        new_x_dot, new_theta_dot = x_dot + params.tau * x_acc, theta_dot + params.tau * theta_acc
        if self.kinematics_integrator == "semi-implicit":
            x_dot, theta_dot = new_x_dot, new_theta_dot
        return CartPoleState(x + params.tau * x_dot, new_x_dot, theta + params.tau * theta_dot, new_theta_dot)

    def observation(self, state: CartPoleState, rng: Any, params: Any = None) -> Any:
        return jnp.stack(state)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        if not self.sutton_barto_reward:
            return jnp.ones(())
        return -self.terminal(next_state, rng, params).astype(float)

    def terminal(self, state: CartPoleState, rng: Any, params: Any = None) -> Any:
        return (jnp.abs(state.x) > params.x_threshold) | (
            jnp.abs(state.theta) > params.theta_threshold_radians
        )

    def render_image(self, state: CartPoleState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        reach = float(params.x_threshold)
        canvas = Canvas((-reach, -0.5 * reach), (reach, 1.5 * reach))
        x, theta = float(state.x), float(state.theta)
        canvas.bar((-reach, 0.0), (reach, 0.0), 0.01 * reach, GREY)
        canvas.box((x, 0.0), 0.6, 0.3, BLACK)
        pole = 2.0 * float(params.length)
        canvas.bar((x, 0.15), (x + pole * np.sin(theta), 0.15 + pole * np.cos(theta)), 0.1, GOLD)
        return canvas.image()
