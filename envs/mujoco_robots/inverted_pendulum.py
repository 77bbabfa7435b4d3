"""`dynrl/InvertedPendulum-v0`: keep a pole upright on a cart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import uniform_start
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["InvertedPendulum"]


@dataclass(frozen=True)
class InvertedPendulum(MujocoTask):
    """Keep a pole upright on a cart that slides on a rail.

    ## Description
    The cart-pole of Barto, Sutton and Anderson (1983), in MuJoCo. Equal to Gymnasium's `InvertedPendulum-v5`, step by
    step. 25 actions a second.

    ## Action space
    `Box(-3, 3, (1,), float32)`:

    | index | action | min | max | unit |
    |---|---|---|---|---|
    | 0 | force on the cart | -3 | 3 | 100 N (the actuator's gear is 100) |

    ## Observation space
    `Box(-inf, inf, (4,), float64)`:

    | index | meaning | unit |
    |---|---|---|
    | 0 | position of the cart | m |
    | 1 | angle of the pole from upright | rad |
    | 2 | velocity of the cart | m/s |
    | 3 | angular velocity of the pole | rad/s |

    ## Rewards
    1 for every step after which the pole still stands, 0 for the one that ends the episode.

    ## Starting state
    All zero, plus uniform noise in ±`reset_noise_scale` on every position and velocity.

    ## Episode end
    Terminated when the pole leans more than 0.2 rad; truncated after `horizon` steps.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, and `reset_noise_scale`.
    """

    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    horizon: int | None = 1000
    reset_noise_scale: float = 0.01
    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0, "distance": 2.04}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "reset_noise_scale": (0.0, 0.01, 0.1),
        "horizon": (1, 20, None),
    }

    def observation(self, state: PhysicsState) -> Any:
        """Return positions and velocities, `[..., 4]`."""
        return namespace(state.qpos).concatenate((state.qpos, state.qvel), -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return 1 while the pole stands."""
        fallen = self.terminal(after)
        reward = 1.0 - fallen
        return Outcome(reward, {"reward_survive": reward}, fallen)

    def terminal(self, state: PhysicsState) -> Any:
        """Return whether the pole has fallen."""
        return abs(state.qpos[..., 1]) > 0.2

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around the upright rest."""
        return uniform_start(self.model, self.reset_noise_scale, uniform)
