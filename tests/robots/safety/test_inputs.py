"""Every message that must not be used, and every silence that must be noticed."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.policy.contract import ActionTerm, Contract, Control, ObservationTerm, RobotModel
from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, message_types
from dynrl.robots.safety import Fault, FaultKind, InputChecks

MS = 1_000_000
PERIOD = 5 * MS  # of the arm's joint states
EPOCH = 1_000 * 1_000_000_000


@pytest.fixture
def checks(arm: Robot, make_contract: Callable[..., Contract]) -> InputChecks:
    return InputChecks(arm, make_contract(arm))


def feed(checks: InputChecks, joint_state: Callable[..., Any], count: int = 20, **message: Any) -> int:
    """Good messages at the source's rate; returns the time of the last one."""
    for k in range(count):
        assert (
            checks.check("joint_states", joint_state(stamp_ns=EPOCH + k * PERIOD, **message), k * PERIOD)
            is None
        )
    return (count - 1) * PERIOD


def after(
    checks: InputChecks, joint_state: Callable[..., Any], change: Callable[[Any], None]
) -> Fault | None:
    """The fault of the first changed message after good ones."""
    now = feed(checks, joint_state) + PERIOD
    message = joint_state(stamp_ns=EPOCH + now)
    change(message)
    return checks.check("joint_states", message, now)


def assign(field: str, value: Any) -> Callable[[Any], None]:
    return lambda message: setattr(message, field, value)


def write(field: str, place: int, value: float) -> Callable[[Any], None]:
    return lambda message: getattr(message, field).__setitem__(place, value)


def keep_first(count: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.name = message.name[:count]
        for field in ("position", "velocity", "effort"):
            setattr(message, field, getattr(message, field)[:count])

    return change


def test_good_messages_are_fresh(checks: InputChecks, joint_state: Callable[..., Any]) -> None:
    now = feed(checks, joint_state, 20)
    assert checks.fresh == {"joint_states": 20}
    assert checks.stale(now) is None


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (write("position", 1, np.nan), FaultKind.NONFINITE_OBSERVATION),
        (write("position", 0, np.inf), FaultKind.NONFINITE_OBSERVATION),
        (write("velocity", 2, -np.inf), FaultKind.NONFINITE_OBSERVATION),
        (assign("position", np.zeros(2)), FaultKind.MALFORMED),
        (assign("velocity", np.zeros(2)), FaultKind.MALFORMED),
        (assign("effort", np.zeros(4)), FaultKind.MALFORMED),
        (assign("position", np.zeros(0)), FaultKind.MALFORMED),
        (assign("velocity", np.zeros(0)), FaultKind.MALFORMED),
        (assign("name", ["arm_yaw", "arm_yaw", "arm_elbow"]), FaultKind.MALFORMED),
        (assign("name", []), FaultKind.MALFORMED),
        (keep_first(2), FaultKind.MALFORMED),
    ],
)
def test_a_bad_message_is_dropped_and_holds_at_once(
    checks: InputChecks, joint_state: Callable[..., Any], change: Callable[[Any], None], kind: FaultKind
) -> None:
    fault = after(checks, joint_state, change)
    assert fault is not None and fault.kind is kind and fault.dropped and fault.holds
    assert fault.source == "joint_states" and "joint_states" in str(fault)
    assert checks.fresh["joint_states"] == 0
    assert checks.counters[(kind.name, "joint_states")] == 1


