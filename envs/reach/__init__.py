"""Reaching with a small arm: what a deployment to the robot `arm` is trained on."""

from dynrl.envs.reach.arm import ArmParams, command_step, physics_step, tool_position
from dynrl.envs.reach.environment import ArmReach, ArmReachState

__all__ = ["ArmParams", "ArmReach", "ArmReachState", "command_step", "physics_step", "tool_position"]
