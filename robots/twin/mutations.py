"""What a fault makes of a message. Functions from a copy of a message to what arrives in its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from dynrl.robots.twin.faults import ScheduledFault

Mutation = Callable[[Any, ScheduledFault, np.random.Generator], None]

NANO = 1_000_000_000
UNKNOWN_JOINT = "joint_that_nobody_knows"


def mutated(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> Any:
    """The message as the fault leaves it; the message itself is not touched.

    Kinds that change the time of arrival or the number of messages are not done here.
    """
    mutation = _MUTATIONS.get(fault.kind)
    if mutation is None:
        return message
    changed = copy.deepcopy(message)
    mutation(changed, fault, rng)
    return changed


def stamp_of(message: Any) -> Any:
    """The `builtin_interfaces/msg/Time` of a message; None where it has none."""
    if message.__msgtype__ == "rosgraph_msgs/msg/Clock":
        return message.clock
    header = getattr(message, "header", None)
    return None if header is None else header.stamp


def set_stamp(message: Any, nanoseconds: int) -> None:
    """Write a stamp, not before zero."""
    stamp = stamp_of(message)
    if stamp is not None:
        stamp.sec, stamp.nanosec = divmod(max(nanoseconds, 0), NANO)


def stamp_ns(message: Any) -> int | None:
    """The stamp in nanoseconds; None where a message has none."""
    stamp = stamp_of(message)
    return None if stamp is None else stamp.sec * NANO + stamp.nanosec


def _arrays(message: Any) -> tuple[Any, str, list[tuple[Any, str]]]:
    """(owner of the names, field of the names, [(owner, field) of the numbers that go with them])."""
    match message.__msgtype__:
        case "sensor_msgs/msg/JointState":
            filled = [f for f in ("position", "velocity", "effort") if len(getattr(message, f))]
            return message, "name", [(message, field) for field in filled]
        case "trajectory_msgs/msg/JointTrajectory":
            fields = ("positions", "velocities", "accelerations", "effort")
            numbers = [(p, field) for p in message.points for field in fields if len(getattr(p, field))]
            return message, "joint_names", numbers
        case "std_msgs/msg/Float64MultiArray":
            return None, "", [(message, "data")]
    return None, "", []


def _vectors(message: Any) -> list[Any]:
    """Things with an `x` in messages without arrays."""
    match message.__msgtype__:
        case "sensor_msgs/msg/Imu":
            return [message.orientation, message.angular_velocity, message.linear_acceleration]
        case "nav_msgs/msg/Odometry":
            return [message.pose.pose.position, message.twist.twist.linear]
        case "geometry_msgs/msg/PoseStamped":
            return [message.pose.position]
        case "geometry_msgs/msg/Twist":
            return [message.linear]
        case "geometry_msgs/msg/TwistStamped":
            return [message.twist.linear]
    return []


def _place(message: Any, fault: ScheduledFault, rng: np.random.Generator, count: int) -> int:
    owner, field, _ = _arrays(message)
    names = list(getattr(owner, field)) if owner is not None else []
    return names.index(fault.joint) if fault.joint in names else int(rng.integers(count))


def _write(value: float) -> Mutation:
    def mutation(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
        numbers = _arrays(message)[2]
        if numbers and len(getattr(*numbers[0])):
            array = getattr(*numbers[0])
            array[_place(message, fault, rng, len(array))] = value
        for vector in _vectors(message):
            vector.x = value

    return mutation


def _jump(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    numbers = _arrays(message)[2]
    if numbers and len(getattr(*numbers[0])):
        array = getattr(*numbers[0])
        array[_place(message, fault, rng, len(array))] += fault.value


def _wrong_unit(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    for owner, field in _arrays(message)[2]:
        setattr(owner, field, np.rad2deg(getattr(owner, field)))


def _reindex(message: Any, order: np.ndarray) -> None:
    owner, names, numbers = _arrays(message)
    if owner is None:
        return
    setattr(owner, names, [getattr(owner, names)[place] for place in order])
    for holder, field in numbers:
        setattr(holder, field, np.ascontiguousarray(getattr(holder, field)[order]))


def _count(message: Any) -> int:
    owner, names, _ = _arrays(message)
    return 0 if owner is None else len(getattr(owner, names))


def _permute(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    _reindex(message, rng.permutation(_count(message)))


def _missing_joint(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    count = _count(message)
    if count:
        _reindex(message, np.delete(np.arange(count), _place(message, fault, rng, count)))


def _short(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    for owner, field in _arrays(message)[2]:
        setattr(owner, field, getattr(owner, field)[:-1].copy())


def _extra_joint(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
    owner, names, numbers = _arrays(message)
    if owner is None:
        return
    place = int(rng.integers(_count(message) + 1))
    known = list(getattr(owner, names))
    setattr(owner, names, [*known[:place], UNKNOWN_JOINT, *known[place:]])
    for holder, field in numbers:
        setattr(holder, field, np.insert(getattr(holder, field), place, rng.normal()))


def _clock(sign: int) -> Mutation:
    def mutation(message: Any, fault: ScheduledFault, rng: np.random.Generator) -> None:
        now = stamp_ns(message)
        if now is not None:
            set_stamp(message, now + sign * round(fault.value * NANO))

    return mutation


_MUTATIONS: dict[str, Mutation] = {
    "nan": _write(np.nan),
    "inf": _write(np.inf),
    "jump": _jump,
    "wrong_unit": _wrong_unit,
    "permute": _permute,
    "missing_joint": _missing_joint,
    "short": _short,
    "extra_joint": _extra_joint,
    "clock_back": _clock(-1),
    "clock_forward": _clock(1),
}
