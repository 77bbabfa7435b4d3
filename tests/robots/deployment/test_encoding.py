"""Command messages of every type, there and back through the twin's own decoder; sources of every type."""

import dataclasses

import numpy as np
import pytest

from dynrl.errors import ConfigError
from dynrl.policy import ActionTerm, Contract, Control, ObservationTerm, RobotModel
from dynrl.robots.description import Command, Robot, Source
from dynrl.robots.encoding import CommandEncoder
from dynrl.robots.messages import message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.sources import Sources, projected_gravity
from dynrl.robots.twin.decode import CommandDecoder

pytest.importorskip("rosbags", reason="messages need rosbags: pip install 'dynrl[ros]'")
PERIOD_NS = 20_000_000


@pytest.mark.parametrize(
    "command",
    [
        Command("c", "sensor_msgs/msg/JointState"),
        Command("c", "trajectory_msgs/msg/JointTrajectory", time_from_start=1.5),
        Command("c", "std_msgs/msg/Float64MultiArray", order=("arm_elbow", "arm_yaw", "arm_shoulder")),
    ],
    ids=lambda command: command.type.split("/")[-1],
)
def test_what_is_sent_is_what_the_twin_obeys(arm, command):
    robot = dataclasses.replace(arm, command=command)
    types = message_types()
    encode = CommandEncoder(sample_bundle(robot).contract, robot, types, PERIOD_NS)
    decoder = CommandDecoder(robot)
    rng = np.random.default_rng(0)
    for _ in range(20):
        wanted = rng.uniform(robot.lower, robot.upper)
        raw = types.serialize(encode(wanted, 1_700_000_000_123_456_789))
        message = types.deserialize(raw, command.type)
        np.testing.assert_allclose(decoder(message, np.zeros(3)), wanted, atol=1e-12)
    if command.type.endswith("Trajectory"):
        assert message.points[0].time_from_start.nanosec == 30_000_000
    if not command.type.endswith("Array"):
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)


def test_a_bundle_of_some_joints_in_its_own_order(arm):
    contract = Contract(
        "two",
        Control(0.02),
        RobotModel("arm", ("elbow", "yaw")),
        (ObservationTerm("q", "state/joint/position", unit="rad"),),
        (ActionTerm("a", "target/joint/position", joints=("yaw",), unit="rad"),),
    )
    types = message_types()
    message = CommandEncoder(contract, arm, types, PERIOD_NS)(np.array([1.4, 0.3]), 0)
    assert message.name == ["arm_elbow", "arm_yaw"]
    np.testing.assert_allclose(message.position, [-1.4, 0.3])
    order = ("arm_yaw", "arm_shoulder", "arm_elbow")
    robot = dataclasses.replace(arm, command=Command("c", "std_msgs/msg/Float64MultiArray", order=order))
    with pytest.raises(ConfigError, match="expected a policy that commands all of them"):
        CommandEncoder(contract, robot, types, PERIOD_NS)


def test_muscles_in_the_order_of_bundle_robot_and_wire():
    """Three orders meet: agonist and antagonist per joint, the robot's muscles, and the wire's array."""
    robot = Robot.load("pamy")
    contract = Contract(
        "press",
        Control(0.01),
        RobotModel("pamy", robot.names),
        (ObservationTerm("p", "state/muscle/pressure"),),
        (ActionTerm("a", "target/muscle/pressure"),),
    )
    types = message_types()
    pressures = np.array([16000.0 + 10 * number for number in range(len(robot.muscles))])
    message = CommandEncoder(contract, robot, types, 10_000_000)(pressures, 0)
    order = robot.command.order or tuple(muscle.name for muscle in robot.muscles)
    by_name = dict(zip(order, message.data, strict=True))
    for muscle, pressure in zip(robot.muscles, pressures, strict=True):
        assert by_name[muscle.name] == pressure
    name = robot.provides["state/muscle/pressure"]
    sources = Sources(contract, robot, (name,))
    sources.update(name, message, 5)
    expected = [
        next(p for m, p in zip(robot.muscles, pressures, strict=True) if (m.joint, m.side) == (joint, side))
        for joint in robot.names
        for side in ("agonist", "antagonist")
    ]
    np.testing.assert_array_equal(sources.values["state/muscle/pressure"], expected)


def test_unsupported_commands_are_refused_by_name(arm):
    robot = dataclasses.replace(arm, command=Command("c", "geometry_msgs/msg/Pose"))
    with pytest.raises(ConfigError, match="geometry_msgs/msg/Pose are not supported"):
        CommandEncoder(sample_bundle(arm).contract, robot, message_types(), PERIOD_NS)