def test_bytes_that_are_no_message_are_malformed(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    now = feed(checks, joint_state)
    fault = checks.check("joint_states", Malformed("12 bytes are missing"), now)
    assert fault is not None and fault.kind is FaultKind.MALFORMED and "12 bytes" in fault.detail


def test_numbers_that_nobody_uses_may_be_anything(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    assert after(checks, joint_state, write("effort", 0, np.nan)) is None


def test_a_message_of_other_joints_is_not_ours(checks: InputChecks, joint_state: Callable[..., Any]) -> None:
    fault = after(checks, joint_state, assign("name", ["gripper", "left_leg", "right_leg"]))
    assert fault is not None and fault.dropped and not fault.holds


def test_extra_joints_are_ignored(checks: InputChecks, joint_state: Callable[..., Any]) -> None:
    def add(message: Any) -> None:
        message.name = ["gripper", *message.name]
        message.position = np.concatenate(([np.nan], message.position))
        message.velocity = np.concatenate(([np.nan], message.velocity))
        message.effort = np.zeros(4)

    assert after(checks, joint_state, add) is None


def contract_of(robot: Robot) -> Contract:
    return Contract(
        name="test",
        control=Control(0.02),
        robot=RobotModel(robot.name, robot.names),
        observation=(ObservationTerm("position", "state/joint/position", unit="rad"),),
        action=(ActionTerm("target", "target/joint/position", unit="rad"),),
    )


@given(st.permutations(["arm_yaw", "arm_shoulder", "arm_elbow"]))
def test_the_order_of_joints_means_nothing(order: list[str]) -> None:
    """A message is judged the same in any order of its joints: the same kind of fault or none."""
    types, robot = message_types(), Robot.load("arm")
    contract = contract_of(robot)
    places = [robot.wire_names.index(name) for name in order]
    for q, kind in (([0.0, -0.9, 1.4], None), ([0.0, -0.9, 2.5], FaultKind.OUT_OF_RANGE)):
        checks = InputChecks(robot, contract)
        message = types.new(
            "sensor_msgs/msg/JointState",
            name=order,
            position=robot.position_to_wire(np.array(q))[places],
            velocity=np.zeros(3),
        )
        fault = checks.check("joint_states", message, 0)
        assert (fault and fault.kind) is kind


@pytest.mark.parametrize(
    ("position", "velocity", "holds"),
    [
        ([2.4086, -0.9, 1.4], [0, 0, 0], False),  # 0.0087 beyond the limit is tolerance
        ([2.4088, -0.9, 1.4], [0, 0, 0], True),
        ([0.0, -0.9, -0.01], [0, 0, 0], True),
        ([0.0, -2.0086, 1.4], [0, 0, 0], False),
        ([0.0, -2.0088, 1.4], [0, 0, 0], True),
        ([0.0, 0.6086, 1.4], [0, 0, 0], False),
        ([0.0, 0.6088, 1.4], [0, 0, 0], True),
        ([0.0, -0.9, 1.4], [3.74, 0, 0], False),  # half as fast again as the limit of 2.5
        ([0.0, -0.9, 1.4], [3.76, 0, 0], True),
        ([0.0, -0.9, 1.4], [0, 0, -4.6], True),
    ],
)
def test_out_of_range_holds_and_is_not_dropped(
    checks: InputChecks,
    joint_state: Callable[..., Any],
    position: list[float],
    velocity: list[float],
    holds: bool,
) -> None:
    fault = checks.check("joint_states", joint_state(np.array(position), np.array(velocity)), 0)
    assert (fault is not None) == holds
    if fault is not None:
        assert fault.kind is FaultKind.OUT_OF_RANGE and fault.holds and not fault.dropped


def test_stale_after_three_source_periods_but_not_before(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    """max(3 · 5 ms, 2 · 20 ms, 20 ms) = 40 ms."""
    now = feed(checks, joint_state)
    assert checks.stale(now + 40 * MS) is None
    fault = checks.stale(now + 40 * MS + 1)
    assert (
        fault is not None and fault.kind is FaultKind.STALE and fault.source == "joint_states" and fault.holds
    )
    assert checks.fresh["joint_states"] == 0


def test_silence_from_the_start_is_stale(checks: InputChecks) -> None:
    fault = checks.stale(0)
    assert fault is not None and fault.kind is FaultKind.STALE and "no message yet" in fault.detail


def test_a_driver_that_repeats_its_last_message_is_frozen(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    now = feed(checks, joint_state)
    last = joint_state(stamp_ns=EPOCH + now)
    for k in range(1, 20):
        fault = checks.check("joint_states", last, now + k * PERIOD)
        assert fault is not None and fault.kind is FaultKind.DUPLICATE and fault.dropped and not fault.holds
        silent = checks.stale(now + k * PERIOD)
        assert (silent is not None) == (k * PERIOD > 40 * MS)
    assert silent is not None and silent.kind is FaultKind.FROZEN


def test_a_robot_that_stands_still_is_not_frozen(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    """The stamps go on, the numbers do not."""
    now = feed(checks, joint_state, 100)
    assert checks.stale(now) is None


def test_late_messages_are_dropped_and_do_not_hold(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    now = feed(checks, joint_state)
    late = checks.check("joint_states", joint_state(stamp_ns=EPOCH + now - PERIOD), now + MS)
    assert late is not None and late.kind is FaultKind.CLOCK_JUMP and late.dropped and not late.holds
    assert checks.check("joint_states", joint_state(stamp_ns=EPOCH + now + PERIOD), now + PERIOD) is None


def test_late_messages_now_and_then_are_no_new_clock(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    """However long it goes on: only stamps that stay behind without a good one between them are."""
    now = feed(checks, joint_state)
    for k in range(1, 40):
        late = checks.check("joint_states", joint_state(stamp_ns=EPOCH), now + k * PERIOD - MS)
        assert late is not None and late.dropped
        good = joint_state(stamp_ns=EPOCH + now + k * PERIOD)
        assert checks.check("joint_states", good, now + k * PERIOD) is None


@pytest.mark.parametrize("late", range(0, 20, 2))
def test_a_clock_that_was_set_back_counts_only_after_it_was_stale(
    checks: InputChecks, joint_state: Callable[..., Any], late: int
) -> None:
    """Wherever the ticks (every 20 ms) lie between the messages (every 5 ms): one of them holds, then the new epoch is
    accepted, by the second tick after the timeout of 40 ms."""
    now = feed(checks, joint_state)
    stale_at, accepted_at = [], None
    for ms in range(1, 150):
        if ms % 5 == 0:
            fault = checks.check("joint_states", joint_state(stamp_ns=ms * MS), now + ms * MS)
            assert fault is None or (fault.kind is FaultKind.CLOCK_JUMP and fault.dropped and not fault.holds)
            if fault is None and accepted_at is None:
                accepted_at = ms
        if ms % 20 == late and checks.stale(now + ms * MS) is not None:
            stale_at.append(ms)
    assert accepted_at is not None and stale_at[0] < accepted_at <= 40 + 2 * 20 + 5
    assert stale_at[-1] < accepted_at
    assert checks.counters[("CLOCK_JUMP", "joint_states")] > 0


def test_one_jump_is_dropped_three_hold(checks: InputChecks, joint_state: Callable[..., Any]) -> None:
    now = feed(checks, joint_state)
    jumped = np.array([0.8, -0.9, 1.4])
    for k, holds in ((1, False), (2, False), (3, True)):
        message = joint_state(jumped, stamp_ns=EPOCH + now + k * PERIOD)
        fault = checks.check("joint_states", message, now + k * PERIOD)
        assert fault is not None and fault.kind is FaultKind.JUMP and fault.dropped and fault.holds is holds
    assert (
        checks.check("joint_states", joint_state(stamp_ns=EPOCH + now + 4 * PERIOD), now + 4 * PERIOD) is None
    )


@pytest.mark.parametrize("bunch", [1, 4])
def test_motion_at_full_speed_is_not_a_jump(
    checks: InputChecks, joint_state: Callable[..., Any], arm: Robot, bunch: int
) -> None:
    """Also when messages come in bunches, one microsecond apart."""
    for k in range(100):
        velocity = arm.velocity_limit * [1, 1, -1]
        q = np.array([-2.0, -1.9, 2.3]) + velocity * k * 0.005
        receive = (k // bunch) * bunch * PERIOD + k % bunch * 1000
        assert checks.check("joint_states", joint_state(q, velocity, EPOCH + k * PERIOD), receive) is None


def test_joints_in_two_messages_each_with_an_age_of_its_own(
    checks: InputChecks, joint_state: Callable[..., Any]
) -> None:
    """Two publishers share a topic, with stamps that are not in step."""
    first, second = ("arm_elbow",), ("arm_yaw", "arm_shoulder")
    for k in range(10):
        now = k * PERIOD
        assert checks.check("joint_states", joint_state(stamp_ns=EPOCH + now, names=first), now) is None
        if k == 0:
            assert "has not been in any message" in str(checks.stale(now))
        assert checks.check("joint_states", joint_state(stamp_ns=EPOCH // 2 + now, names=second), now) is None
        assert checks.stale(now) is None
    for k in range(10, 20):  # the second publisher dies
        now = k * PERIOD
        assert checks.check("joint_states", joint_state(stamp_ns=EPOCH + now, names=first), now) is None
    fault = checks.stale(now)
    assert fault is not None and fault.kind is FaultKind.STALE and "'arm_yaw'" in fault.detail


def test_only_the_bundle_s_joints_are_needed(
    arm: Robot, make_contract: Callable[..., Contract], joint_state: Callable[..., Any]
) -> None:
    checks = InputChecks(arm, make_contract(arm, joints=("elbow",)))
    assert checks.check("joint_states", joint_state(names=("arm_elbow",)), 0) is None
    assert checks.check("joint_states", joint_state([9.0, 9.0, 1.4]), PERIOD) is None, (
        "the others may be anywhere"
    )
    assert checks.stale(PERIOD) is None


def test_unnamed_sources_and_goals_are_not_waited_for(
    arm: Robot, make_contract: Callable[..., Contract], joint_state: Callable[..., Any]
) -> None:
    checks = InputChecks(arm, make_contract(arm))
    assert checks.required == ("joint_states",)
    assert checks.check("anything", object(), 0) is None


def test_a_goal_that_is_not_a_number_is_dropped_and_does_not_hold(arm: Robot, types: Any) -> None:
    goal = ObservationTerm(
        "goal", "command/pose", unit="m", frame="base_link", shape=(3,), default=(0.4, 0.0, 0.3)
    )
    contract = Contract(
        name="reach",
        control=Control(0.02),
        robot=RobotModel("arm", arm.names),
        observation=(goal,),
        action=(ActionTerm("target", "target/joint/position", unit="rad"),),
    )
    checks = InputChecks(arm, contract)
    assert checks.required == ("joint_states",)
    point = types.new("geometry_msgs/msg/Point", x=np.nan, y=0.0, z=0.3)
    message = types.new(
        "geometry_msgs/msg/PoseStamped", pose=types.new("geometry_msgs/msg/Pose", position=point)
    )
    fault = checks.check("goal", message, 0)
    assert (
        fault is not None
        and fault.kind is FaultKind.NONFINITE_OBSERVATION
        and fault.dropped
        and not fault.holds
    )
    point.x = 0.4
    assert checks.check("goal", message, 0) is None, (
        "the zero quaternion of a goal that is a point is nobody's concern"
    )


@pytest.mark.parametrize(("norm", "accepted"), [(1.0, True), (1.0009, True), (1.0011, False), (0.0, False)])
def test_quaternions_have_norm_one(
    make_contract: Callable[..., Contract], types: Any, norm: float, accepted: bool
) -> None:
    robot = Robot.load("spot_arm")
    checks = InputChecks(robot, make_contract(robot, kinds=("state/body/projected_gravity",)))
    rotation = types.new("geometry_msgs/msg/Quaternion", x=0.0, y=0.6 * norm, z=0.0, w=0.8 * norm)
    message = types.new("sensor_msgs/msg/Imu", orientation=rotation)
    fault = checks.check("imu", message, 0)
    assert (fault is None) == accepted
    unused = InputChecks(robot, make_contract(robot, kinds=("state/body/angular_velocity",)))
    assert unused.check("imu", message, 0) is None


def test_pressures_have_one_number_per_muscle(make_contract: Callable[..., Contract], types: Any) -> None:
    robot = Robot.load("pamy")
    checks = InputChecks(robot, make_contract(robot, kinds=("state/joint/position",)))
    assert set(checks.required) == {"joint_states", "muscle_states", "reference_found"}
    good = types.new("std_msgs/msg/Float64MultiArray", data=np.full(8, 15000.0))
    assert checks.check("muscle_states", good, 0) is None
    for data in (np.full(7, 15000.0), np.full(9, 15000.0)):
        fault = checks.check("muscle_states", types.new("std_msgs/msg/Float64MultiArray", data=data), PERIOD)
        assert fault is not None and fault.kind is FaultKind.MALFORMED
    bad = types.new("std_msgs/msg/Float64MultiArray", data=np.full(8, np.nan))
    fault = checks.check("muscle_states", bad, PERIOD)
    assert fault is not None and fault.kind is FaultKind.NONFINITE_OBSERVATION


def test_a_simulated_clock_that_pauses_is_stale(
    arm: Robot, make_contract: Callable[..., Contract], types: Any, joint_state: Callable[..., Any]
) -> None:
    checks = InputChecks(arm, make_contract(arm), use_sim_time=True)
    for k in range(60):
        now = k * PERIOD
        seconds, nanoseconds = divmod(min(now, 20 * PERIOD), 1_000_000_000)
        time = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        checks.check("clock", types.new("rosgraph_msgs/msg/Clock", clock=time), now)
        checks.check("joint_states", joint_state(stamp_ns=EPOCH + now), now)
        fault = checks.stale(now)
        assert (fault is not None) == (now - 20 * PERIOD > 100 * MS)
    assert fault is not None and fault.kind is FaultKind.STALE and fault.source == "clock"


def test_a_derived_velocity_need_not_be_sent(
    make_contract: Callable[..., Contract], joint_state: Any
) -> None:
    arm = Robot.load("arm")
    source = dataclasses.replace(
        arm.sources["joint_states"], fields=("position",), derive={"velocity": "finite_difference"}
    )
    robot = dataclasses.replace(arm, sources={"joint_states": source})
    checks = InputChecks(robot, make_contract(robot))
    message = joint_state()
    message.velocity = np.empty(0)
    assert checks.check("joint_states", message, 0) is None


def test_no_joints_at_all(types: Any, make_contract: Callable[..., Contract]) -> None:
    arm = Robot.load("arm")
    robot = dataclasses.replace(arm, joints=(), home=())
    contract = dataclasses.replace(make_contract(arm))
    object.__setattr__(contract, "robot", dataclasses.replace(contract.robot, joints=()))
    checks = InputChecks(robot, contract)
    assert checks.check("joint_states", types.new("sensor_msgs/msg/JointState"), 0) is None
    assert checks.stale(0) is None


NAMES = ("arm_yaw", "arm_shoulder", "arm_elbow", "gripper", "Gelenk_ä", "")


@given(
    names=st.lists(st.sampled_from(NAMES), max_size=5),
    numbers=st.lists(st.lists(st.floats(width=64), max_size=5), min_size=3, max_size=3),
    stamps=st.lists(
        st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=3
    ),
)
def test_nothing_that_can_be_in_a_message_raises(
    names: list[str], numbers: list[list[float]], stamps: list[tuple[int, int]]
) -> None:
    """Judged, never crashed; and what is accepted is complete, finite and possible."""
    robot, types = Robot.load("arm"), message_types()
    checks = InputChecks(robot, contract_of(robot))
    for k, (seconds, nanoseconds) in enumerate(stamps):
        stamp = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        message = types.new(
            "sensor_msgs/msg/JointState",
            header=types.new("std_msgs/msg/Header", stamp=stamp),
            name=names,
            **dict(zip(("position", "velocity", "effort"), numbers, strict=True)),
        )
        fault = checks.check("joint_states", message, k * PERIOD)
        if fault is None or not fault.dropped:
            assert set(names) & set(robot.wire_names) and len(message.position) == len(names)
            places = [names.index(wire) for wire in robot.wire_names if wire in names]
            assert np.isfinite(message.position[places]).all()
        if fault is not None:
            assert str(fault).isascii()
        checks.stale(k * PERIOD)


def test_joint_names_may_be_anything_and_are_printed_escaped(
    make_contract: Callable[..., Contract], types: Any
) -> None:
    arm = Robot.load("arm")
    joints = (dataclasses.replace(arm.joints[0], wire="Gelenk_ä\n"), *arm.joints[1:])
    robot = dataclasses.replace(arm, joints=joints)
    checks = InputChecks(robot, make_contract(robot))

    def message(names: list[str]) -> Any:
        position = robot.position_to_wire(robot.home_position)[: len(names)]
        return types.new(
            "sensor_msgs/msg/JointState", name=names, position=position, velocity=np.zeros(len(names))
        )

    assert checks.check("joint_states", message(list(robot.wire_names)), 0) is None
    fault = checks.check("joint_states", message(["arm_shoulder", "arm_elbow"]), PERIOD)
    assert fault is not None and "'Gelenk_\\xe4\\n'" in fault.detail
