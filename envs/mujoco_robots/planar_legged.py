"""Robots that walk or hop in a plane: x, z and pitch of the torso, then the joints of the legs."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from dynrl.envs.mujoco_robots.terms import control_cost, uniform_start
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome


class PlanarLegged(MujocoTask):
    """What the hopper and the walker share; each says for itself when it is healthy.

    Attributes:
        forward_reward_weight: on the forward velocity.
        ctrl_cost_weight: on the squared length of the action.
        healthy_reward: of a step that ends healthy.
        terminate_when_unhealthy: whether a fall ends the episode.
        reset_noise_scale: half-width of the uniform noise on the start.
        exclude_current_positions_from_observation: whether the forward position is left out.
    """

    # Annotations only: each robot lists its settings, with defaults, in the order of Gymnasium's.
    forward_reward_weight: float
    ctrl_cost_weight: float
    healthy_reward: float
    terminate_when_unhealthy: bool
    reset_noise_scale: float
    exclude_current_positions_from_observation: bool

    @abc.abstractmethod
    def healthy(self, state: PhysicsState) -> Any:
        """Return whether the robot stands, `[...]` bool."""

    def observation(self, state: PhysicsState) -> Any:
        """Return positions (without the forward one) and clipped velocities, `[..., n]`."""
        xp, first = namespace(state.qpos), 1 if self.exclude_current_positions_from_observation else 0
        return xp.concatenate((state.qpos[..., first:], xp.clip(state.qvel, -10.0, 10.0)), -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return forward velocity and survival minus the control cost."""
        velocity = (after.qpos[..., 0] - before.qpos[..., 0]) / self.dt
        forward = self.forward_reward_weight * velocity
        healthy = self.healthy(after)
        survive = self.healthy_reward * healthy
        cost = control_cost(self.ctrl_cost_weight, action)
        info = {
            **self.reset_info(after),
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -cost,
            "reward_survive": survive,
        }
        return Outcome(forward + survive - cost, info, ~healthy & self.terminate_when_unhealthy)

    def terminal(self, state: PhysicsState) -> Any:
        """Return whether the robot has fallen and that matters."""
        return ~self.healthy(state) & self.terminate_when_unhealthy

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around standing."""
        return uniform_start(self.model, self.reset_noise_scale, uniform)

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return where the robot is."""
        return {
            "x_position": state.qpos[..., 0],
            "z_distance_from_origin": state.qpos[..., 1] - self.model.qpos0[1],
        }
