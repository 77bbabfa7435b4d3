"""What a message says, as far as a deployment needs it: its numbers, its quaternion, its stamp."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Reader = Callable[[Any, Set[str]], list[float]]


def stamp_ns(message: Any) -> int | None:
    """The stamp of the header in nanoseconds; None where there is none, or it is zero (not filled in)."""
    header = getattr(message, "header", None)
    if header is None:
        return None
    stamp = header.stamp
    return (stamp.sec * 1_000_000_000 + stamp.nanosec) or None


def quaternion_is_valid(x: float, y: float, z: float, w: float) -> bool:
    """Whether the norm is 1 within 1e-3. All zeros, the ROS way of saying "not provided", is not."""
    return abs(math.sqrt(x * x + y * y + z * z + w * w) - 1.0) <= 1e-3


def needs_rotation(kinds: Set[str], pose_has_rotation: bool) -> bool:
    """Whether the quaternion of a message is used for any of the term kinds."""
    rotations = {"state/body/rotation", "state/body/projected_gravity", "state/body/pose"}
    return bool(kinds & rotations) or ("command/pose" in kinds and pose_has_rotation)


def numbers(message: Any, kinds: Set[str]) -> Floats:
    """The numbers of a message that terms of `kinds` use, quaternions not included, as float64[any]."""
    reader = _READERS.get(message.__msgtype__)
    return np.array(reader(message, kinds) if reader else [], np.float64)


def quaternion(message: Any) -> tuple[float, float, float, float] | None:
    """`(x, y, z, w)` of a message that has an orientation, else None."""
    match message.__msgtype__:
        case "sensor_msgs/msg/Imu":
            q = message.orientation
        case "nav_msgs/msg/Odometry":
            q = message.pose.pose.orientation
        case "geometry_msgs/msg/PoseStamped":
            q = message.pose.orientation
        case _:
            return None
    return q.x, q.y, q.z, q.w


def shape_error(message: Any, expected: int | None) -> str:
    """What is wrong with the lengths of arrays in a message, else "".

    Args:
        message: any message.
        expected: number of elements of a `Float64MultiArray`; None takes any.
    """
    match message.__msgtype__:
        case "std_msgs/msg/Float64MultiArray":
            sizes = [dimension.size for dimension in message.layout.dim]
            found = len(message.data) - message.layout.data_offset
            if sizes and math.prod(sizes) != found:
                return f"{found} numbers with dimensions {sizes}"
            if expected is not None and found != expected:
                return f"{found} numbers, expected {expected}"
        case "sensor_msgs/msg/Image":
            if len(message.data) != message.step * message.height:
                return f"{len(message.data)} bytes, expected step·height = {message.step * message.height}"
    return ""


def _xyz(vector: Any) -> list[float]:
    return [vector.x, vector.y, vector.z]


def _imu(message: Any, kinds: Set[str]) -> list[float]:
    turning = _xyz(message.angular_velocity) if "state/body/angular_velocity" in kinds else []
    return turning + (_xyz(message.linear_acceleration) if "state/body/linear_acceleration" in kinds else [])


def _odometry(message: Any, kinds: Set[str]) -> list[float]:
    place = _xyz(message.pose.pose.position) if "state/body/pose" in kinds else []
    moving = _xyz(message.twist.twist.linear) if "state/body/linear_velocity" in kinds else []
    return (
        place + moving + (_xyz(message.twist.twist.angular) if "state/body/angular_velocity" in kinds else [])
    )


def _planar(twist: Any) -> list[float]:
    return [twist.linear.x, twist.linear.y, twist.angular.z]


_READERS: dict[str, Reader] = {
    "sensor_msgs/msg/Imu": _imu,
    "nav_msgs/msg/Odometry": _odometry,
    "geometry_msgs/msg/PoseStamped": lambda message, kinds: _xyz(message.pose.position),
    "geometry_msgs/msg/Twist": lambda message, kinds: _planar(message),
    "geometry_msgs/msg/TwistStamped": lambda message, kinds: _planar(message.twist),
    "std_msgs/msg/Float64": lambda message, kinds: [message.data],
    "std_msgs/msg/Float64MultiArray": lambda message, kinds: list(message.data[message.layout.data_offset :]),
}
