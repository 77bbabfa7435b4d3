"""Command messages, read by the robot's side: names to joints, wire to model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.robots.description import Robot

Floats = NDArray[np.float64]


class BadCommand(ValueError):
    """A command that no robot would obey; the message says why."""


class CommandDecoder:
    """Model values of command messages.

    Args:
        robot: its description.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._places = {name: place for place, name in enumerate(robot.wire_names)}

    def __call__(self, message: Any, before: Floats) -> Floats:
        """The command: joints in the robot's order, muscles, or (x, y, yaw).

        Args:
            message: of the robot's command type.
            before: the last command; joints that the message does not name keep it.

        Raises:
            BadCommand: an unknown joint or one named twice, lengths that do not fit, numbers that are not finite, or
                not a message at all.
        """
        from dynrl.robots.messages import Malformed

        if isinstance(message, Malformed):
            raise BadCommand(message.reason)
        values = self._read(message, before)
        if not np.isfinite(values).all():
            raise BadCommand(f"not finite: {values.tolist()}")
        return values

    def _read(self, message: Any, before: Floats) -> Floats:
        command = self._robot.command
        match message.__msgtype__:
            case "sensor_msgs/msg/JointState":
                return self._named(message.name, getattr(message, command.fields[0]), before)
            case "trajectory_msgs/msg/JointTrajectory":
                if len(message.points) != 1:
                    raise BadCommand(f"a trajectory of {len(message.points)} points, expected 1")
                return self._named(message.joint_names, message.points[0].positions, before)
            case "std_msgs/msg/Float64MultiArray":
                return self._ordered(message.data, before)
            case "geometry_msgs/msg/Twist":
                return _planar(message)
            case "geometry_msgs/msg/TwistStamped":
                return _planar(message.twist)
        raise BadCommand(f"the twin cannot obey messages of type {message.__msgtype__}")

    def _named(self, names: Sequence[str], wire: ArrayLike, before: Floats) -> Floats:
        values = np.asarray(wire, np.float64)
        if len(values) != len(names):
            raise BadCommand(f"{len(values)} numbers for {len(names)} joints")
        if len(set(names)) != len(names):
            raise BadCommand(f"a joint stands twice in {list(names)!a}")
        unknown = [name for name in names if name not in self._places]
        if unknown:
            raise BadCommand(f"unknown joints {unknown!a}")
        full = self._to_wire(before)
        full[[self._places[name] for name in names]] = values
        return self._to_model(full)

    def _ordered(self, wire: ArrayLike, before: Floats) -> Floats:
        values = np.asarray(wire, np.float64)
        order = self._robot.command.order
        if len(values) != len(order):
            raise BadCommand(f"{len(values)} numbers, expected {len(order)}")
        if self._robot.command.mode == "pressure":
            places = {muscle.name: place for place, muscle in enumerate(self._robot.muscles)}
            command = before.copy()
            command[[places[name] for name in order]] = values
            return command
        return self._named(order, values, before)

    def _to_wire(self, model: Floats) -> Floats:
        robot = self._robot
        convert = {"position": robot.position_to_wire, "velocity": robot.velocity_to_wire}
        return convert.get(robot.command.mode, robot.effort_to_wire)(model)

    def _to_model(self, wire: Floats) -> Floats:
        robot = self._robot
        convert = {"position": robot.position_to_model, "velocity": robot.velocity_to_model}
        return convert.get(robot.command.mode, robot.effort_to_model)(wire)


def _planar(twist: Any) -> Floats:
    return np.array([twist.linear.x, twist.linear.y, twist.angular.z], np.float64)