def body_sources(arm, *kinds):
    sources = {
        **arm.sources,
        "imu": Source("imu", "sensor_msgs/msg/Imu", rate=100),
        "odom": Source("odom", "nav_msgs/msg/Odometry", rate=100),
        "camera": Source("camera", "sensor_msgs/msg/Image", rate=30),
    }
    robot = dataclasses.replace(arm, sources=sources)
    contract = dataclasses.replace(
        sample_bundle(arm).contract,
        model=None,
        observation=tuple(ObservationTerm(f"t{n}", kind, unit="1") for n, kind in enumerate(kinds)),
    )
    return Sources(contract, robot, ()), robot


def test_imu_before_odometry_and_each_its_own(arm):
    """Both know the rotation; the first one in the robot file gives it."""
    sources, _ = body_sources(arm, "state/body/rotation", "state/body/linear_velocity")
    types = message_types()
    half = np.sqrt(0.5)
    imu = types.new("sensor_msgs/msg/Imu")
    imu.orientation.x, imu.orientation.w = half, half
    imu.angular_velocity.z = 3.0
    odometry = types.new("nav_msgs/msg/Odometry")
    odometry.pose.pose.orientation.w = 1.0
    odometry.pose.pose.position.x = 2.0
    odometry.twist.twist.linear.x = 0.7
    sources.update("imu", imu, 1)
    sources.update("odom", odometry, 2)
    np.testing.assert_allclose(sources.values["state/body/rotation"], [half, 0, 0, half])
    np.testing.assert_allclose(sources.values["state/body/angular_velocity"], [0, 0, 3.0])
    np.testing.assert_allclose(sources.values["state/body/linear_velocity"], [0.7, 0, 0])
    np.testing.assert_allclose(sources.values["state/body/pose"], [2.0, 0, 0, 0, 0, 0, 1.0])
    # rolled by 90 degrees, down is along -y of the body
    np.testing.assert_allclose(sources.values["state/body/projected_gravity"], [0, -1, 0], atol=1e-12)


def test_projected_gravity_is_the_rotated_down():
    from scipy.spatial.transform import Rotation

    for rotation in Rotation.random(50, random_state=0):
        expected = rotation.inv().apply([0.0, 0.0, -1.0])
        np.testing.assert_allclose(projected_gravity(list(rotation.as_quat())), expected, atol=1e-12)


def test_images_with_padding_and_byte_order(arm):
    sources, _ = body_sources(arm, "state/body/rotation")
    types = message_types()
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 300
    for big in (0, 1):
        rows = pixels.astype(">u2" if big else "<u2").view(np.uint8).reshape(2, 6)
        padded = np.concatenate([rows, np.full((2, 2), 99, np.uint8)], axis=1)
        image = types.new(
            "sensor_msgs/msg/Image",
            height=2,
            width=3,
            encoding="16UC1",
            is_bigendian=big,
            step=8,
            data=padded.reshape(-1),
        )
        sources.update("camera", image, 1)
        np.testing.assert_array_equal(sources.values["state/camera/image"].reshape(2, 3), pixels)


def test_diagnostics_say_what_is_wrong(make_world):
    from dynrl.robots.diagnostics import ERROR, OK, STALE, WARN
    from dynrl.robots.states import State

    world = make_world()
    seen = []

    def newest(seconds=1.5):
        for _ in range(round(seconds / 0.02)):
            world.tick()
            seen.extend(m.message for m in world.operator.poll() if m.source == "diagnostics")
        return {status.name: status for status in seen[-1].status}

    world.until(State.ACTIVE)
    found = newest()
    assert found["dynrl: policy loop"].level == OK and found["dynrl: source joint_states"].level == OK
    assert all(status.hardware_id == "arm" for status in found.values())
    world.mirror.mutate = lambda message, now: []
    found = newest()
    assert found["dynrl: policy loop"].level == WARN and "STALE" in found["dynrl: policy loop"].message
    assert found["dynrl: source joint_states"].level == STALE
    world.say("estop", data=True)
    found = newest()
    assert found["dynrl: policy loop"].level == ERROR
    assert 4 <= len(seen) <= 6, "once a second"


def test_transition_events_and_the_latched_state(make_world):
    from dynrl.robots.states import State

    world = make_world()
    events, words = [], []
    for _ in range(60):
        world.tick()
        for received in world.operator.poll():
            if received.source == "transition_event":
                events.append(received.message)
            elif received.source == "state":
                words.append(received.message.data.partition(":")[0])
    assert world.state is State.ACTIVE
    ids = [(event.transition.id, event.start_state.id, event.goal_state.id) for event in events]
    assert ids == [(1, 1, 2), (3, 2, 3), (0, 3, 3)]
    assert [event.goal_state.label for event in events] == ["inactive", "active", "active"]
    assert words == ["inactive", "ramping", "active"]
