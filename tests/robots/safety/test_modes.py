"""Velocity, effort, pressure and body velocity: limits of value and rate, for any stream of targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.robots.description import BodyLimits, Muscle, Robot
from dynrl.robots.safety import (
    BodyVelocityFilter,
    CommandFilter,
    EffortFilter,
    Limits,
    PositionFilter,
    PressureFilter,
    UnsafeStart,
    VelocityFilter,
)

JOINTS = 512
GARBAGE = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, 1.0, -3.0, 1e5, 5e-324])


def random_limits(rng: np.random.Generator) -> Limits:
    lower = rng.uniform(-3, 2, JOINTS)
    return Limits.of(
        lower,
        lower + 10.0 ** rng.uniform(-1, 0.7, JOINTS),
        10.0 ** rng.uniform(-1, 1, JOINTS),
        10.0 ** rng.uniform(0, 2, JOINTS),
        effort=10.0 ** rng.uniform(0, 2, JOINTS),
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_velocity_commands_keep_their_limits_and_an_ideal_joint_stays_inside(seed: int) -> None:
    """The joint obeys exactly: q' = q + v·dt. 25 · 512 streams."""
    rng = np.random.default_rng(seed)
    limits, dt = random_limits(rng), float(10 ** rng.uniform(-3, -1.3))
    filter = VelocityFilter(limits, dt)
    q, before = rng.uniform(limits.lower, limits.upper), np.zeros(JOINTS)
    filter.start(before)
    for step in range(120):
        filter.measured(q, before)
        desired = (
            rng.choice(GARBAGE, JOINTS)
            if step % 3
            else np.where((step // 30) % 2, 1e3, -1e3) * np.ones(JOINTS)
        )
        v = filter.hold() if step % 41 == 40 else filter(desired)
        assert np.all(np.abs(v) <= limits.velocity)
        assert np.all(np.abs(v - before) <= limits.acceleration * dt * (1 + 1e-9))
        q = q + v * dt
        assert np.all((q >= limits.lower - 1e-9) & (q <= limits.upper + 1e-9))
        before = v


def test_velocity_without_a_measured_pose_does_not_move() -> None:
    filter = VelocityFilter(Limits.of([-1.0], [1.0], [1.0], [10.0]), 0.01)
    filter.start([0.0])
    assert filter(np.array([1.0]))[0] == 0.0
    filter.measured(np.array([np.nan]), np.array([0.0]))
    assert filter(np.array([1.0]))[0] == 0.0
    filter.measured(np.array([0.0]), np.array([0.0]))
    assert filter(np.array([1.0]))[0] == pytest.approx(0.1)


def test_velocity_holds_by_braking_to_zero() -> None:
    filter = VelocityFilter(Limits.of([-9.0], [9.0], [1.0], [10.0]), 0.01)
    filter.start([0.95])
    speeds = [filter.hold()[0] for _ in range(12)]
    np.testing.assert_allclose(speeds[:3], [0.85, 0.75, 0.65])
    assert speeds[-1] == 0.0 and filter.settled


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_efforts_keep_their_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits, dt = random_limits(rng), 0.01
    rate = 10.0 ** rng.uniform(0, 4, JOINTS)
    filter = EffortFilter(limits, rate, dt)
    before = rng.uniform(-1, 1, JOINTS) * limits.effort
    filter.start(before)
    for step in range(100):
        filter.measured(rng.uniform(limits.lower - 0.5, limits.upper + 0.5), rng.normal(size=JOINTS) * 5)
        u = filter.hold() if step % 17 == 16 else filter(rng.choice(GARBAGE, JOINTS))
        assert np.all(np.abs(u) <= limits.effort)
        assert np.all(np.abs(u - before) <= rate * dt * (1 + 1e-9))
        before = u


@pytest.mark.parametrize(
    ("position", "velocity", "expected"),
    [
        (0.0, 0.0, 5.0),
        (0.99, 0.0, 5.0),  # near, and not moving: nothing to brake yet
        (0.9, 2.0, 0.0),  # 2²/(2·10) = 0.2 > 0.1: none towards the limit
        (0.9, -2.0, 5.0),  # on the way in
        (1.01, 0.0, 0.0),  # beyond
        (np.nan, 0.0, 0.0),
    ],
)
def test_no_effort_towards_a_limit_within_braking_distance(
    position: float, velocity: float, expected: float
) -> None:
    filter = EffortFilter(Limits.of([-1.0], [1.0], [5.0], [10.0], effort=5.0), np.array([1e6]), 0.01)
    filter.start([0.0])
    filter.measured(np.array([position]), np.array([velocity]))
    assert filter(np.array([9.0]))[0] == expected
    mirrored = EffortFilter(Limits.of([-1.0], [1.0], [5.0], [10.0], effort=5.0), np.array([1e6]), 0.01)
    mirrored.start([0.0])
    mirrored.measured(np.array([-position]), np.array([-velocity]))
    assert mirrored(np.array([-9.0]))[0] == -expected


def test_holding_fades_to_the_effort_that_carries_the_arm() -> None:
    limits = Limits.of([-1.0], [1.0], [5.0], [10.0], effort=5.0)
    filter = EffortFilter(limits, np.array([100.0]), 0.01, holding_effort=lambda q: 3.0 * np.cos(q))
    filter.start([0.0])
    filter.measured(np.zeros(1), np.zeros(1))
    np.testing.assert_allclose([filter.hold()[0] for _ in range(5)], [1, 2, 3, 3, 3])
    assert filter.settled


def muscles() -> tuple[Muscle, ...]:
    return Robot.load("pamy").muscles


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_pressures_keep_their_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filter = PressureFilter(muscles(), 0.01)
    lower, upper = (np.array([m.pressure[side] for m in muscles()], float) for side in (0, 1))
    before = rng.uniform(lower, upper)
    filter.start(before)
    for step in range(100):
        desired = rng.choice([np.nan, np.inf, -1e9, 1e9, 0.0, 20000.0], 8)
        p = (filter.hold, filter.stop, lambda d=desired: filter(d))[min(step % 7, 2)]()
        assert np.all((p >= lower) & (p <= upper))
        assert np.all(np.abs(p - before) <= 500 * (1 + 1e-12)), "500 per 10 ms"
        before = p


def test_holding_keeps_pressures_and_a_stop_goes_to_the_safe_ones() -> None:
    filter = PressureFilter(muscles(), 0.01)
    filter.start(np.full(8, 18000.0))
    np.testing.assert_array_equal(filter.hold(), np.full(8, 18000.0))
    for _ in range(30):
        filter.stop()
    np.testing.assert_array_equal(filter.command, [m.safe for m in muscles()])


def test_body_velocity_keeps_its_limits_and_an_old_target_is_zero() -> None:
    filter = BodyVelocityFilter(BodyLimits((1.0, 0.5, 2.0), (2.0, 2.0, 4.0), timeout=0.3), 0.05)
    filter.start(np.zeros(3))
    commands = np.array([filter(np.array([9.0, -9.0, np.nan])) for _ in range(20)])
    np.testing.assert_allclose(commands[0], [0.1, -0.1, 0.0])
    np.testing.assert_allclose(commands[-1], [1.0, -0.5, 0.0])
    filter.age = 0.31
    stopping = np.array([filter(np.array([9.0, -9.0, 9.0])) for _ in range(20)])
    assert np.all(np.abs(np.diff(stopping, axis=0)) <= np.array([0.1, 0.1, 0.2]) + 1e-12)
    np.testing.assert_array_equal(stopping[-1], np.zeros(3))
    assert filter.settled


def every_filter() -> dict[str, tuple[CommandFilter, int]]:
    limits = Limits.of([-1.0] * 2, [1.0] * 2, [2.0] * 2, [10.0] * 2, effort=5.0)
    velocity, effort = VelocityFilter(limits, 0.01), EffortFilter(limits, np.array([50.0, 50.0]), 0.01)
    for filter in (velocity, effort):
        filter.measured(np.zeros(2), np.zeros(2))
    return {
        "position": (PositionFilter(limits, 0.01), 2),
        "velocity": (velocity, 2),
        "effort": (effort, 2),
        "pressure": (PressureFilter(muscles(), 0.01), 8),
        "body_velocity": (BodyVelocityFilter(BodyLimits((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)), 0.01), 3),
    }


@pytest.mark.parametrize("mode", list(every_filter()))
def test_every_filter_can_take_its_last_command_back(mode: str) -> None:
    filter, count = every_filter()[mode]
    start = np.full(count, 18000.0 if mode == "pressure" else 0.0)
    filter.start(start)
    filter.measured(np.zeros(count), np.zeros(count))
    for _ in range(3):
        filter(start + 1e4)
    command, velocity = filter.command.copy(), filter.velocity.copy()
    filter(start - 1e4)
    assert not np.array_equal(filter.command, command)
    filter.undo()
    np.testing.assert_array_equal(filter.command, command)
    np.testing.assert_array_equal(filter.velocity, velocity)


@pytest.mark.parametrize("mode", list(every_filter()))
def test_no_filter_starts_from_what_is_not_a_number(mode: str) -> None:
    filter, count = every_filter()[mode]
    with pytest.raises(UnsafeStart, match="not finite"):
        filter.start(np.full(count, np.nan))


def test_undo_takes_widened_limits_back_too() -> None:
    limits = Limits.of([-1.0], [1.0], [1.0], [10.0], tolerance=0.01)
    filter = PositionFilter(limits, 0.01)
    filter.start([1.005])
    filter(np.array([0.0]))
    filter.undo()
    assert filter.command[0] == 1.005
    assert filter(np.array([2.0]))[0] == 1.005, "still allowed where it was found"
