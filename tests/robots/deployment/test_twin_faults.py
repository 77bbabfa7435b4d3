"""Every fault that the twin knows, in lock-step against the whole deployment, judged by the twin."""

import numpy as np
import pytest

import dynrl.robots.twin as twins
from dynrl.robots.clocks import VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.messages import message_types
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import State
from dynrl.robots.transports import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork

pytest.importorskip("rosbags", reason="messages need rosbags: pip install 'dynrl[ros]'")

PERIOD, TIMEOUT = 0.02, 0.04
ONSET, LENGTH, END = 1.0, 0.5, 2.8
HARMLESS = None
WATCHDOG = "watchdog"
"""Commands are lost or refused on their way: the robot's own watchdog holds it."""

EXPECTED = {
    ("drop", "state"): ("STALE", TIMEOUT + 2 * PERIOD),
    ("drop", "command"): WATCHDOG,
    ("delay", "state"): ("STALE", TIMEOUT + 2 * PERIOD),
    ("delay", "command"): WATCHDOG,
    ("jitter", "state"): HARMLESS,
    ("jitter", "command"): HARMLESS,
    ("duplicate", "state"): HARMLESS,
    ("duplicate", "command"): HARMLESS,
    ("reorder", "state"): HARMLESS,
    ("reorder", "command"): HARMLESS,
    ("nan", "state"): ("NONFINITE_OBSERVATION", 2 * PERIOD),
    ("nan", "command"): WATCHDOG,
    ("inf", "state"): ("NONFINITE_OBSERVATION", 2 * PERIOD),
    ("inf", "command"): WATCHDOG,
    ("freeze", "state"): ("FROZEN", TIMEOUT + 2 * PERIOD),
    ("freeze", "command"): ("TRACKING", LENGTH),
    ("stale", "state"): ("STALE", TIMEOUT + 2 * PERIOD),
    ("stale", "command"): WATCHDOG,
    ("permute", "state"): HARMLESS,
    ("permute", "command"): HARMLESS,
    ("missing_joint", "state"): ("MALFORMED", 2 * PERIOD),
    ("short", "state"): ("MALFORMED", 2 * PERIOD),
    ("short", "command"): WATCHDOG,
    ("extra_joint", "state"): HARMLESS,
    ("jump", "state"): ("JUMP", 2 * PERIOD),
    ("wrong_unit", "state"): ("JUMP", 2 * PERIOD),
    # Stamps that stay behind are a new epoch after the timeout; until then nothing is accepted.
    ("clock_back", "state"): ("STALE", TIMEOUT + 2 * PERIOD),
    ("clock_forward", "state"): ("STALE", LENGTH + TIMEOUT + 2 * PERIOD),
    ("clock_pause", "state"): HARMLESS,
    ("disconnect", "state"): ("DISCONNECTED", TIMEOUT + 2 * PERIOD),
    ("qos_mismatch", "command"): ("DISCONNECTED", TIMEOUT + 2 * PERIOD),
    ("second_commander", "command"): ("SECOND_COMMANDER", 2 * PERIOD),
    ("slow_policy", "deployer"): ("OVERRUN", 6 * PERIOD),
    ("overrun", "deployer"): ("OVERRUN", 6 * PERIOD),
    ("kill", "state"): ("STALE", TIMEOUT + 2 * PERIOD),
}
NOT_OURS = {
    ("missing_joint", "command"): "the wire changes what is commanded: no deployment can know",
    ("extra_joint", "command"): "see missing_joint",
    ("jump", "command"): "see missing_joint",
    ("wrong_unit", "command"): "see missing_joint",
    ("clock_back", "command"): "the twin's own affair: it refuses old stamps",
    ("clock_forward", "command"): "see clock_back",
    ("kill", "deployer"): "needs a process of its own, see test_over_dds.py",
}
INTERRUPTED = {"disconnect", "qos_mismatch"}
"""The robot holds where it is while our stream goes on unheard; the first command after that is a step."""


