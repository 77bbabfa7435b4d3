"""What is done before a tick is due changes nothing of what the tick decides."""

import itertools

import numpy as np
import pytest

from dynrl.robots.controller import Controller, Peers, TickInput
from dynrl.robots.description import Robot
from dynrl.robots.dry_run import BEHIND, DryRun
from dynrl.robots.messages import Malformed, message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import Event, State
from dynrl.robots.transports.base import CONTROL, ESTOP, ESTOP_RESET, Received

PERIOD, SOURCE = 20_000_000, 5_000_000
EVENTS = (Event.HOLD, Event.RESUME, Event.ACTIVATE, Event.DEACTIVATE, Event.RESET, Event.ESTOP)
WEIGHTS = (0.05, 0.4, 0.25, 0.03, 0.25, 0.02)


@pytest.fixture(scope="module")
def world():
    robot = Robot.load("arm")
    return robot, sample_bundle(robot)


def stream(robot, seed, count=250):
    """Ticks of a robot that is well most of the time, with an operator who cannot make up his mind."""
    rng, types = np.random.default_rng(seed), message_types()
    word = types.new("std_msgs/msg/String", data="activate")
    said = {
        ESTOP: types.new("std_msgs/msg/Bool", data=True),
        ESTOP_RESET: types.new("std_msgs/msg/Empty"),
        CONTROL: word,
    }
    now = 10**9
    for number in range(count):
        received = []
        for _ in range(4):
            now += SOURCE
            stamp = types.new("builtin_interfaces/msg/Time", sec=now // 10**9, nanosec=now % 10**9)
            position = np.array(robot.home_position)
            trouble = rng.random()
            if trouble < 0.01:
                position[0] = np.nan
            message = types.new(
                "sensor_msgs/msg/JointState",
                header=types.new("std_msgs/msg/Header", stamp=stamp),
                name=list(robot.wire_names),
                position=robot.position_to_wire(position),
                velocity=np.zeros(len(position)),
            )
            message = Malformed("noise") if trouble > 0.995 else message
            received.append(Received("joint_states", now, message, b""))
            if number > 20 and rng.random() < 0.02:
                channel = rng.choice(list(said))
                said[ESTOP] = types.new("std_msgs/msg/Bool", data=bool(rng.random() < 0.2))
                received.append(Received(channel, now, said[channel], b""))
        events = (("test", rng.choice(EVENTS, p=WEIGHTS)),) if number > 20 and rng.random() < 0.4 else ()
        yield TickInput(number, now, now, received, Peers(alive=bool(rng.random() > 0.01)), events)


def told(controller, out):
    """All that a tick decided."""
    command = None if out.command is None else out.command.tobytes()
    action = None if out.action is None else out.action.tobytes()
    lines = [transition.line() for transition in out.transitions]
    faults = [str(fault) for fault in out.faults]
    return command, action, lines, faults, out.notes, controller.machine.state


def make(world, policy=None):
    robot, bundle = world
    session = bundle.session()
    config = DeploymentConfig(ramp=0.1)
    controller = Controller(bundle.contract, robot, policy or session, session.reset, config)
    controller.handle(Event.CONFIGURE, 0)
    return controller


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_are_read_early_decide_the_same(world, seed):
    at_once, early = make(world), make(world)
    rng = np.random.default_rng(seed + 100)
    states = set()
    for given in stream(world[0], seed):
        for part in sorted(rng.integers(0, len(given.received) + 1, 2)):
            early.take_in(given.received[:part])
        one, other = at_once.tick(given), early.tick(given)
        assert told(at_once, one) == told(early, other)
        states.add(at_once.machine.state)
    assert states == set(State) - {State.UNCONFIGURED, State.FINALIZED}


def test_a_dry_run_goes_through_the_same_states_and_commands_and_leaves_the_policy_alone(world):
    robot, bundle = world
    session, calls = bundle.session(), itertools.count(1)

    def policy(observation):
        if next(calls) % 40 == 0:
            raise ValueError("an unlucky tick")
        return session(observation)

    controller, undisturbed = make(world, policy), make(world)
    dry = DryRun(bundle.contract, robot, session, DeploymentConfig(ramp=0.1), message_types(), 0)
    repeated = []
    tick = dry._controller.tick
    dry._controller.tick = lambda given: repeated.append(tick(given)) or repeated[-1]
    states, failures = set(), 0
    for given in stream(robot, 7):
        out = controller.tick(given)
        decided = told(controller, out)
        failures += any("unlucky" in fault for fault in decided[3])
        if not failures:
            assert decided == told(undisturbed, undisturbed.tick(given))
        dry.follow(given, out)
        if given.number % 7:  # there is not always time
            dry()
        if given.number % 7 > 1:
            assert told(dry._controller, repeated[-1])[0] == decided[0]
            assert dry._controller.machine.state is controller.machine.state
        states.add(controller.machine.state)
    assert failures and len(repeated) == 250 and dry._controller.policy_calls == controller.policy_calls > 40
    assert {State.ACTIVE, State.HOLDING} <= states


def test_a_dry_run_that_cannot_keep_up_ends_and_keeps_nothing(world):
    robot, bundle = world
    controller = make(world)
    dry = DryRun(bundle.contract, robot, bundle.session(), DeploymentConfig(), message_types(), 0)
    for given in stream(robot, 1):
        dry.follow(given, controller.tick(given))
        assert len(dry._ticks) <= BEHIND
    assert not dry._ticks
    dry()
    assert dry._controller.policy_calls == 0 < controller.policy_calls
