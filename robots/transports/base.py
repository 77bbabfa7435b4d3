"""What the control loop, the twin and the transports share: the protocol, endpoints, options, names.

A transport moves messages between named channels ("joint_states", "command", ...) and whatever carries them. Messages
are dataclasses of the type store of `dynrl.robots.messages`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from dynrl.errors import UserError
from dynrl.robots.description import Robot
from dynrl.robots.transports.qos import PROFILES, Qos, reading, writing

ESTOP, ESTOP_RESET, CONTROL, COMMAND = "estop", "estop_reset", "control", "command"
STATE, TRANSITION_EVENT, SHADOW_COMMAND, DIAGNOSTICS = (
    "state",
    "transition_event",
    "shadow_command",
    "diagnostics",
)
CLOCK, TF = "clock", "tf"


class TransportError(UserError):
    """A transport cannot be opened, or was given something that it cannot carry."""


class SecurityError(TransportError):
    """Security was asked for and cannot be had; a transport never goes on without it."""


class Received(NamedTuple):
    """One message that came in.

    Attributes:
        source: channel: name of a source of the robot file, "estop", "estop_reset", "control", "clock"; "command" at
            the twin.
        receive_ns: `time.monotonic_ns()` at reception (the virtual clock in lock-step simulation).
        message: dataclass of the type store, or `messages.Malformed` where the bytes are no such message.
        raw: the CDR bytes, with encapsulation header.
    """

    source: str
    receive_ns: int
    message: Any
    raw: bytes


@dataclass(frozen=True)
class Matched:
    """Who is at the other end.

    Attributes:
        alive: the transport works; False after its connection was lost.
        subscribers: readers of our command topic.
        publishers: writers of each channel that we read.
        other_writers: names of the others who write to our command topic.
        other_resetters: names of those who write to the e-stop reset, where there is more than one.
        incompatible: one line for each peer that is there and cannot talk to us (quality of service, type).
        notices: other lines that a person must see once: an open network, a lost master or server.
    """

    alive: bool
    subscribers: int
    publishers: Mapping[str, int] = field(default_factory=dict)
    other_writers: tuple[str, ...] = ()
    other_resetters: tuple[str, ...] = ()
    incompatible: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@runtime_checkable
class Transport(Protocol):
    """One side of a connection. Used from one thread, except where an implementation says otherwise."""

    def open(self) -> None:
        """Connect and create the endpoints; returns without waiting for peers.

        Raises:
            TransportError: that is not possible.
        """

    def poll(self) -> list[Received]:
        """Everything that came since the last call, in the order of arrival; never waits."""

    def publish(self, channel: str, message: Any) -> None:
        """Send a message of the channel's type.

        Raises:
            TransportError: no such channel to write to, or the message cannot be sent this way.
        """

    def matched(self) -> Matched:
        """Who is there; cheap enough for every tick (what costs more is refreshed 20 times a second)."""

    def close(self) -> None:
        """Disconnect; a second call does nothing."""


@dataclass(frozen=True)
class Endpoint:
    """A reader or a writer.

    Attributes:
        channel: its name in `Received` and `publish`.
        topic: ROS name, absolute.
        type: ROS type, `pkg/msg/T`.
        qos: what the reader asks for or the writer offers.
    """

    channel: str
    topic: str
    type: str
    qos: Qos


@dataclass(frozen=True)
class Endpoints:
    """Everything that one side reads and writes.

    Attributes:
        node: absolute name of the ROS node, e.g. "/dynrl".
        readers: two readers may share a channel.
        writers: channels are unique.
    """

    node: str
    readers: tuple[Endpoint, ...]
    writers: tuple[Endpoint, ...]

    def writer(self, channel: str) -> Endpoint:
        """The writer of a channel.

        Raises:
            TransportError: there is none.
        """
        for endpoint in self.writers:
            if endpoint.channel == channel:
                return endpoint
        names = ", ".join(endpoint.channel for endpoint in self.writers)
        raise TransportError(f"nothing is published on channel {channel!r} here; the channels are {names}")


@dataclass(frozen=True)
class TransportOptions:
    """How to connect.

    Attributes:
        node: name of our ROS node, without namespace.
        namespace: put before every relative name, e.g. "/spot".
        remap: topic names to replace; both sides may be relative (see `parse_remaps`).
        ros_distro: whose message definitions to use; `ROS_DISTRO`, else jazzy.
        messages: folders of `.msg` files.
        use_sim_time: read `/clock`.
        estop_topic, estop_type: where the emergency stop comes in; `std_msgs/msg/Empty` is a stop without a release.
        domain: DDS domain id; `ROS_DOMAIN_ID`, else 0.
        interface: name or address of a network interface; without it nothing leaves this machine.
        backend: DDS by CycloneDDS, or by ROS's own client library `rclpy`; see `ros2.choose_backend`.
        security: SROS2 enclave folder.
        max_blocking: seconds that a reliable write may wait for a slow reader; at most half the control period.
        master: URI of the ROS 1 master; `ROS_MASTER_URI`, else http://127.0.0.1:11311.
        host, port: of the rosbridge server.
        ros1_server: the rosbridge server is of ROS 1.
        compression: of what a rosbridge server sends.
        timeout: seconds to wait for a master or a server.
    """

    node: str = "dynrl"
    namespace: str = ""
    remap: Mapping[str, str] = field(default_factory=dict)
    ros_distro: str | None = None
    messages: tuple[Path, ...] = ()
    use_sim_time: bool = False
    estop_topic: str = "/emergency_stop"
    estop_type: Literal["std_msgs/msg/Bool", "std_msgs/msg/Empty"] = "std_msgs/msg/Bool"
    domain: int | None = None
    interface: str | None = None
    backend: Literal["auto", "cyclonedds", "rclpy"] = "auto"
    security: Path | None = None
    max_blocking: float = 0.002
    master: str | None = None
    host: str = "127.0.0.1"
    port: int = 9090
    ros1_server: bool = False
    compression: Literal["none", "png", "cbor", "cbor-raw"] = "none"
    timeout: float = 2.0


def deployer_endpoints(robot: Robot, options: TransportOptions) -> Endpoints:
    """What the deployment reads and writes.

    Raises:
        TransportError: a topic or node name is not a ROS name.
    """
    readers = [
        Endpoint(name, resolve_name(source.topic, options), source.type, reading(source.qos))
        for name, source in robot.sources.items()
    ]
    # A reliable reader never matches a best-effort writer, and a best-effort one may lose the one message that counts.
    for reliability in ("reliable", "best_effort"):
        qos = Qos(reliability, depth=10)
        readers += [
            Endpoint(ESTOP, resolve_name(options.estop_topic, options), options.estop_type, qos),
            Endpoint(
                ESTOP_RESET,
                resolve_name(f"{options.estop_topic}_reset", options),
                "std_msgs/msg/Empty",
                qos,
            ),
        ]
    readers.append(
        Endpoint(CONTROL, resolve_name("~/command", options), "std_msgs/msg/String", reading("default"))
    )
    if options.use_sim_time:
        readers.append(
            Endpoint(CLOCK, resolve_name("/clock", options), "rosgraph_msgs/msg/Clock", reading("clock"))
        )
    command = robot.command
    writers = (
        Endpoint(COMMAND, resolve_name(command.topic, options), command.type, writing(command.qos)),
        Endpoint(SHADOW_COMMAND, resolve_name("~/shadow_command", options), command.type, writing("command")),
        Endpoint(STATE, resolve_name("~/state", options), "std_msgs/msg/String", writing("latched")),
        Endpoint(
            TRANSITION_EVENT,
            resolve_name("~/transition_event", options),
            "lifecycle_msgs/msg/TransitionEvent",
            writing("default"),
        ),
        Endpoint(
            DIAGNOSTICS,
            resolve_name("/diagnostics", options),
            "diagnostic_msgs/msg/DiagnosticArray",
            writing("default"),
        ),
    )
    return Endpoints(node_name(options), tuple(readers), writers)


def twin_endpoints(robot: Robot, options: TransportOptions) -> Endpoints:
    """What the simulated twin reads and writes; its node is `ROBOT_twin`.

    Raises:
        TransportError: a topic name is not a ROS name.
    """
    command = robot.command
    sources = [
        Endpoint(name, resolve_name(source.topic, options), source.type, writing(source.qos))
        for name, source in robot.sources.items()
    ]
    world = [
        Endpoint(CLOCK, resolve_name("/clock", options), "rosgraph_msgs/msg/Clock", writing("clock")),
        Endpoint(TF, resolve_name("/tf", options), "tf2_msgs/msg/TFMessage", writing("default")),
    ]
    reader = Endpoint(COMMAND, resolve_name(command.topic, options), command.type, reading(command.qos))
    prefix = _namespace(options)
    return Endpoints(f"{prefix}/{_identifier(robot.name)}_twin", (reader,), (*sources, *world))


def operator_endpoints(robot: Robot, options: TransportOptions) -> Endpoints:
    """The other side of the control surface: writes e-stop, reset and control, reads state and events.

    Raises:
        TransportError: a topic name is not a ROS name.
    """
    deployer = deployer_endpoints(robot, options)
    writers = {
        endpoint.channel: Endpoint(endpoint.channel, endpoint.topic, endpoint.type, PROFILES["default"])
        for endpoint in deployer.readers
        if endpoint.channel in (ESTOP, ESTOP_RESET, CONTROL)
    }
    readers = tuple(
        endpoint
        if endpoint.channel == STATE
        else Endpoint(endpoint.channel, endpoint.topic, endpoint.type, Qos("best_effort"))
        for endpoint in deployer.writers
        if endpoint.channel in (STATE, TRANSITION_EVENT, DIAGNOSTICS, SHADOW_COMMAND)
    )
    return Endpoints(f"{deployer.node}_operator", readers, tuple(writers.values()))


_SEGMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def resolve_name(name: str, options: TransportOptions) -> str:
    """The absolute name: `~/x` below the node, `x` below the namespace; then remapped.

    Raises:
        TransportError: not a ROS name.
    """
    absolute = _absolute(name, options)
    for old, new in options.remap.items():
        if _absolute(old, options) == absolute:
            return _absolute(new, options)
    return absolute


def parse_remaps(arguments: Sequence[str]) -> dict[str, str]:
    """`["joint_states:=/spot/joint_states"]` as `TransportOptions.remap` wants it.

    Raises:
        TransportError: an argument is not `old:=new`, or a name is remapped twice.
    """
    remaps: dict[str, str] = {}
    for argument in arguments:
        old, separator, new = argument.partition(":=")
        if not (separator and old and new):
            raise TransportError(
                f"--remap {argument!r}: expected OLD:=NEW, e.g. joint_states:=/spot/joint_states"
            )
        if old in remaps:
            raise TransportError(f"--remap {argument!r}: {old} is remapped twice")
        remaps[old] = new
    return remaps


def _absolute(name: str, options: TransportOptions) -> str:
    if name == "~" or name.startswith("~/"):
        absolute = node_name(options) + name[1:]
    elif name.startswith("/"):
        absolute = name
    else:
        absolute = f"{_namespace(options)}/{name}"
    check_name(absolute, name)
    return absolute


def node_name(options: TransportOptions) -> str:
    """The absolute name of our node.

    Raises:
        TransportError: not a ROS name.
    """
    absolute = f"{_namespace(options)}/{options.node}"
    check_name(absolute, options.node)
    return absolute


def check_name(absolute: str, given: str) -> None:
    """Raises `TransportError` unless `absolute` is a ROS name that starts with a slash."""
    segments = absolute.split("/")[1:]
    if not absolute.startswith("/") or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise TransportError(
            f"{given!a} is not a ROS name: expected segments of letters, digits and _, none of them starting with "
            "a digit, separated by single slashes, without one at the end"
        )


def _namespace(options: TransportOptions) -> str:
    stripped = options.namespace.strip("/")
    return f"/{stripped}" if stripped else ""


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)
