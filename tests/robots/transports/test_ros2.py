"""ROS 2 over real DDS on the loopback: what others see of us, and what we notice about others."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.domain import DomainParticipant
from cyclonedds.qos import Policy

from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, MessageTypes
from dynrl.robots.transports import (
    Endpoint,
    Endpoints,
    Qos,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    measure,
    twin_endpoints,
)
from dynrl.robots.transports.confinement import open_listeners
from dynrl.robots.transports.discovery import ports
from dynrl.robots.transports.ros2 import Ros2Transport

PEER = Path(__file__).parents[1] / "peers" / "cyclone_peer.py"
JOINT_STATE = "sensor_msgs/msg/JointState"
Eventually = Callable[..., None]
Opener = Callable[[Endpoints], Ros2Transport]


@pytest.fixture
def options(domain: int) -> TransportOptions:
    return TransportOptions(domain=domain, backend="cyclonedds")


@pytest.fixture
def opened(options: TransportOptions, types: MessageTypes) -> Iterator[Opener]:
    """A function that opens a transport, which is closed after the test."""
    transports: list[Ros2Transport] = []

    def open_one(endpoints: Endpoints) -> Ros2Transport:
        transports.append(Ros2Transport(endpoints, options, types))
        transports[-1].open()
        return transports[-1]

    yield open_one
    for transport in transports:
        transport.close()


@contextmanager
def peer(domain: int, mode: str) -> Iterator[subprocess.Popen[str]]:
    """The bare CycloneDDS process."""
    process = subprocess.Popen(
        [sys.executable, str(PEER), str(domain), mode], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def one_writer(qos: Qos, type_: str = JOINT_STATE, topic: str = "/joint_states") -> Endpoints:
    return Endpoints("/lab/sensor", (), (Endpoint("x", topic, type_, qos),))


def test_another_process_with_types_of_its_own_understands_us(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    sent = types.new("sensor_msgs/JointState", name=["a", "関節"], position=[0.1, np.inf], effort=[1e308])
    sent.header.stamp.sec, sent.header.frame_id = -5, "base"
    with peer(int(options.domain or 0), "echo"):
        eventually(lambda: deployer.matched().subscribers == 1)
        eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
        deployer.publish("command", sent)
        received: list[Any] = []
        eventually(lambda: received.extend(deployer.poll()) or received)
        assert types.serialize(received[0].message) == types.serialize(sent)

        def names() -> list[str]:
            deployer.matched()
            return [
                deployer._peers.name(p)
                for p in deployer._peers.on_topic(deployer._peers.readers, "/joint_commands")
            ]

        eventually(lambda: any("process" in name for name in names()), show=names)


def test_a_peer_that_is_killed_leaves_nothing_but_silence(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    with peer(int(options.domain or 0), "silent") as process:
        eventually(lambda: deployer.matched().subscribers == 1)
        process.kill()
        process.wait()
        start = time.monotonic()
        for _ in range(50):
            deployer.publish("command", types.new("sensor_msgs/JointState", name=["a"], position=[0.0]))
        assert time.monotonic() - start < 50 * options.max_blocking + 1.0
        assert deployer.poll() == []
        assert deployer.matched().alive


def test_a_peer_that_stands_still_does_not_stop_us(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    message = types.new("sensor_msgs/JointState", name=["a"], position=[0.0])
    with peer(int(options.domain or 0), "echo") as process:
        eventually(lambda: deployer.matched().subscribers == 1)
        process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        for _ in range(500):
            deployer.publish("command", message)
        assert time.monotonic() - start < 500 * options.max_blocking + 2.0
        deployer.poll()
        process.send_signal(signal.SIGCONT)
        received: list[Any] = []
        eventually(lambda: received.extend(deployer.poll()) or received)


def test_a_machine_without_ipv4_talks_over_ipv6(
    options: TransportOptions,
    robot: Robot,
    types: MessageTypes,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip(
            "this machine has no IPv6 loopback address (sysctl net.ipv6.conf.lo.disable_ipv6=0 gives one)"
        )
    program = (
        "import sys; import dynrl.robots.transports.discovery as d; d.loopback_address = lambda: '::1';"
        "from dynrl.robots.transports.measure import answer; answer('dynrl', int(sys.argv[1]))"
    )
    monkeypatch.setattr("dynrl.robots.transports.discovery.loopback_address", lambda: "::1")
    number = int(options.domain or 0)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        with measure.open_end("dynrl", number, asks=True) as end:
            eventually(end.connected)
            assert len(measure._round_trips(end, process, 3)) == 3
            listeners = list(open_listeners(ports(number)))
            assert listeners
    finally:
        process.kill()
        process.wait()


def test_nothing_is_left_on_disk_however_the_process_ends(
    opened: Opener, robot: Robot, options: TransportOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened(deployer_endpoints(robot, options))
    assert list(tmp_path.iterdir()) == []


def test_who_has_spoken_is_known_at_once(
    opened: Opener,
    robot: Robot,
    options: TransportOptions,
    types: MessageTypes,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a source that speaks would count as absent until the next look around."""
    monkeypatch.setattr("dynrl.robots.transports.ros2.REFRESH_NS", 10**12)
    deployer = opened(deployer_endpoints(robot, options))
    assert deployer.matched().publishers["joint_states"] == 0
    twin = opened(twin_endpoints(robot, options))

    def heard() -> bool:
        twin.publish("joint_states", types.new(JOINT_STATE, name=["a"]))
        return bool(deployer.poll())

    eventually(heard)
    assert deployer.matched().publishers["joint_states"] == 1


