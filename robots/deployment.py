"""A policy in command of a robot: clock, transport, controller, recorder and operator put together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dynrl.policy import Contract, PolicyBundle, PolicySession
from dynrl.policy.errors import BundleRobot
from dynrl.robots.clocks import Clock, MonotonicClock
from dynrl.robots.compatibility import check_robot
from dynrl.robots.controller import Controller, Peers, TickInput, TickOutput
from dynrl.robots.description import Robot
from dynrl.robots.diagnostics import diagnostics
from dynrl.robots.dry_run import DryRun
from dynrl.robots.encoding import CommandEncoder
from dynrl.robots.errors import DeploymentError
from dynrl.robots.folder import RunFolder
from dynrl.robots.latency import ABSENT, Latency
from dynrl.robots.loop import (
    Collector,
    Pacer,
    Scheduling,
    Step,
    Tick,
    real_time,
    resident_bytes,
    suspended_ns,
)
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.report import Report
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import MOVING, Event, State, Transition, lifecycle_label
from dynrl.robots.summary import Tally
from dynrl.robots.surface import Surface
from dynrl.robots.transports.base import (
    COMMAND,
    DIAGNOSTICS,
    SHADOW_COMMAND,
    STATE,
    TRANSITION_EVENT,
    Received,
)

SECOND = 1_000_000_000
WARM_UP, WARM_UP_ATTEMPTS = 50, 3
SLOW = 4_000_000
"""ns of a period from which on ticks are prepared: below, caches stay warm, and it would cost more than it saves."""
PREPARED, REHEARSED = 1_500_000, 700_000
"""ns before a tick at which messages are read, and at which its code and data are brought into the caches."""
FAST = 0.1e-3
"""Seconds of a policy call up to which a dry run fits into that time."""
LEAK = 50 << 20
SUSPENSION = SECOND
Log = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Prints a line where it does not mix with results."""
    print(f"dynrl: {line}", file=sys.stderr, flush=True)


