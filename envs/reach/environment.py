"""`dynrl/ArmReach-v0`: bring the tool of a small arm to a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.envs.reach.arm import JOINTS, ArmParams, command_step, default_arm, physics_step, tool_position
from dynrl.functional import FunctionalEnv
from dynrl.policy import (
    ActionTerm,
    Contract,
    Control,
    Gains,
    Limits,
    ObservationTerm,
    RobotModel,
    Simulation,
    Workspace,
)

__all__ = ["ArmReach", "ArmReachState"]

PHYSICS_DT = 0.0025
DECIMATION = 8
PERIOD = PHYSICS_DT * DECIMATION
# The goal speaks loudest: a policy that listens to the arm's own motion more than it must shakes the arm.
_POSITION_SCALE, _SPEED_SCALE, _ACTION_SCALE = 0.3, 0.05, 0.2
_GOAL_SCALE, _GOAL_CENTRE = 4.0, (0.4, 0.0, 0.26)


class ArmReachState(NamedTuple):
    """Attributes:
    position, velocity: of the joints `[3]`, rad, rad/s.
    command, speed: commanded position and its speed `[3]`.
    goal: where the tool should be `[3]`, m.
    action: the last one `[3]`, zero at the start.
    """

    position: Any
    velocity: Any
    command: Any
    speed: Any
    goal: Any
    action: Any


@dataclass(frozen=True)
class ArmReach(FunctionalEnv):
    """Bring the tool of a three-joint arm to a point in space and hold it there.

    ## Description
    The arm (yaw, shoulder, elbow; half a metre long) is held by a position controller. An action names a joint
    position; the command moves there within the joints' limits of speed and acceleration, by the rule of the safety
    filter that a deployment puts between policy and robot. Gravity, Coriolis forces and limits of effort are there; the
    arm does not collide with itself. 50 actions a second. `policy_contract()` says all of it to `dynrl export`.

    ## Action space
    `Box(-1, 1, (3,), float32)`: default pose + action · (1.2, 0.7, 0.8) rad, for yaw, shoulder, elbow.

    ## Observation space
    float32:

    | index | meaning | unit |
    |---|---|---|
    | 0–2 | (joint positions − default pose) · 0.3 | rad |
    | 3–5 | joint velocities · 0.05 | rad/s |
    | 6–8 | (goal − (0.4, 0, 0.26)) · 4, in the frame of the base | m |
    | 9–11 | last action · 0.2 | 1 |

    ## Rewards
    `distance`: minus the distance from tool to goal in metres; `precision`: exp(−(distance / 0.1 m)²); `effort`: minus
    0.1 times the squared change of the action.

    ## Starting state
    At rest near the default pose. The goal is where the tool is at another pose near it, so it can be reached.

    ## Episode end
    Truncated after `horizon` actions; never terminates.

    ## Info
    `distance` in metres.

    Args:
        horizon: actions per episode.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": []}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {"horizon": (20, 75)}

    horizon: int = 75

    def __post_init__(self) -> None:
        if (
            not isinstance(self.horizon, (int, np.integer))
            or isinstance(self.horizon, bool)
            or self.horizon < 1
        ):
            raise ValueError(f"horizon is {self.horizon!r}, expected a whole number of at least 1")

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (3,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-np.inf, np.inf, (12,), np.float32)

    def get_default_params(self) -> ArmParams:  # type: ignore[override]
        return default_arm()

    def initial(self, rng: Any, params: Any = None) -> ArmReachState:
        start, goal = jax.random.uniform(rng, (2, 3), jnp.float32, -1.0, 1.0)
        position = params.default_pose + start * params.start_spread
        zero = jnp.zeros(3, jnp.float32)
        target = tool_position(params.default_pose + goal * params.goal_spread, params)
        return ArmReachState(position, zero, position, zero, target, zero)

    def transition(self, state: ArmReachState, action: Any, rng: Any, params: Any = None) -> ArmReachState:
        desired = params.default_pose + action * params.action_scale
        command, speed = command_step(desired, state.command, state.speed, PERIOD, params)

        def substep(moving: Any, _: None) -> Any:
            return physics_step(moving[0], moving[1], command, PHYSICS_DT, params), None

        (position, velocity), _ = jax.lax.scan(substep, (state.position, state.velocity), None, DECIMATION)
        return ArmReachState(position, velocity, command, speed, state.goal, action)

    def observation(self, state: ArmReachState, rng: Any, params: Any = None) -> Any:
        return jnp.concatenate(
            [
                (state.position - params.default_pose) * _POSITION_SCALE,
                state.velocity * _SPEED_SCALE,
                (state.goal - np.array(_GOAL_CENTRE, np.float32)) * _GOAL_SCALE,
                state.action * _ACTION_SCALE,
            ]
        )

    def reward(
        self, state: ArmReachState, action: Any, next_state: ArmReachState, rng: Any, params: Any = None
    ) -> Any:
        distance = _distance(next_state, params)
        change = jnp.square(action - state.action).sum()
        return -distance + jnp.exp(-jnp.square(distance / 0.1)) - 0.1 * change

    def terminal(self, state: ArmReachState, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), bool)

    def state_info(self, state: ArmReachState, params: Any = None) -> dict[str, Any]:
        return {"distance": _distance(state, params)}

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        return {"distance": _distance(next_state, params)}

    def policy_contract(self) -> Contract:
        """What a policy of this environment sees and commands; the part of a bundle that the environment knows."""
        arm = ArmParams(*(np.asarray(leaf, np.float64).round(6) for leaf in self.default_params))
        return Contract(
            name="arm_reach",
            control=Control(PERIOD, DECIMATION),
            robot=RobotModel("arm", JOINTS),
            observation=(
                ObservationTerm(
                    "joint_position",
                    "state/joint/position",
                    unit="rad",
                    offset="default_pose",
                    scale=_POSITION_SCALE,
                ),
                ObservationTerm("joint_velocity", "state/joint/velocity", unit="rad/s", scale=_SPEED_SCALE),
                ObservationTerm(
                    "goal",
                    "command/pose",
                    unit="m",
                    frame="base_link",
                    shape=(3,),
                    offset=_GOAL_CENTRE,
                    scale=_GOAL_SCALE,
                    default=_GOAL_CENTRE,
                ),
                ObservationTerm("previous_action", "memory/action", scale=_ACTION_SCALE),
            ),
            action=(
                ActionTerm(
                    "joint_target",
                    "target/joint/position",
                    unit="rad",
                    scale=_floats(arm.action_scale),
                    offset="default_pose",
                    clip=(-1.0, 1.0),
                ),
            ),
            default_pose=_floats(arm.default_pose),
            gains=Gains(_floats(arm.kp), _floats(arm.kd)),
            limits=Limits(
                position=tuple(zip(_floats(arm.low), _floats(arm.high), strict=True)),
                velocity=_floats(arm.velocity),
                acceleration=_floats(arm.acceleration),
                effort=_floats(arm.effort),
            ),
            workspace=Workspace("base_link", "tool", ((-0.6, -0.6, -0.1), (0.6, 0.6, 0.75))),
            sim=Simulation("dynrl/ArmReach-v0", PHYSICS_DT, "position_pd"),
        )


def _distance(state: ArmReachState, params: ArmParams) -> Any:
    away = tool_position(state.position, params) - state.goal
    return jnp.sqrt(jnp.square(away).sum())


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
