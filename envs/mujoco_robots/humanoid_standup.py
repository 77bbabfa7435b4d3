"""`dynrl/HumanoidStandup-v0`: get up from the ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import control_cost, never, rows, uniform_start
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["HumanoidStandup"]


@dataclass(frozen=True)
class HumanoidStandup(MujocoTask):
    """Get up from lying on the back, and stay up.

    ## Description
    A humanoid with seventeen driven joints, after Tassa, Erez and Todorov (2012). Equal to Gymnasium's
    `HumanoidStandup-v5`, step by step. 66.7 actions a second.

    ## Action space
    `Box(-0.4, 0.4, (17,), float32)`, torques in units of the actuators' gears: abdomen y, z, x; right hip x, z, y and
    knee; left hip x, z, y and knee; right shoulder 1, 2 and elbow; left shoulder 1, 2 and elbow.

    ## Observation space
    `Box(-inf, inf, (348,), float64)`; 350 with the position in the plane, which then comes first. Each of the last four
    parts can be left out:

    | index | meaning | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1–4 | orientation of the torso, a quaternion | 1 |
    | 5–21 | joint angles | rad |
    | 22–44 | velocities: torso, its rotation, joints | m/s, rad/s |
    | 45–174 | inertia of 13 bodies about the robot's centre of mass, 10 numbers each | kg m², kg m, kg |
    | 175–252 | velocity of 13 bodies about the centre of mass, 6 numbers each | rad/s, m/s |
    | 253–269 | forces that the actuators exert on the joints | N m |
    | 270–347 | external torque and force on each of 13 bodies | N m, N |

    ## Rewards
    1, plus `reward_linup`: height of the torso over the physics time step; `reward_quadctrl`: minus `ctrl_cost_weight`
    times the squared length of the controls; `reward_impact`: minus `impact_cost_weight` times the squared length of
    the external forces, clipped to `impact_cost_range`. (`uph_cost_weight` has no effect in Gymnasium, nor here.)

    ## Starting state
    On the back at 0.105 m, plus uniform noise in ±`reset_noise_scale` on every position and velocity.

    ## Episode end
    Truncated after `horizon` steps; it never terminates.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `uph_cost_weight`, `ctrl_cost_weight`, `impact_cost_weight`,
    `impact_cost_range`, `reset_noise_scale`, `exclude_current_positions_from_observation`,
    `include_cinert_in_observation`, `include_cvel_in_observation`, `include_qfrc_actuator_in_observation`,
    `include_cfrc_ext_in_observation`.
    """

    xml_file: str = "humanoidstandup.xml"
    frame_skip: int = 5
    horizon: int | None = 1000
    uph_cost_weight: float = 1.0
    ctrl_cost_weight: float = 0.1
    impact_cost_weight: float = 0.5e-6
    impact_cost_range: tuple[float, float] = (-math.inf, 10.0)
    reset_noise_scale: float = 1e-2
    exclude_current_positions_from_observation: bool = True
    include_cinert_in_observation: bool = True
    include_cvel_in_observation: bool = True
    include_qfrc_actuator_in_observation: bool = True
    include_cfrc_ext_in_observation: bool = True
    data_fields: ClassVar[tuple[str, ...]] = (
        "cinert",
        "cvel",
        "qfrc_actuator",
        "cfrc_ext",
        "ten_length",
        "ten_velocity",
    )
    camera: ClassVar[Mapping[str, Any]] = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": (0.0, 0.0, 0.8925),
        "elevation": -20.0,
    }
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "include_cinert_in_observation": (True, False),
        "include_cfrc_ext_in_observation": (True, False),
        "horizon": (1, 20, None),
    }

    def observation(self, state: PhysicsState) -> Any:
        """Return positions (without x and y), velocities, inertias, body velocities and forces, `[..., 348]`."""
        first = 2 if self.exclude_current_positions_from_observation else 0
        parts = [state.qpos[..., first:], state.qvel]
        if self.include_cinert_in_observation:
            parts.append(rows(state.cinert[..., 1:, :]))
        if self.include_cvel_in_observation:
            parts.append(rows(state.cvel[..., 1:, :]))
        if self.include_qfrc_actuator_in_observation:
            parts.append(state.qfrc_actuator[..., 6:])
        if self.include_cfrc_ext_in_observation:
            parts.append(rows(state.cfrc_ext[..., 1:, :]))
        return namespace(state.qpos).concatenate(parts, -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return the height minus the costs of control and impact."""
        xp = namespace(after.qpos)
        up = after.qpos[..., 2] / float(self.model.opt.timestep)
        control = control_cost(self.ctrl_cost_weight, after.ctrl)
        impact = self.impact_cost_weight * xp.square(after.cfrc_ext).sum((-2, -1))
        impact = xp.clip(impact, *self.impact_cost_range)
        info = {
            **self.reset_info(after),
            "reward_linup": up,
            "reward_quadctrl": -control,
            "reward_impact": -impact,
        }
        return Outcome(up - control - impact + 1.0, info)

    def terminal(self, state: PhysicsState) -> Any:
        """Return False."""
        return never(state)

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around lying on the back."""
        return uniform_start(self.model, self.reset_noise_scale, uniform)

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return where the robot is."""
        return {
            "x_position": state.qpos[..., 0],
            "y_position": state.qpos[..., 1],
            "z_distance_from_origin": state.qpos[..., 2] - self.model.qpos0[2],
            "tendon_length": state.ten_length,
            "tendon_velocity": state.ten_velocity,
        }