class Deployment:
    """A policy on a robot.

    Args:
        bundle: the policy.
        robot: that it commands.
        transport: to the robot or its twin; opened and closed by `run`.
        config: settings.
        clock: `MonotonicClock`, or a `VirtualClock` for lock-step simulation.
        types: message types.
        faults: schedule of faults of this very process (`slow_policy`, `overrun`, `kill`), for rehearsals.
        log: takes one line per event.
        name: of the transport, for the report.

    Raises:
        BundleRobot: bundle and robot do not belong together, or the policy is too slow for its period.
        DeploymentError: the robot's commands cannot express the stop mode.

    Attributes:
        controller: what decides.
        pacer: deadlines and overruns.
        latency: the accounts.
        surface: requests of the operator; `surface.put("me", Event.HOLD)`.
        warnings: about bundle and robot.
        transitions: callbacks `(Transition) -> None`, called as they happen.
    """

    def __init__(
        self,
        bundle: PolicyBundle,
        robot: Robot,
        transport: Any,
        config: DeploymentConfig | None = None,
        *,
        clock: Clock | None = None,
        types: MessageTypes | None = None,
        faults: Any = None,
        log: Log = to_stderr,
        name: str = "sim",
    ) -> None:
        self.bundle, self.robot, self.transport = bundle, robot, transport
        self.config = config or DeploymentConfig()
        self.clock = clock or MonotonicClock()
        self.real = isinstance(self.clock, MonotonicClock)
        self.name = name
        self.types = types or message_types()
        self._log = log
        contract = bundle.contract
        self.warnings = check_robot(contract, robot)
        self._session = bundle.session()
        speed = _check_speed(self._session, contract)
        _check_stop(self.config.stop or robot.stop, robot)
        if self.config.tick_on is not None and self.config.tick_on not in robot.sources:
            raise DeploymentError(
                f"tick_on: robot {robot.name!r} has no source {self.config.tick_on!r}; "
                f"it has {', '.join(robot.sources)}"
            )
        self.period_ns = contract.control.period_ns
        self._faults = faults
        self.controller = Controller(
            contract, robot, self._policy, self._session.reset, self.config, self.clock.now_ns()
        )
        self._encoder = CommandEncoder(contract, robot, self.types, self.period_ns)
        self.pacer = Pacer(self.clock, self.period_ns, self.config.max_consecutive_overruns)
        self.latency = Latency()
        self.surface = Surface()
        self.transitions: list[Callable[[Transition], None]] = []
        self._collector = Collector()
        self._tally = Tally(self.controller)
        self._journal: Any = None
        self._folder: RunFolder | None = None
        self._wall_offset = self._wall_now() - self.clock.now_ns()
        self._scheduling = Scheduling("SCHED_OTHER", 0, False, None)
        self._channel = SHADOW_COMMAND if self.config.shadow else COMMAND
        self._suspended = 0
        self._next_second = 0
        self._memory = 0
        self._ends_ns: int | None = None
        self._started_ns = 0
        self._last_overrun_log = 0
        self._commands = 0
        self._told: set[str] = set()
        self._heard_ns = 0
        self._source_ns = self._period_of(self.config.tick_on)
        self._received: list[Received] = []
        self._dry_run: DryRun | None = None
        self._steps: tuple[Step, ...] = ()
        if self.period_ns >= SLOW:
            self._steps = ((PREPARED, self._prepare),)
            if self.real and speed <= FAST:
                now_ns = self.clock.now_ns()
                self._dry_run = DryRun(contract, robot, self._session, self.config, self.types, now_ns)
                self._steps += ((REHEARSED, self._dry_run),)

    # Running

    def run(self, duration: float | None = None) -> Report:
        """Configures, activates when allowed (or when the operator says so), and stops after `duration`.

        Args:
            duration: seconds from the first activation; None until somebody ends it.

        Returns:
            What the run was like.

        Raises:
            DeploymentError: the activation was not allowed within `config.patience` seconds.
            TransportError: the transport cannot be opened.
            RecordingError: the recording cannot be made.
        """
        with self.running():
            self._loop(duration)
        return self.finish()

    def step(self) -> TickOutput:
        """Waits for the next tick and does it. `run` is this, again and again, between set-up and tidying."""
        received = self._received = []
        arrival = self._arrival(received)
        tick = self.pacer.wait(self._steps, arrival, self._heard_ns, self._source_ns)
        if arrival is None:  # otherwise the last look was just now
            received += self.transport.poll()
        now = self.clock.now_ns()
        peers = self._peers()
        given = TickInput(
            tick.number,
            tick.deadline_ns,
            now,
            received,
            peers,
            self.surface.take(),
            self.pacer.tripped(),
            self._was_suspended(),
        )
        out = self.controller.tick(given)
        if not self.config.shadow or out.command is None:
            self._check_urgent(out)
        stamp_ns = tick.deadline_ns + self._wall_offset
        publish_ns, written_ns, message = self._publish(out, stamp_ns)
        self._announce(out)
        self._account(tick, given, out, publish_ns, written_ns)
        if self._journal is not None:
            self._record(given, out, stamp_ns, message)
        self._tally.add(given, out, (tick.deadline_ns - self._started_ns) / SECOND)
        self._housekeeping(given)
        if self._dry_run is not None:
            self._dry_run.follow(given, out)
        self._rehearse()
        if self.controller.machine.state is State.FINALIZED:
            return out
        if self.pacer.finish() and now - self._last_overrun_log >= SECOND:
            self._last_overrun_log = now
            self._log(f"overrun: tick {tick.number} ended late ({self.pacer.overruns} so far)")
        return out

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Transport open, recording, signals and keys taken, configured; for who calls `step` himself."""
        config = self.config
        if config.record is not None:
            self._folder = RunFolder(self, config.record, self._wall_offset)
            self._journal = self._folder.journal
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)
            self.transport.open()
            for warning in self.warnings:
                self._log(f"warning: {warning}")
            if self.real:
                stack.enter_context(self.surface.signals())
                stack.enter_context(self.surface.keyboard())
                self._scheduling = stack.enter_context(
                    real_time(config.fifo, config.lock_memory, config.core)
                )
                if self._scheduling.warning:
                    self._log(f"warning: {self._scheduling.warning}")
                self._suspended = suspended_ns()
            self._started_ns = self.clock.now_ns()
            self._tally.begin(self._started_ns)
            transition = self.controller.handle(Event.CONFIGURE, self._started_ns)
            if transition is not None:
                self._tell(transition)
            self._collector.stop()
            self.pacer.start()
            yield

    def _loop(self, duration: float | None) -> None:
        machine = self.controller.machine
        patience_ns = self._started_ns + round(self.config.patience * SECOND)
        activated = False
        while machine.state is not State.FINALIZED:
            self.step()
            now = self.clock.now_ns()
            if not activated and machine.state in MOVING:
                activated = True
                if duration is not None:
                    self._ends_ns = now + round(duration * SECOND)
            if self._ends_ns is not None and now >= self._ends_ns:
                self._ends_ns = None
                self.surface.put("the duration is over", Event.SHUTDOWN)
            if (
                not activated
                and self.config.auto_activate
                and now > patience_ns
                and machine.state is State.INACTIVE
            ):
                raise DeploymentError(
                    f"the deployment could not activate within {self.config.patience:g} s: "
                    f"{self.controller.obstacle_now or 'it was told to stop'}"
                )

    def _tidy(self) -> None:
        self._collector.resume()
        self.transport.close()

    def finish(self) -> Report:
        """Closes the recording and tells what the run was like."""
        seconds = (self.clock.now_ns() - self._started_ns) / SECOND
        report = self._tally.report(self, seconds, self._commands, self._memory_growth())
        if self._folder is not None:
            report = self._folder.close(report, self._tally, self.latency)
        return report

    @property
    def scheduling(self) -> str:
        """What the machine granted, in words."""
        granted = self._scheduling
        words = f"{granted.policy} {granted.priority}" if granted.priority else granted.policy
        return words if self.real else "virtual time"

    # Parts of a tick

    def _prepare(self) -> None:
        """What a tick need not do itself: to read the messages that are there already, and to look around for peers."""
        self._received += self.transport.poll()
        self.controller.take_in(self._received)
        self.transport.matched()

    def _arrival(self, received: list[Received]) -> Callable[[int], bool] | None:
        """Looks for the message that the next tick waits for, if any; what it sees on the way goes to `received`."""
        source = self.config.tick_on
        if source is None:
            return None

        def arrived(since_ns: int) -> bool:
            received.extend(self.transport.poll())
            for message in received:
                if message.source == source:
                    self._heard_ns = message.receive_ns
            return self._heard_ns >= since_ns

        return arrived

    def _period_of(self, source: str | None) -> int:
        """ns between two messages of a source; 0 where that is not known."""
        rate = self.robot.sources[source].rate if source is not None else None
        return round(SECOND / rate) if rate else 0

    def _policy(self, observation: np.ndarray) -> np.ndarray:
        action = self._session(observation)
        waste = self._rehearsed().get("slow_policy")
        if waste:
            self._waste(waste)
        return action

    def _peers(self) -> Peers:
        matched = self.transport.matched()
        for line in (*matched.incompatible, *matched.notices):
            if line not in self._told:
                self._told.add(line)
                self._log(f"warning: {line}")
        publishers = matched.publishers
        silent = tuple(name for name in self.controller.sources.required if publishers.get(name, 1) == 0)
        return Peers(matched.alive, matched.subscribers, silent, tuple(matched.other_writers))

    def _publish(self, out: TickOutput, stamp_ns: int) -> tuple[int, int, Any]:
        """(ns it took, when it was done, the message); stamped with the deadline, so that gaps are exact."""
        if out.command is None:
            return ABSENT, ABSENT, None
        started = time.monotonic_ns()
        message = self._encoder(out.command, stamp_ns)
        self.transport.publish(self._channel, message)
        self._commands += 1
        return time.monotonic_ns() - started, self.clock.now_ns(), message

    def _check_urgent(self, out: TickOutput) -> None:
        """A second request to end: this tick's command is the last one."""
        if self.surface.urgent and self.controller.machine.state is not State.FINALIZED:
            transition = self.controller.machine.finalise_now(self.clock.now_ns(), "asked to end twice")
            out.transitions.append(transition)

    def _announce(self, out: TickOutput) -> None:
        for transition in out.transitions:
            self._tell(transition)
        for note in out.notes:
            self._log(note)
        if self.config.debug and any(fault.kind.value == "EXCEPTION" for fault in out.faults):
            self._log(self.controller.traceback)

    def _tell(self, transition: Transition) -> None:
        """One log line, `~/transition_event`, `~/state`, and what the change means for the loop."""
        self._log(transition.line())
        types = self.types
        identifier, start, goal = transition.lifecycle
        event = types.new(
            "lifecycle_msgs/msg/TransitionEvent",
            timestamp=transition.at_ns + self._wall_offset,
            transition=types.new(
                "lifecycle_msgs/msg/Transition", id=identifier, label=transition.event.value
            ),
            start_state=types.new("lifecycle_msgs/msg/State", id=start, label=lifecycle_label(start)),
            goal_state=types.new("lifecycle_msgs/msg/State", id=goal, label=lifecycle_label(goal)),
        )
        reason = f": {transition.reason}" if transition.reason else ""
        state = types.new("std_msgs/msg/String", data=f"{transition.after.value}{reason}")
        for channel, message in ((TRANSITION_EVENT, event), (STATE, state)):
            self.transport.publish(channel, message)
            if self._journal is not None:
                self._journal.message(channel, message, transition.at_ns)
        if transition.after is State.RAMPING:
            self.pacer.forgive()
            if transition.before is State.INACTIVE:
                self._memory = resident_bytes()
        elif transition.after is State.INACTIVE and transition.event is not Event.CONFIGURE:
            self._collector.stop()
        for callback in self.transitions:
            callback(transition)

    def _account(
        self, tick: Tick, given: TickInput, out: TickOutput, publish_ns: int, written_ns: int
    ) -> None:
        newest = self.controller.sources.newest_ns
        used = out.observation is not None and newest > 0
        self.latency.record(
            (
                max(0, tick.woke_ns - tick.deadline_ns),
                given.now_ns - newest if used else ABSENT,
                self._stamp_age(given) if used else ABSENT,
                out.policy_ns,
                out.filter_ns,
                publish_ns,
                written_ns - newest if used and written_ns != ABSENT else ABSENT,
            )
        )

    def _stamp_age(self, given: TickInput) -> int:
        """Only where the twin shares our clock; wall clocks of two machines say nothing about an age."""
        if self.name not in ("sim", "twin"):
            return ABSENT
        stamp = self.controller.sources.newest_stamp_ns
        return ABSENT if stamp is None else max(0, given.now_ns + self._wall_offset - stamp)

    def _record(self, given: TickInput, out: TickOutput, stamp_ns: int, message: Any) -> None:
        self._journal.tick(given, out, stamp_ns, self.controller.machine.state)
        if message is not None:
            self._journal.command(message, given.now_ns)
        self._journal.latency(self.latency.last(), given.now_ns)
        assert self._folder is not None
        self._folder.recorder.flush()

    def _housekeeping(self, given: TickInput) -> None:
        """Once a second, after the command is out."""
        if given.now_ns < self._next_second:
            return
        self._next_second = given.now_ns + SECOND
        figures = {
            "overruns": self.pacer.overruns,
            "deadlines skipped": self.pacer.skipped,
            "scheduling": self._scheduling.policy,
            "recorder drops": self._folder.recorder.dropped if self._folder is not None else 0,
        }
        stamp_ns = given.now_ns + self._wall_offset
        message = diagnostics(self.types, self.controller, self.latency, figures, stamp_ns)
        self.transport.publish(DIAGNOSTICS, message)
        if self._journal is not None:
            self._journal.message(DIAGNOSTICS, message, given.now_ns)
        if self._folder is not None:
            self._folder.warn_once(self._log)
        if self._memory_growth() > LEAK:
            self._log(
                f"warning: {self._memory_growth() >> 20} MiB more memory than at activation: something leaks"
            )
            self._memory = resident_bytes()

    def _memory_growth(self) -> int:
        return resident_bytes() - self._memory if self._memory else 0

    def _was_suspended(self) -> bool:
        if not self.real:
            return False
        now = suspended_ns()
        slept, self._suspended = now - self._suspended, now
        return slept > SUSPENSION

    def _wall_now(self) -> int:
        if self.real:
            return time.time_ns()
        from dynrl.robots.twin.node import VIRTUAL_EPOCH_NS

        return VIRTUAL_EPOCH_NS

    # Rehearsed faults of this process

    def _rehearsed(self) -> dict[str, float]:
        if self._faults is None or not self._faults.faults:
            return {}
        return self._faults.deployer((self.clock.now_ns() - self._started_ns) / SECOND)

    def _waste(self, milliseconds: float) -> None:
        self.clock.wait_until(self.clock.now_ns() + round(milliseconds * 1e6))

    def _rehearse(self) -> None:
        active = self._rehearsed()
        if "overrun" in active:
            self._waste(active["overrun"])
        if "kill" in active:
            os.kill(os.getpid(), signal.SIGKILL)


