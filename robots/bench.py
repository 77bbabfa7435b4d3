"""`dynrl bench deploy`: what the loop, a tick, a message and an export cost, and the safety bars that are counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dynrl.bench import Figure
from dynrl.policy import ObservationTerm
from dynrl.robots.clocks import MonotonicClock, VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import Command, Joint, Rates, Robot, Source
from dynrl.robots.loop import Pacer, Scheduling, real_time
from dynrl.robots.messages import message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import State
from dynrl.robots.transports import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork

SECOND = 1_000_000_000
JOINTS, OBSERVATION, HIDDEN = 12, 48, 256
TICK_P50, TICK_P99, TICK_RATIO = 150.0, 400.0, 12.0
LATENESS_FIFO, LATENESS_FIFO_MAX, LATENESS_NORMAL = 100.0, 1000.0, 500.0


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure of `dynrl bench deploy`."""
    yield from loop_figures(quick)
    yield from tick_figures(quick)
    yield from wire_figures(quick)
    yield from safety_figures(quick)


def loop_figures(quick: bool) -> Iterator[Figure]:
    """Lateness of bare ticks at 500 Hz and 1 kHz, with and without SCHED_FIFO."""
    seconds = 2 if quick else 10
    for rate in (500, 1000):
        for fifo in (True, False):
            with real_time(fifo) as granted:
                if fifo and granted.policy != "SCHED_FIFO":
                    yield Figure(
                        f"loop at {rate} Hz, SCHED_FIFO",
                        "p99 <= 100 µs",
                        "SCHED_FIFO refused",
                        False,
                        granted.warning,
                    )
                    continue
                lateness, skipped = _pace(rate, seconds)
            yield _lateness_figure(rate, fifo, lateness, skipped)


def _pace(rate: int, seconds: float) -> tuple[np.ndarray, int]:
    """(lateness in µs of each tick, deadlines skipped)"""
    count = round(rate * seconds)
    late = np.zeros(count)
    pacer = Pacer(MonotonicClock(), SECOND // rate)
    pacer.start()
    for index in range(count):
        tick = pacer.wait()
        late[index] = (tick.woke_ns - tick.deadline_ns) / 1000
        pacer.finish()
    return late, pacer.skipped


def _lateness_figure(rate: int, fifo: bool, lateness: np.ndarray, skipped: int) -> Figure:
    half, most = np.percentile(lateness, [50, 99])
    largest = lateness.max()
    measured = f"p50 {half:.0f}, p99 {most:.0f}, max {largest:.0f} µs, {skipped} skipped"
    if fifo:
        none = ", 0 skipped" if rate == 500 else ""
        bar = f"p99 <= 100 µs, max <= 1 ms{none}"
        passed = most <= LATENESS_FIFO and largest <= LATENESS_FIFO_MAX and (rate != 500 or not skipped)
    else:
        bar, passed = "p99 <= 500 µs on an idle machine", bool(most <= LATENESS_NORMAL)
    words = "SCHED_FIFO" if fifo else "normal priority"
    return Figure(f"loop at {rate} Hz, {words}: lateness", bar, measured, bool(passed), _load())


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
    """Through DDS on this machine."""
    return iter(())


def safety_figures(quick: bool) -> Iterator[Figure]:
    """Bars that are counts."""
    return iter(())


def _words(granted: Scheduling) -> str:
    return granted.policy if granted.priority else "normal priority"


def _load() -> str:
    import os

    return f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def _quiet(line: str) -> None:
    """Keeps lines of the deployment out of the table."""
