"""`dynrl/Hopper-v0`: hop on one leg in a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.planar_legged import PlanarLegged
from dynrl.envs.mujoco_robots.terms import inside
from dynrl.physics.state import PhysicsState

__all__ = ["Hopper"]


@dataclass(frozen=True)
class Hopper(PlanarLegged):
    """Hop forward on one leg, in a plane, without falling.

    ## Description
    Torso, thigh, leg and foot, joined by three driven hinges, after Erez, Tassa and Todorov (2011). Equal to
    Gymnasium's `Hopper-v5`, step by step. 125 actions a second.

    ## Action space
    `Box(-1, 1, (3,), float32)`, torques in units of 200 N m: thigh, leg, foot.

    ## Observation space
    `Box(-inf, inf, (11,), float64)`; 12 with the forward position, which then comes first:

    | index | meaning | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1 | angle of the torso | rad |
    | 2–4 | thigh, leg, foot | rad |
    | 5, 6 | forward and upward velocity, clipped to ±10 | m/s |
    | 7–10 | angular velocities of torso, thigh, leg, foot, clipped to ±10 | rad/s |

    ## Rewards
    `reward_forward`: `forward_reward_weight` times the forward velocity; `reward_survive`: `healthy_reward` while
    healthy; `reward_ctrl`: minus `ctrl_cost_weight` times the squared length of the action.

    ## Starting state
    Upright at 1.25 m, plus uniform noise in ±`reset_noise_scale` on every position and velocity.

    ## Episode end
    Terminated when unhealthy (if `terminate_when_unhealthy`): height outside `healthy_z_range`, torso angle outside
    `healthy_angle_range`, or any other coordinate or velocity outside `healthy_state_range`. Truncated after `horizon`
    steps.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `forward_reward_weight`, `ctrl_cost_weight`, `healthy_reward`,
    `terminate_when_unhealthy`, the three ranges above, `reset_noise_scale`,
    `exclude_current_positions_from_observation`.
    """

    xml_file: str = "hopper.xml"
    frame_skip: int = 4
    horizon: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_state_range: tuple[float, float] = (-100.0, 100.0)
    healthy_z_range: tuple[float, float] = (0.7, math.inf)
    healthy_angle_range: tuple[float, float] = (-0.2, 0.2)
    reset_noise_scale: float = 5e-3
    exclude_current_positions_from_observation: bool = True
    camera: ClassVar[Mapping[str, Any]] = {
        "trackbodyid": 2,
        "distance": 3.0,
        "lookat": (0.0, 0.0, 1.15),
        "elevation": -20.0,
    }
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "terminate_when_unhealthy": (True, False),
        "exclude_current_positions_from_observation": (True, False),
        "horizon": (1, 20, None),
    }

    def healthy(self, state: PhysicsState) -> Any:
        """Return whether the hopper stands, `[...]` bool."""
        upright = inside(state.qpos[..., 1], self.healthy_z_range)
        upright &= inside(state.qpos[..., 2], self.healthy_angle_range)
        bounded = inside(state.qpos[..., 2:], self.healthy_state_range).all(-1)
        return upright & bounded & inside(state.qvel, self.healthy_state_range).all(-1)
