"""rosbridge: the operations that we send, the encodings that servers use, and servers that go away."""

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, MessageTypes
from dynrl.robots.transports import Received, TransportError, TransportOptions, deployer_endpoints
from dynrl.robots.transports.rosbridge import RosbridgeTransport
from dynrl.robots.transports.rosbridge_json import to_json

Eventually = Callable[..., None]
Opener = Callable[..., RosbridgeTransport]


@pytest.fixture
def opened(
    rosbridge_server: Any, robot: Robot, types: MessageTypes, eventually: Eventually
) -> Iterator[Opener]:
    """A function that opens a deployer's side, subscribed; it is closed after the test."""
    transports = []

    def open_one(**changes: Any) -> RosbridgeTransport:
        options = TransportOptions(port=rosbridge_server.port, **changes)
        transport = RosbridgeTransport(deployer_endpoints(robot, options), options, types)
        transports.append(transport)
        transport.open()
        wait_subscribed(rosbridge_server, eventually, 1)
        return transport

    yield open_one
    for transport in transports:
        transport.close()


def wait_subscribed(server: Any, eventually: Eventually, times: int) -> None:
    """Until the command surface, which is subscribed to last, has been subscribed to so many times."""

    def count() -> int:
        found = [o for o in server.operations() if o["op"] == "subscribe" and o["topic"] == "/dynrl/command"]
        return len(found)

    eventually(lambda: count() == times)


def heard(transport: RosbridgeTransport, eventually: Eventually) -> Received:
    received: list[Received] = []
    eventually(lambda: received.extend(transport.poll()) or received)
    assert len(received) == 1
    return received[0]