def test_endpoints_carry_the_type_hash_where_ros_looks_for_it(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    endpoints = deployer_endpoints(robot, options)
    opened(endpoints)
    participant = DomainParticipant(int(options.domain or 0))
    seen: dict[tuple[str, str], bytes] = {}

    def look() -> bool:
        for reader in readers:
            for sample in reader.take(100):
                data = [policy.data for policy in sample.qos if isinstance(policy, Policy.Userdata)]
                seen[sample.topic_name, sample.type_name] = data[0] if data else b""
        return len([key for key in seen if key[0].startswith("rt/")]) == len(wanted)

    wanted = {(endpoint.topic, endpoint.type) for endpoint in (*endpoints.readers, *endpoints.writers)}
    readers = [
        BuiltinDataReader(participant, topic)
        for topic in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription)
    ]
    eventually(look)
    for topic, name in wanted:
        package, _, plain = name.split("/")
        data = seen[f"rt{topic}", f"{package}::msg::dds_::{plain}_"]
        assert data == f"typehash={types.type_hash(name)};".encode()
    assert ("ros_discovery_info", "rmw_dds_common::msg::dds_::ParticipantEntitiesInfo_") in seen
    found = BuiltinDataReader(participant, BuiltinTopicDcpsParticipant).take(10)
    data = [policy.data for sample in found for policy in sample.qos if isinstance(policy, Policy.Userdata)]
    assert data == [b"enclave=/;"]


