"""From a command in model units to the message that the robot obeys.

The message and its list of names are made once and reused: building twelve names per tick costs more than sending them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.errors import ConfigError
from dynrl.policy.contract import Contract
from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes
from dynrl.robots.sources import muscles_on_wire

SECOND = 1_000_000_000
JOINT_MODES = ("position", "velocity", "effort")


class CommandEncoder:
    """Builds the robot's command message. The next call overwrites it.

    Args:
        contract: whose joints are commanded.
        robot: that obeys.
        types: message types.
        period_ns: of the loop, for trajectories.

    Raises:
        ConfigError: the robot's command type is not supported, or cannot carry a command for these joints alone.
    """

    def __init__(self, contract: Contract, robot: Robot, types: MessageTypes, period_ns: int) -> None:
        command = robot.command
        self.mode = command.mode
        self._robot = robot
        self._types = types
        index = (
            robot.index(contract.robot.joints)
            if self.mode in (*JOINT_MODES, "pressure")
            else np.zeros(0, np.intp)
        )
        joints = [robot.joints[at] for at in index]
        scale = [
            joint.sign * (joint.effort_scale if self.mode == "effort" else joint.unit_scale)
            for joint in joints
        ]
        self._scale = np.array(scale, np.float64)
        self._offset = np.array([joint.offset for joint in joints], np.float64)
        self._names = [joint.wire for joint in joints]
        self._wire = np.zeros(len(joints))
        self._horizon_ns = round(command.time_from_start * period_ns)
        writers = {
            "sensor_msgs/msg/JointState": self._joint_state,
            "trajectory_msgs/msg/JointTrajectory": self._trajectory,
            "std_msgs/msg/Float64MultiArray": self._array,
            "geometry_msgs/msg/Twist": self._twist,
            "geometry_msgs/msg/TwistStamped": self._stamped_twist,
        }
        if command.type not in writers:
            raise ConfigError(
                f"robot {robot.name!r}: commands of type {command.type} are not supported; "
                f"there are: {', '.join(writers)}"
            )
        self._message, self._write = writers[command.type](contract)
        self._stamp = getattr(getattr(self._message, "header", None), "stamp", None)

    def __call__(self, command: np.ndarray, stamp_ns: int) -> Any:
        """The message.

        Args:
            command: model units, order of the bundle (joints; muscles, two per joint; x, y, yaw of the body).
            stamp_ns: wall time for the header.
        """
        if self._stamp is not None:
            self._stamp.sec, self._stamp.nanosec = divmod(stamp_ns, SECOND)
        self._write(command)
        return self._message

    def _to_wire(self, command: np.ndarray) -> np.ndarray:
        if self.mode == "position":
            np.subtract(command, self._offset, out=self._wire)
            return np.divide(self._wire, self._scale, out=self._wire)
        return np.divide(command, self._scale, out=self._wire)

    def _joint_state(self, contract: Contract) -> tuple[Any, Any]:
        fields = self._robot.command.fields
        if fields != (self.mode,):
            raise ConfigError(
                f"robot {self._robot.name!r}: command.fields is {list(fields)}, expected [{self.mode}] as command.mode "
                "says"
            )
        message = self._types.new("sensor_msgs/msg/JointState", name=self._names, **{self.mode: self._wire})
        setattr(message, self.mode, self._wire)
        return message, self._to_wire

    def _trajectory(self, contract: Contract) -> tuple[Any, Any]:
        if self.mode not in ("position", "velocity"):
            raise ConfigError(
                f"robot {self._robot.name!r}: a JointTrajectory carries positions or velocities, not {self.mode}"
            )
        field = "positions" if self.mode == "position" else "velocities"
        seconds, nanoseconds = divmod(self._horizon_ns, SECOND)
        duration = self._types.new("builtin_interfaces/msg/Duration", sec=seconds, nanosec=nanoseconds)
        point = self._types.new("trajectory_msgs/msg/JointTrajectoryPoint", time_from_start=duration)
        setattr(point, field, self._wire)
        message = self._types.new(
            "trajectory_msgs/msg/JointTrajectory", joint_names=self._names, points=[point]
        )
        return message, self._to_wire

    def _array(self, contract: Contract) -> tuple[Any, Any]:
        robot = self._robot
        data = np.zeros(len(robot.command.order))
        if self.mode == "pressure":
            place = muscles_on_wire(robot)
            label, size = "muscle", len(robot.muscles)
        else:
            place = np.array([robot.command.order.index(name) for name in self._names], np.intp)
            label, size = "joint", len(robot.joints)
        if len(place) != size:
            raise ConfigError(
                f"robot {robot.name!r} takes one {robot.command.type} for all its {size} {label}s, the bundle commands "
                f"{len(place)}: expected a policy that commands all of them"
            )
        dimension = self._types.new("std_msgs/msg/MultiArrayDimension", label=label, size=size, stride=size)
        layout = self._types.new("std_msgs/msg/MultiArrayLayout", dim=[dimension])
        message = self._types.new("std_msgs/msg/Float64MultiArray", layout=layout)
        message.data = data

        def write(command: np.ndarray) -> None:
            data[place] = command if self.mode == "pressure" else self._to_wire(command)

        return message, write

    def _twist(self, contract: Contract) -> tuple[Any, Any]:
        message = self._types.new("geometry_msgs/msg/Twist")
        return message, _planar_writer(message)

    def _stamped_twist(self, contract: Contract) -> tuple[Any, Any]:
        header = self._types.new("std_msgs/msg/Header", frame_id=self._robot.command.frame)
        message = self._types.new("geometry_msgs/msg/TwistStamped", header=header)
        return message, _planar_writer(message.twist)


def _planar_writer(twist: Any) -> Any:
    def write(command: np.ndarray) -> None:
        twist.linear.x, twist.linear.y, twist.angular.z = (float(value) for value in command)

    return write