def _check_stop(mode: str, robot: Robot) -> None:
    """Raises `DeploymentError` where the robot's commands cannot express a stop mode: not to be found out too late."""
    if mode == "damp":
        raise DeploymentError(
            f"stop mode damp needs commands that carry gains; robot {robot.name!r} takes {robot.command.type}, and "
            "this version sends no gains: choose hold or silent"
        )
    if mode == "zero_effort" and robot.command.mode != "effort":
        raise DeploymentError(
            f"stop mode zero_effort is for robots that take efforts; robot {robot.name!r} takes {robot.command.mode}: "
            "choose hold or silent"
        )


def _check_speed(session: PolicySession, contract: Contract) -> float:
    """Calls the policy often enough that the first real call is like any other; the median of their seconds.

    Raises:
        BundleRobot: 99 of 100 calls take more than half the period, in each of three attempts.
    """
    slowest = []
    for _ in range(WARM_UP_ATTEMPTS):
        seconds = session.warm_up(WARM_UP)
        slowest.append(float(np.percentile(seconds, 99)))
        if slowest[-1] <= contract.control.period / 2:
            return float(np.median(seconds))
    raise BundleRobot(
        f"the policy takes {min(slowest) * 1e3:.1f} ms (99th percentile) on this machine, more than half of "
        f"control.period {contract.control.period * 1e3:g} ms: expected a faster machine or a smaller network"
    )
