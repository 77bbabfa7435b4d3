"""`dynrl bench deploy`: what the loop, a tick, a message and an export cost, and the safety bars that are counts."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.bench import Figure
from dynrl.policy import ObservationTerm
from dynrl.policy.measure import bundle_figures
from dynrl.robots.clocks import VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import Command, Joint, Rates, Robot, Source
from dynrl.robots.latency import ABSENT, FIELDS
from dynrl.robots.loop import Scheduling, real_time
from dynrl.robots.messages import message_types
from dynrl.robots.pacing_bench import loop_figures, machine_load
from dynrl.robots.safety import Limits, PositionFilter
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import Event, State
from dynrl.robots.transports import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork

SECOND = 1_000_000_000
JOINTS, OBSERVATION, HIDDEN = 12, 48, 256
TICK_P50, TICK_P99, TICK_RATIO = 150.0, 400.0, 12.0
END_TO_END, ON_MESSAGE = 500.0, 400.0
FILTER_RELATIVE = 1e-9


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure of `dynrl bench deploy`."""
    yield from loop_figures(quick)
    yield from tick_figures(quick)
    yield from wire_figures(quick)
    yield from safety_figures(quick)
    yield from bundle_figures(quick)


def tick_figures(quick: bool) -> Iterator[Figure]:
    """A whole tick without its wait, beside the network alone."""
    count = 2000 if quick else 20_000
    with real_time() as granted, _tick_world() as (deployment, speak):
        for _ in range(60):
            speak()
            deployment.step()
        assert deployment.controller.machine.state in (State.RAMPING, State.ACTIVE)
        spent = np.zeros(count)
        for index in range(count):
            speak()
            started = time.perf_counter_ns()
            deployment.step()
            spent[index] = (time.perf_counter_ns() - started) / 1000
        bare = _bare_network(deployment, count)
    half, most = np.percentile(spent, [50, 99])
    network = float(np.percentile(bare, 50))
    where = f"onnxruntime alone: p50 {network:.0f}, p99 {np.percentile(bare, 99):.0f} µs"
    yield Figure(
        f"tick, {JOINTS} joints, {OBSERVATION}-d observation, 2×{HIDDEN}, {_words(granted)}",
        "p50 <= 150 µs, p99 <= 400 µs",
        f"p50 {half:.0f}, p99 {most:.0f} µs",
        bool(half <= TICK_P50 and most <= TICK_P99),
        where,
    )
    yield Figure(
        "the same over onnxruntime.run",
        "<= 12x",
        f"{half / network:.1f}x",
        half / network <= TICK_RATIO,
        where,
    )


@contextlib.contextmanager
def _tick_world() -> Iterator[tuple[Deployment, Any]]:
    """(an active deployment in virtual time, a function that sends one joint state)"""
    robot = bench_robot()
    clock, types, options = VirtualClock(), message_types(), TransportOptions()
    network = SimNetwork(clock, types)
    peer = network.join(twin_endpoints(robot, options))
    peer.open()
    # 12 positions, 12 velocities, 12 previous actions, 2 of the phase, and 10 of a goal
    goal = ObservationTerm("goal", "command/scalar", shape=(10,), default=(0.0,) * 10)
    bundle = sample_bundle(robot, 0.002, HIDDEN, extra_terms=(goal,))
    assert bundle.contract.observation_size == OBSERVATION
    config = DeploymentConfig(fifo=False, patience=1e9)
    deployment = Deployment(
        bundle,
        robot,
        network.join(deployer_endpoints(robot, options)),
        config,
        clock=clock,
        types=types,
        log=_quiet,
    )
    stamp = types.new("builtin_interfaces/msg/Time")
    message = types.new(
        "sensor_msgs/msg/JointState",
        header=types.new("std_msgs/msg/Header", stamp=stamp),
        name=list(robot.wire_names),
        position=robot.home_position,
        velocity=np.zeros(JOINTS),
        effort=np.zeros(JOINTS),
    )

    def speak() -> None:
        stamp.sec, stamp.nanosec = divmod(clock.now_ns(), SECOND)
        for received in peer.poll():
            message.position = received.message.position
        peer.publish("joint_states", message)

    with deployment.running():
        yield deployment, speak
    peer.close()


