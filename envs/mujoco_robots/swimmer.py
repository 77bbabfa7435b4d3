"""`dynrl/Swimmer-v0`: swim with three links in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import control_cost, distance_from_origin, never, uniform_start
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["Swimmer"]


@dataclass(frozen=True)
class Swimmer(MujocoTask):
    """Swim forward with three links and two driven joints, in a viscous plane.

    ## Description
    After Coulom (2002). Equal to Gymnasium's `Swimmer-v5`, step by step. 25 actions a second.

    ## Action space
    `Box(-1, 1, (2,), float32)`, torques on the two joints in units of 150 N m.

    ## Observation space
    `Box(-inf, inf, (8,), float64)`; 10 with the position in the plane, which then comes first:

    | index | meaning | unit |
    |---|---|---|
    | 0 | angle of the front link | rad |
    | 1, 2 | the two joints | rad |
    | 3, 4 | velocity of the front tip in x and y | m/s |
    | 5 | angular velocity of the front link | rad/s |
    | 6, 7 | angular velocities of the two joints | rad/s |

    ## Rewards
    `reward_forward`: `forward_reward_weight` times the velocity in x; `reward_ctrl`: minus `ctrl_cost_weight` times the
    squared length of the action.

    ## Starting state
    All zero, plus uniform noise in ±`reset_noise_scale` on every position and velocity.

    ## Episode end
    Truncated after `horizon` steps; it never terminates.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `forward_reward_weight`, `ctrl_cost_weight`, `reset_noise_scale`,
    `exclude_current_positions_from_observation`.
    """

    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    horizon: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-4
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "forward_reward_weight": (0.5, 1.0),
        "exclude_current_positions_from_observation": (True, False),
        "horizon": (1, 20, None),
    }

    def observation(self, state: PhysicsState) -> Any:
        """Return angles and velocities, `[..., 8]`."""
        first = 2 if self.exclude_current_positions_from_observation else 0
        return namespace(state.qpos).concatenate((state.qpos[..., first:], state.qvel), -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return the velocity in x minus the control cost."""
        velocity = (after.qpos[..., :2] - before.qpos[..., :2]) / self.dt
        forward = self.forward_reward_weight * velocity[..., 0]
        cost = control_cost(self.ctrl_cost_weight, action)
        info = {
            **self.reset_info(after),
            "x_velocity": velocity[..., 0],
            "y_velocity": velocity[..., 1],
            "reward_forward": forward,
            "reward_ctrl": -cost,
        }
        return Outcome(forward - cost, info)

    def terminal(self, state: PhysicsState) -> Any:
        """Return False."""
        return never(state)

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around the straight rest."""
        return uniform_start(self.model, self.reset_noise_scale, uniform)

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return where the robot is."""
        return {
            "x_position": state.qpos[..., 0],
            "y_position": state.qpos[..., 1],
            "distance_from_origin": distance_from_origin(state.qpos),
        }
