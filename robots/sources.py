"""What is known of the robot: from accepted messages to the values of which observations are made.

Joints are merged by name over all `JointState` publishers, each joint with its own age; everything is in model units
and in the order of the bundle's joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dynrl.errors import ConfigError
from dynrl.policy.contract import Contract, ObservationTerm
from dynrl.robots.description import Robot, Source

SECOND = 1_000_000_000
JOINT_STATE = "sensor_msgs/msg/JointState"
Floats = np.ndarray
Reader = Callable[[Any, int], None]


class Sources:
    """The newest value of everything that a policy observes.

    Args:
        contract: of the policy.
        robot: whose messages come in.
        required: names of the sources without which the policy cannot run.

    Attributes:
        values: by kind of term, what `ObservationAssembler` takes; kinds that nobody has sent are absent.
        position, velocity, effort: float64 `[joints of the bundle]`, nan before the first message.
        position_ns: when each joint was last heard of, int64 `[joints]`; 0 before.
        newest_ns: receive time of the newest message of a required source.
        newest_stamp_ns: wall time in its header; None where it has none.
    """

    def __init__(self, contract: Contract, robot: Robot, required: tuple[str, ...]) -> None:
        self._contract, self._robot = contract, robot
        self._joints = contract.robot.joints
        count = len(self._joints)
        self.position = np.full(count, np.nan)
        self.velocity = np.full(count, np.nan)
        self.effort = np.full(count, np.nan)
        self.position_ns = np.zeros(count, np.int64)
        self.values: dict[str, Floats] = {}
        self.newest_ns = 0
        self.newest_stamp_ns: int | None = None
        self.required = required
        self._command_ns: dict[str, int] = {}
        self._readers = {name: self._reader(name, source) for name, source in robot.sources.items()}
        self._timeouts = {
            term.kind: round(term.timeout * SECOND)
            for term in contract.observation
            if term.kind.startswith("command/") and term.timeout is not None
        }

    def update(self, source: str, message: Any, receive_ns: int) -> None:
        """Takes in an accepted message."""
        self._readers[source](message, receive_ns)
        if source in self.required:
            self.newest_ns = max(self.newest_ns, receive_ns)
            header = getattr(message, "header", None)
            if header is not None:
                self.newest_stamp_ns = header.stamp.sec * SECOND + header.stamp.nanosec

    def expire(self, now_ns: int) -> None:
        """Forgets commands older than the timeout of their term, so that the default takes their place."""
        for kind, timeout in self._timeouts.items():
            if kind in self._command_ns and now_ns - self._command_ns[kind] > timeout:
                del self._command_ns[kind]
                del self.values[kind]

    def _reader(self, name: str, source: Source) -> Reader:
        if source.type == JOINT_STATE and source.kind == "command/joint/position":
            return self._joint_command()
        if source.type == JOINT_STATE:
            return _Joints(self, self._robot, source, self._joints).read
        if source.type == "std_msgs/msg/Float64MultiArray" and "state/muscle/pressure" in source.provides:
            return _Muscles(self, self._robot, self._joints).read
        values_of = _READERS.get(source.type)
        if values_of is None:
            return _ignore
        mine = {kind for kind in source.provides if self._robot.provides[kind] == name}
        if source.type == "geometry_msgs/msg/PoseStamped":
            values_of = self._pose_reader()

        def read(message: Any, receive_ns: int) -> None:
            for kind, numbers in values_of(message):
                if kind in mine:
                    self._put(kind, numbers, receive_ns)

        return read

    def _pose_reader(self) -> Callable[[Any], list[tuple[str, list[float]]]]:
        """Poses are cut to position where the term wants three numbers."""
        shapes = [term.shape for term in self._contract.observation if term.kind == "command/pose"]
        length = 3 if (3,) in shapes else 7
        return lambda message: [("command/pose", _pose(message.pose)[:length])]

    def _joint_command(self) -> Reader:
        """Goals for joints, by wire name, in the order of the term; names that are absent keep their last goal."""
        term = next(term for term in self._contract.observation if term.kind == "command/joint/position")
        index = self._robot.index(self._contract.joints_of(term))
        joints = [self._robot.joints[at] for at in index]
        goal = np.array(term.default if term.default is not None else np.zeros(len(joints)), np.float64)

        def read(message: Any, receive_ns: int) -> None:
            given = dict(zip(message.name, message.position, strict=True))
            for place, joint in enumerate(joints):
                if joint.wire in given:
                    goal[place] = joint.sign * joint.unit_scale * given[joint.wire] + joint.offset
            self._put(term.kind, goal, receive_ns)

        return read

    def _put(self, kind: str, numbers: Any, receive_ns: int) -> None:
        """Keeps the value of a kind."""
        self.values[kind] = np.asarray(numbers, np.float64)
        if kind.startswith("command/"):
            self._command_ns[kind] = receive_ns


def check_sources(contract: Contract, robot: Robot) -> None:
    """Whether the robot file names a source for all that the policy observes.

    Raises:
        ConfigError: it does not.
    """
    needed = {term.kind for term in contract.observation if _needs_source(term)}
    if any(term.kind.startswith("target/joint") for term in contract.action):
        needed.add("state/joint/position")
    if any(term.kind.startswith("target/muscle") for term in contract.action):
        needed.add("state/muscle/pressure")
    for kind in sorted(needed):
        if kind not in robot.provides:
            remedy = ""
            if kind == "state/joint/velocity":
                remedy = (
                    "; if the driver sends positions only, say `derive: {velocity: finite_difference}` there"
                )
            raise ConfigError(
                f"robot {robot.name!r} has no source for {kind}, which the policy observes{remedy}"
            )


def _needs_source(term: ObservationTerm) -> bool:
    if term.kind.startswith("state/"):
        return True
    return term.kind.startswith("command/") and term.default is None


class _Joints:
    """Reads a `JointState`: by name, whatever the order, whatever else is in it."""

    def __init__(self, sources: Sources, robot: Robot, source: Source, joints: tuple[str, ...]) -> None:
        self._sources = sources
        self._derive = source.derive.get("velocity") == "finite_difference"
        index = robot.index(joints)
        self._place = {robot.joints[at].wire: place for place, at in enumerate(index)}
        self._sign_scale = np.array([robot.joints[at].sign * robot.joints[at].unit_scale for at in index])
        self._effort_scale = np.array([robot.joints[at].sign * robot.joints[at].effort_scale for at in index])
        self._offset = np.array([robot.joints[at].offset for at in index])
        self._continuous = np.array([robot.joints[at].kind == "continuous" for at in index], bool)
        self._names: list[str] = []
        self._to: slice | Floats = slice(None)
        self._learn([])

    def read(self, message: Any, receive_ns: int) -> None:
        if message.name != self._names:
            self._learn(list(message.name))
        start, to = self._from, self._to
        if not len(start):
            return
        sources, values = self._sources, self._sources.values
        if len(message.position):
            position = message.position[start] * self._scale + self._shift
            if self._turns.any():
                self._unwrap(position)
            if self._derive:
                self._differentiate(position, receive_ns)
            sources.position[to] = position
            sources.position_ns[to] = receive_ns
            values["state/joint/position"] = sources.position
        if len(message.velocity) and not self._derive:
            sources.velocity[to] = message.velocity[start] * self._scale
            values["state/joint/velocity"] = sources.velocity
        if len(message.effort):
            sources.effort[to] = message.effort[start] * self._effort
            values["state/joint/effort"] = sources.effort

    def _differentiate(self, position: Floats, receive_ns: int) -> None:
        sources, to = self._sources, self._to
        elapsed = (receive_ns - sources.position_ns[to]) / SECOND
        known = (sources.position_ns[to] > 0) & (elapsed > 0)
        change = position - sources.position[to]
        sources.velocity[to] = np.where(known, change / np.where(known, elapsed, 1.0), 0.0)
        sources.values["state/joint/velocity"] = sources.velocity

    def _unwrap(self, position: Floats) -> None:
        """A continuous joint goes on counting where a driver jumps from pi to -pi."""
        turns = np.round((self._sources.position[self._to] - position) / (2 * np.pi))
        position += np.where(self._turns & np.isfinite(turns), turns, 0.0) * 2 * np.pi

    def _learn(self, names: list[str]) -> None:
        """The layout of messages with these names; they hardly ever change."""
        pairs = [(at, self._place[name]) for at, name in enumerate(names) if name in self._place]
        to = np.array([place for _, place in pairs], np.intp)
        self._from = np.array([at for at, _ in pairs], np.intp)
        self._scale, self._shift = self._sign_scale[to], self._offset[to]
        self._effort, self._turns = self._effort_scale[to], self._continuous[to]
        in_order = len(to) == len(self._place) and bool((to == np.arange(len(to))).all())
        self._to = slice(None) if in_order else to
        self._names = names


class _Muscles:
    """Reads pressures in the order of the robot's muscles; bundles want agonist and antagonist of each joint."""

    def __init__(self, sources: Sources, robot: Robot, joints: tuple[str, ...]) -> None:
        self._sources = sources
        self._order = muscles_on_wire(robot)[muscle_places(robot, joints)]

    def read(self, message: Any, receive_ns: int) -> None:
        self._sources._put("state/muscle/pressure", message.data[self._order], receive_ns)