@pytest.fixture
def play(arm, sway):
    """`play(fault)`: three seconds of a deployment with its twin; (deployment, twin node, lines)."""
    running = []

    def start(fault):
        clock, types, options = VirtualClock(), message_types(), TransportOptions()
        network = SimNetwork(clock, types)
        faults = twins.schedule([] if fault is None else [fault])
        theirs = twin_endpoints(arm, options)
        node = twins.TwinNode(
            twins.Twin(arm),
            network.join(theirs),
            clock,
            types,
            faults,
            twins.NodeOptions(hardware_limits=True, command_period=PERIOD, shuffle_joints=True),
            theirs,
            network.join,
        )
        node.start()
        lines = []
        deployment = Deployment(
            sway,
            arm,
            network.join(deployer_endpoints(arm, options)),
            DeploymentConfig(ramp=0.5),
            clock=clock,
            types=types,
            faults=faults,
            log=lines.append,
        )
        context = deployment.running()
        context.__enter__()
        running.append((context, node))
        began = clock.now_ns()
        while (clock.now_ns() - began) * 1e-9 < END:
            deployment.step()
        return deployment, node, lines, began

    yield start
    for context, node in running:
        context.__exit__(None, None, None)
        node.stop()


def test_every_kind_of_fault_is_covered():
    known = {(kind, direction) for kind, spec in twins.KINDS.items() for direction in spec.directions}
    assert known == set(EXPECTED) | set(NOT_OURS)


@pytest.mark.parametrize("case", [c for c, e in EXPECTED.items() if isinstance(e, tuple)], ids="-".join)
def test_holds_by_its_deadline(play, case):
    kind, direction = case
    reason, allowed = EXPECTED[case]
    deployment, node, _, began = play(f"{kind}@{ONSET}:{LENGTH},direction={direction}")
    machine = deployment.controller.machine
    held = [transition for transition in machine.history if transition.after is State.HOLDING]
    assert len(held) == 1 and held[0].reason.startswith(reason)
    waited = (held[0].at_ns - began) * 1e-9 - ONSET
    assert 0 <= waited <= allowed + 1e-9
    assert machine.state is State.HOLDING
    if kind not in INTERRUPTED:
        assert node.violations == []
    after = np.array([command for at, command in node.commands if at > held[0].at_ns + 500_000_000])
    if kind not in ("kill", "freeze"):
        assert len(after) > 25 and np.ptp(after, axis=0).max() <= 1e-9, "constant at the end, and still sent"


@pytest.mark.parametrize("case", [c for c, e in EXPECTED.items() if e is HARMLESS], ids="-".join)
def test_what_must_not_matter_does_not(play, case):
    kind, direction = case
    deployment, node, _, _ = play(f"{kind}@{ONSET}:{LENGTH},direction={direction}")
    assert deployment.controller.machine.state is State.ACTIVE
    assert node.violations == [] and not node.statistics.watchdog_trips


@pytest.mark.parametrize("kind", ["duplicate", "permute", "extra_joint"])
def test_the_commands_are_the_same_as_without_the_fault(play, kind):
    _, faulty, _, _ = play(f"{kind}@{ONSET}:{LENGTH}")
    _, clean, _, _ = play(None)
    for (at, command), (other_at, other) in zip(faulty.commands, clean.commands, strict=True):
        assert at == other_at
        np.testing.assert_array_equal(command, other)


@pytest.mark.parametrize("case", [c for c, e in EXPECTED.items() if e is WATCHDOG], ids="-".join)
def test_lost_commands_end_in_the_robots_own_watchdog(play, case):
    kind, direction = case
    _, node, _, began = play(f"{kind}@{ONSET}:{LENGTH},direction={direction}")
    (trip,) = node.statistics.watchdog_trips
    watchdog = node.twin.robot.command.watchdog
    assert ONSET + watchdog - PERIOD <= (trip - began) * 1e-9 <= ONSET + watchdog + 2 * PERIOD


def test_two_runs_are_the_same_to_the_bit(play):
    runs = [play("jitter@0.5:2,ms=8")[1] for _ in range(2)]
    assert len(runs[0].commands) > 100
    for (at, command), (other_at, other) in zip(*(run.commands for run in runs), strict=True):
        assert at == other_at
        np.testing.assert_array_equal(command, other)
