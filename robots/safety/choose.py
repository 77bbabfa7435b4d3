"""The filter of a deployment, and the check of the raw action."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynrl.errors import ConfigError
from dynrl.robots.description import Robot
from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.limits import Limits
from dynrl.robots.safety.modes import (
    BodyVelocityFilter,
    CommandFilter,
    EffortFilter,
    PressureFilter,
    VelocityFilter,
)
from dynrl.robots.safety.position import PositionFilter
from dynrl.robots.safety.tracking import EffortWindow
from dynrl.robots.safety.workspace import GravityEffort

if TYPE_CHECKING:
    from dynrl.policy.contract import Contract

EFFORT_RISE = 0.1
"""Seconds from zero to the largest effort, where the robot file gives no `effort_rate`."""


def make_filter(robot: Robot, contract: Contract) -> CommandFilter:
    """The filter of the robot's command mode, for the bundle's joints in the bundle's order (muscles and body
    velocities: the robot's), with the narrower limits of both.

    Raises:
        ConfigError: limits that the two cannot agree on; a joint that the robot lacks; a mode whose limits the robot
            file does not give.
    """
    period = contract.control.period
    mode = robot.command.mode
    if mode == "pressure":
        return PressureFilter(robot.muscles, period)
    if mode == "body_velocity":
        if robot.body is None:
            raise ConfigError(
                f"robot {robot.name!r} takes body velocities; its file must give limits in `body`"
            )
        return BodyVelocityFilter(robot.body, period)
    limits, _ = Limits.narrowed(robot, contract)
    order = robot.index(contract.robot.joints)
    if mode == "velocity":
        return VelocityFilter(limits, period)
    if mode == "effort":
        if not np.all(np.isfinite(limits.effort)):
            raise ConfigError(
                f"robot {robot.name!r} takes efforts; its file must give an effort limit per joint"
            )
        rates = [robot.joints[place].effort_rate for place in order]
        rate = [e / EFFORT_RISE if r is None else r for r, e in zip(rates, limits.effort, strict=True)]
        return EffortFilter(limits, np.array(rate), period, GravityEffort(robot, contract.robot.joints))
    window = EffortWindow(robot.kp[order], robot.kd[order], limits.effort)
    return PositionFilter(limits, period, effort_window=window if window.useful else None)


def check_action(raw: NDArray[np.floating]) -> Fault | None:
    """The fault of a raw action with an element that is no number, else None."""
    finite = np.isfinite(raw)
    if finite.all():
        return None
    bad = np.flatnonzero(~finite).tolist()
    return Fault(
        FaultKind.NONFINITE_ACTION, "", f"elements {bad} of the policy's output are not finite", dropped=True
    )
