"""`dynrl/HalfCheetah-v0`: run on two legs in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import around, control_cost, never
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["HalfCheetah"]


@dataclass(frozen=True)
class HalfCheetah(MujocoTask):
    """Run forward as fast as possible on two legs, in a plane.

    ## Description
    A planar robot of nine links and eight joints after Wawrzyński (2009); six joints are driven, torso and head are
    one body. Equal to Gymnasium's `HalfCheetah-v5`, step by step. 20 actions a second.

    ## Action space
    `Box(-1, 1, (6,), float32)`, torques in units of the actuators' gears:

    | index | joint | gear, N m |
    |---|---|---|
    | 0, 1, 2 | back thigh, shin, foot | 120, 90, 60 |
    | 3, 4, 5 | front thigh, shin, foot | 120, 60, 30 |

    ## Observation space
    `Box(-inf, inf, (17,), float64)`; 18 with the position, which then comes first:

    | index | meaning | unit |
    |---|---|---|
    | 0 | height of the front tip | m |
    | 1 | angle of the front tip | rad |
    | 2–4 | back thigh, shin, foot | rad |
    | 5–7 | front thigh, shin, foot | rad |
    | 8, 9 | forward and upward velocity of the front tip | m/s |
    | 10 | angular velocity of the front tip | rad/s |
    | 11–16 | angular velocities of the six joints | rad/s |

    ## Rewards
    `reward_forward`: `forward_reward_weight` times the forward velocity; `reward_ctrl`: minus `ctrl_cost_weight` times
    the squared length of the action.

    ## Starting state
    All zero, plus uniform noise in ±`reset_noise_scale` on positions and normal noise of that scale on velocities.

    ## Episode end
    Truncated after `horizon` steps; it never terminates.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `forward_reward_weight`, `ctrl_cost_weight`, `reset_noise_scale`,
    `exclude_current_positions_from_observation`.
    """

    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    horizon: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True
    camera: ClassVar[Mapping[str, Any]] = {"distance": 4.0}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "forward_reward_weight": (0.5, 1.0),
        "exclude_current_positions_from_observation": (True, False),
        "horizon": (1, 20, None),
    }

    def observation(self, state: PhysicsState) -> Any:
        """Return positions (without the forward one) and velocities, `[..., 17]`."""
        first = 1 if self.exclude_current_positions_from_observation else 0
        return namespace(state.qpos).concatenate((state.qpos[..., first:], state.qvel), -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return the forward velocity minus the control cost."""
        velocity = (after.qpos[..., 0] - before.qpos[..., 0]) / self.dt
        forward = self.forward_reward_weight * velocity
        cost = control_cost(self.ctrl_cost_weight, action)
        info = {
            "x_position": after.qpos[..., 0],
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -cost,
        }
        return Outcome(forward - cost, info)

    def terminal(self, state: PhysicsState) -> Any:
        """Return False."""
        return never(state)

    @property
    def num_uniform(self) -> int:
        """One per position."""
        return self.model.nq

    @property
    def num_normal(self) -> int:
        """One per velocity."""
        return self.model.nv

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around the rest position."""
        return around(self.model.qpos0, self.reset_noise_scale, uniform), self.reset_noise_scale * normal

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return where the robot starts."""
        return {"x_position": state.qpos[..., 0]}
