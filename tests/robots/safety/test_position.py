"""The position filter: for any stream of targets whatever, its commands keep every limit."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.errors import ConfigError
from dynrl.robots.safety import Limits, PositionFilter, UnsafeStart

STREAMS = 256  # per hypothesis example
EXAMPLES = 50  # 50 · 256 > 10^4 streams per run
STEPS = 150


def adversary(kind: str, rng: np.random.Generator, filter: PositionFilter, step: int) -> np.ndarray:
    """The next targets of a stream that knows the filter's state and means harm."""
    limits, command, velocity = filter.limits, filter.command, filter.velocity
    shape = command.shape
    match kind:
        case "bang_bang":
            return np.where(rng.random(shape) < 0.5, limits.lower, limits.upper) * rng.uniform(1, 100, shape)
        case "noise":
            return command + rng.normal(size=shape) * limits.velocity * filter.period * 10
        case "run_at_limit_then_turn":
            return np.where((step // 20) % 2, -1e6, 1e6) * np.ones(shape)
        case "hover_at_limit":
            edge = np.where(np.arange(shape[0]) % 2, limits.upper, limits.lower)
            return edge + rng.choice([-1e-12, 0.0, 1e-12, 1e-3, -1e-3], shape)
        case "faster_the_way_it_goes":
            return command + np.sign(velocity) * 1e3
        case "against_the_way_it_goes":
            return command - np.sign(velocity + 1e-300) * 1e3
        case "garbage":
            return rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0, -0.0, 0.3], shape)
    raise AssertionError(kind)


KINDS = (
    "bang_bang",
    "noise",
    "run_at_limit_then_turn",
    "hover_at_limit",
    "faster_the_way_it_goes",
    "against_the_way_it_goes",
    "garbage",
)


def random_filter(rng: np.random.Generator, count: int) -> PositionFilter:
    """`count` joints with limits from tiny to huge, some too slow to reach their range, some brisk enough to cross
    it in a tick."""
    lower = rng.uniform(-4, 4, count)
    upper = lower + 10.0 ** rng.uniform(-4, 1, count)
    limits = Limits.of(lower, upper, 10.0 ** rng.uniform(-2, 1.5, count), 10.0 ** rng.uniform(-1, 3, count))
    return PositionFilter(limits, float(10.0 ** rng.uniform(np.log10(5e-4), 0)))


