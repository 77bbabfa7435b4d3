"""The states of a deployment and every way from one to another, with the lifecycle ids of ROS 2 managed nodes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class State(enum.Enum):
    """What a deployment is doing.

    `STOPPING` brakes and then goes where it was told to: INACTIVE after `deactivate`, FINALIZED after `shutdown`.
    """

    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    RAMPING = "ramping"
    ACTIVE = "active"
    HOLDING = "holding"
    ESTOP = "estop"
    STOPPING = "stopping"
    FINALIZED = "finalized"

    # Members are singletons, so identity serves as hash; Enum's own costs a string hash in every tick.
    __hash__ = object.__hash__


class Event(enum.Enum):
    """What can happen to it: the commands of an operator, and `FAULT`, `REACHED` (ramp done), `STOPPED` from inside."""

    CONFIGURE = "configure"
    CLEANUP = "cleanup"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    HOLD = "hold"
    RESUME = "resume"
    ESTOP = "estop"
    RESET = "reset"
    SHUTDOWN = "shutdown"
    FAULT = "fault"
    REACHED = "reached"
    STOPPED = "stopped"

    __hash__ = object.__hash__


MOVING = frozenset({State.RAMPING, State.ACTIVE, State.HOLDING})
"""Lifecycle `active`: the command topic is written in every tick."""

LIFECYCLE: Mapping[State, int] = MappingProxyType(
    {
        State.UNCONFIGURED: 1,
        State.INACTIVE: 2,
        State.ESTOP: 2,
        State.RAMPING: 3,
        State.ACTIVE: 3,
        State.HOLDING: 3,
        State.FINALIZED: 4,
    }
)
LIFECYCLE_LABELS = {1: "unconfigured", 2: "inactive", 3: "active", 4: "finalized"}
SHUTTING_DOWN, DEACTIVATING = 12, 14
"""Lifecycle transition states of STOPPING."""
_TRANSITION_STATES = {SHUTTING_DOWN: "shuttingdown", DEACTIVATING: "deactivating"}

_LIFECYCLE_TRANSITIONS = {Event.CONFIGURE: 1, Event.CLEANUP: 2, Event.ACTIVATE: 3, Event.DEACTIVATE: 4}
_SHUTDOWNS = {1: 5, 2: 6, 3: 7}

_TABLE: Mapping[tuple[State, Event], State] = {
    (State.UNCONFIGURED, Event.CONFIGURE): State.INACTIVE,
    (State.UNCONFIGURED, Event.SHUTDOWN): State.FINALIZED,
    (State.INACTIVE, Event.CLEANUP): State.UNCONFIGURED,
    (State.INACTIVE, Event.ACTIVATE): State.RAMPING,
    (State.INACTIVE, Event.SHUTDOWN): State.FINALIZED,
    (State.RAMPING, Event.REACHED): State.ACTIVE,
    (State.HOLDING, Event.RESUME): State.RAMPING,
    **{(state, Event.HOLD): State.HOLDING for state in (State.RAMPING, State.ACTIVE)},
    **{(state, Event.FAULT): State.HOLDING for state in (State.RAMPING, State.ACTIVE)},
    **{(state, Event.DEACTIVATE): State.STOPPING for state in MOVING},
    **{(state, Event.SHUTDOWN): State.STOPPING for state in MOVING},
    **{(state, Event.ESTOP): State.ESTOP for state in State if state is not State.FINALIZED},
    (State.ESTOP, Event.RESET): State.INACTIVE,
    (State.ESTOP, Event.SHUTDOWN): State.STOPPING,
    (State.ESTOP, Event.STOPPED): State.FINALIZED,
    (State.STOPPING, Event.SHUTDOWN): State.STOPPING,
    (State.STOPPING, Event.STOPPED): State.INACTIVE,
}
OPERATOR_EVENTS = tuple(event for event in Event if event not in (Event.FAULT, Event.REACHED, Event.STOPPED))


@dataclass(frozen=True)
class Transition:
    """One change of state.

    Attributes:
        at_ns: own monotonic clock.
        event: what caused it.
        before, after: the states.
        reason: why, for a person; begins with the kind of fault where there is one.
        lifecycle: ROS 2 ids `(transition, start state, goal state)`; transition 0 where the standard has none.
    """

    at_ns: int
    event: Event
    before: State
    after: State
    reason: str
    lifecycle: tuple[int, int, int]

    def line(self) -> str:
        """One line for the log."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.before.name} -> {self.after.name} ({self.event.value}{why})"


class StateMachine:
    """Where a deployment is, and how it came there.

    Attributes:
        state: now.
        reason: of the last transition.
        since_ns: its time.
        history: all transitions.
    """

    def __init__(self, now_ns: int = 0) -> None:
        self.state = State.UNCONFIGURED
        self.reason = ""
        self.since_ns = now_ns
        self.history: list[Transition] = []
        self._finalise = False
        self._configured = False
        self._estopped = False

    @property
    def lifecycle(self) -> int:
        """Lifecycle id now: a primary state 1 to 4, or 12 and 14 while stopping."""
        if self.state is State.STOPPING:
            return SHUTTING_DOWN if self._finalise else DEACTIVATING
        return LIFECYCLE[self.state]

    @property
    def finalising(self) -> bool:
        """Whether a shutdown is under way."""
        return self._finalise

    @property
    def stop_mode(self) -> bool:
        """Whether the robot's own stop mode decides the output: e-stopped, even if shutting down by now."""
        return self._estopped

    def allows(self, event: Event) -> bool:
        """Whether the event means anything in this state."""
        return (self.state, event) in _TABLE

    def handle(self, event: Event, now_ns: int, reason: str = "") -> Transition | None:
        """Takes the event; None when it changes nothing here (a second e-stop while stopped, say)."""
        target = _TABLE.get((self.state, event))
        if target is None or (self.state is State.ESTOP and self._finalise is not (event is Event.STOPPED)):
            return None
        if event is Event.SHUTDOWN:
            self._finalise = True
        if event is Event.STOPPED and self._finalise:
            target = State.FINALIZED
        if event is Event.RESET and not self._configured:
            target = State.UNCONFIGURED
        if target is self.state:
            return None
        before, start = self.state, self.lifecycle
        self.state, self.reason, self.since_ns = target, reason, now_ns
        self._estopped = target is State.ESTOP or (self._estopped and target is State.STOPPING)
        self._configured = target is not State.UNCONFIGURED if event is not Event.ESTOP else self._configured
        transition = Transition(now_ns, event, before, target, reason, self._ids(event, start))
        self.history.append(transition)
        return transition

    def finalise_now(self, now_ns: int, reason: str) -> Transition:
        """To FINALIZED from anywhere, without braking: the last resort of an operator in a hurry."""
        before, start = self.state, self.lifecycle
        self._finalise = True
        self.state, self.reason, self.since_ns = State.FINALIZED, reason, now_ns
        transition = Transition(
            now_ns, Event.SHUTDOWN, before, State.FINALIZED, reason, self._ids(Event.SHUTDOWN, start)
        )
        self.history.append(transition)
        return transition

    def _ids(self, event: Event, start: int) -> tuple[int, int, int]:
        transition = (
            _SHUTDOWNS.get(start, 0) if event is Event.SHUTDOWN else _LIFECYCLE_TRANSITIONS.get(event, 0)
        )
        return transition, start, self.lifecycle


def lifecycle_label(identifier: int) -> str:
    """The standard's word for a lifecycle id."""
    return LIFECYCLE_LABELS.get(identifier) or _TRANSITION_STATES[identifier]