def test_every_operation_is_one_of_the_protocol(
    opened: Opener, rosbridge_server: Any, robot: Robot, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened()
    deployer.publish("command", types.new("sensor_msgs/JointState", name=["a"], position=[0.5]))
    eventually(lambda: any(o["op"] == "publish" for o in rosbridge_server.operations()))
    deployer.close()
    eventually(lambda: any(o["op"] == "unsubscribe" for o in rosbridge_server.operations()))
    operations = rosbridge_server.operations()
    subscribed = [o for o in operations if o["op"] == "subscribe" and o["topic"] == "/joint_states"]
    assert [(o["type"], o["throttle_rate"], o["queue_length"], o["compression"]) for o in subscribed] == [
        ("sensor_msgs/msg/JointState", 0, 1, "none")
    ]
    advertised = {o["topic"]: o for o in operations if o["op"] == "advertise"}
    assert advertised["/joint_commands"]["type"] == "sensor_msgs/msg/JointState"
    assert advertised["/dynrl/state"]["latch"] is True
    published = next(o for o in operations if o["op"] == "publish")
    assert published["msg"]["position"] == [0.5]
    asked = {(o["service"], o["args"]["topic"]) for o in operations if o["op"] == "call_service"}
    assert {("/rosapi/publishers", "/joint_commands"), ("/rosapi/subscribers", "/joint_commands")} <= asked
    assert len({o["id"] for o in operations}) == len(operations)


@pytest.mark.parametrize(
    ("compression", "fragment"),
    [
        ("none", 40),
        ("cbor", 0),
        pytest.param("none", 0, marks=pytest.mark.slow),
        pytest.param("png", 0, marks=pytest.mark.slow),
    ],
)
def test_every_encoding_gives_the_same_message(
    compression: str,
    fragment: int,
    opened: Opener,
    rosbridge_server: Any,
    types: MessageTypes,
    eventually: Eventually,
) -> None:
    deployer = opened(compression=compression)
    rosbridge_server.do("mode", fragment=fragment)
    sent = types.new(
        "sensor_msgs/JointState", name=["a", "関節"], position=[0.1, -1e300], velocity=[1 / 3, 2.5]
    )
    sent.header.frame_id = "base"
    rosbridge_server.do("publish", topic="/joint_states", msg=to_json(types, sent))
    received = heard(deployer, eventually)
    assert received.source == "joint_states"
    assert types.serialize(received.message) == types.serialize(sent) == received.raw


@pytest.mark.slow
def test_raw_cbor_is_taken_as_it_is(
    opened: Opener, rosbridge_server: Any, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened(compression="cbor-raw")
    raw = types.serialize(types.new("sensor_msgs/JointState", name=["a"], position=[np.nan]))
    rosbridge_server.do("publish", topic="/joint_states", msg={"bytes": base64.b64encode(raw).decode()})
    received = heard(deployer, eventually)
    assert received.raw == raw
    assert np.isnan(received.message.position[0])


def test_null_arrives_as_nan_and_nonsense_as_malformed(
    opened: Opener, rosbridge_server: Any, eventually: Eventually
) -> None:
    deployer = opened()
    rosbridge_server.do("publish", topic="/joint_states", msg={"name": ["a"], "position": [None]})
    assert np.isnan(heard(deployer, eventually).message.position[0])
    rosbridge_server.do("publish", topic="/joint_states", msg={"name": "a"})
    message = heard(deployer, eventually).message
    assert isinstance(message, Malformed)
    assert "expected a list" in message.reason


BROKEN = [
    "no json",
    '{"op": "publish"}',
    '{"op": "publish", "topic": "/unknown", "msg": {}}',
    '{"op": "fragment", "id": "1", "num": 0}',
    '{"op": "png", "data": "AAAA"}',
    '{"op": "dance"}',
    "[]",
]


def test_broken_frames_are_said_and_survived(
    opened: Opener, rosbridge_server: Any, eventually: Eventually
) -> None:
    deployer = opened()
    for text in BROKEN:
        known = deployer.matched().notices
        rosbridge_server.do("raw", text=text)
        eventually(lambda known=known: deployer.matched().notices != known, what=f"{text} is noticed")
        assert "was dropped" in deployer.matched().notices[-1]
    rosbridge_server.do("publish", topic="/joint_states", msg={"name": ["a"]})
    assert heard(deployer, eventually).message.name == ["a"]


@pytest.mark.slow
def test_status_of_the_server_is_shown(opened: Opener, rosbridge_server: Any, eventually: Eventually) -> None:
    deployer = opened()
    rosbridge_server.do("raw", text=json.dumps({"op": "status", "level": "error", "msg": "no such type"}))
    eventually(lambda: "rosbridge error: no such type" in deployer.matched().notices)


def test_lost_server_is_noticed_nothing_is_kept_for_it_and_all_is_subscribed_again(
    opened: Opener, rosbridge_server: Any, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened()
    command = types.new("sensor_msgs/JointState", name=["late"], position=[1.0])
    rosbridge_server.do("close")
    eventually(lambda: not deployer.matched().alive)
    assert "has closed the connection" in deployer.matched().notices[-1]
    deployer.publish("command", command)
    eventually(lambda: deployer.matched().alive)
    wait_subscribed(rosbridge_server, eventually, 2)
    operations = rosbridge_server.operations()
    assert len([o for o in operations if o["op"] == "advertise" and o["topic"] == "/joint_commands"]) == 2
    rosbridge_server.do("publish", topic="/joint_states", msg={"name": ["back"]})
    assert heard(deployer, eventually).message.name == ["back"]
    deployer.publish("command", types.new("sensor_msgs/JointState", name=["fresh"], position=[2.0]))
    eventually(lambda: any(o["op"] == "publish" for o in rosbridge_server.operations()))
    published = [o["msg"]["name"] for o in rosbridge_server.operations() if o["op"] == "publish"]
    assert published == [["fresh"]]


@pytest.mark.slow
def test_server_without_rosapi_is_said(opened: Opener, rosbridge_server: Any, eventually: Eventually) -> None:
    rosbridge_server.do("rosapi", answers=None)
    deployer = opened()
    eventually(lambda: any("has no rosapi" in notice for notice in deployer.matched().notices))
    assert deployer.matched().subscribers == 0
    assert deployer.matched().alive
    assert deployer.matched().publishers["joint_states"] == 0
    rosbridge_server.do("publish", topic="/joint_states", msg={"name": ["a"]})
    eventually(lambda: deployer.matched().publishers["joint_states"] == 1, what="what is heard is published")
    rosbridge_server.do("close")
    eventually(lambda: deployer.matched().publishers.get("joint_states") == 0)


def test_who_speaks_is_there_until_rosapi_says_that_nobody_is(
    opened: Opener, rosbridge_server: Any, eventually: Eventually
) -> None:
    deployer = opened()
    assert deployer.matched().publishers["joint_states"] == 0

    def spoken() -> bool:
        rosbridge_server.do("publish", topic="/joint_states", msg={"name": ["a"]})
        deployer.poll()
        return deployer.matched().publishers["joint_states"] == 1

    eventually(spoken)
    eventually(lambda: deployer.matched().publishers["joint_states"] == 0, what="rosapi knows nobody")


@pytest.mark.slow
def test_what_is_not_finite_is_refused_before_it_is_sent(
    opened: Opener, rosbridge_server: Any, types: MessageTypes
) -> None:
    deployer = opened()
    with pytest.raises(TransportError, match="not finite"):
        deployer.publish("command", types.new("sensor_msgs/JointState", position=[np.nan]))
    assert not any(o["op"] == "publish" for o in rosbridge_server.operations())


def test_absent_and_silent_servers_end_in_a_sentence(
    robot: Robot, types: MessageTypes, free_port: int
) -> None:
    for listening in (False, True):
        with socket.socket() as listener:
            port = free_port
            if listening:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                port = listener.getsockname()[1]
                threading.Thread(target=_accept, args=(listener,), daemon=True).start()
            options = TransportOptions(port=port, timeout=0.5)
            transport = RosbridgeTransport(deployer_endpoints(robot, options), options, types)
            with pytest.raises(
                TransportError, match=rf"no rosbridge server answers at 127\.0\.0\.1:{port} within"
            ):
                transport.open()
            assert not transport.matched().alive


def _accept(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while connection.recv(1000):
            pass


def test_a_server_elsewhere_is_said_to_be_open() -> None:
    options = TransportOptions(host="10.0.0.7")
    status = {"alive": True, "rosapi": {}, "rosapi_answers": True, "heard": [], "notices": []}
    transport = RosbridgeTransport(deployer_endpoints(Robot.load("arm"), options), options)
    (notice,) = transport._describe(status).notices
    assert "asks for no password; whoever reaches it can command the robot" in notice