def muscle_places(robot: Robot, joints: tuple[str, ...]) -> np.ndarray:
    """Where the muscles of a bundle (agonist, antagonist per joint) stand in `robot.muscles`, int `[2 * joints]`.

    Raises:
        ConfigError: a joint without such a muscle.
    """
    names = [(muscle.joint, muscle.side) for muscle in robot.muscles]
    places = []
    for joint in joints:
        for side in ("agonist", "antagonist"):
            if (joint, side) not in names:
                raise ConfigError(f"robot {robot.name!r}: joint {joint!r} has no {side} muscle")
            places.append(names.index((joint, side)))
    return np.array(places, np.intp)


def muscles_on_wire(robot: Robot) -> np.ndarray:
    """Where each of `robot.muscles` stands in an array on the wire, int `[muscles]`."""
    names = [muscle.name for muscle in robot.muscles]
    order = list(robot.command.order) or names
    return np.array([order.index(name) for name in names], np.intp)


Values = list[tuple[str, Any]]


def _imu(message: Any) -> Values:
    rotation = _quaternion(message.orientation)
    return [
        ("state/body/rotation", rotation),
        ("state/body/projected_gravity", projected_gravity(rotation)),
        ("state/body/angular_velocity", _vector(message.angular_velocity)),
        ("state/body/linear_acceleration", _vector(message.linear_acceleration)),
    ]