def rounding_of(filter: PositionFilter) -> np.ndarray:
    """What the float64 of positions leaves uncertain of a velocity: 8 units in the last place, over a period."""
    largest = np.maximum(np.abs(filter.limits.lower), np.abs(filter.limits.upper))
    return 8 * np.finfo(float).eps * largest / filter.period


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from((*KINDS, "hold")), min_size=1, max_size=6))
def test_no_stream_breaks_a_limit(seed: int, plan: list[str]) -> None:
    """`STREAMS` joints with limits of their own at once; the adversary changes its mind along the way."""
    rng = np.random.default_rng(seed)
    filter = random_filter(rng, STREAMS)
    limits, dt = filter.limits, filter.period
    filter.start(rng.uniform(limits.lower, limits.upper))
    before, velocity_before = filter.command.copy(), np.zeros(STREAMS)
    command = np.empty(STREAMS)
    rounding = rounding_of(filter)
    for step in range(STEPS):
        kind = plan[step * len(plan) // STEPS]
        if kind == "hold":
            filter.hold(out=command)
        else:
            filter(adversary(kind, rng, filter, step), out=command)
        # What a receiver of the commands sees, not what the filter believes.
        velocity = (command - before) / dt
        assert np.all((command >= limits.lower) & (command <= limits.upper)), "position, exactly"
        assert np.all(np.abs(velocity) <= limits.velocity * (1 + 1e-9) + rounding)
        largest = limits.acceleration * dt * (1 + 1e-9) + 2 * rounding
        assert np.all(np.abs(velocity - velocity_before) <= largest)
        before, velocity_before = command.copy(), velocity


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_feasible_at_every_moment(seed: int, kind: str) -> None:
    """`bot <= top` always: the two bounds never ask for the impossible, up to rounding."""
    rng = np.random.default_rng(seed)
    filter = random_filter(rng, STREAMS)
    filter.start(rng.uniform(filter.limits.lower, filter.limits.upper))
    limits = filter.limits
    rounding = 8 * rounding_of(filter)  # braking adds up the rounding of its steps
    for step in range(STEPS):
        filter(adversary(kind, rng, filter, step))
        top, mirrored_bottom = filter._limit_velocity()
        assert np.all(-mirrored_bottom <= top + 1e-9 * limits.acceleration * filter.period + rounding)


@pytest.mark.parametrize("kind", KINDS)
def test_from_anywhere_it_can_be_held(kind: str) -> None:
    """Holding stops within the braking time of the speed limit, stays inside, and then repeats itself exactly."""
    rng = np.random.default_rng(3)
    filter = random_filter(rng, 2000)
    limits = filter.limits
    filter.start(rng.uniform(limits.lower, limits.upper))
    for step in range(70):
        filter(adversary(kind, rng, filter, step))
    ticks = int(np.ceil((limits.velocity / (limits.acceleration * filter.period)).max())) + 1
    for _ in range(min(ticks, 40000)):
        filter.hold()
        if filter.settled:
            break
    assert filter.settled
    still = filter.command.copy()
    for _ in range(3):
        np.testing.assert_array_equal(filter.hold(), still)
    assert np.all((still >= limits.lower) & (still <= limits.upper))


@pytest.mark.parametrize(
    ("distance", "speed", "acceleration", "period"),
    [(1.0, 2.0, 15.0, 0.01), (2.0, 0.5, 1.0, 0.02), (0.05, 2.0, 15.0, 0.002), (3.0, 3.0, 20.0, 0.02)],
)
def test_a_step_takes_the_time_of_a_trapezoid(
    distance: float, speed: float, acceleration: float, period: float
) -> None:
    """The closed form: d/v + v/a, or 2·sqrt(d/a) where the speed limit is never met; ± 2 periods."""
    reaches_speed = distance >= speed**2 / acceleration
    expected = (
        distance / speed + speed / acceleration if reaches_speed else 2 * np.sqrt(distance / acceleration)
    )
    # The target is the limit itself, where the filter must brake like the trapezoid.
    filter = PositionFilter(Limits.of([-1.0], [distance], [speed], [acceleration]), period)
    filter.start([0.0])
    ticks = 0
    # As near as a discrete command gets: within the way of one braking step (it approaches the limit after that).
    while filter.command[0] < distance - acceleration * period**2 / 2:
        filter(np.array([distance]))
        ticks += 1
        assert ticks * period < 2 * expected, "it does not arrive"
    assert abs(ticks * period - expected) <= 2 * period


def test_where_rounding_would_go_beyond_the_limit_it_does_not() -> None:
    """At a distance of acceleration·dt²/2 the bound leads to the limit exactly, and now and then beyond."""
    rng = np.random.default_rng(0)
    count, dt = 20000, 0.3
    lower, acceleration = rng.uniform(-3, -1, count), rng.uniform(10, 60, count)
    limits = Limits.of(lower, -lower, 100.0, acceleration)
    for side in (-1, 1):
        edge, filter = side * limits.upper, PositionFilter(limits, dt)
        start = edge - side * acceleration * dt**2 / 2
        start = np.clip(start, limits.lower, limits.upper)
        filter.start(start)
        command = filter(np.full(count, side * 1e6))
        unclipped = start + filter.velocity * dt
        assert np.sum(side * (unclipped - edge) > 0) > 100, "the case is there"
        assert np.all(side * command <= limits.upper)


def test_holds_at_once_where_the_target_is_not_a_number() -> None:
    """The bad joint brakes, the others move on."""
    filter = PositionFilter(Limits.of([-1.0] * 2, [1.0] * 2, 1.0, 2.0), 0.1)
    filter.start([0.0, 0.0])
    for _ in range(3):
        filter(np.array([1.0, 1.0]))
    np.testing.assert_allclose(filter.velocity, 0.6)
    filter(np.array([np.nan, 1.0]))
    np.testing.assert_allclose(filter.velocity, [0.4, 0.8])
    filter(np.array([np.inf, 1.0]))
    np.testing.assert_allclose(filter.velocity, [0.2, 1.0])


def test_first_command_is_the_measured_pose_and_the_second_starts_from_rest() -> None:
    filter = PositionFilter(Limits.of([-1.0], [1.0], [2.0], [10.0]), 0.01)
    start = np.array([0.123456789])
    filter.start(start)
    assert filter.command[0] == start[0]
    assert filter(np.array([1.0]))[0] - start[0] == pytest.approx(10.0 * 0.01**2)


def test_a_start_outside_within_tolerance_widens_and_shrinks_back() -> None:
    limits = Limits.of([-1.0], [1.0], [1.0], [10.0], tolerance=0.01)
    filter = PositionFilter(limits, 0.01)
    filter.start([1.008])
    assert filter.command[0] == 1.008
    highest = [1.008]
    for _ in range(5):
        highest.append(filter(np.array([1.5]))[0])
    assert max(highest) == 1.008, "never further out"
    for _ in range(30):
        filter(np.array([0.9]))
    for _ in range(200):
        assert filter(np.array([1.5]))[0] <= 1.0, "once inside, the limit is the limit"


@pytest.mark.parametrize("position", [1.02, -5.0, np.nan, np.inf])
def test_a_start_that_is_not_safe_is_refused(position: float) -> None:
    filter = PositionFilter(Limits.of([-1.0], [1.0], [1.0], [10.0], tolerance=0.01), 0.01)
    with pytest.raises(UnsafeStart):
        filter.start([position])


def test_a_continuous_joint_has_no_position_limit() -> None:
    filter = PositionFilter(Limits.of([-np.inf], [np.inf], [2.0], [10.0]), 0.02)
    filter.start([0.0])
    for _ in range(1000):
        filter(np.array([1e308]))
    assert filter.velocity[0] == 2.0
    assert filter.command[0] == pytest.approx(2.0 * 0.02 * 1000 - 2.0**2 / (2 * 10.0), abs=0.05)


def test_any_leading_shape_gives_the_same_as_one_joint_at_a_time() -> None:
    rng = np.random.default_rng(0)
    limits = Limits.of([-1.0, -2.0, 0.0], [1.0, 2.0, 0.5], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    start, targets = rng.uniform(0, 0.5, (4, 2, 3)), rng.normal(size=(50, 4, 2, 3))
    together = PositionFilter(limits, 0.02, shape=(4, 2, 3))
    together.start(start)
    alone = [PositionFilter(limits, 0.02) for _ in range(8)]
    for filter, position in zip(alone, start.reshape(8, 3), strict=True):
        filter.start(position)
    for target in targets:
        batch = together(target).reshape(8, 3)
        for filter, row, command in zip(alone, target.reshape(8, 3), batch, strict=True):
            np.testing.assert_array_equal(filter(row), command)


def test_no_joints_is_no_problem() -> None:
    filter = PositionFilter(Limits.of(*([np.empty(0)] * 4), np.empty(0), np.empty(0)), 0.01)
    filter.start(np.empty(0))
    assert filter(np.empty(0)).shape == (0,) and filter.hold().shape == (0,) and filter.settled


def test_out_is_written_and_the_state_is_not_shared() -> None:
    filter = PositionFilter(Limits.of([-1.0], [1.0], [1.0], [10.0]), 0.01)
    filter.start([0.0])
    out = np.empty(1)
    assert filter(np.array([1.0]), out=out) is out
    out[...] = 99.0
    assert filter.command[0] < 0.01


@pytest.mark.parametrize("desired", [0.5, np.nan])
def test_no_call_allocates(desired: float) -> None:
    """1000 joints are 8 kB per array; NumPy reports every one that it makes."""
    filter = PositionFilter(Limits.of(-np.ones(1000), np.ones(1000), 1.0, 10.0), 0.01)
    filter.start(np.zeros(1000))
    target, out = np.full(1000, desired), np.empty(1000)
    calls = (lambda: filter(target, out=out), lambda: filter.hold(out=out), filter.undo)
    for call in calls:
        call()
    tracemalloc.start()
    try:
        for call in calls:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call()
            assert tracemalloc.get_traced_memory()[1] - before < 2000
        assert filter(target) is not out
        assert tracemalloc.get_traced_memory()[1] - before > 8000, "without `out` there is one"
    finally:
        tracemalloc.stop()


def test_jerk_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="jerk"):
        Limits.of([-1.0], [1.0], [1.0], [1.0], jerk=[100.0])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (([1.0], [1.0], [1.0], [1.0]), "position"),
        (([np.nan], [1.0], [1.0], [1.0]), "position"),
        (([0.0], [1.0], [0.0], [1.0]), "velocity"),
        (([0.0], [1.0], [1.0], [np.inf]), "acceleration"),
        (([0.0], [1.0], [1.0], [1.0], [-1.0]), "effort"),
    ],
)
def test_limits_that_make_no_sense_are_refused(arguments: tuple, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Limits.of(*arguments)