def bench_robot() -> Robot:
    """Twelve joints that anything can be asked of."""
    joints = tuple(
        Joint(
            f"joint_{n}", velocity=5.0, acceleration=50.0, position=(-3.0, 3.0), effort=50.0, kp=100.0, kd=5.0
        )
        for n in range(JOINTS)
    )
    return Robot(
        name="bench",
        model="",
        joints=joints,
        sources={"joint_states": Source("joint_states", "sensor_msgs/msg/JointState", rate=500)},
        command=Command("joint_commands", "sensor_msgs/msg/JointState"),
        rates=Rates(10, 1000),
        home=(0.0,) * JOINTS,
    )


def _bare_network(deployment: Deployment, count: int) -> np.ndarray:
    """µs of each call of `onnxruntime`'s own `run`, on the same graph, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        deployment.bundle.graph, options, providers=["CPUExecutionProvider"]
    )
    inputs = {"observation": np.zeros((1, OBSERVATION), np.float32)}
    spent = np.zeros(count)
    for index in range(count):
        started = time.perf_counter_ns()
        session.run(None, inputs)
        spent[index] = (time.perf_counter_ns() - started) / 1000
    return spent


def wire_figures(quick: bool) -> Iterator[Figure]:
    """Through DDS on this machine: a round trip, and a deployment with its twin in another process."""
    from dynrl.robots.transports.measure import round_trip_figures

    yield from round_trip_figures(quick)
    for tick_on in (None, "joint_states"):
        yield _end_to_end_figure(5.0 if quick else 20.0, tick_on)


def _end_to_end_figure(seconds: float, tick_on: str | None) -> Figure:
    from dynrl.robots.command_line import Link, twin_process
    from dynrl.robots.transports.ros2 import Ros2Transport

    robot = Robot.load("arm")
    link = Link(transport="ros2", domain=random.randint(1, 101))
    options, types = link.options(0.02), message_types()
    config = DeploymentConfig(ramp=0.2, patience=60.0, tick_on=tick_on)
    with twin_process(robot, link, (), 0):
        transport = Ros2Transport(deployer_endpoints(robot, options), options, types)
        deployment = Deployment(
            sample_bundle(robot), robot, transport, config, types=types, log=_quiet, name="ros2"
        )
        report = deployment.run(seconds)
    ticks = deployment.latency.recent()
    whole, age = ticks[:, FIELDS.index("end_to_end")], ticks[:, FIELDS.index("observation_age")]
    # At deadlines, how long a message has waited is a matter of phase, and is left out.
    spent = (whole if tick_on else whole - age)[whole != ABSENT] / 1000
    half, most = np.percentile(spent, [50, 99])
    bar = ON_MESSAGE if tick_on else END_TO_END
    measured = f"p50 {half:.0f}, p99 {most:.0f} µs, {report.overruns} overruns in {report.ticks} ticks"
    return Figure(
        "observation received to command on DDS, ticking on messages"
        if tick_on
        else "observation used to command on DDS, arm at 50 Hz",
        f"p50 <= {bar} µs",
        measured,
        bool(half <= bar),
        machine_load(),
    )


def safety_figures(quick: bool) -> Iterator[Figure]:
    """Bars that are counts: streams, faults, emergency stops and replays, in virtual time."""
    yield _filter_figure(10_000, 50 if quick else 400)
    yield _fault_figure()
    yield _estop_figure(40 if quick else 200)
    yield _replay_figure(10.0 if quick else 60.0)


def _filter_figure(streams: int, ticks: int) -> Figure:
    """Noise, steps, infinities and NaN into the position filter, from random starts."""
    limits = Limits.of([-1.0, -0.3, 0.0], [1.0, 0.2, 2.5], [2.0, 0.5, 9.0], [5.0, 20.0, 40.0])
    rng = np.random.default_rng(0)
    dt = 0.01
    keep = PositionFilter(limits, dt, (streams, 3))
    before = rng.uniform(limits.lower, limits.upper, (streams, 3))
    keep.start(before)
    speed = np.zeros((streams, 3))
    worst = np.zeros(3)
    for _ in range(ticks):
        desired = rng.normal(0, 10, (streams, 3)) * 10.0 ** rng.integers(-2, 6, (streams, 3))
        desired[rng.random((streams, 3)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        command = keep(desired)
        velocity = (command - before) / dt
        outside = np.maximum(limits.lower - command, command - limits.upper).max()
        fast = (np.abs(velocity) / limits.velocity).max() - 1
        hard = (np.abs(velocity - speed) / (limits.acceleration * dt)).max() - 1
        worst = np.maximum(worst, [outside, fast, hard])
        before, speed = command.copy(), velocity
    passed = worst[0] <= 0 and worst[1:].max() <= FILTER_RELATIVE
    measured = f"position {worst[0]:.1g} rad, velocity {worst[1]:.1g}, acceleration {worst[2]:.1g} above"
    return Figure(
        f"position filter, {streams} adversarial streams", "0; relative 1e-9", measured, bool(passed)
    )


def _fault_figure() -> Figure:
    """Every fault on the robot's messages: is the deployment where it should be, and was any limit broken?"""
    from dynrl.robots.twin import KINDS

    kinds = [
        kind
        for kind, spec in KINDS.items()
        if spec.directions[0] in ("state", "deployer") and kind != "disconnect"
    ]
    held = broken = 0
    for kind in kinds:
        with _twin_world(faults=(f"{kind}@2:0.5",)) as (deployment, node, _):
            _run_until(deployment, 4.0)
            held += deployment.controller.machine.state is State.HOLDING
            broken += len(node.violations)
    measured = f"{broken} limits broken, {held} of {len(kinds)} faults held"
    return Figure(
        f"{len(kinds)} faults in virtual time, judged by the twin", "0 limits broken", measured, broken == 0
    )


