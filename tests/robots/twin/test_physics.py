"""The body of the twin: what it does is what its description says."""

import dataclasses

import numpy as np
import pytest

from dynrl.errors import ConfigError
from dynrl.robots.description import Robot, TwinSettings
from dynrl.robots.twin import Twin


def settle(twin: Twin, command: np.ndarray, seconds: float = 3.0) -> np.ndarray:
    twin.command(command)
    for _ in range(round(seconds / twin.settings.physics_dt)):
        twin.step()
    return twin.position


def test_at_rest_the_controller_carries_the_weight() -> None:
    """kp·(c - q) is the torque of gravity about each joint, by hand from masses and lengths."""
    arm = Robot.load("arm")
    twin = Twin(arm)
    q = settle(twin, arm.home_position)
    shoulder, elbow = q[1], q[1] + q[2]
    forearm = 0.5 * 9.81 * 0.12 * np.cos(elbow)
    upper = 0.9 * 9.81 * 0.15 * np.cos(shoulder) + 0.5 * 9.81 * 0.3 * np.cos(shoulder) + forearm
    # Positive angles turn downwards, so gravity turns them positively.
    np.testing.assert_allclose(arm.kp * (arm.home_position - q), [0.0, -upper, -forearm], atol=1e-6)
    np.testing.assert_allclose(twin.effort, arm.kp * (arm.home_position - q), atol=1e-6)


def test_efforts_are_cut_at_the_limit() -> None:
    arm = Robot.load("arm")
    twin = Twin(arm)
    twin.command(np.array([2.4, 0.6, 2.4]))
    largest = np.zeros(3)
    for _ in range(200):
        twin.step()
        largest = np.maximum(largest, np.abs(twin.effort))
    assert np.all(largest <= arm.effort_limit + 1e-9)
    assert largest[0] == pytest.approx(arm.effort_limit[0]), "60 N m/rad · 2.4 rad is far beyond it"


def test_hard_stops_are_where_the_limits_are() -> None:
    arm = Robot.load("arm")
    free = dataclasses.replace(arm, joints=tuple(dataclasses.replace(j, kp=400.0) for j in arm.joints))
    q = settle(Twin(free), np.array([3.5, 0.9, 3.0]))
    assert np.all(q <= arm.upper + 0.01), "a stiff stop, not a wall"
    assert np.all(q >= arm.upper - 0.02)


def test_a_command_takes_effect_after_the_delay() -> None:
    arm = Robot.load("arm")
    moved = {}
    for delay in (0.0, 0.05):
        twin = Twin(arm, TwinSettings(physics_dt=0.0025, delay=delay))
        settle(twin, arm.home_position)
        twin.command(arm.home_position + np.array([0.5, 0, 0]))
        moved[delay] = next(k for k in range(200) if twin.step() is None and abs(twin.position[0]) > 1e-6)
    assert moved[0.05] - moved[0.0] == 20


def test_backlash_leaves_half_its_play_on_either_side() -> None:
    """The target trails the command by half the play, on the side it comes from."""
    arm = Robot.load("arm")
    twin = Twin(arm, TwinSettings(physics_dt=0.0025, backlash=0.04))
    up = settle(twin, arm.home_position + np.array([0.5, 0, 0]))[0]
    down = settle(twin, arm.home_position + np.array([0.47, 0, 0]))[0]
    assert up == pytest.approx(0.48, abs=1e-4)
    assert down == pytest.approx(up, abs=1e-4), "within the play nothing moves"
    assert settle(twin, arm.home_position)[0] == pytest.approx(0.02, abs=1e-4)


def test_velocity_and_effort_modes() -> None:
    arm = Robot.load("arm")
    for mode in ("velocity", "effort"):
        robot = dataclasses.replace(arm, command=dataclasses.replace(arm.command, mode=mode))
        twin = Twin(robot)
        twin.command(np.array([0.3, 0.0, 0.0]))
        for _ in range(400):
            twin.step()
        # kd·(c - q̇) against the joint's damping of 0.1; an effort of 0.3 N m against it: 3 rad/s, never reached.
        if mode == "velocity":
            assert twin.velocity[0] == pytest.approx(0.3 * 6.0 / 6.1, rel=1e-2)
        else:
            assert twin.effort[0] == pytest.approx(0.3)


def test_muscles_turn_their_joint_both_ways_and_follow_with_a_lag() -> None:
    pamy = Robot.load("pamy")
    twin = Twin(pamy)
    start = twin.pressures.copy()
    rest = settle(twin, start)
    for muscle, sign in ((0, 1), (1, -1)):
        command = start.copy()
        command[muscle] = pamy.muscles[muscle].pressure[1]
        twin.reset()
        assert sign * (settle(twin, command)[0] - rest[0]) > 0.1
    twin.reset()
    twin.command(command)
    for _ in range(round(twin.settings.muscle_lag / twin.settings.physics_dt)):
        twin.step()
    gone = (twin.pressures[1] - start[1]) / (command[1] - start[1])
    assert gone == pytest.approx(1 - np.exp(-1), abs=0.02)


def test_muscles_rest_where_their_torques_cancel() -> None:
    """gain·(p_a - p_n) = stiffness·(p_a + p_n)·q."""
    pamy = Robot.load("pamy")
    twin = Twin(pamy)
    command = np.array([[24000, 17000, 21000, 18000, 15000, 20000, 14000, 15000]], float)[0]
    q = settle(twin, command, 8.0)
    agonist, antagonist = command[::2], command[1::2]
    expected = 0.0015 / 0.0005 * (agonist - antagonist) / (agonist + antagonist)
    np.testing.assert_allclose(q, expected, atol=1e-3)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [0.0, 0.0, np.nan], [np.inf, 0.0, 0.0]])
def test_no_command_that_is_none(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        Twin(Robot.load("arm")).command(bad)


def test_same_commands_same_bytes() -> None:
    arm = Robot.load("arm")
    ends = []
    for _ in range(2):
        twin = Twin(arm)
        for k in range(300):
            twin.command(arm.home_position + 0.2 * np.sin(0.02 * k))
            twin.step()
        ends.append((twin.position.tobytes(), twin.velocity.tobytes()))
    assert ends[0] == ends[1]


def test_a_model_without_the_joint_is_refused() -> None:
    arm = Robot.load("arm")
    joints = (dataclasses.replace(arm.joints[0], name="hip"), *arm.joints[1:])
    with pytest.raises(ConfigError, match="no joint 'hip'; it has yaw, shoulder, elbow"):
        Twin(dataclasses.replace(arm, joints=joints))