def test_nodes_know_each_other_by_name(
    opened: Opener, robot: Robot, options: TransportOptions, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    opened(
        deployer_endpoints(
            robot,
            replace(options, node="rival", namespace="lab", remap={"/lab/joint_commands": "/joint_commands"}),
        )
    )
    eventually(lambda: deployer.matched().other_writers == ("node /lab/rival",), show=deployer.matched)


@pytest.mark.parametrize("distro", ["humble", "iron", "lyrical"])
def test_our_announcement_is_of_the_distribution(
    distro: str, robot: Robot, options: TransportOptions, eventually: Eventually
) -> None:
    """Humble's node list has longer identifiers: same topic, same type name, other bytes."""
    one = Ros2Transport(deployer_endpoints(robot, options), replace(options, ros_distro=distro))
    two = Ros2Transport(
        deployer_endpoints(robot, replace(options, node="rival")), replace(options, ros_distro=distro)
    )
    one.open()
    two.open()
    try:
        eventually(lambda: one.matched().other_writers == ("node /rival",), show=one.matched)
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize(
    ("offered", "asked", "reason"),
    [
        (Qos("best_effort"), Qos("reliable"), "reliability: the reader asks for reliable"),
        (
            Qos("reliable"),
            Qos("reliable", "transient_local"),
            "durability: the reader asks for transient local",
        ),
    ],
)
def test_incompatible_quality_of_service_is_said_on_both_sides(
    offered: Qos, asked: Qos, reason: str, opened: Opener, eventually: Eventually, types: MessageTypes
) -> None:
    writer = opened(one_writer(offered))
    reader = opened(Endpoints("/lab/reader", (Endpoint("y", "/joint_states", JOINT_STATE, asked),), ()))
    eventually(lambda: writer.matched().incompatible and reader.matched().incompatible)
    assert [reason in line for line in writer.matched().incompatible] == [True]
    assert [reason in line for line in reader.matched().incompatible] == [True]
    assert writer.matched().incompatible[0].endswith("the peer is node /lab/reader")
    assert reader.matched().incompatible[0].startswith("/joint_states: ")
    assert reader.matched().incompatible[0].endswith("the peer is node /lab/sensor")
    writer.publish("x", types.new(JOINT_STATE))
    assert reader.poll() == []
    assert reader.matched().publishers == {"y": 0}


def test_other_type_on_our_topic_is_said(
    opened: Opener, robot: Robot, options: TransportOptions, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    opened(one_writer(Qos(), "std_msgs/msg/Float64MultiArray"))
    eventually(lambda: deployer.matched().incompatible)
    (line,) = deployer.matched().incompatible
    assert (
        "found rt/joint_states of type std_msgs/msg/Float64MultiArray, expected sensor_msgs/msg/JointState"
        in line
    )


def test_best_effort_emergency_stop_is_heard_and_nothing_is_complained_about(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    button = opened(one_writer(Qos("best_effort"), "std_msgs/msg/Bool", "/emergency_stop"))
    heard: list[Any] = []

    def press() -> bool:
        button.publish("x", types.new("std_msgs/Bool", data=True))
        heard.extend(deployer.poll())
        return bool(heard)

    eventually(press)
    assert {(received.source, received.message.data) for received in heard} == {("estop", True)}
    assert deployer.matched().incompatible == ()
    assert deployer.matched().publishers["estop"] == 1


def test_who_may_reset_the_emergency_stop_beside_another_is_named(
    opened: Opener, robot: Robot, options: TransportOptions, eventually: Eventually
) -> None:
    deployer = opened(deployer_endpoints(robot, options))
    for _ in range(2):
        opened(one_writer(Qos(), "std_msgs/msg/Empty", "/emergency_stop_reset"))
    eventually(lambda: deployer.matched().other_resetters == ("node /lab/sensor", "node /lab/sensor"))


def test_messages_of_one_poll_keep_their_distances(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    deployer, twin = opened(deployer_endpoints(robot, options)), opened(twin_endpoints(robot, options))
    eventually(lambda: twin.matched() and deployer.matched().publishers["joint_states"] == 1)
    deployer.poll()
    before, after = [], []
    for number in range(4):
        before.append(time.monotonic_ns())
        twin.publish("joint_states", types.new(JOINT_STATE, position=[number]))
        after.append(time.monotonic_ns())
        while time.monotonic_ns() < after[-1] + 5_000_000:
            pass
    received = deployer.poll()
    end = time.monotonic_ns()
    times = [message.receive_ns for message in received]
    assert [message.message.position[0] for message in received] == [0, 1, 2, 3]
    clocks_differ = 200_000  # ns: the distances are of the wall clock, which may be slewed
    for number, (early, late) in enumerate(pairwise(times)):
        assert before[number + 1] - after[number] - clocks_differ <= late - early
        assert late - early <= after[number + 1] - before[number] + clocks_differ
    assert before[0] <= times[0] and times[-1] <= end


def test_bytes_that_are_no_message_are_malformed(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    """Latin 1 instead of UTF-8: what CycloneDDS lets through."""
    deployer, twin = opened(deployer_endpoints(robot, options)), opened(twin_endpoints(robot, options))
    eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
    _, writer, sample = twin._writers["joint_states"]
    sample.raw = types.serialize(types.new(JOINT_STATE, name=["gelenk"])).replace(b"gelenk", b"gel\xe4nk")
    writer.write(sample)
    received: list[Any] = []
    eventually(lambda: received.extend(deployer.poll()) or received)
    assert isinstance(received[0].message, Malformed)


def test_domains_do_not_mix_and_have_one_configuration_per_process(
    opened: Opener, robot: Robot, options: TransportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(twin_endpoints(robot, options))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    with pytest.raises(TransportError, match="is open in this process with another configuration"):
        opened(deployer_endpoints(robot, options))


def test_discovery_off_meets_nobody_in_another_process(
    robot: Robot,
    options: TransportOptions,
    types: MessageTypes,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with peer(int(options.domain or 0), "silent"):
        for span, expected in (("LOCALHOST", 1), ("OFF", 0)):
            monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", span)
            transport = Ros2Transport(deployer_endpoints(robot, options), options, types)
            transport.open()
            try:
                if expected:
                    start = time.monotonic()
                    eventually(lambda: transport.matched().subscribers == 1)  # noqa: B023
                    needed = time.monotonic() - start
                else:
                    deadline = time.monotonic() + max(10 * needed, 1.0)
                    while time.monotonic() < deadline:
                        assert transport.matched().subscribers == 0
            finally:
                transport.close()


def test_taken_ports_end_in_a_sentence(robot: Robot, options: TransportOptions, types: MessageTypes) -> None:
    """As when 33 processes of this machine are in the domain already."""
    first = 7400 + 250 * int(options.domain or 0) + 10
    transport = Ros2Transport(deployer_endpoints(robot, options), options, types)
    with ExitStack() as stack:
        for port in range(first, first + 2 * 33):
            stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind(("0.0.0.0", port))
        with pytest.raises(TransportError, match=r"33 processes of this machine|cannot be set up"):
            transport.open()
    assert not transport.matched().alive
    transport.open()
    transport.close()


def test_no_socket_hears_anything_from_outside(
    opened: Opener, robot: Robot, options: TransportOptions, types: MessageTypes, eventually: Eventually
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        except OSError as error:
            pytest.skip(
                f"this kernel lets no one but root bind a socket to a device (Linux 5.7 does): {error}"
            )
    deployer = opened(deployer_endpoints(robot, options))
    listeners = {
        listener.getsockname()[1]: listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        for listener in open_listeners(ports(int(options.domain or 0)))
    }
    assert len(listeners) >= 2  # discovery and data
    assert set(listeners.values()) == {b"lo\0"}
    assert deployer.matched().notices == ()
    with peer(int(options.domain or 0), "echo"):  # and the machine itself is still heard
        eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
        received: list[Any] = []

        def heard() -> bool:
            deployer.publish("command", types.new(JOINT_STATE, name=["a"]))
            received.extend(deployer.poll())
            return bool(received)

        eventually(heard)


def test_sockets_that_cannot_be_confined_are_said(
    opened: Opener, robot: Robot, options: TransportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynrl.robots.transports.confinement.loopback_device", lambda: None)
    deployer = opened(deployer_endpoints(robot, options))
    (notice,) = deployer.matched().notices
    assert "could not be confined to the loopback device" in notice
