"""The limits that a command must keep: the narrower ones of robot and bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.errors import ConfigError
from dynrl.robots.description import Robot

if TYPE_CHECKING:
    from dynrl.policy.contract import Contract

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Limits per joint, float64[n] each (any shape that broadcasts against the commands will do).

    Attributes:
        lower, upper: position, rad or m; infinite for continuous joints.
        velocity: largest speed of the command, per second.
        acceleration: largest change of that speed, per second squared.
        effort: largest effort, N m or N; inf where unknown.
        tolerance: how far outside `lower` and `upper` a measured position may lie.
    """

    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats
    effort: Floats
    tolerance: Floats

    @classmethod
    def of(
        cls,
        lower: ArrayLike,
        upper: ArrayLike,
        velocity: ArrayLike,
        acceleration: ArrayLike,
        effort: ArrayLike = np.inf,
        tolerance: ArrayLike = 0.0087,
        jerk: ArrayLike | None = None,
    ) -> Limits:
        """Limits from anything that broadcasts to one shape.

        Raises:
            ConfigError: a jerk limit (this version has none); lower >= upper; a limit that is not positive; NaN.
        """
        if jerk is not None:
            raise ConfigError(
                "limits.jerk: this version limits position, velocity and acceleration, not jerk; expected null"
            )
        given = (lower, upper, velocity, acceleration, effort, tolerance)
        arrays = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in given))
        limits = cls(*(np.ascontiguousarray(array) for array in arrays))
        if not np.all(limits.lower < limits.upper):
            raise ConfigError(
                "limits.position: each lower limit must be below the upper one, and none may be NaN"
            )
        for name in ("velocity", "acceleration"):
            value = getattr(limits, name)
            if not np.all((value > 0) & np.isfinite(value)):
                raise ConfigError(f"limits.{name}: {value.tolist()}, expected finite numbers above 0")
        if not np.all(limits.effort > 0) or not np.all(limits.tolerance >= 0):
            raise ConfigError("limits.effort must be above 0, the position tolerance not below 0")
        return limits

    @classmethod
    def of_robot(cls, robot: Robot, joints: Sequence[str] | None = None) -> Limits:
        """The robot's own limits, of all its joints or of `joints` in that order.

        Raises:
            ConfigError: a joint that the robot lacks.
        """
        order = robot.index(robot.names if joints is None else joints)
        return cls(
            robot.lower[order],
            robot.upper[order],
            robot.velocity_limit[order],
            robot.acceleration_limit[order],
            robot.effort_limit[order],
            robot.tolerance[order],
        )

    @classmethod
    def narrowed(cls, robot: Robot, contract: Contract) -> tuple[Limits, list[str]]:
        """The narrower ones of robot and bundle in the order of the bundle's joints, and a warning for each limit of
        the bundle that is wider than the robot's.

        Raises:
            ConfigError: the robot lacks a joint; the two leave nothing of a joint's range; a jerk limit.
        """
        joints = contract.robot.joints
        own = cls.of_robot(robot, joints)
        asked = contract.limits
        warnings: list[str] = []
        lower, upper = own.lower, own.upper
        if asked.position is not None:
            pairs = [pair or (-np.inf, np.inf) for pair in asked.position]
            lower = _narrower(
                np.array([p[0] for p in pairs]), own.lower, -1, joints, "lower position", warnings
            )
            upper = _narrower(
                np.array([p[1] for p in pairs]), own.upper, 1, joints, "upper position", warnings
            )
        upper_bounds = {
            name: own_values
            if given is None
            else _narrower(np.array(given, np.float64), own_values, 1, joints, name, warnings)
            for name, given, own_values in (
                ("velocity", asked.velocity, own.velocity),
                ("acceleration", asked.acceleration, own.acceleration),
                ("effort", asked.effort, own.effort),
            )
        }
        limits = cls.of(lower, upper, **upper_bounds, tolerance=own.tolerance, jerk=asked.jerk)
        return limits, warnings


def _narrower(
    asked: Floats, own: Floats, side: int, joints: Sequence[str], name: str, warnings: list[str]
) -> Floats:
    """The smaller one of two upper limits (`side` 1), the larger one of two lower limits (`side` -1)."""
    for joint, ours, theirs in zip(joints, asked, own, strict=True):
        if np.isfinite(ours) and side * (ours - theirs) > 0:
            warnings.append(
                f"{joint}: the bundle's {name} limit {ours:g} is wider than the robot's {theirs:g}, which is used"
            )
    return np.minimum(asked, own) if side > 0 else np.maximum(asked, own)
