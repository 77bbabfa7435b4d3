"""Each fault does what its name says, when it is told to, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.messages import message_types
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimTransport
from dynrl.robots.twin import (
    KINDS,
    FaultError,
    FaultSchedule,
    FaultyTransport,
    ScheduledFault,
    load_faults,
    parse_fault,
    schedule,
)
from dynrl.robots.twin.mutations import UNKNOWN_JOINT, mutated, stamp_ns

SPEC_KINDS = [
    *(
        "drop",
        "delay",
        "jitter",
        "duplicate",
        "reorder",
        "nan",
        "inf",
        "freeze",
        "stale",
        "permute",
        "missing_joint",
    ),
    *(
        "short",
        "extra_joint",
        "jump",
        "wrong_unit",
        "clock_back",
        "clock_forward",
        "clock_pause",
        "disconnect",
    ),
    *("qos_mismatch", "second_commander", "slow_policy", "overrun", "kill"),
]


def test_every_fault_of_the_specification_is_there() -> None:
    assert sorted(KINDS) == sorted(SPEC_KINDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stale@3:0.5", ScheduledFault("stale", 3.0, 0.5)),
        ("drop@1:2,p=0.3", ScheduledFault("drop", 1.0, 2.0, 0.3)),
        ("delay@0.5,ms=40,direction=command", ScheduledFault("delay", 0.5, value=40.0, direction="command")),
        ("nan@1:1,source=imu", ScheduledFault("nan", 1.0, 1.0, source="imu")),
        ("jump@2:1,rad=0.7,joint=arm_yaw", ScheduledFault("jump", 2.0, 1.0, 0.7, joint="arm_yaw")),
        ("slow_policy@1:1,ms=30", ScheduledFault("slow_policy", 1.0, 1.0, 30.0, "deployer")),
        ("second_commander@1:1", ScheduledFault("second_commander", 1.0, 1.0, 0.0, "command")),
    ],
)
def test_faults_are_read(text: str, expected: ScheduledFault) -> None:
    assert parse_fault(text) == expected


@given(st.sampled_from(SPEC_KINDS), st.floats(0, 1e4), st.one_of(st.none(), st.floats(1e-3, 1e4)))
def test_what_a_fault_prints_can_be_read_again(kind: str, start: float, duration: float | None) -> None:
    text = f"{kind}@{start!r}" + ("" if duration is None else f":{duration!r}")
    fault = parse_fault(text)
    again = parse_fault(str(fault))
    assert (again.kind, again.direction, again.value) == (fault.kind, fault.direction, fault.value)
    assert again.start == pytest.approx(fault.start, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("stael@3:0.5", "did you mean 'stale'"),
        ("stale", "KIND@START:DURATION"),
        ("stale@x:1", "start is 'x'"),
        ("stale@1:nan", "duration"),
        ("stale@-1:1", "start"),
        ("stale@1:0", "lasts 0 s"),
        ("drop@1:1,p=1.5", "probability"),
        ("drop@1:1,ms=3", "no setting 'ms'; known: p, direction"),
        ("drop@1:1,p", "name=value"),
        ("overrun@1:1,direction=state", "expected deployer"),
        ("stale@1:1,direction=sideways", "expected state or command"),
    ],
)
def test_mistakes_are_named(text: str, word: str) -> None:
    with pytest.raises(FaultError, match=word):
        parse_fault(text)


def test_schedules_come_from_yaml_too(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("- stale@3:0.5\n- drop@1:2,p=0.3\n")
    assert load_faults(path) == (parse_fault("stale@3:0.5"), parse_fault("drop@1:2,p=0.3"))
    path.write_text("stale: 3\n")
    with pytest.raises(FaultError, match="list of faults"):
        load_faults(path)
    with pytest.raises(FaultError, match="cannot be read"):
        load_faults(tmp_path / "none.yaml")


def test_faults_act_in_their_time_and_direction() -> None:
    plan = schedule(["stale@1:1", "nan@1.5:1,direction=command", "overrun@2:1,ms=7", "drop@0:9,source=imu"])
    assert [f.kind for f in plan.active(0.999, "state", "joint_states")] == []
    assert [f.kind for f in plan.active(1.0, "state", "joint_states")] == ["stale"]
    assert [f.kind for f in plan.active(1.999, "state", "imu")] == ["stale", "drop"]
    assert [f.kind for f in plan.active(2.0, "state", "joint_states")] == []
    assert [f.kind for f in plan.active(1.6, "command")] == ["nan"]
    assert plan.deployer(2.5) == {"overrun": 7.0} and plan.deployer(1.0) == {}


def joint_state(stamp: int = 5_000_000_000) -> Any:
    types = message_types()
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    time = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return types.new(
        "sensor_msgs/msg/JointState",
        header=types.new("std_msgs/msg/Header", stamp=time),
        name=["a", "b", "c"],
        position=[0.1, 0.2, 0.3],
        velocity=[1.0, 2.0, 3.0],
        effort=[4.0, 5.0, 6.0],
    )


def by_name(message: Any) -> dict[str, tuple[float, ...]]:
    return dict(
        zip(message.name, zip(message.position, message.velocity, message.effort, strict=True), strict=True)
    )


@pytest.mark.parametrize("seed", range(5))
def test_mutations_of_a_joint_state(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = by_name(joint_state())

    def change(text: str) -> Any:
        original = joint_state()
        changed = mutated(original, parse_fault(text), rng)
        assert by_name(original) == before, "the message itself is not touched"
        message_types().serialize(changed)
        return changed

    assert np.isnan(change("nan@0").position).sum() == 1
    assert np.isinf(change("inf@0").position).sum() == 1
    permuted = change("permute@0")
    assert by_name(permuted) == before
    missing = change("missing_joint@0,joint=b")
    assert by_name(missing) == {name: before[name] for name in "ac"}
    short = change("short@0")
    assert len(short.name) == 3 and len(short.position) == len(short.velocity) == 2
    extra = change("extra_joint@0")
    assert {k: v for k, v in by_name(extra).items() if k != UNKNOWN_JOINT} == before and len(extra.name) == 4
    np.testing.assert_allclose(change("jump@0,rad=0.5,joint=c").position, [0.1, 0.2, 0.8])
    np.testing.assert_allclose(change("wrong_unit@0").position, np.rad2deg([0.1, 0.2, 0.3]))
    assert stamp_ns(change("clock_back@0,s=2")) == 3_000_000_000
    assert stamp_ns(change("clock_back@0,s=9")) == 0, "not before zero"
    assert stamp_ns(change("clock_forward@0,s=0.5")) == 5_500_000_000


@pytest.mark.parametrize(
    "name",
    [
        "sensor_msgs/msg/Imu",
        "nav_msgs/msg/Odometry",
        "geometry_msgs/msg/PoseStamped",
        "geometry_msgs/msg/Twist",
        "geometry_msgs/msg/TwistStamped",
        "std_msgs/msg/Float64MultiArray",
        "trajectory_msgs/msg/JointTrajectory",
        "std_msgs/msg/Bool",
    ],
)
def test_every_mutation_leaves_a_message_that_can_be_sent(name: str) -> None:
    types, rng = message_types(), np.random.default_rng(0)
    points = [types.new("trajectory_msgs/msg/JointTrajectoryPoint", positions=[1.0, 2.0])]
    given_values = {
        "std_msgs/msg/Float64MultiArray": {"data": [1.0, 2.0]},
        "trajectory_msgs/msg/JointTrajectory": {"joint_names": ["a", "b"], "points": points},
    }
    message = types.new(name, **given_values.get(name, {}))
    for kind in KINDS:
        types.serialize(mutated(message, parse_fault(f"{kind}@0"), rng))
    if name != "std_msgs/msg/Bool":
        raw = types.serialize(mutated(message, parse_fault("nan@0"), rng))
        assert "nan" in repr(types.deserialize(raw, name))


class Line:
    """One message per 10 ms through a faulty transport, in virtual time."""

    def __init__(self, fault: str, robot: Any, clock: Any, seed: int = 0) -> None:
        self.types, self.clock = message_types(), clock
        options = TransportOptions(use_sim_time=True)
        deployer, twin = deployer_endpoints(robot, options), twin_endpoints(robot, options)
        self.peer, inner = SimTransport.pair(deployer, twin, clock, self.types)
        self.faulty = FaultyTransport(inner, FaultSchedule((parse_fault(fault),)), clock, seed)
        self.peer.open()
        self.faulty.open()
        self.start = clock.now_ns()
        self.faulty.start()

    def send(self, count: int) -> list[tuple[float, int]]:
        """[(arrival in ms after the start, number of the message)]; the number travels in the stamp."""
        arrived = []
        for k in range(count):
            self.faulty.pump()
            self.faulty.publish("joint_states", joint_state(100_000_000_000 + k))
            for _ in range(10):
                self.clock.wait_until(self.clock.now_ns() + 1_000_000)
                for received in self.peer.poll():
                    ms = (received.receive_ns - self.start) * 1e-6
                    arrived.append((ms, (stamp_ns(received.message) or 0) - 100_000_000_000))
        return arrived


@pytest.fixture
def line() -> Callable[..., Line]:
    from dynrl.robots.clocks import VirtualClock
    from dynrl.robots.description import Robot

    return lambda fault, seed=0: Line(fault, Robot.load("arm"), VirtualClock(), seed)


def test_without_a_fault_messages_arrive_at_once(line: Callable[..., Line]) -> None:
    assert line("stale@99").send(5) == [(10.0 * k, k) for k in range(5)]


def test_stale_is_silence_for_its_time(line: Callable[..., Line]) -> None:
    assert [k for _, k in line("stale@0.02:0.03").send(10)] == [0, 1, 5, 6, 7, 8, 9]


def test_drop_loses_its_share(line: Callable[..., Line]) -> None:
    """Of 400 messages 120 ± 4 standard deviations of 9.2; and the same ones for the same seed."""
    lost = 400 - len(line("drop@0,p=0.3").send(400))
    assert abs(lost - 120) <= 37
    assert line("drop@0,p=0.5").send(30) == line("drop@0,p=0.5").send(30)
    assert line("drop@0,p=0.5", 1).send(30) != line("drop@0,p=0.5", 2).send(30)


def test_delay_is_exact(line: Callable[..., Line]) -> None:
    assert line("delay@0,ms=25").send(6) == [(10.0 * k + 25.0, k) for k in range(4)]


def test_jitter_is_within_its_range_and_not_constant(line: Callable[..., Line]) -> None:
    late = [ms - 10.0 * k for ms, k in line("jitter@0,ms=8").send(50)]
    assert len(late) == 50 and all(0 <= each <= 8 for each in late) and np.std(late) > 1


def test_duplicate_and_reorder(line: Callable[..., Line]) -> None:
    assert [k for _, k in line("duplicate@0").send(3)] == [0, 0, 1, 1, 2, 2]
    assert [k for _, k in line("reorder@0").send(6)] == [1, 0, 3, 2, 5, 4]
    assert [k for _, k in line("reorder@0:0.01").send(4)] == [1, 0, 2, 3], (
        "what was held is not lost at the end"
    )


def test_freeze_repeats_the_last_message_before_it(line: Callable[..., Line]) -> None:
    assert [k for _, k in line("freeze@0.02:0.03").send(7)] == [0, 1, 1, 1, 1, 5, 6]


def test_clock_pause_keeps_the_stamp_and_not_the_data(line: Callable[..., Line]) -> None:
    assert [k for _, k in line("clock_pause@0.02:0.03").send(7)] == [0, 1, 2, 2, 2, 5, 6]


@pytest.mark.parametrize(
    ("fault", "expected"), [("clock_back@0,s=2", 3), ("clock_forward@0,s=2", 7), ("stale@0", 5)]
)
def test_the_clock_topic_is_wrong_only_with_the_clock(
    line: Callable[..., Line], fault: str, expected: int
) -> None:
    session = line(fault)
    time = session.types.new("builtin_interfaces/msg/Time", sec=5)
    session.faulty.publish("clock", session.types.new("rosgraph_msgs/msg/Clock", clock=time))
    (received,) = session.peer.poll()
    assert received.source == "clock" and received.message.clock.sec == expected


def test_disconnect_goes_and_comes_back(line: Callable[..., Line]) -> None:
    session = line("disconnect@0.02:0.03")
    assert [k for _, k in session.send(2)] == [0, 1]
    assert session.peer.matched().publishers["joint_states"] == 1
    assert session.send(2) == [] and session.peer.matched().publishers["joint_states"] == 0
    assert not session.faulty.matched().alive
    assert [k for _, k in session.send(3)] == [1, 2]


def test_connecting_anew_needs_the_means(line: Callable[..., Line]) -> None:
    for kind in ("qos_mismatch", "second_commander"):
        with pytest.raises(FaultError, match=f"{kind} needs a transport"):
            line(f"{kind}@0")
