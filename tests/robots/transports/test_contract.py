"""What every transport promises, asked of every transport."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, MessageTypes
from dynrl.robots.transports import (
    Endpoints,
    Received,
    Transport,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    operator_endpoints,
    twin_endpoints,
)

# Those with processes beside them take seconds for each test; test_ros1 and test_rosbridge have quick ones.
KINDS = [
    "sim",
    "ros2",
    "rclpy",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ros1", "rosbridge")),
]
every_transport = pytest.mark.parametrize("side", KINDS, indirect=True)
OPTIONS = TransportOptions()
Eventually = Callable[..., None]
Sides = Callable[..., Transport]


class Inbox:
    """Everything that a side has received."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.all: list[Received] = []

    def count(self, source: str) -> int:
        self.all += self._transport.poll()
        return len(self.of(source))

    def of(self, source: str) -> list[Received]:
        return [received for received in self.all if received.source == source]


@pytest.fixture
def connected(
    side: Sides, robot: Robot, types: MessageTypes, request: pytest.FixtureRequest, eventually: Eventually
) -> tuple[Transport, Transport]:
    """(deployer side, twin side), matched, and messages get through."""
    deployer, twin = deployer_endpoints(robot, OPTIONS), twin_endpoints(robot, OPTIONS)
    ours, theirs = connect(side(deployer), side(twin), deployer, twin, request, eventually)
    warm_up(theirs, "joint_states", ours, types, eventually)
    warm_up(ours, "command", theirs, types, eventually)
    return ours, theirs


def warm_up(
    sender: Transport, channel: str, receiver: Transport, types: MessageTypes, eventually: Eventually
) -> None:
    """Until messages get through: both ends know of a connection before it carries anything."""

    def heard(frame: str, again: bool) -> bool:
        if again:
            sender.publish(channel, framed(frame))
        return any(received.message.header.frame_id == frame for received in receiver.poll())

    def framed(frame: str) -> Any:
        return types.new("sensor_msgs/JointState", header=types.new("std_msgs/Header", frame_id=frame))

    eventually(lambda: heard("first", again=True))
    sender.publish(channel, framed("last"))
    eventually(lambda: heard("last", again=False))


def connect(
    ours: Transport,
    theirs: Transport,
    deployer: Endpoints,
    twin: Endpoints,
    request: pytest.FixtureRequest,
    eventually: Eventually,
) -> tuple[Transport, Transport]:
    if "rosbridge_server" in request.fixturenames or _kind(request) == "rosbridge":
        announce_all(request.getfixturevalue("rosbridge_server"), deployer, twin, eventually)
    eventually(lambda: ours.matched().subscribers == 1, what="the twin reads our command")
    eventually(lambda: ours.matched().publishers["joint_states"] == 1, what="the twin publishes joint states")
    eventually(lambda: theirs.matched().publishers["command"] == 1, what="we publish to the twin")
    return ours, theirs


