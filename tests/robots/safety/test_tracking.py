"""The leash between command and robot, and the window of commands that the driver's torque can follow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.robots.safety import EffortWindow, Limits, PositionFilter, TrackingLeash

DT = 0.02


def test_trips_after_its_time_and_not_before() -> None:
    """0.3 rad for more than 0.1 s: the sixth tick of 20 ms."""
    leash = TrackingLeash(0.3, 0.1, DT)
    far, here = np.array([0.31, 0.0]), np.zeros(2)
    assert [leash.update(far, here) for _ in range(6)] == [False] * 5 + [True]


def test_a_moment_within_reach_starts_again() -> None:
    leash = TrackingLeash(0.3, 0.1, DT)
    far, near, here = np.array([0.31]), np.array([0.29]), np.zeros(1)
    assert not any(leash.update(command, here) for command in [far] * 5 + [near] + [far] * 5)
    assert leash.update(far, here)


def test_each_joint_has_its_own_time() -> None:
    leash = TrackingLeash(0.3, 0.1, DT)
    here = np.zeros(2)
    assert not any(leash.update(np.array([0.4, 0.0] if k % 2 else [0.0, 0.4]), here) for k in range(50))


def test_a_robot_whose_place_is_no_number_is_far() -> None:
    leash = TrackingLeash(0.3, 0.1, DT)
    assert any(leash.update(np.zeros(1), np.array([np.nan])) for _ in range(6))


def test_the_held_command_goes_to_where_the_robot_was_found() -> None:
    """Against an obstacle: within the limits, and it stays there though the robot sags."""
    limits = Limits.of([-2.0], [2.0], [1.0], [10.0])
    filter, leash = PositionFilter(limits, DT), TrackingLeash(0.3, 0.1, DT)
    filter.start([0.0])
    stuck = np.array([0.1])
    while not leash.update(filter(np.array([2.0])), stuck):
        pass
    assert leash.target is not None and leash.target[0] == 0.1
    commands = []
    for k in range(100):
        leash.update(filter(leash.target), stuck - 0.002 * k)
        assert abs(filter.velocity[0]) <= 1.0
        commands.append(filter.command[0])
    assert commands[-1] == commands[-20] <= 0.1, "constant, though the arm sags"


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_commands_in_the_window_ask_for_no_more_than_the_effort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kp, kd, effort = rng.uniform(10, 1000, 300), rng.uniform(0, 20, 300), rng.uniform(1, 100, 300)
    q, qd = rng.normal(size=300), rng.normal(size=300) * 3
    lower, upper = EffortWindow(kp, kd, effort).around(q, qd)
    np.testing.assert_allclose(kp * (lower - q) - kd * qd, -effort, atol=1e-9)
    np.testing.assert_allclose(kp * (upper - q) - kd * qd, effort, atol=1e-9)


def test_the_filter_stays_in_the_window_as_far_as_acceleration_lets_it() -> None:
    """An arm that is held fast: the command stops where the torque ends, without breaking its other limits."""
    limits = Limits.of([-2.0], [2.0], [2.0], [15.0])
    filter = PositionFilter(limits, DT, effort_window=EffortWindow([60.0], [6.0], [12.0]))
    filter.start([0.0])
    velocity = 0.0
    for _ in range(100):
        filter.measured(np.zeros(1), np.zeros(1))
        filter(np.array([2.0]))
        assert abs(filter.velocity[0] - velocity) <= 15.0 * DT * (1 + 1e-9)
        velocity = filter.velocity[0]
        beyond = 60.0 * filter.command[0] - 12.0
        assert beyond <= 60.0 * (2.0**2 / (2 * 15.0)), "at most the way of braking"
    assert 60.0 * filter.command[0] == pytest.approx(12.0)


def test_unknown_gains_give_no_window() -> None:
    window = EffortWindow([np.nan, 60.0], [1.0, 6.0], [10.0, np.inf])
    assert not window.useful
    lower, upper = window.around(np.zeros(2), np.zeros(2))
    assert np.all(np.isinf(lower)) and np.all(np.isinf(upper))


def test_a_window_does_not_lead_out_of_the_limits() -> None:
    """Also when the robot was pushed out of them, and the window with it."""
    filter = PositionFilter(
        Limits.of([-1.0], [1.0], [2.0], [15.0]), DT, effort_window=EffortWindow([60.0], [6.0], [6.0])
    )
    filter.start([0.9])
    for _ in range(100):
        filter.measured(np.array([3.0]), np.zeros(1))
        assert filter(np.array([0.0]))[0] <= 1.0
