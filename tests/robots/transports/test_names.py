"""ROS names and their DDS spellings, remapping, and which endpoints the two sides have."""

from dataclasses import replace
from pathlib import Path

import pytest

from dynrl.robots.description import Robot
from dynrl.robots.transports import (
    PROFILES,
    Qos,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    parse_remaps,
    twin_endpoints,
)
from dynrl.robots.transports.base import node_name, resolve_name
from dynrl.robots.transports.dds import ros_type, topic_name, type_name
from dynrl.robots.transports.qos import mismatch, reading, writing

OPTIONS = TransportOptions()


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("joint_states", "", "/joint_states"),
        ("joint_states", "spot", "/spot/joint_states"),
        ("joint_states", "/a/b/", "/a/b/joint_states"),
        ("/clock", "/spot", "/clock"),
        ("~/state", "/spot", "/spot/dynrl/state"),
        ("pamy/muscle_states", "", "/pamy/muscle_states"),
    ],
)
def test_relative_and_private_names(name: str, namespace: str, expected: str) -> None:
    assert resolve_name(name, replace(OPTIONS, namespace=namespace)) == expected


@pytest.mark.parametrize(
    "name", ["", "a//b", "a/", "1a", "a/2b", "joint states", "gelenk_ä", "~a", "/", "a.b"]
)
def test_what_is_no_ros_name_is_refused(name: str) -> None:
    with pytest.raises(TransportError, match="is not a ROS name: expected segments of letters"):
        resolve_name(name, OPTIONS)
    with pytest.raises(TransportError, match="is not a ROS name"):
        node_name(replace(OPTIONS, node=name or "a b"))


def test_remapping_takes_relative_and_absolute_names() -> None:
    remaps = parse_remaps(["joint_states:=/left/states", "/joint_commands:=cmd"])
    options = replace(OPTIONS, remap=remaps, namespace="spot")
    assert resolve_name("joint_states", options) == "/left/states"
    assert resolve_name("/spot/joint_states", options) == "/left/states"
    assert resolve_name("/joint_commands", options) == "/spot/cmd"
    assert resolve_name("joint_commands", options) == "/spot/joint_commands"
    for wrong in ("a=b", "a:=", ":=b", "ab"):
        with pytest.raises(TransportError, match="expected OLD:=NEW"):
            parse_remaps([wrong])
    with pytest.raises(TransportError, match="a is remapped twice"):
        parse_remaps(["a:=b", "a:=c"])


def test_dds_names() -> None:
    assert topic_name("/spot/joint_states") == "rt/spot/joint_states"
    assert type_name("sensor_msgs/msg/JointState") == "sensor_msgs::msg::dds_::JointState_"
    assert ros_type("sensor_msgs::msg::dds_::JointState_") == "sensor_msgs/msg/JointState"
    assert ros_type("Shape::Type") == "Shape::Type"


def test_both_sides_meet_on_every_topic_of_the_robot(robot: Robot) -> None:
    deployer, twin = deployer_endpoints(robot, OPTIONS), twin_endpoints(robot, OPTIONS)
    reads = {endpoint.channel: endpoint for endpoint in deployer.readers}
    for name, source in robot.sources.items():
        assert reads[name].topic == twin.writer(name).topic
        assert reads[name].type == twin.writer(name).type == source.type
        assert mismatch(twin.writer(name).qos, reads[name].qos) is None
    (command,) = twin.readers
    assert (command.topic, command.type) == (deployer.writer("command").topic, robot.command.type)
    assert mismatch(deployer.writer("command").qos, command.qos) is None
    assert deployer.node == "/dynrl"
    assert twin.node == "/arm_twin"


def test_emergency_stop_is_read_reliably_and_with_best_effort(robot: Robot) -> None:
    for channel in ("estop", "estop_reset"):
        readers = [
            endpoint for endpoint in deployer_endpoints(robot, OPTIONS).readers if endpoint.channel == channel
        ]
        assert {endpoint.qos.reliability for endpoint in readers} == {"reliable", "best_effort"}
        assert len({endpoint.topic for endpoint in readers}) == 1
    options = replace(OPTIONS, estop_type="std_msgs/msg/Empty", estop_topic="/stop")
    stops = [e for e in deployer_endpoints(robot, options).readers if e.channel == "estop"]
    assert {(e.topic, e.type) for e in stops} == {("/stop", "std_msgs/msg/Empty")}


ALL_QOS = [Qos(r, d) for r in ("reliable", "best_effort") for d in ("volatile", "transient_local")]  # type: ignore[arg-type]


def test_what_we_read_matches_every_writer_and_what_we_write_every_reader() -> None:
    for name, profile in PROFILES.items():
        if profile.durability == "transient_local":
            continue  # a latch is meant there
        assert all(mismatch(offered, reading(name)) is None for offered in ALL_QOS)
        assert all(
            mismatch(writing(name), asked) is None for asked in ALL_QOS if asked.durability == "volatile"
        )


@pytest.mark.parametrize("offered", ALL_QOS)
@pytest.mark.parametrize("asked", ALL_QOS)
def test_request_versus_offer(offered: Qos, asked: Qos) -> None:
    """OMG DDS 1.4, 2.2.3: what is offered must be at least what is asked, in the order of each policy's kinds."""
    strength = {"best_effort": 0, "reliable": 1, "volatile": 0, "transient_local": 1}
    enough = (
        strength[offered.reliability] >= strength[asked.reliability]
        and strength[offered.durability] >= strength[asked.durability]
    )
    assert (mismatch(offered, asked) is None) == enough


def test_profiles_are_those_of_ros() -> None:
    assert PROFILES["sensor"] == Qos("best_effort", "volatile", 5)
    assert PROFILES["default"] == PROFILES["services"] == Qos("reliable", "volatile", 10)
    assert PROFILES["parameters"] == PROFILES["parameter_events"] == Qos("reliable", "volatile", 1000)
    assert PROFILES["rosout"] == Qos("reliable", "transient_local", 1000, 10.0)
    assert PROFILES["clock"] == Qos("best_effort", "volatile", 1)
    assert PROFILES["latched"] == Qos("reliable", "transient_local", 1)


def test_every_robot_has_endpoints(tmp_path: Path) -> None:
    from dynrl.robots.description import DESCRIPTIONS

    names = [path.parent.name for path in DESCRIPTIONS.glob("*/robot.yaml")]
    assert "arm" in names
    for name in names:
        robot = Robot.load(name)
        assert {e.channel for e in deployer_endpoints(robot, OPTIONS).readers} >= set(robot.sources)
        assert {e.channel for e in twin_endpoints(robot, OPTIONS).writers} >= set(robot.sources)