def _kind(request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["side"]


def announce_all(server: Any, deployer: Endpoints, twin: Endpoints, eventually: Eventually) -> None:
    """What rosapi would say of both sides, once both have subscribed."""
    wanted = {reader.topic for side in (deployer, twin) for reader in side.readers}

    def subscribed() -> bool:
        return wanted <= {
            operation["topic"] for operation in server.operations() if operation["op"] == "subscribe"
        }

    eventually(subscribed, what="both sides have subscribed")
    answers: dict[str, list[str]] = {}
    for endpoints in (deployer, twin):
        for reader in endpoints.readers:
            answers[f"subscribers {reader.topic}"] = ["/rosbridge_websocket"]
        for writer in endpoints.writers:
            answers[f"publishers {writer.topic}"] = ["/rosbridge_websocket"]
    server.do("rosapi", answers=answers)


def joint_state(types: MessageTypes, number: float) -> Any:
    message = types.new(
        "sensor_msgs/JointState",
        name=["arm_yaw", "関節", "arm_elbow"],
        position=[number, 0.1, -1e-300],
        velocity=[1 / 3, np.pi, -0.0],
    )
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 999_999_999
    message.header.frame_id = "base_link"
    return message


@every_transport
def test_messages_arrive_as_they_were_sent(
    connected: tuple[Transport, Transport], types: MessageTypes, eventually: Eventually
) -> None:
    deployer, twin = connected
    here, there = Inbox(deployer), Inbox(twin)
    sent = joint_state(types, 0.1 + 0.2)
    before = time.monotonic_ns()
    twin.publish("joint_states", sent)
    deployer.publish("command", sent)
    eventually(lambda: here.count("joint_states") and there.count("command"))
    for received in (*here.of("joint_states"), *there.of("command")):
        assert received.message.name == sent.name
        np.testing.assert_array_equal(received.message.position, sent.position)
        np.testing.assert_array_equal(received.message.velocity, sent.velocity)
        assert received.message.effort.size == 0
        assert received.message.header == sent.header
        assert types.serialize(received.message) == types.serialize(sent)
        assert types.deserialize(received.raw, "sensor_msgs/msg/JointState").name == sent.name
        assert before <= received.receive_ns <= time.monotonic_ns()


@every_transport
def test_messages_keep_their_order_and_are_delivered_once(
    connected: tuple[Transport, Transport], types: MessageTypes, eventually: Eventually
) -> None:
    deployer, twin = connected
    inbox = Inbox(deployer)
    for number in range(20):
        twin.publish("joint_states", joint_state(types, float(number)))
        eventually(lambda expected=number + 1: inbox.count("joint_states") == expected)
    positions = [received.message.position[0] for received in inbox.of("joint_states")]
    assert positions == list(range(20))
    times = [received.receive_ns for received in inbox.all]
    assert times == sorted(times)
    assert deployer.poll() == []


@every_transport
def test_control_surface_reaches_the_deployment(
    side: Sides, robot: Robot, types: MessageTypes, eventually: Eventually
) -> None:
    deployer, operator = side(deployer_endpoints(robot, OPTIONS)), side(operator_endpoints(robot, OPTIONS))
    inbox = Inbox(deployer)

    def press() -> bool:
        operator.publish("estop", types.new("std_msgs/Bool", data=True))
        operator.publish("estop_reset", types.new("std_msgs/Empty"))
        operator.publish("control", types.new("std_msgs/String", data="activate"))
        return bool(inbox.count("estop") and inbox.count("estop_reset") and inbox.count("control"))

    eventually(press)
    assert inbox.of("estop")[0].message.data is True
    assert inbox.of("control")[0].message.data == "activate"


@every_transport
def test_the_last_state_waits_for_those_who_come_late(
    side: Sides, robot: Robot, types: MessageTypes, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    if _kind(request) == "rosbridge":
        pytest.skip(
            "the test's rosbridge server keeps nothing: latching is the business of the ROS behind a server"
        )
    deployer = side(deployer_endpoints(robot, OPTIONS))
    for state in ("INACTIVE", "RAMPING"):
        deployer.publish("state", types.new("std_msgs/String", data=state))
    operator = Inbox(side(operator_endpoints(robot, OPTIONS)))
    eventually(lambda: operator.count("state"))
    assert [received.message.data for received in operator.of("state")] == ["RAMPING"]


@every_transport
def test_wrong_channel_and_wrong_type_are_refused(side: Sides, robot: Robot, types: MessageTypes) -> None:
    deployer = side(deployer_endpoints(robot, OPTIONS))
    assert isinstance(deployer, Transport)
    with pytest.raises(TransportError, match=r"channel 'comand' here; the channels are command, "):
        deployer.publish("comand", types.new("sensor_msgs/JointState"))
    with pytest.raises(
        TransportError, match="'command' carries sensor_msgs/msg/JointState, not std_msgs/msg/Bool"
    ):
        deployer.publish("command", types.new("std_msgs/Bool"))


@every_transport
def test_a_closed_side_is_not_used_and_may_be_closed_twice(
    connected: tuple[Transport, Transport],
    types: MessageTypes,
    eventually: Eventually,
    request: pytest.FixtureRequest,
) -> None:
    deployer, twin = connected
    twin.close()
    twin.close()
    if _kind(request) != "rosbridge":  # where rosapi would have to tell
        eventually(lambda: deployer.matched().subscribers == 0)
        eventually(lambda: deployer.matched().publishers["joint_states"] == 0)
    assert deployer.matched().alive
    deployer.publish("command", joint_state(types, 0.0))
    assert not twin.matched().alive
    with pytest.raises(TransportError, match="not open"):
        twin.poll()
    with pytest.raises(TransportError, match="not open"):
        twin.publish("joint_states", joint_state(types, 0.0))
    twin.open()
    assert twin.matched().alive


@every_transport
def test_a_second_commander_is_named(
    connected: tuple[Transport, Transport],
    side: Sides,
    robot: Robot,
    eventually: Eventually,
    request: pytest.FixtureRequest,
) -> None:
    deployer, _ = connected
    assert deployer.matched().other_writers == ()
    if _kind(request) == "rosbridge":
        command = deployer_endpoints(robot, OPTIONS).writer("command")
        nodes = {f"publishers {command.topic}": ["/rosbridge_websocket", "/rival"]}
        request.getfixturevalue("rosbridge_server").do("rosapi", answers=nodes)
    else:
        rival = deployer_endpoints(robot, replace(OPTIONS, node="rival"))
        side(rival)
    eventually(lambda: deployer.matched().other_writers, what="the second commander is seen")
    (name,) = deployer.matched().other_writers
    assert "rival" in name


@every_transport
def test_large_messages_pass(
    connected: tuple[Transport, Transport], robot: Robot, types: MessageTypes, eventually: Eventually
) -> None:
    deployer, twin = connected
    inbox = Inbox(deployer)
    names = [f"joint_{number}" for number in range(4000)]
    twin.publish("joint_states", types.new("sensor_msgs/JointState", name=names, position=np.arange(4000.0)))
    eventually(lambda: inbox.count("joint_states"))
    (received,) = inbox.of("joint_states")
    assert not isinstance(received.message, Malformed)
    assert received.message.name == names
    np.testing.assert_array_equal(received.message.position, np.arange(4000.0))
