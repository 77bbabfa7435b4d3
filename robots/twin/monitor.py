"""The robot's own view of the commands: did one break a limit?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynrl.robots.description import Robot

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Relative slack for what the wire rounds; everything here travels as float64."""
START_TOLERANCE = 0.02


class Violation(NamedTuple):
    """One command that broke a limit.

    Attributes:
        receive_ns: when it came.
        quantity: `position`, `velocity`, `acceleration`, `pressure`, `rate`, `start` or `message`.
        detail: which element, and by how much.
    """

    receive_ns: int
    quantity: str
    detail: str


class _Reading(NamedTuple):
    """How the last step may be understood: rate of change per joint, and over how many periods."""

    velocity: Floats
    periods: int


class LimitMonitor:
    """Compares each command with the one before it, as the receiver sees them.

    Velocities need the time between two commands: one control period. After a gap of several (by the stamps, or the
    receive times where the type has no stamp) either the deployer skipped ticks, and the step is one of one period, or
    commands got lost, and it is one of several. Both readings are kept as long as they are possible; a limit is broken
    where none is.

    Args:
        robot: its limits.
        period: of the deployer, seconds.
        limits: (velocity, acceleration) per joint to check in place of the robot's, e.g. a bundle's narrower ones.
    """

    def __init__(self, robot: Robot, period: float, limits: tuple[Floats, Floats] | None = None) -> None:
        self._robot = robot
        self._period = period
        self._speed, self._acceleration = limits or (robot.velocity_limit, robot.acceleration_limit)
        self._pressure_rate = np.array([muscle.rate for muscle in robot.muscles])
        self._target: Floats | None = None
        self.reset()

    def reset(self) -> None:
        """The next command is the first one, or the first after a silence: it must begin at the robot, or at the
        command before, which the robot has kept (its weight may hold it a little away from that)."""
        self._before: Floats | None = None
        self._readings: list[_Reading] = []
        self._stamp_ns = 0

    def check(self, command: Floats, stamp_ns: int, receive_ns: int, measured: Floats) -> list[Violation]:
        """What a command breaks.

        Args:
            command: model units, in the order of the robot.
            stamp_ns: of the message, or `receive_ns`.
            receive_ns: own clock.
            measured: joint positions now.
        """
        found = self._inside(command)
        if self._before is None:
            found += self._first(command, measured)
            self._readings = [_Reading(np.zeros_like(command), 1)]
        else:
            gap = max(1, round((stamp_ns - self._stamp_ns) * 1e-9 / self._period))
            step = command - self._before
            broken = {periods: self._change(command, periods) for periods in {1, gap}}
            possible = [periods for periods, breaks in broken.items() if not breaks]
            found += [] if possible else broken[1]
            self._readings = [_Reading(step / (n * self._period), n) for n in possible or [1]]
        self._before = self._target = command.copy()
        self._stamp_ns = stamp_ns
        return [Violation(receive_ns, quantity, detail) for quantity, detail in found]

    def _inside(self, command: Floats) -> list[tuple[str, str]]:
        robot = self._robot
        if robot.command.mode == "pressure":
            lower = np.array([m.pressure[0] for m in robot.muscles])
            upper = np.array([m.pressure[1] for m in robot.muscles])
            return _beyond("pressure", np.maximum(lower - command, command - upper), 0.0)
        if robot.command.mode == "position":
            # A robot that was found outside within tolerance starts there.
            excess = np.maximum(robot.lower - command, command - robot.upper)
            return _beyond("position", excess, robot.tolerance if self._was_outside(excess) else 0.0)
        largest = {"velocity": self._speed, "effort": robot.effort_limit}.get(robot.command.mode)
        if largest is None:
            largest = np.array(robot.body.velocity) if robot.body else np.full(3, np.inf)
        return _beyond(robot.command.mode, np.abs(command) - largest * (1 + ROUNDING), 0.0)

    def _was_outside(self, excess: Floats) -> bool:
        """Whether the joints that are outside now were at least as far outside at the command before."""
        if self._before is None:
            return True
        before = np.maximum(self._robot.lower - self._before, self._before - self._robot.upper)
        return bool(np.all((excess <= 0) | (before >= excess)))

    def _first(self, command: Floats, measured: Floats) -> list[tuple[str, str]]:
        if self._robot.command.mode != "position":
            return []
        away = np.abs(command - measured)
        if self._target is not None:
            away = np.minimum(away, np.abs(command - self._target))
        return _beyond("start", away, START_TOLERANCE)

    def _change(self, command: Floats, periods: int) -> list[tuple[str, str]]:
        """What a step of so many periods breaks, whichever way the step before is read."""
        return min((self._change_since(reading, command, periods) for reading in self._readings), key=len)

    def _change_since(self, reading: _Reading, command: Floats, periods: int) -> list[tuple[str, str]]:
        robot, dt = self._robot, self._period
        assert self._before is not None
        rate = (command - self._before) / (periods * dt)
        if robot.command.mode == "pressure":
            return _beyond("rate", np.abs(rate), self._pressure_rate * (1 + ROUNDING))
        if robot.command.mode == "position":
            # Over several periods the rate is their mean: it may have changed by the steps between their middles.
            steps = (periods + reading.periods) / 2
            change = np.abs(rate - reading.velocity)
            noise = 8 * np.finfo(float).eps * np.abs(command).max(initial=0.0) / dt
            return _beyond("velocity", np.abs(rate), self._speed * (1 + ROUNDING) + noise) + _beyond(
                "acceleration", change / (steps * dt), self._acceleration * (1 + ROUNDING) + 2 * noise / dt
            )
        if robot.command.mode == "effort":
            return []
        largest = self._acceleration if robot.command.mode == "velocity" else _body_acceleration(robot)
        return _beyond("acceleration", np.abs(rate), largest * (1 + ROUNDING))


def _body_acceleration(robot: Robot) -> Floats:
    return np.array(robot.body.acceleration) if robot.body else np.full(3, np.inf)


def _beyond(quantity: str, value: Floats, limit: Floats | float) -> list[tuple[str, str]]:
    excess = value - limit
    if not (excess > 0).any():
        return []
    worst = int(np.argmax(excess))
    return [
        (
            quantity,
            f"element {worst}: {value[worst]:.9g} where {np.broadcast_to(limit, value.shape)[worst]:.9g}",
        )
    ]
