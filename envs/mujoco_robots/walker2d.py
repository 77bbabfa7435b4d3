"""`dynrl/Walker2d-v0`: walk on two legs in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.planar_legged import PlanarLegged
from dynrl.envs.mujoco_robots.terms import inside
from dynrl.physics.state import PhysicsState

__all__ = ["Walker2d"]


@dataclass(frozen=True)
class Walker2d(PlanarLegged):
    """Walk forward on two legs, in a plane, without falling.

    ## Description
    A torso with two legs of thigh, leg and foot, joined by six driven hinges, after Erez, Tassa and Todorov (2011).
    Equal to Gymnasium's `Walker2d-v5`, step by step. 125 actions a second.

    ## Action space
    `Box(-1, 1, (6,), float32)`, torques in units of 100 N m: right thigh, leg, foot; left thigh, leg, foot.

    ## Observation space
    `Box(-inf, inf, (17,), float64)`; 18 with the forward position, which then comes first:

    | index | meaning | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1 | angle of the torso | rad |
    | 2–4 | right thigh, leg, foot | rad |
    | 5–7 | left thigh, leg, foot | rad |
    | 8, 9 | forward and upward velocity, clipped to ±10 | m/s |
    | 10–16 | angular velocities of torso and joints, clipped to ±10 | rad/s |

    ## Rewards
    `reward_forward`: `forward_reward_weight` times the forward velocity; `reward_survive`: `healthy_reward` while
    healthy; `reward_ctrl`: minus `ctrl_cost_weight` times the squared length of the action.

    ## Starting state
    Upright at 1.25 m, plus uniform noise in ±`reset_noise_scale` on every position and velocity.

    ## Episode end
    Terminated when unhealthy (if `terminate_when_unhealthy`): height outside `healthy_z_range` or torso angle outside
    `healthy_angle_range`. Truncated after `horizon` steps.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `forward_reward_weight`, `ctrl_cost_weight`, `healthy_reward`,
    `terminate_when_unhealthy`, the two ranges above, `reset_noise_scale`,
    `exclude_current_positions_from_observation`.
    """

    xml_file: str = "walker2d_v5.xml"
    frame_skip: int = 4
    horizon: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.8, 2.0)
    healthy_angle_range: tuple[float, float] = (-1.0, 1.0)
    reset_noise_scale: float = 5e-3
    exclude_current_positions_from_observation: bool = True
    camera: ClassVar[Mapping[str, Any]] = {
        "trackbodyid": 2,
        "distance": 4.0,
        "lookat": (0.0, 0.0, 1.15),
        "elevation": -20.0,
    }
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "terminate_when_unhealthy": (True, False),
        "exclude_current_positions_from_observation": (True, False),
        "horizon": (1, 20, None),
    }

    def healthy(self, state: PhysicsState) -> Any:
        """Return whether the walker stands, `[...]` bool."""
        upright = inside(state.qpos[..., 1], self.healthy_z_range)
        return upright & inside(state.qpos[..., 2], self.healthy_angle_range)
