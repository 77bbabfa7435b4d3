"""What the robot's side makes of commands, and which of them it would complain about."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, message_types
from dynrl.robots.twin import LimitMonitor
from dynrl.robots.twin.decode import BadCommand, CommandDecoder

DT_NS = 20_000_000


def arm_with(type: str, **fields: Any) -> Robot:
    arm = Robot.load("arm")
    return dataclasses.replace(arm, command=dataclasses.replace(arm.command, type=type, **fields))


def test_every_command_type_gives_the_same_pose() -> None:
    """Named, ordered and as a trajectory."""
    types, q = message_types(), np.array([0.3, -0.5, 1.1])
    named = Robot.load("arm")
    wire = named.position_to_wire(q)
    order = ("arm_elbow", "arm_yaw", "arm_shoulder")
    places = [named.wire_names.index(name) for name in order]
    point = types.new("trajectory_msgs/msg/JointTrajectoryPoint", positions=wire[places])
    joints = list(order)
    messages = [
        types.new("sensor_msgs/msg/JointState", name=joints, position=wire[places]),
        types.new("std_msgs/msg/Float64MultiArray", data=wire[places]),
        types.new("trajectory_msgs/msg/JointTrajectory", joint_names=joints, points=[point]),
    ]
    for message in messages:
        robot = arm_with(message.__msgtype__, order=order)
        np.testing.assert_allclose(CommandDecoder(robot)(message, robot.home_position), q, atol=1e-15)


def test_pressures_are_taken_in_the_order_of_the_file() -> None:
    pamy = Robot.load("pamy")
    order = tuple(reversed(pamy.command.order))
    robot = dataclasses.replace(pamy, command=dataclasses.replace(pamy.command, order=order))
    message = message_types().new("std_msgs/msg/Float64MultiArray", data=np.arange(8.0))
    np.testing.assert_array_equal(CommandDecoder(robot)(message, np.zeros(8)), np.arange(8.0)[::-1])


def test_body_velocities_are_planar() -> None:
    types = message_types()
    twist = types.new(
        "geometry_msgs/msg/Twist",
        linear=types.new("geometry_msgs/msg/Vector3", x=0.1, y=0.2, z=9.0),
        angular=types.new("geometry_msgs/msg/Vector3", z=0.3),
    )
    for message in (twist, types.new("geometry_msgs/msg/TwistStamped", twist=twist)):
        decode = CommandDecoder(arm_with(message.__msgtype__))
        np.testing.assert_array_equal(decode(message, np.zeros(3)), [0.1, 0.2, 0.3])


@given(
    names=st.lists(st.sampled_from(("arm_yaw", "arm_shoulder", "arm_elbow", "hand")), max_size=4),
    values=st.lists(st.floats(), max_size=4),
)
def test_a_command_is_obeyed_whole_or_not_at_all(names: list[str], values: list[float]) -> None:
    robot, types = Robot.load("arm"), message_types()
    message = types.new("sensor_msgs/msg/JointState", name=names, position=values)
    good = len(names) == len(values) == len(set(names)) and "hand" not in names and np.isfinite(values).all()
    if not good:
        with pytest.raises(BadCommand):
            CommandDecoder(robot)(message, robot.home_position)
        return
    command = CommandDecoder(robot)(message, robot.home_position)
    wire = dict(zip(robot.wire_names, robot.position_to_wire(robot.home_position), strict=True))
    wire |= dict(zip(names, values, strict=True))
    expected = robot.position_to_model(np.array([wire[name] for name in robot.wire_names]))
    np.testing.assert_allclose(command, expected, atol=1e-12)


def test_what_is_no_message_is_no_command() -> None:
    robot = Robot.load("arm")
    with pytest.raises(BadCommand, match="4 bytes"):
        CommandDecoder(robot)(Malformed("4 bytes are missing"), robot.home_position)
    empty = message_types().new("trajectory_msgs/msg/JointTrajectory")
    with pytest.raises(BadCommand, match="0 points"):
        CommandDecoder(arm_with("trajectory_msgs/msg/JointTrajectory"))(empty, robot.home_position)


def broken(monitor: LimitMonitor, commands: list[tuple[int, float]], start: float = 0.0) -> set[str]:
    """Quantities broken by yaw commands `(tick, angle)`; the robot stands at the first one."""
    home = Robot.load("arm").home_position
    found: set[str] = set()
    for tick, angle in commands:
        q = np.array([angle, *home[1:]])
        measured = np.array([commands[0][1], *home[1:]])
        found |= {v.quantity for v in monitor.check(q, 1_000_000_000 + tick * DT_NS, tick * DT_NS, measured)}
    return found


@pytest.fixture
def monitor() -> LimitMonitor:
    return LimitMonitor(Robot.load("arm"), 0.02)


def accelerating(ticks: int, share: float = 1.0) -> list[tuple[int, float]]:
    """The fastest start from rest that 15 rad/s² allow: v_k = share·k·a·dt."""
    steps = share * 15.0 * 0.02**2 * np.arange(ticks)
    return list(enumerate(np.cumsum(steps).tolist()))


def test_the_fastest_start_is_no_violation(monitor: LimitMonitor) -> None:
    assert broken(monitor, accelerating(8)) == set()


def test_one_part_in_a_hundred_thousand_faster_is(monitor: LimitMonitor) -> None:
    assert broken(monitor, accelerating(8, 1.00001)) == {"acceleration"}


@pytest.mark.parametrize("lost", [(3,), (5,), (2, 3), (2, 4), (7,)])
def test_commands_lost_on_the_way_are_no_violation(monitor: LimitMonitor, lost: tuple[int, ...]) -> None:
    assert broken(monitor, [each for each in accelerating(8) if each[0] not in lost]) == set()


def test_skipped_ticks_are_no_violation(monitor: LimitMonitor) -> None:
    """The deployer overran: the same commands, later."""
    assert (
        broken(monitor, [(tick + (tick > 3) + 2 * (tick > 5), angle) for tick, angle in accelerating(8)])
        == set()
    )


def test_a_gap_is_no_licence(monitor: LimitMonitor) -> None:
    """Neither a step that one period allows, nor one that the gap does: 2.5 rad/s for two periods are 0.1 rad."""
    assert "velocity" in broken(monitor, [(0, 0.0), (1, 0.0), (3, 0.11)])
    monitor.reset()
    # From rest in two periods: 15·0.02²·(1 + 2) = 0.018 rad.
    assert broken(monitor, [(0, 0.0), (1, 0.0), (3, 0.0179)]) == set()
    monitor.reset()
    assert broken(monitor, [(0, 0.0), (1, 0.0), (3, 0.0181)]) == {"acceleration"}


def test_a_step_that_may_be_read_two_ways_is_read_the_way_that_fits_the_next(monitor: LimitMonitor) -> None:
    """At 0.28 rad/s one command is lost: the double step could be one period at 0.56 rad/s, from which nobody may come
    to 0.08 rad/s at once. Nor, read as it was, to -0.2 rad/s."""
    slow = [(0, 0.0), (1, 0.0056), (2, 0.0112), (4, 0.0224)]
    assert broken(monitor, [*slow, (5, 0.0224 + 0.08 * 0.02)]) == set()
    monitor.reset()
    assert broken(monitor, [*slow, (5, 0.0224 - 0.2 * 0.02)]) == {"acceleration"}


def test_who_starts_outside_may_stay_and_who_was_inside_may_not_leave(monitor: LimitMonitor) -> None:
    assert broken(monitor, [(0, 2.405), (1, 2.405), (2, 2.404)]) == set()
    assert broken(monitor, [(3, 2.4041)]) == {"position"}
    monitor.reset()
    assert "position" in broken(monitor, [(0, 2.399), (1, 2.401)])


def test_after_a_silence_it_goes_on_from_the_robot_or_from_the_last_command(monitor: LimitMonitor) -> None:
    for first, expected in ((0.5, set()), (0.3, set()), (0.4, {"start"})):
        monitor.reset()
        assert broken(monitor, [(0, 0.3)]) == set()
        monitor.reset()
        home = Robot.load("arm").home_position
        command, measured = np.array([first, *home[1:]]), np.array([0.5, *home[1:]])
        assert {v.quantity for v in monitor.check(command, 10**12, 0, measured)} == expected


def test_a_bundle_s_narrower_limits_can_be_watched() -> None:
    narrow = LimitMonitor(Robot.load("arm"), 0.02, (np.full(3, 0.1), np.full(3, 99.0)))
    assert broken(narrow, [(0, 0.0), (1, 0.0021)]) == {"velocity"}


@pytest.mark.parametrize(
    ("mode", "commands", "expected"),
    [
        ("velocity", [[0.0, 0, 0], [0.3, 0, 0]], set()),
        ("velocity", [[0.0, 0, 0], [0.31, 0, 0]], {"acceleration"}),
        ("velocity", [[2.51, 0, 0]], {"velocity"}),
        ("effort", [[25.0, 25, 15], [-25.0, 0, 0]], set()),
        ("effort", [[25.1, 0, 0]], {"effort"}),
    ],
)
def test_other_modes(mode: str, commands: list[list[float]], expected: set[str]) -> None:
    arm = Robot.load("arm")
    robot = dataclasses.replace(arm, command=dataclasses.replace(arm.command, mode=mode))
    monitor, found = LimitMonitor(robot, 0.02), set()
    for tick, command in enumerate(commands):
        found |= {v.quantity for v in monitor.check(np.array(command, float), tick * DT_NS, 0, np.zeros(3))}
    assert found == expected


def test_pressures_and_their_rates() -> None:
    pamy = Robot.load("pamy")
    monitor = LimitMonitor(pamy, 0.02)
    rest = np.full(8, 17000.0)
    assert monitor.check(rest, 0, 0, np.zeros(4)) == []
    assert monitor.check(rest + 1000, DT_NS, 0, np.zeros(4)) == []
    assert [v.quantity for v in monitor.check(rest - 1, 2 * DT_NS, 0, np.zeros(4))] == ["rate"]
    assert [v.quantity for v in monitor.check(np.full(8, 12900.0), 9 * DT_NS, 0, np.zeros(4))] == ["pressure"]
