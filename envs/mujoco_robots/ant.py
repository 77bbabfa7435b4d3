"""`dynrl/Ant-v0`: walk on four legs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import around, control_cost, distance_from_origin, rows
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["Ant"]


@dataclass(frozen=True)
class Ant(MujocoTask):
    """Walk forward on four legs.

    ## Description
    A free torso with four legs of two driven joints each, after Schulman et al. (2016). Equal to Gymnasium's `Ant-v5`,
    step by step. 20 actions a second.

    ## Action space
    `Box(-1, 1, (8,), float32)`, torques in units of 150 N m: hip and ankle of the right back, left front, right front
    and left back leg, in the order of the model file.

    ## Observation space
    `Box(-inf, inf, (105,), float64)`; 107 with the position in the plane, which then comes first; 78 fewer without
    contact forces:

    | index | meaning | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1–4 | orientation of the torso, a quaternion | 1 |
    | 5–12 | hips and ankles | rad |
    | 13–15 | velocity of the torso | m/s |
    | 16–18 | angular velocity of the torso | rad/s |
    | 19–26 | angular velocities of hips and ankles | rad/s |
    | 27–104 | external torque and force on each of 13 bodies, clipped to `contact_force_range` | N m, N |

    ## Rewards
    `reward_forward`: `forward_reward_weight` times the velocity of `main_body` in x; `reward_survive`:
    `healthy_reward` while healthy; `reward_ctrl`: minus `ctrl_cost_weight` times the squared length of the action;
    `reward_contact`: minus `contact_cost_weight` times the squared length of the clipped forces.

    ## Starting state
    Standing at 0.75 m, plus uniform noise in ±`reset_noise_scale` on positions and normal noise of that scale on
    velocities.

    ## Episode end
    Terminated when unhealthy (if `terminate_when_unhealthy`): height outside `healthy_z_range`. Truncated after
    `horizon` steps.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `forward_reward_weight`, `ctrl_cost_weight`, `contact_cost_weight`,
    `healthy_reward`, `main_body` (index or name), `terminate_when_unhealthy`, `healthy_z_range`,
    `contact_force_range`, `reset_noise_scale`, `exclude_current_positions_from_observation`,
    `include_cfrc_ext_in_observation`.
    """

    xml_file: str = "ant.xml"
    frame_skip: int = 5
    horizon: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int | str = 1
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.2, 1.0)
    contact_force_range: tuple[float, float] = (-1.0, 1.0)
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True
    include_cfrc_ext_in_observation: bool = True
    data_fields: ClassVar[tuple[str, ...]] = ("xpos", "cfrc_ext")
    camera: ClassVar[Mapping[str, Any]] = {"distance": 4.0}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "include_cfrc_ext_in_observation": (True, False),
        "exclude_current_positions_from_observation": (True, False),
        "horizon": (1, 20, None),
    }

    @cached_property
    def _main_body(self) -> int:
        return self.model.body(self.main_body).id

    def _forces(self, state: PhysicsState) -> Any:
        return namespace(state.cfrc_ext).clip(state.cfrc_ext, *self.contact_force_range)

    def observation(self, state: PhysicsState) -> Any:
        """Return positions (without x and y), velocities and clipped forces, `[..., 105]`."""
        first = 2 if self.exclude_current_positions_from_observation else 0
        parts = [state.qpos[..., first:], state.qvel]
        if self.include_cfrc_ext_in_observation:
            parts.append(rows(self._forces(state)[..., 1:, :]))
        return namespace(state.qpos).concatenate(parts, -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return forward velocity and survival minus the costs of control and contact."""
        body, xp = self._main_body, namespace(after.qpos)
        velocity = (after.xpos[..., body, :2] - before.xpos[..., body, :2]) / self.dt
        forward = velocity[..., 0] * self.forward_reward_weight
        healthy = self.healthy(after)
        survive = self.healthy_reward * healthy
        control = control_cost(self.ctrl_cost_weight, action)
        contact = self.contact_cost_weight * xp.square(self._forces(after)).sum((-2, -1))
        info = {
            **self.reset_info(after),
            "x_velocity": velocity[..., 0],
            "y_velocity": velocity[..., 1],
            "reward_forward": forward,
            "reward_ctrl": -control,
            "reward_contact": -contact,
            "reward_survive": survive,
        }
        return Outcome(
            forward + survive - (control + contact), info, ~healthy & self.terminate_when_unhealthy
        )

    def healthy(self, state: PhysicsState) -> Any:
        """Return whether the torso is at a good height, `[...]` bool."""
        low, high = self.healthy_z_range
        return (low <= state.qpos[..., 2]) & (state.qpos[..., 2] <= high)

    def terminal(self, state: PhysicsState) -> Any:
        """Return whether the ant lies or flies and that matters."""
        return ~self.healthy(state) & self.terminate_when_unhealthy

    @property
    def num_uniform(self) -> int:
        """One per position."""
        return self.model.nq

    @property
    def num_normal(self) -> int:
        """One per velocity."""
        return self.model.nv

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around standing."""
        return around(self.model.qpos0, self.reset_noise_scale, uniform), self.reset_noise_scale * normal

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return where the robot is."""
        return {
            "x_position": state.qpos[..., 0],
            "y_position": state.qpos[..., 1],
            "distance_from_origin": distance_from_origin(state.qpos),
        }
