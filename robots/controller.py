"""One tick from messages to command: everything that decides, and nothing that depends on when or where it runs.

A controller is a function of its `TickInput`s. The loop makes them from clock, transport and operator; a replay makes
them from a recording and gets the same commands, bit for bit.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dynrl.policy.contract import ActionTerm, Contract
from dynrl.policy.terms import ActionDecoder, ObservationAssembler
from dynrl.robots.description import Robot
from dynrl.robots.estop import EmergencyStop
from dynrl.robots.latency import ABSENT
from dynrl.robots.safety import (
    CommandFilter,
    Fault,
    FaultKind,
    InputChecks,
    Limits,
    TrackingLeash,
    WorkspaceCheck,
    check_action,
    make_filter,
)
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.sources import Sources, muscle_places
from dynrl.robots.states import Event, State, StateMachine, Transition
from dynrl.robots.surface import WORDS
from dynrl.robots.transports.base import CLOCK, CONTROL, ESTOP, ESTOP_RESET, Received

SECOND = 1_000_000_000
FRESH = 10
"""Samples in a row that every required source must have sent before an activation."""
CALM = SECOND // 2
"""ns for which a cause must be gone before an automatic resume."""
LINGER = SECOND // 5
"""ns for which the last command is repeated at the end."""
RECOVERABLE = frozenset(
    {
        FaultKind.STALE,
        FaultKind.FROZEN,
        FaultKind.NONFINITE_OBSERVATION,
        FaultKind.MALFORMED,
        FaultKind.JUMP,
        FaultKind.CLOCK_JUMP,
        FaultKind.OVERRUN,
    }
)
"""Causes after which `auto_resume` goes on by itself. A lost connection, a second commander, an operator's hold, an
exception and anything about the robot's body need a person."""

Policy = Callable[[np.ndarray], np.ndarray]


class Peers(NamedTuple):
    """Who was at the other end in a tick; what `Matched` says, as far as it decides anything.

    Attributes:
        alive: the transport is connected.
        subscribers: of the command topic.
        silent: required sources that nobody publishes.
        other_writers: who else writes to the command topic.
    """

    alive: bool = True
    subscribers: int = 1
    silent: tuple[str, ...] = ()
    other_writers: tuple[str, ...] = ()


class TickInput(NamedTuple):
    """Everything that one tick depends on.

    Attributes:
        number: of the tick; skipped ones count.
        deadline_ns: when it was due; differences of deadlines are the policy's time.
        now_ns: own monotonic clock, right after the transport was read.
        received: since the last tick, in order of arrival.
        peers: who was there.
        events: requests of the operator, (where from, what).
        tripped: too many ticks were late.
        suspended: the machine slept in between.
    """

    number: int
    deadline_ns: int
    now_ns: int
    received: tuple[Received, ...] | list[Received] = ()
    peers: Peers = Peers()
    events: tuple[tuple[str, Event], ...] = ()
    tripped: bool = False
    suspended: bool = False


@dataclass
class TickOutput:
    """What one tick did. The arrays are overwritten by the next.

    Attributes:
        command: to publish, model units in the order of the bundle; None for nothing.
        observation, action: of the policy, where it was called.
        transitions: in order.
        faults: found in this tick.
        notes: lines for the log.
        policy_ns, filter_ns: what they took.
    """

    command: np.ndarray | None = None
    observation: np.ndarray | None = None
    action: np.ndarray | None = None
    transitions: list[Transition] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    policy_ns: int = ABSENT
    filter_ns: int = ABSENT


