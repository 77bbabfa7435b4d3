"""Every fault of a twin against a whole deployment in virtual time: what the robot does, judged by the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'dynrl[ros]'")

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import Robot
from dynrl.robots.messages import message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import State
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork
from dynrl.robots.twin import KINDS, NodeOptions, Twin, TwinNode, schedule

PERIOD = 0.02
ONSET = 2.0
"""Seconds after the start; the deployment has been active for a second then, and moves."""
TIMEOUT = 0.04


@dataclass
class Rehearsal:
    """A deployment and its twin."""

    deployment: Deployment
    node: TwinNode
    clock: VirtualClock
    start_ns: int
    changes: list[tuple[float, State, str]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return (self.clock.now_ns() - self.start_ns) * 1e-9

    def run_until(self, seconds: float) -> None:
        """Tick; note each new state with its time."""
        machine = self.deployment.controller.machine
        while self.seconds < seconds - 1e-9:
            before = machine.state
            self.deployment.step()
            if machine.state is not before:
                self.changes.append((self.seconds, machine.state, machine.reason))

    def commands(self, since: float = 0.0) -> np.ndarray:
        """What the robot obeyed, [time, joint]."""
        return np.array([c for ns, c in self.node.commands if (ns - self.start_ns) * 1e-9 >= since])


@pytest.fixture(scope="module")
def sway() -> Any:
    return sample_bundle(Robot.load("arm"))


@pytest.fixture
def rehearse(sway: Any) -> Iterator[Callable[..., Rehearsal]]:
    closing: list[Any] = []

    def make(*faults: str) -> Rehearsal:
        robot, clock, types, planned = Robot.load("arm"), VirtualClock(), message_types(), schedule(faults)
        network = SimNetwork(clock, types)
        endpoints = twin_endpoints(robot, TransportOptions())
        node = TwinNode(
            Twin(robot),
            network.join(endpoints),
            clock,
            types,
            planned,
            NodeOptions(shuffle_joints=True, hardware_limits=True, command_period=PERIOD, seed=1),
            endpoints=endpoints,
            connect=network.join,
        )
        node.start()
        config = DeploymentConfig(ramp=0.4, image=False, fifo=False)
        ours = network.join(deployer_endpoints(robot, TransportOptions()))
        deployment = Deployment(
            sway, robot, ours, config, clock=clock, types=types, faults=planned, log=lambda line: None
        )
        running = deployment.running()
        running.__enter__()
        closing.append(running)
        return Rehearsal(deployment, node, clock, clock.now_ns())

    yield make
    for running in closing:
        running.__exit__(None, None, None)


def assert_came_to_rest(rehearsal: Rehearsal) -> None:
    """The last commands are one pose, still sent every period."""
    last = rehearsal.commands(rehearsal.seconds - 0.2)
    assert len(last) >= 9
    np.testing.assert_array_equal(last, np.broadcast_to(last[-1], last.shape))


HOLDS = [
    # fault, kind of the reason, deadline in seconds
    ("stale@2:1", ("STALE",), TIMEOUT + 2 * PERIOD),
    ("drop@2:1", ("STALE",), TIMEOUT + 2 * PERIOD),
    ("delay@2:1,ms=200", ("STALE",), TIMEOUT + 2 * PERIOD),
    ("nan@2:1", ("NONFINITE_OBSERVATION",), 2 * PERIOD),
    ("inf@2:1", ("NONFINITE_OBSERVATION",), 2 * PERIOD),
    ("missing_joint@2:1", ("MALFORMED",), 2 * PERIOD),
    ("short@2:1", ("MALFORMED",), 2 * PERIOD),
    ("freeze@2:1", ("FROZEN",), TIMEOUT + 2 * PERIOD),
    ("jump@2:1,rad=0.9,joint=arm_yaw", ("JUMP",), 2 * PERIOD),
    ("wrong_unit@2:1", ("JUMP", "OUT_OF_RANGE"), 2 * PERIOD),
    ("clock_back@2:1,s=5", ("STALE",), TIMEOUT + 2 * PERIOD),
    ("disconnect@2:1", ("DISCONNECTED", "STALE"), TIMEOUT + 2 * PERIOD),
    ("kill@2", ("DISCONNECTED", "STALE"), TIMEOUT + 2 * PERIOD),
    ("second_commander@2:1", ("SECOND_COMMANDER", "DISCONNECTED"), TIMEOUT + 2 * PERIOD),
    ("qos_mismatch@2:1", ("DISCONNECTED",), TIMEOUT + 2 * PERIOD),
    ("slow_policy@2:1,ms=50", ("OVERRUN",), None),
    ("overrun@2:1,ms=50", ("OVERRUN",), None),
]


@pytest.mark.parametrize(("fault", "kinds", "deadline"), HOLDS, ids=[each[0] for each in HOLDS])
def test_holds_by_its_deadline_and_breaks_no_limit(
    rehearse: Callable[..., Rehearsal], fault: str, kinds: tuple[str, ...], deadline: float | None
) -> None:
    rehearsal = rehearse(fault)
    rehearsal.run_until(ONSET - PERIOD)
    assert rehearsal.deployment.controller.machine.state is State.ACTIVE
    before = rehearsal.commands(ONSET - 0.1)
    assert np.abs(np.diff(before, axis=0)).max() > 1e-4, "in motion, or braking would prove nothing"
    rehearsal.run_until(ONSET + 1.5)
    when, state, reason = next(change for change in rehearsal.changes if change[0] >= ONSET)
    assert state is State.HOLDING and reason.split("(")[0].split(":")[0] in kinds, reason
    if deadline is not None:
        assert when - ONSET <= deadline + 1e-9
    assert rehearsal.deployment.controller.machine.state is State.HOLDING
    assert rehearsal.node.violations == []
    if not fault.startswith(("kill", "disconnect", "qos_mismatch")):
        assert_came_to_rest(rehearsal)


HARMLESS = [
    "jitter@2:1,ms=5",
    "drop@2:1,p=0.3",
    "delay@2:1,ms=15",
    "reorder@2:1",
    "clock_forward@2,s=5",
    "clock_pause@2:1",
    "delay@2:1,ms=15,direction=command",
    "jitter@2:1,ms=15,direction=command",
    "duplicate@2:1,direction=command",
    "drop@2:1,p=0.3,direction=command",
    "permute@2:1,direction=command",
    "clock_forward@2:1,s=5,direction=command",
]


@pytest.mark.parametrize("fault", HARMLESS)
def test_harmless_faults_leave_it_active_and_break_no_limit(
    rehearse: Callable[..., Rehearsal], fault: str
) -> None:
    rehearsal = rehearse(fault)
    rehearsal.run_until(ONSET + 1.0)
    assert rehearsal.deployment.controller.machine.state is State.ACTIVE
    assert rehearsal.node.violations == []


SAME = ["duplicate@1", "permute@1", "extra_joint@1"]


@pytest.mark.parametrize("fault", SAME)
def test_what_means_the_same_gives_the_same_commands(rehearse: Callable[..., Rehearsal], fault: str) -> None:
    """Bit for bit."""
    streams = []
    for faults in ((), (fault,)):
        rehearsal = rehearse(*faults)
        rehearsal.run_until(ONSET)
        streams.append(rehearsal.commands())
    np.testing.assert_array_equal(*streams)
    assert len(streams[0]) > 60


@pytest.mark.parametrize("kind", ["nan", "inf", "short", "extra_joint"])
def test_commands_that_arrive_broken_leave_the_robot_to_its_watchdog(
    rehearse: Callable[..., Rehearsal], kind: str
) -> None:
    rehearsal = rehearse(f"{kind}@2:1,direction=command")
    rehearsal.run_until(ONSET + 0.5)
    node = rehearsal.node
    assert node.holding and node.statistics.rejected
    (tripped,) = node.statistics.watchdog_trips
    assert (tripped - rehearsal.start_ns) * 1e-9 <= ONSET + 0.1 + 2 * PERIOD
    assert len(rehearsal.commands(ONSET + PERIOD)) == 0


@pytest.mark.parametrize("fault", ["stale@2:1,direction=command", "drop@2:1,direction=command"])
def test_commands_that_do_not_arrive_do_the_same(rehearse: Callable[..., Rehearsal], fault: str) -> None:
    rehearsal = rehearse(fault)
    rehearsal.run_until(ONSET + 0.5)
    assert rehearsal.node.holding and len(rehearsal.commands(ONSET + PERIOD)) == 0


@pytest.mark.parametrize(
    "fault", ["jump@2:0.1,rad=0.9,direction=command", "wrong_unit@2:0.1,direction=command"]
)
def test_the_robot_s_own_limits_notice_what_happened_on_the_way(
    rehearse: Callable[..., Rehearsal], fault: str
) -> None:
    rehearsal = rehearse(fault)
    rehearsal.run_until(ONSET - PERIOD)
    assert rehearsal.node.violations == []
    rehearsal.run_until(ONSET + 0.2)
    assert {v.quantity for v in rehearsal.node.violations} & {"velocity", "acceleration", "position"}


def test_no_kind_is_left_out() -> None:
    tried = {fault.split("@")[0] for fault in [each[0] for each in HOLDS] + HARMLESS + SAME}
    assert tried == set(KINDS)