def _estop_figure(count: int) -> Figure:
    rng = np.random.default_rng(1)
    slowest, stopped = 0.0, 0
    with _twin_world() as (deployment, node, operator):
        machine, clock, types = deployment.controller.machine, deployment.clock, message_types()
        for _ in range(count):
            put = deployment.surface.put
            put("bench", Event.ACTIVATE)
            for _ in range(int(rng.integers(2, 60))):
                deployment.step()
            clock.wait_until(clock.now_ns() + int(rng.integers(0, deployment.period_ns)))
            asked = clock.now_ns()
            operator.publish("estop", types.new("std_msgs/msg/Bool", data=True))
            for _ in range(20):
                deployment.step()
            if machine.state is State.ESTOP:
                stopped += 1
                slowest = max(slowest, (machine.since_ns - asked) / deployment.period_ns)
            operator.publish("estop", types.new("std_msgs/msg/Bool", data=False))
            put("bench", Event.RESET)
            for _ in range(20):
                deployment.step()
        broken = len(node.violations)
    measured = f"{stopped} stopped within {slowest:.2f} periods, {broken} limits broken"
    passed = stopped == count and slowest <= 2 and not broken
    return Figure(f"emergency stop at {count} random times", "all within 2 periods", measured, passed)


def _replay_figure(seconds: float) -> Figure:
    from dynrl.robots.replay import replay

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with _twin_world(faults=("jitter@1:5", "stale@4:0.3"), record=path) as (deployment, _, _):
            _run_until(deployment, seconds)
            deployment.surface.put("bench", Event.SHUTDOWN)
            _run_until(deployment, seconds + 1.0)
        deployment.finish()
        result = replay(path, deployment.bundle, deployment.robot)
    measured = f"{result.commands - result.different} of {result.commands}"
    return Figure("record, then replay", "every command equal, bit for bit", measured, result.same)


@contextlib.contextmanager
def _twin_world(
    faults: tuple[str, ...] = (), record: Path | None = None
) -> Iterator[tuple[Deployment, Any, Any]]:
    """(a configured deployment, its twin as the judge, an operator), in virtual time."""
    from dynrl.robots.rehearsal import connect_twin
    from dynrl.robots.transports import operator_endpoints
    from dynrl.robots.twin import schedule

    robot, clock, types = Robot.load("arm"), VirtualClock(), message_types()
    network = SimNetwork(clock, types)
    ours, node = connect_twin(robot, clock, faults=faults, types=types, network=network)
    operator = network.join(operator_endpoints(robot, TransportOptions()))
    operator.open()
    config = DeploymentConfig(ramp=0.5, patience=1e9, record=record, image=False)
    bundle, planned = sample_bundle(robot), schedule(faults)
    deployment = Deployment(bundle, robot, ours, config, clock=clock, types=types, faults=planned, log=_quiet)
    with deployment.running():
        yield deployment, node, operator
    operator.close()
    node.stop()


def _run_until(deployment: Deployment, seconds: float) -> None:
    end = SECOND + round(seconds * SECOND)
    while deployment.clock.now_ns() < end and deployment.controller.machine.state is not State.FINALIZED:
        deployment.step()


def _words(granted: Scheduling) -> str:
    return granted.policy if granted.priority else "normal priority"


def _quiet(line: str) -> None:
    """Keeps lines of the deployment out of the table."""