def _odometry(message: Any) -> Values:
    twist = message.twist.twist
    pose = _pose(message.pose.pose)
    return [
        ("state/body/pose", pose),
        ("state/body/rotation", pose[3:]),
        ("state/body/linear_velocity", _vector(twist.linear)),
        ("state/body/angular_velocity", _vector(twist.angular)),
    ]


def _twist(message: Any) -> Values:
    return [("command/body/velocity", _planar(message))]


def _stamped_twist(message: Any) -> Values:
    return [("command/body/velocity", _planar(message.twist))]


def _scalar(message: Any) -> Values:
    return [("command/scalar", [message.data])]


def _image(message: Any) -> Values:
    dtype, channels = IMAGES[message.encoding]
    number = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.step)
    used = message.width * channels * number.itemsize
    return [("state/camera/image", np.ascontiguousarray(rows[:, :used]).view(number))]


IMAGES = {"mono8": ("u1", 1), "rgb8": ("u1", 3), "bgr8": ("u1", 3), "16UC1": ("u2", 1), "32FC1": ("f4", 1)}
"""Image encodings that are understood: (kind of number, channels)."""


def _ignore(message: Any, receive_ns: int) -> None:
    """Of a source that no term reads."""


_READERS: Mapping[str, Callable[[Any], Values]] = {
    "sensor_msgs/msg/Imu": _imu,
    "nav_msgs/msg/Odometry": _odometry,
    "geometry_msgs/msg/PoseStamped": lambda message: [("command/pose", _pose(message.pose))],
    "geometry_msgs/msg/Twist": _twist,
    "geometry_msgs/msg/TwistStamped": _stamped_twist,
    "std_msgs/msg/Float64": _scalar,
    "sensor_msgs/msg/Image": _image,
}


def projected_gravity(rotation: list[float]) -> list[float]:
    """The direction of gravity in the body's frame, of its rotation (xyzw) in a z-up world."""
    x, y, z, w = rotation
    return [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1]


def _vector(vector: Any) -> list[float]:
    return [vector.x, vector.y, vector.z]


def _quaternion(quaternion: Any) -> list[float]:
    return [quaternion.x, quaternion.y, quaternion.z, quaternion.w]


def _pose(pose: Any) -> list[float]:
    return _vector(pose.position) + _quaternion(pose.orientation)


def _planar(twist: Any) -> list[float]:
    return [twist.linear.x, twist.linear.y, twist.angular.z]
