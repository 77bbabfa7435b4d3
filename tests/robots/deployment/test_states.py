"""The state machine against the table of the lifecycle, state by state and event by event."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.states import MOVING, Event, State, StateMachine, lifecycle_label

U, I, R, A, H, E, S, F = State  # noqa: E741
TABLE = {
    (U, Event.CONFIGURE): I,
    (U, Event.SHUTDOWN): F,
    (U, Event.ESTOP): E,
    (I, Event.CLEANUP): U,
    (I, Event.ACTIVATE): R,
    (I, Event.SHUTDOWN): F,
    (I, Event.ESTOP): E,
    (R, Event.REACHED): A,
    (H, Event.RESUME): R,
    (R, Event.HOLD): H,
    (A, Event.HOLD): H,
    (R, Event.FAULT): H,
    (A, Event.FAULT): H,
    (R, Event.DEACTIVATE): S,
    (A, Event.DEACTIVATE): S,
    (H, Event.DEACTIVATE): S,
    (R, Event.SHUTDOWN): S,
    (A, Event.SHUTDOWN): S,
    (H, Event.SHUTDOWN): S,
    (R, Event.ESTOP): E,
    (A, Event.ESTOP): E,
    (H, Event.ESTOP): E,
    (S, Event.ESTOP): E,
    (E, Event.RESET): I,
    (E, Event.SHUTDOWN): S,
    (S, Event.STOPPED): I,
}
PATHS = {
    U: [],
    I: [Event.CONFIGURE],
    R: [Event.CONFIGURE, Event.ACTIVATE],
    A: [Event.CONFIGURE, Event.ACTIVATE, Event.REACHED],
    H: [Event.CONFIGURE, Event.ACTIVATE, Event.HOLD],
    E: [Event.CONFIGURE, Event.ACTIVATE, Event.ESTOP],
    S: [Event.CONFIGURE, Event.ACTIVATE, Event.DEACTIVATE],
    F: [Event.CONFIGURE, Event.SHUTDOWN],
}


def machine_in(state):
    machine = StateMachine()
    for event in PATHS[state]:
        machine.handle(event, 0)
    assert machine.state is state
    return machine


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(State, Event)), ids=lambda value: value.value
)
def test_every_pair(state, event):
    machine = machine_in(state)
    transition = machine.handle(event, 7, "why")
    expected = TABLE.get((state, event))
    if expected is None:
        assert transition is None and machine.state is state
    else:
        assert (transition.before, transition.after, transition.at_ns) == (state, expected, 7)
        assert machine.state is expected and machine.reason == "why" and machine.history[-1] is transition


def test_lifecycle_ids():
    ids = {state: machine_in(state).lifecycle for state in State}
    assert ids == {U: 1, I: 2, E: 2, R: 3, A: 3, H: 3, F: 4, S: 14}
    stopping = machine_in(A)
    assert stopping.handle(Event.SHUTDOWN, 0).lifecycle == (7, 3, 12)
    assert machine_in(I).handle(Event.SHUTDOWN, 0).lifecycle == (6, 2, 4)
    assert machine_in(U).handle(Event.SHUTDOWN, 0).lifecycle == (5, 1, 4)
    assert machine_in(U).handle(Event.CONFIGURE, 0).lifecycle == (1, 1, 2)
    assert machine_in(I).handle(Event.CLEANUP, 0).lifecycle == (2, 2, 1)
    assert machine_in(I).handle(Event.ACTIVATE, 0).lifecycle == (3, 2, 3)
    assert machine_in(A).handle(Event.DEACTIVATE, 0).lifecycle == (4, 3, 14)
    words = {
        1: "unconfigured",
        2: "inactive",
        3: "active",
        4: "finalized",
        12: "shuttingdown",
        14: "deactivating",
    }
    assert {number: lifecycle_label(number) for number in words} == words


def test_an_estop_before_configuration_resets_to_before_configuration():
    machine = StateMachine()
    machine.handle(Event.ESTOP, 0)
    machine.handle(Event.RESET, 0)
    assert machine.state is U


@given(st.lists(st.sampled_from(list(Event)), max_size=60))
def test_whatever_happens(events):
    """After an e-stop nothing moves before reset and activate; after FINALIZED nothing changes; shutdown sticks."""
    machine = StateMachine()
    stopped = asked_to_end = False
    for event in events:
        before = machine.state
        machine.handle(event, 0)
        if before is F:
            assert machine.state is F
        if event is Event.ESTOP and before is not F:
            assert machine.state is E
            stopped = True
        if stopped and machine.state in MOVING:
            raise AssertionError("moved after an e-stop without reset")
        if before is E and machine.state in (I, U):
            assert event is Event.RESET
            stopped = False
        asked_to_end = asked_to_end or (event is Event.SHUTDOWN and before is not F)
        assert not (asked_to_end and machine.state in MOVING | {I, U})
