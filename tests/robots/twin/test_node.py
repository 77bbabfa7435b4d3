"""The twin on its topics, in virtual time: to the tick, and the same bytes every time."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dynrl.errors import ConfigError
from dynrl.robots.clocks import MonotonicClock
from dynrl.robots.description import Camera, Robot, Source, TwinSettings
from dynrl.robots.safety import Limits, PositionFilter
from dynrl.robots.transports.base import TransportOptions, twin_endpoints
from dynrl.robots.transports.sim import SimTransport
from dynrl.robots.twin import NodeOptions, Twin, TwinNode
from dynrl.robots.twin.mutations import stamp_ns

MS = 1_000_000
MakeSession = Callable[..., Any]


def test_sources_come_at_their_rates(make_session: MakeSession) -> None:
    """Joint states at 200 Hz: 200 in one second, 5 ms apart, stamped with the time they were made."""
    session = make_session()
    states = [r for r in session.advance(1.0) if r.source == "joint_states"]
    assert len(states) == 200 + 1, "both ends of the second"
    stamps = [stamp_ns(r.message) for r in states]
    assert set(np.diff(stamps)) == {5 * MS}
    assert all(
        r.receive_ns - states[0].receive_ns == s - stamps[0] for r, s in zip(states, stamps, strict=True)
    )


def test_every_source_of_every_robot(make_session: MakeSession) -> None:
    counts = Counter(r.source for r in make_session(robot="pamy", hardware_limits=False).advance(1.0))
    assert counts["joint_states"] == counts["muscle_states"] == 201 and counts["reference_found"] == 2
    counts = Counter(r.source for r in make_session(robot="spot_arm").advance(0.1))
    assert counts["joint_states"] == counts["imu"] == 21


def test_what_is_published_is_the_twin_on_the_wire(make_session: MakeSession) -> None:
    """In motion, in a shuffled order, through names, signs and zero points."""
    session = make_session(shuffle_joints=True, seed=3, hardware_limits=False)
    session.hold_for(0.1, session.robot.home_position + np.array([0.3, 0.1, -0.2]))
    twin, robot = session.node.twin, session.robot
    message = session.node._sensors.makers["joint_states"](0)
    places = [message.name.index(name) for name in robot.wire_names]
    assert places != sorted(places) and np.abs(twin.velocity).min() > 0.01
    np.testing.assert_allclose(robot.position_to_model(message.position[places]), twin.position, atol=1e-15)
    np.testing.assert_allclose(message.velocity[places], twin.velocity * [1, 1, -1])
    np.testing.assert_allclose(message.effort[places], twin.effort * [1, 1, -1])


def test_joints_are_shuffled_when_asked_and_in_model_order_otherwise(make_session: MakeSession) -> None:
    orders = set()
    for seed in range(8):
        session = make_session(shuffle_joints=True, seed=seed)
        orders.add(tuple(session.advance(0.005)[-1].message.name))
    assert len(orders) > 1
    plain = make_session().advance(0.005)[-1].message
    assert tuple(plain.name) == Robot.load("arm").wire_names


def test_same_seed_same_bytes(make_session: MakeSession) -> None:
    def bytes_of(seed: int) -> list[tuple[int, bytes]]:
        session = make_session(
            ("jitter@0.1:0.3,ms=9", "drop@0.2:0.4,p=0.4", "nan@0.5:0.1"), shuffle_joints=True, seed=seed
        )
        return [(r.receive_ns, r.raw) for r in session.hold_for(0.8)]

    assert bytes_of(1) == bytes_of(1)
    assert bytes_of(1) != bytes_of(2)


def test_the_robot_goes_where_it_is_told(make_session: MakeSession) -> None:
    session = make_session(hardware_limits=False)
    target = session.robot.home_position + np.array([0.5, -0.2, 0.3])
    session.hold_for(3.0, target)
    np.testing.assert_allclose(session.node.twin.position[0], target[0], atol=1e-3)
    np.testing.assert_allclose(session.node.commands[-1][1], target, atol=1e-12)


def test_joints_that_a_command_leaves_out_keep_theirs(make_session: MakeSession) -> None:
    session = make_session()
    session.hold_for(0.1)
    wire = session.robot.position_to_wire(session.robot.home_position + np.array([0, 0, 0.01]))
    session.command(session.robot.home_position, name=["arm_elbow"], position=wire[2:])
    session.advance(0.02)
    np.testing.assert_allclose(
        session.node.commands[-1][1], session.robot.home_position + np.array([0, 0, 0.01])
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ["arm_yaw", "arm_yaw", "arm_elbow"]}, "twice"),
        ({"name": ["arm_yaw", "arm_shoulder", "hand"]}, "unknown joints"),
        ({"position": np.zeros(2)}, "2 numbers for 3 joints"),
        ({"position": np.array([0.0, np.nan, 0.0])}, "not finite"),
    ],
)
def test_commands_that_no_robot_would_obey_are_rejected(
    make_session: MakeSession, fields: dict[str, Any], reason: str
) -> None:
    session = make_session()
    session.hold_for(0.1)
    obeyed = len(session.node.commands)
    session.command(session.robot.home_position, **fields)
    session.advance(0.02)
    assert len(session.node.commands) == obeyed
    assert any(reason in each for each in session.node.statistics.rejected)


def test_the_watchdog_stops_the_robot_after_its_time_and_not_before(make_session: MakeSession) -> None:
    """0.1 s without a command, plus at most one physics step."""
    session = make_session()
    session.hold_for(0.3)
    last = session.node.commands[-1][0]
    session.advance(0.07)
    assert not session.node.holding
    session.advance(0.1)
    assert session.node.holding
    (tripped,) = session.node.statistics.watchdog_trips
    assert 100 * MS < tripped - last <= 103 * MS
    session.hold_for(0.1)
    assert not session.node.holding, "a new command ends it"


def test_the_watchdog_brakes_a_robot_in_velocity_mode(make_session: MakeSession) -> None:
    arm = Robot.load("arm")
    command = dataclasses.replace(arm.command, mode="velocity", fields=("velocity",))
    session = make_session(robot=dataclasses.replace(arm, command=command))
    for _ in range(10):
        session.command(arm.home_position, velocity=arm.velocity_to_wire(np.array([0.2, 0.0, 0.1])))
        session.advance(0.02)
    np.testing.assert_allclose(session.node.twin.target, [0.2, 0.0, 0.1])
    session.advance(0.3)
    assert session.node.holding
    np.testing.assert_array_equal(session.node.twin.target, np.zeros(3))


def test_after_a_silence_commands_begin_at_the_robot_again(make_session: MakeSession) -> None:
    session = make_session()
    session.hold_for(0.1)
    session.advance(0.3)
    session.command(session.node.twin.position)
    session.advance(0.3)
    assert session.node.violations == []
    session.command(session.node.twin.position + np.array([0.15, 0, 0]))
    session.advance(0.02)
    assert [v.quantity for v in session.node.violations] == ["start"]


def test_commands_within_the_limits_raise_no_flag(make_session: MakeSession) -> None:
    session = make_session()
    filter = PositionFilter(Limits.of_robot(session.robot), 0.02)
    session.advance(0.1)
    filter.start(session.node.twin.position)
    rng = np.random.default_rng(0)
    for k in range(300):
        filter.hold() if k % 7 == 0 else filter(rng.uniform(-9, 9, 3))
        session.command(filter.command)
        session.advance(
            0.04 if k % 10 == 9 else 0.02
        )  # a tick that was skipped gives no more way to the next one
    assert len(session.node.commands) == 300 and session.node.violations == []


@pytest.mark.parametrize(
    ("step", "quantity"),
    [([0.06, 0, 0], "velocity"), ([0.01, 0, 0], "acceleration"), ([3.5, 0, 0], "position")],
)
def test_a_command_that_breaks_a_limit_raises_the_flag(
    make_session: MakeSession, step: list[float], quantity: str
) -> None:
    """2.5 rad/s and 15 rad/s² at 20 ms: 0.05 rad per tick, 0.006 rad more than the tick before."""
    session = make_session()
    session.hold_for(0.1)
    session.command(session.robot.home_position + step)
    session.advance(0.02)
    assert quantity in {violation.quantity for violation in session.node.violations}
    assert "element 0" in session.node.violations[0].detail


def test_a_first_command_away_from_the_robot_raises_the_flag(make_session: MakeSession) -> None:
    session = make_session()
    session.command(session.robot.home_position + np.array([0.1, 0, 0]))
    session.advance(0.02)
    assert [v.quantity for v in session.node.violations] == ["start"]


def test_lost_and_doubled_commands_are_no_violations(make_session: MakeSession) -> None:
    session = make_session(("drop@0.2:0.4,p=0.3,direction=command", "duplicate@0.6:0.2,direction=command"))
    q = session.robot.home_position.copy()
    session.hold_for(0.2)
    for k in range(50):
        q[0] = 1.0 - np.cos(2 * np.pi * k / 100)  # at most 2π/2 rad/s² · ...: well within the limits
        session.command(q * [0.3, 1, 1])
        session.advance(0.02)
    assert 30 < len(session.node.commands) < 60
    assert session.node.violations == []


def test_a_second_commander_is_seen_by_the_first(make_session: MakeSession) -> None:
    session = make_session(("second_commander@0.2:0.2",))
    session.hold_for(0.1)
    assert session.peer.matched().other_writers == ()
    session.hold_for(0.2)
    assert session.peer.matched().other_writers == ("/second_commander",)
    session.hold_for(0.2)
    assert session.peer.matched().other_writers == ()


def test_a_quality_of_service_mismatch_is_named_and_ends(make_session: MakeSession) -> None:
    session = make_session(("qos_mismatch@0.2:0.2",))
    session.hold_for(0.1)
    assert session.peer.matched().subscribers == 1
    session.hold_for(0.2)
    matched = session.peer.matched()
    assert matched.subscribers == 0 and "durability" in matched.incompatible[0]
    obeyed = len(session.node.commands)
    session.hold_for(0.05)
    assert len(session.node.commands) == obeyed
    session.hold_for(0.2)
    assert session.peer.matched().subscribers == 1 and len(session.node.commands) > obeyed


def test_a_killed_twin_is_silent_and_does_not_say_goodbye(make_session: MakeSession) -> None:
    session = make_session(("kill@0.2",))
    session.advance(0.25)
    assert session.node.dead
    assert session.advance(0.5) == []
    assert session.peer.matched().publishers["joint_states"] == 1


def test_clock_pause_stops_clock_and_stamps(make_session: MakeSession) -> None:
    session = make_session(("clock_pause@0.1:0.1",))
    states = [r for r in session.advance(0.3) if r.source == "joint_states"]
    stamps = np.diff([stamp_ns(r.message) for r in states])
    assert (stamps == 0).sum() == 19 and len(states) == 61


class JumpyClock(MonotonicClock):
    """Wall time that is all in hand: waiting takes as long as it takes, and once half a second more."""

    def __init__(self, jump_at: int) -> None:
        super().__init__()
        self.now, self.waits, self.jump_at = 1_000 * MS, 0, jump_at

    def now_ns(self) -> int:
        return self.now

    def wait_until(self, deadline_ns: int) -> None:
        self.now = max(self.now, deadline_ns)
        self.waits += 1
        if self.waits == self.jump_at:
            self.now += 500 * MS


@pytest.mark.parametrize(("jump_at", "shifts", "steps"), [(-1, 0, 400), (100, 1, 200)])
def test_in_real_time_it_keeps_pace_and_never_catches_up_in_a_burst(
    jump_at: int, shifts: int, steps: int, make_session: MakeSession
) -> None:
    """One second at 2.5 ms is 400 steps; half a second that was lost stays lost."""
    session = make_session()
    robot, clock = session.robot, JumpyClock(jump_at)
    _, transport = SimTransport.pair(
        session.peer.endpoints, twin_endpoints(robot, TransportOptions()), clock, session.types
    )
    node = TwinNode(Twin(robot), transport, clock, session.types)
    node.start()
    node.run(1.0)
    assert node.statistics.shifts == shifts
    assert abs(node.twin.steps - steps) <= 2


def test_hardware_limits_need_to_know_the_period(make_session: MakeSession) -> None:
    with pytest.raises(ValueError, match="command_period"):
        make_session(command_period=None)


def test_delay_and_backlash_come_with_the_settings(make_session: MakeSession) -> None:
    session = make_session(settings=TwinSettings(physics_dt=0.0025, delay=0.1), hardware_limits=False)
    session.hold_for(0.5)
    before = session.node.twin.position[0]
    session.hold_for(0.08, session.robot.home_position + np.array([0.5, 0, 0]))
    assert session.node.twin.position[0] == pytest.approx(before, abs=1e-9)
    session.hold_for(0.1, session.robot.home_position + np.array([0.5, 0, 0]))
    assert session.node.twin.position[0] > before + 0.01


def test_the_imu_of_a_base_that_stands_feels_gravity_upwards(make_session: MakeSession) -> None:
    imu = next(r.message for r in make_session(robot="spot_arm").advance(0.05) if r.source == "imu")
    a, q = imu.linear_acceleration, imu.orientation
    np.testing.assert_allclose([a.x, a.y, a.z], [0, 0, 9.81], atol=1e-6)
    assert (q.x, q.y, q.z, q.w) == (0.0, 0.0, 0.0, 1.0)


def with_camera(name: str) -> Robot:
    arm = Robot.load("arm")
    source = Source("image", "sensor_msgs/msg/Image", rate=5, camera=Camera(name, 64, 48))
    return dataclasses.replace(arm, sources={**arm.sources, "camera": source})


def test_a_camera_sees_the_arm_move(make_session: MakeSession) -> None:
    """Pictures in the layout of ROS, at their rate, and different after the arm has moved."""
    try:
        session = make_session(robot=with_camera("side"), hardware_limits=False)
    except ConfigError as error:
        assert "OpenGL" in str(error)
        pytest.skip("no OpenGL here: apt-get install libegl1, and MUJOCO_GL=egl")
    pictures = []
    for target in ([0.0, -0.5, 0.5], [0.0, 0.5, 0.0]):
        pose = session.robot.home_position + np.array(target)
        pictures.append([r.message for r in session.hold_for(1.0, pose) if r.source == "camera"])
    first, last = pictures[0][-1], pictures[1][-1]
    assert abs(len(pictures[0]) - 5) <= 1
    assert (first.encoding, first.width, first.height, first.step, len(first.data)) == (
        "rgb8",
        64,
        48,
        192,
        9216,
    )
    assert np.mean(first.data != last.data) > 0.01


def test_a_camera_that_the_model_lacks_is_named(make_session: MakeSession) -> None:
    with pytest.raises(ConfigError, match="no camera 'top'; it has side"):
        make_session(robot=with_camera("top"))


def test_transforms_chain_from_base_to_tool(make_session: MakeSession) -> None:
    """Put together along the tree they give the closed form of the tool's place."""
    session = make_session()
    session.advance(0.1)
    message = session.node._sensors.transforms(0)
    place, rotation, frame = np.zeros(3), np.eye(3), "base_link"
    links = {t.header.frame_id: t for t in message.transforms}
    while frame in links:
        link = links[frame].transform
        place = place + rotation @ [link.translation.x, link.translation.y, link.translation.z]
        x, y, z, w = link.rotation.x, link.rotation.y, link.rotation.z, link.rotation.w
        rotation = rotation @ np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        frame = links[frame].child_frame_id
    # MuJoCo moves on half a step after its kinematics: compare with the pose the kinematics saw.
    np.testing.assert_allclose(place, session.node.twin.data.body("tool").xpos, atol=1e-9)


def test_options_default_to_a_quiet_twin() -> None:
    assert NodeOptions() == NodeOptions(
        shuffle_joints=False, hardware_limits=False, command_period=None, seed=0
    )