class Controller:
    """States, sources, policy and filter of one deployment.

    Args:
        contract: of the policy.
        robot: to be commanded.
        policy: observation float32 `[n]` -> raw action float32 `[m]`.
        reset_policy: sets recurrent state back to the initial one.
        config: settings.
        now_ns: when watching begins.

    Attributes:
        machine: where the deployment is.
        sources: what is known of the robot.
        checks: of the messages.
        desired: the last target of the policy, float64 `[commands]`.
        obstacle_now: why the deployment has not activated itself yet.
        saturation: ticks in which each element of the raw action was clipped, int64 `[m]`.
        policy_calls: ticks with a policy call.
        traceback: of the last exception in the policy or the assembly, as text.
    """

    def __init__(
        self,
        contract: Contract,
        robot: Robot,
        policy: Policy,
        reset_policy: Callable[[], None],
        config: DeploymentConfig,
        now_ns: int = 0,
    ) -> None:
        self.contract, self.robot, self.config = contract, robot, config
        self._policy, self._reset_policy = policy, reset_policy
        self.machine = StateMachine(now_ns)
        self.checks = InputChecks(robot, contract, config.use_sim_time)
        self.sources = Sources(contract, robot, self.checks.required)
        self._assembler = ObservationAssembler(contract)
        self._decoder = ActionDecoder(contract)
        self._filter: CommandFilter = make_filter(robot, contract)
        joint_commands = robot.command.mode in ("position", "velocity", "effort")
        self._limits = Limits.narrowed(robot, contract)[0] if joint_commands else None
        self._estop = EmergencyStop(config.heartbeat_timeout, now_ns)
        self._stop_mode = config.stop or robot.stop
        self._positional = robot.command.mode == "position"
        self._leash = TrackingLeash(robot.tracking, robot.tracking_time, contract.control.period)
        workspace = contract.workspace
        self._workspace = (
            None
            if workspace is None or not self._positional
            else WorkspaceCheck(robot, workspace, contract.robot.joints)
        )
        self._previous_action = np.zeros(contract.action_size, np.float32)
        size = len(self._filter.command)
        self.desired = np.zeros(size)
        self._ramp_from = np.zeros(size)
        self._blend = np.zeros(size)
        self._places = {term.name: _places(contract, robot, term, size) for term in contract.action}
        self._previous = {name: np.zeros(len(places)) for name, places in self._places.items()}
        self._relative = any(term.mode == "relative_to_previous_command" for term in contract.action)
        self._fresh_start = True
        self._activated_ns = 0
        self._ramp_ns = 0
        self._cause: FaultKind | None = None
        self._clear_since = now_ns
        self._settled_ns: int | None = None
        self._waiting = config.auto_activate
        self._commanding = False
        self.obstacle_now = ""
        self._activation = {name: False for name in robot.activation}
        self._taken = 0
        self._found: list[Fault] = []
        self.saturation = np.zeros(contract.action_size, np.int64)
        self._saturation_before = self.saturation.copy()
        self._calls_per_second = max(1, round(1 / contract.control.period))
        self.policy_calls = 0
        self.traceback = ""

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper position limits of what is commanded, where positions are."""
        if self._limits is None or not self._positional:
            return None
        return self._limits.lower, self._limits.upper

    @property
    def command_size(self) -> int:
        """Length of the command."""
        return len(self._filter.command)

    def handle(self, event: Event, now_ns: int, reason: str = "") -> Transition | None:
        """Takes an event that comes from outside any tick, such as `CONFIGURE`."""
        return self.machine.handle(event, now_ns, reason)

    def take_in(self, received: Sequence[Received]) -> None:
        """Reads what has been received for the coming tick so far, which then has less to do.

        Nothing is decided, and nothing comes out differently. `received` may be given again with more at its end; the
        tick's own `received` begins with it.
        """
        for source, receive_ns, message, _ in received[self._taken :]:
            if source in self.robot.sources or source == CLOCK:
                fault = self._take(source, message, receive_ns)
                if fault is not None:
                    self._found.append(fault)
        self._taken = len(received)

    def tick(self, given: TickInput) -> TickOutput:
        """Decides one tick. Never raises for anything that came from outside."""
        out = TickOutput()
        self._stop_if_asked(given, out)
        fault = self._read(given, out)
        for origin, event in given.events:
            self._operator(event, origin, given, out)
        self._mind(fault, given, out)
        self._activate_if_allowed(given, out)
        self._act(given, out)
        return out

    # What came in

    def _stop_if_asked(self, given: TickInput, out: TickOutput) -> None:
        """The e-stop comes first: nothing before it can raise."""
        reason = None
        for message in given.received:
            if message.source == ESTOP:
                reason = self._estop.feed(message.message, message.receive_ns) or reason
        if given.suspended:
            reason = "the machine was suspended while the deployment ran"
        reason = reason or self._estop.check(given.now_ns)
        for origin, event in given.events:
            if event is Event.ESTOP:
                reason = origin
        if reason is not None:
            self._change(Event.ESTOP, given.now_ns, f"ESTOP: {reason}", out)

    def _read(self, given: TickInput, out: TickOutput) -> Fault | None:
        """Takes in the messages, words after measurements; the worst fault of this tick, if there is one that holds."""
        self.take_in(given.received)
        out.faults += self._found
        worst = next((fault for fault in self._found if fault.holds), None)
        self._taken, self._found = 0, []
        for message in given.received:
            if message.source == ESTOP_RESET:
                self._operator(Event.RESET, "emergency_stop_reset", given, out)
            elif message.source == CONTROL:
                self._word(message.message, given, out)
        self.sources.expire(given.now_ns)
        stale = self.checks.stale(given.now_ns)
        if stale is not None:
            out.faults.append(stale)
        return self._own_fault(given) or worst or stale

    def _take(self, source: str, message: Any, receive_ns: int) -> Fault | None:
        try:
            fault = self.checks.check(source, message, receive_ns)
            if fault is None or not fault.dropped:
                if source == CLOCK:
                    pass
                elif source in self._activation:
                    self._activation[source] = bool(message.data)
                else:
                    self.sources.update(source, message, receive_ns)
        except Exception as error:
            return self._exception(error, source)
        return fault

    def _exception(self, error: Exception, source: str = "") -> Fault:
        self.traceback = traceback.format_exc()
        detail = f"{type(error).__name__}: {error}"
        return Fault(FaultKind.EXCEPTION, source, " ".join(detail.split()), dropped=True)

    def _own_fault(self, given: TickInput) -> Fault | None:
        if not given.peers.alive:
            return Fault(FaultKind.DISCONNECTED, "", "the connection to the robot is lost")
        if given.peers.silent:
            return Fault(FaultKind.DISCONNECTED, given.peers.silent[0], "nobody publishes it any more")
        if self._commanding and self._needs_subscriber and not given.peers.subscribers:
            return Fault(FaultKind.DISCONNECTED, "", "nobody listens to the commands any more")
        if given.peers.other_writers and not self.config.shadow:
            names = ", ".join(given.peers.other_writers)
            return Fault(FaultKind.SECOND_COMMANDER, "", f"also publishing commands: {names}")
        if given.tripped:
            return Fault(FaultKind.OVERRUN, "", "too many ticks ended after the next one was due")
        return None

    # What is asked for

    def _word(self, message: Any, given: TickInput, out: TickOutput) -> None:
        word = getattr(message, "data", "")
        event = WORDS.get(word)
        if event is None:
            out.notes.append(f"~/command {word!a} is not understood; there are: {', '.join(WORDS)}")
        else:
            self._operator(event, "~/command", given, out)

    def _operator(self, event: Event, origin: str, given: TickInput, out: TickOutput) -> None:
        if event is Event.ESTOP:
            return
        refusal = None
        if not self.machine.allows(event):
            refusal = f"it means nothing in state {self.machine.state.name}"
        elif event is Event.RESET:
            refusal = self._estop.cause(given.now_ns)
        elif event is Event.ACTIVATE:
            refusal = self.obstacle(given)
        elif event is Event.RESUME:
            refusal = self._resume_obstacle(given)
        if refusal is not None:
            out.notes.append(f"{event.value} ({origin}) refused: {refusal}")
        else:
            self._change(event, given.now_ns, origin, out)

    def _mind(self, fault: Fault | None, given: TickInput, out: TickOutput) -> None:
        """A fault takes a moving robot to HOLDING; the end of it may take it back."""
        if fault is not None:
            self._clear_since = given.now_ns
            self._hold(fault, given, out)
        elif self.machine.state is State.HOLDING and self.config.auto_resume and self._cause in RECOVERABLE:
            calm = given.now_ns - self._clear_since >= CALM
            if calm and self._resume_obstacle(given) is None:
                self._change(Event.RESUME, given.now_ns, "the cause is gone", out)

    def _hold(self, fault: Fault, given: TickInput, out: TickOutput) -> None:
        if fault not in out.faults:
            out.faults.append(fault)
        if self._change(Event.FAULT, given.now_ns, str(fault), out):
            self._cause = fault.kind

    def _activate_if_allowed(self, given: TickInput, out: TickOutput) -> None:
        if not self._waiting or self.machine.state is not State.INACTIVE:
            return
        self.obstacle_now = self.obstacle(given) or ""
        if not self.obstacle_now:
            self._change(Event.ACTIVATE, given.now_ns, "all checks passed", out)

    @property
    def _needs_subscriber(self) -> bool:
        return self.config.require_subscriber and not self.config.shadow

    def obstacle(self, given: TickInput) -> str | None:
        """Why an activation is refused now; None when it is allowed."""
        peers, sources = given.peers, self.sources
        if not peers.alive:
            return "the transport is not connected"
        if peers.other_writers and not self.config.shadow:
            names = ", ".join(ascii(name) for name in peers.other_writers)
            return f"somebody else publishes commands: {names}; stop it, or use --shadow"
        if self._needs_subscriber and not peers.subscribers:
            return (
                f"nobody listens to the command topic {self.robot.command.topic!r}; start the robot's driver (or "
                "--twin), or allow it with --no-require-subscriber"
            )
        for name in sources.required:
            fresh = self.checks.fresh.get(name, 0)
            if fresh < FRESH:
                return f"source {name!r} has sent {fresh} good messages in a row, {FRESH} are needed"
        for name, true in self._activation.items():
            if not true:
                return f"source {name!r} must be true (it says that the robot is ready)"
        return self._posture()

    def _resume_obstacle(self, given: TickInput) -> str | None:
        obstacle = self.obstacle(given)
        if obstacle is None and self._clear_since >= given.now_ns:
            obstacle = f"the cause ({self.machine.reason}) is still there"
        return obstacle

    def _posture(self) -> str | None:
        """Whether the robot stands still inside its limits."""
        limits, sources = self._limits, self.sources
        if limits is None:
            return None
        outside = np.maximum(limits.lower - sources.position, sources.position - limits.upper)
        worst = int(np.argmax(outside - limits.tolerance))
        joints = self.contract.robot.joints
        if not outside[worst] <= limits.tolerance[worst]:
            return (
                f"joint {joints[worst]!r} stands at {sources.position[worst]:.4f}, outside its limits "
                f"{limits.lower[worst]:.4f} ... {limits.upper[worst]:.4f}"
            )
        speed = np.abs(np.nan_to_num(sources.velocity)) / limits.velocity
        fastest = int(np.argmax(speed))
        if speed[fastest] > 0.1:
            return f"joint {joints[fastest]!r} moves at {speed[fastest]:.0%} of its velocity limit, 10 % is allowed"
        return None

    # What goes out

    def _change(self, event: Event, now_ns: int, reason: str, out: TickOutput) -> bool:
        transition = self.machine.handle(event, now_ns, reason)
        if transition is None:
            return False
        out.transitions.append(transition)
        self._settled_ns = None
        if event is not Event.CONFIGURE:
            self._waiting = False
        if transition.after in (State.INACTIVE, State.FINALIZED):
            self._commanding = False
        if transition.after is State.RAMPING:
            self._begin(transition)
        elif transition.after is State.HOLDING and event is not Event.FAULT:
            self._cause = None
        return True

    def _begin(self, transition: Transition) -> None:
        """Policy, histories and ramp start afresh; commands go on from where the last one was, if there was one."""
        self._fresh_start = True
        self._reset_policy()
        self._assembler.reset()
        self._previous_action[:] = 0.0
        self._leash.reset()
        if self._workspace is not None:
            self._workspace.reset()
        if transition.before is State.INACTIVE:
            self.checks.reset()
            self._filter.start(self._start_command())
        self._commanding = True
        self._ramp_from[:] = self._filter.command
        self.desired[:] = self._ramp_from

    def _start_command(self) -> np.ndarray:
        """The command that changes nothing: the measured pose, the measured pressures, or standing still."""
        mode = self.robot.command.mode
        if mode == "position":
            return self.sources.position
        if mode == "pressure":
            pressures = np.zeros(len(self._ramp_from))
            pressures[muscle_places(self.robot, self.contract.robot.joints)] = self.sources.values[
                "state/muscle/pressure"
            ]
            return pressures
        return np.zeros(len(self._ramp_from))

    def _act(self, given: TickInput, out: TickOutput) -> None:
        state = self.machine.state
        if not self._commanding:
            if state in (State.ESTOP, State.STOPPING):
                self._finish(given, out)
            return
        self._filter.measured(self.sources.position, self.sources.velocity)
        if state in (State.RAMPING, State.ACTIVE) and self._decide(given, out):
            self._follow(given, out)
        else:
            self._brake(out)
        follows = self._positional and not self.config.shadow
        if follows and self.machine.state in (State.RAMPING, State.ACTIVE):
            self._watch_tracking(given, out)
        if self.machine.state in (State.ESTOP, State.STOPPING):
            self._finish(given, out)

    def _decide(self, given: TickInput, out: TickOutput) -> bool:
        """Observation, policy, target; False when this tick has none."""
        if self._fresh_start:
            self._fresh_start = False
            self._activated_ns = self._ramp_ns = given.deadline_ns
        elapsed = (given.deadline_ns - self._activated_ns) / SECOND
        started = time.monotonic_ns()
        try:
            out.observation = self._assembler(self.sources.values, self._previous_action, elapsed)
            out.action = self._policy(out.observation)
            fault = check_action(out.action)
            if fault is None:
                self._aim(out.action, out)
        except Exception as error:
            fault = self._exception(error)
        out.policy_ns = time.monotonic_ns() - started
        if fault is not None:
            self._clear_since = given.now_ns
            self._hold(fault, given, out)
            return False
        return True

    def _aim(self, action: np.ndarray, out: TickOutput) -> None:
        if self._relative:
            for name, places in self._places.items():
                np.take(self._filter.command, places, out=self._previous[name])
        for name, target in self._decoder(action, self.sources.values, self._previous).items():
            self.desired[self._places[name]] = target
        self._previous_action[:] = action
        self.saturation += self._decoder.saturated
        self.policy_calls += 1
        if self.policy_calls % self._calls_per_second == 0:
            self._warn_of_saturation(out)

    def _warn_of_saturation(self, out: TickOutput) -> None:
        share = (self.saturation - self._saturation_before) / self._calls_per_second
        self._saturation_before[:] = self.saturation
        if share.max() > 0.9:
            worst = int(np.argmax(share))
            out.notes.append(
                f"action element {worst} was clipped in {share[worst]:.0%} of the last second's ticks"
            )

    def _follow(self, given: TickInput, out: TickOutput) -> None:
        started = time.monotonic_ns()
        target = self.desired
        if self.machine.state is State.RAMPING:
            target = self._ramped(given, out)
        self._filter(target)
        if self._workspace is not None:
            verdict = self._workspace.update(self._filter.command)
            if verdict != "ok":
                self._filter.undo()
                self._filter.hold()
            if verdict == "hold":
                fault = Fault(
                    FaultKind.WORKSPACE, "", f"the commanded {self._body} left its box 5 times in a row"
                )
                self._clear_since = given.now_ns
                self._hold(fault, given, out)
        out.command = self._filter.command
        out.filter_ns = time.monotonic_ns() - started

    @property
    def _body(self) -> str:
        assert self.contract.workspace is not None
        return self.contract.workspace.body

    def _ramped(self, given: TickInput, out: TickOutput) -> np.ndarray:
        ramp = self.config.ramp * SECOND
        progress = 1.0 if ramp == 0 else min((given.deadline_ns - self._ramp_ns) / ramp, 1.0)
        share = progress * progress * (3.0 - 2.0 * progress)
        if progress >= 1.0 and given.deadline_ns > self._ramp_ns:
            self._change(Event.REACHED, given.now_ns, "", out)
            return self.desired
        if given.deadline_ns == self._ramp_ns:
            return self._ramp_from
        np.subtract(self.desired, self._ramp_from, out=self._blend)
        np.multiply(self._blend, share, out=self._blend)
        return np.add(self._blend, self._ramp_from, out=self._blend)

    def _brake(self, out: TickOutput) -> None:
        started = time.monotonic_ns()
        if self.machine.stop_mode:
            self._filter.stop()
            if self._stop_mode == "silent":
                return
        elif self._leash.target is not None and self.machine.state is State.HOLDING:
            self._filter(self._leash.target)
        else:
            self._filter.hold()
        out.command = self._filter.command
        out.filter_ns = time.monotonic_ns() - started

    def _watch_tracking(self, given: TickInput, out: TickOutput) -> None:
        if self._leash.update(self._filter.command, self.sources.position):
            fault = Fault(FaultKind.TRACKING, "", "the robot does not follow its commands")
            self._clear_since = given.now_ns
            self._hold(fault, given, out)

    def _finish(self, given: TickInput, out: TickOutput) -> None:
        """Stopping ends when the command has stood still for 0.2 s, at once where none was sent."""
        ending = self.machine.state is State.STOPPING or self.machine.finalising
        if not self._commanding:
            if ending:
                self._change(Event.STOPPED, given.now_ns, "no command was being sent", out)
            return
        if not self._filter.settled:
            self._settled_ns = None
            return
        if self._settled_ns is None:
            self._settled_ns = given.deadline_ns
        if ending and given.deadline_ns - self._settled_ns >= LINGER:
            self._change(Event.STOPPED, given.now_ns, "the command stands still", out)


def _places(contract: Contract, robot: Robot, term: ActionTerm, size: int) -> np.ndarray:
    """Where the elements of an action term stand in the command, int `[elements]`."""
    if "muscle/" in term.kind:
        return muscle_places(robot, contract.joints_of(term))
    if "joint/" in term.kind:
        return np.array([contract.robot.joints.index(joint) for joint in contract.joints_of(term)], np.intp)
    return np.arange(size)
