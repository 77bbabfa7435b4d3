"""Every fault of the table in virtual time, at the exact tick, judged where the commands arrive."""

import copy

import numpy as np
import pytest

from dynrl.robots.states import Event, State
from dynrl.robots.transports.base import Matched

PERIOD_NS = 20_000_000
TIMEOUT_NS = 40_000_000  # of a source at 200 Hz and a period of 20 ms: max(3 · 5 ms, 2 · 20 ms, 20 ms)


def nothing(message, now):
    return []


def with_number(value):
    def mutate(message, now):
        broken = copy.deepcopy(message)
        broken.position[1] = value
        return [broken]

    return mutate


def without_a_joint(message, now):
    broken = copy.deepcopy(message)
    broken.name = broken.name[:-1]
    broken.position, broken.velocity, broken.effort = (
        values[:-1].copy() for values in (broken.position, broken.velocity, broken.effort)
    )
    return [broken]


def short(message, now):
    broken = copy.deepcopy(message)
    broken.position = broken.position[:-1].copy()
    return [broken]


def twice_the_same_joint(message, now):
    broken = copy.deepcopy(message)
    broken.name = [*broken.name[:-1], broken.name[0]]
    return [broken]


class Frozen:
    def __init__(self):
        self.kept = None

    def __call__(self, message, now):
        self.kept = self.kept or copy.deepcopy(message)
        return [self.kept]


def out_of_range(message, now):
    broken = copy.deepcopy(message)
    broken.velocity[0] = 5.0  # twice the limit
    return [broken]


def assert_braked_and_held(world, since):
    """From tick to tick the speed falls as fast as it may; then the command stays where it is, and keeps coming."""
    told = np.array([command for _, command in world.mirror.commands[since:]])
    velocity = np.diff(told, axis=0) / (PERIOD_NS * 1e-9)
    step = world.mirror.robot.acceleration_limit * PERIOD_NS * 1e-9
    falling = np.maximum(np.abs(velocity[:-1]) - step, 0.0)
    np.testing.assert_allclose(np.abs(velocity[1:]), falling, atol=1e-9)
    assert (velocity[-1] == 0).all() and len(told) >= 20


def in_motion(make_world, **settings):
    world = make_world(**settings)
    world.until(State.ACTIVE)
    world.tick(30)
    return world


INPUT_FAULTS = {
    "stale": (nothing, "STALE", TIMEOUT_NS + 2 * PERIOD_NS),
    "nan": (with_number(np.nan), "NONFINITE_OBSERVATION", 2 * PERIOD_NS),
    "inf": (with_number(np.inf), "NONFINITE_OBSERVATION", 2 * PERIOD_NS),
    "short": (short, "MALFORMED", 2 * PERIOD_NS),
    "twice": (twice_the_same_joint, "MALFORMED", 2 * PERIOD_NS),
    "missing_joint": (without_a_joint, "MALFORMED", 2 * PERIOD_NS),
    "frozen": (Frozen(), "FROZEN", TIMEOUT_NS + 2 * PERIOD_NS),
    "out_of_range": (out_of_range, "OUT_OF_RANGE", 2 * PERIOD_NS),
}


@pytest.mark.parametrize("name", INPUT_FAULTS)
def test_a_fault_of_the_messages_holds_by_its_deadline(make_world, name):
    mutate, kind, allowed_ns = INPUT_FAULTS[name]
    world = in_motion(make_world)
    world.mirror.mutate = mutate
    onset = world.clock.now_ns()
    before = len(world.mirror.commands)
    world.until(State.HOLDING, 20)
    assert world.clock.now_ns() - onset <= allowed_ns
    assert world.machine.reason.startswith(kind)
    held_from = len(world.mirror.commands)
    world.tick(60)
    assert world.state is State.HOLDING
    assert_braked_and_held(world, held_from)
    assert world.judge() > before + 50


def test_stale_is_found_at_the_exact_tick(make_world):
    world = in_motion(make_world)
    world.mirror.mutate = nothing
    last = world.clock.now_ns()  # the last sample has the time of this tick
    ticks = world.until(State.HOLDING, 20)
    assert ticks == TIMEOUT_NS // PERIOD_NS + 1
    assert world.machine.since_ns - last == TIMEOUT_NS + PERIOD_NS


def test_holding_needs_a_person(make_world):
    world = in_motion(make_world)
    world.mirror.mutate = nothing
    world.until(State.HOLDING, 20)
    world.say("control", data="resume")
    world.tick(2)
    assert world.state is State.HOLDING and any("resume (~/command) refused" in line for line in world.lines)
    world.mirror.mutate = None
    world.tick(200)
    assert world.state is State.HOLDING
    world.say("control", data="resume")
    world.tick(2)
    assert world.state is State.RAMPING
    world.until(State.ACTIVE)
    world.judge()


def test_auto_resume_waits_half_a_second(make_world):
    world = in_motion(make_world, auto_resume=True)
    world.mirror.mutate = nothing
    world.until(State.HOLDING, 20)
    world.tick(30)
    assert world.state is State.HOLDING
    world.mirror.mutate = None
    back = world.clock.now_ns()
    world.until(State.RAMPING, 100)
    assert 480_000_000 <= world.clock.now_ns() - back <= 560_000_000
    world.judge()


def test_one_jump_is_dropped_three_hold(make_world):
    world = in_motion(make_world)
    counter = iter(range(1000))

    def jump_once(message, now):
        broken = copy.deepcopy(message)
        broken.position[0] += 0.5 if next(counter) == 0 else 0.0
        return [broken]

    world.mirror.mutate = jump_once
    world.tick(20)
    assert world.state is State.ACTIVE
    assert world.deployment.controller.checks.counters[("JUMP", "joint_states")] == 1
    shift = iter(np.tile([0.5, -0.5], 100))

    def jumps(message, now):
        broken = copy.deepcopy(message)
        broken.position[0] += next(shift)
        return [broken]

    world.mirror.mutate = jumps
    world.until(State.HOLDING, 5)
    assert world.machine.reason.startswith("JUMP")
    world.tick(30)
    world.judge()


def test_duplicates_reordering_and_permutation_change_nothing(make_world):
    def again(message, now):
        return [message, message]

    memory = []

    def late_copies(message, now):
        memory.append(copy.deepcopy(message))
        return [message, memory[-3]] if len(memory) > 3 else [message]

    def permuted(message, now):
        order = [2, 0, 1]
        other = copy.deepcopy(message)
        other.name = [message.name[place] for place in order]
        other.position, other.velocity, other.effort = (
            values[order] for values in (message.position, message.velocity, message.effort)
        )
        return [other]

    def extra(message, now):
        other = copy.deepcopy(message)
        other.name = ["gripper", *message.name]
        other.position, other.velocity, other.effort = (
            np.concatenate([[9.0], values]) for values in (message.position, message.velocity, message.effort)
        )
        return [other]

    streams = []
    for mutate in (None, again, late_copies, permuted, extra):
        world = make_world()
        world.mirror.mutate = mutate
        world.until(State.ACTIVE)
        world.tick(100)
        streams.append(np.array([command for _, command in world.mirror.commands]))
    for other in streams[1:]:
        np.testing.assert_array_equal(other, streams[0])


def test_a_lost_connection_holds_and_needs_a_person(make_world):
    world = in_motion(make_world, auto_resume=True)
    transport = world.deployment.transport
    matched = transport.matched
    transport.matched = lambda: Matched(alive=False, subscribers=0)
    world.tick()
    assert world.state is State.HOLDING and world.machine.reason.startswith("DISCONNECTED")
    transport.matched = matched
    world.tick(200)
    assert world.state is State.HOLDING
    assert world.judge() > 200


def test_a_second_commander_holds(make_world):
    world = in_motion(make_world)
    transport = world.deployment.transport
    matched = transport.matched
    transport.matched = lambda: Matched(alive=True, subscribers=1, other_writers=("/intruder",))
    world.tick()
    assert world.state is State.HOLDING
    assert world.machine.reason == "SECOND_COMMANDER: also publishing commands: /intruder"
    transport.matched = matched
    world.tick(50)
    world.judge()


def test_two_deployers_refuse_to_activate(make_world):
    world = make_world()
    transport = world.deployment.transport
    transport.matched = lambda: Matched(alive=True, subscribers=1, other_writers=("/other",))
    world.tick(100)
    assert world.state is State.INACTIVE and world.mirror.commands == []
    assert "'/other'" in world.deployment.controller.obstacle_now


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_action_that_is_no_number_holds_in_the_same_tick(make_world, broken):
    world = in_motion(make_world)
    controller = world.deployment.controller
    policy = controller._policy

    def sick(observation):
        action = policy(observation).copy()
        action[1] = broken
        return action

    controller._policy = sick
    before = len(world.mirror.commands)
    out = world.tick()
    assert world.state is State.HOLDING and world.machine.reason.startswith("NONFINITE_ACTION")
    assert np.isfinite(out.command).all()
    world.tick(60)
    assert_braked_and_held(world, before)
    world.judge()


def test_an_exception_holds_in_the_same_tick_and_keeps_its_traceback(make_world):
    world = in_motion(make_world)

    def broken(observation):
        raise RuntimeError("weights fell out")

    world.deployment.controller._policy = broken
    before = len(world.mirror.commands)
    world.tick()
    assert world.state is State.HOLDING
    assert world.machine.reason == "EXCEPTION: RuntimeError: weights fell out"
    assert "weights fell out" in world.deployment.controller.traceback
    assert "in broken" in world.deployment.controller.traceback
    world.tick(60)
    assert_braked_and_held(world, before)
    world.judge()


def test_overruns_hold_within_six_periods(make_world):
    world = in_motion(make_world)
    controller = world.deployment.controller
    policy = controller._policy

    def slow(observation):
        world.clock.wait_until(world.clock.now_ns() + 25_000_000)
        return policy(observation)

    controller._policy = slow
    began = world.clock.now_ns()
    world.until(State.HOLDING, 20)
    assert world.machine.reason.startswith("OVERRUN")
    assert world.machine.since_ns - began <= 7 * PERIOD_NS  # the first slow tick begins a period from now
    controller._policy = policy
    world.tick(60)
    world.judge()


def test_a_robot_that_does_not_follow_trips_the_leash(make_world):
    world = in_motion(make_world)
    world.mirror.obeys = False
    stuck = world.mirror.position.copy()
    world.until(State.HOLDING, 500)
    assert world.machine.reason.startswith("TRACKING")
    world.tick(100)
    np.testing.assert_allclose(world.mirror.commands[-1][1], stuck, atol=1e-6)
    world.judge()


@pytest.mark.parametrize("event", [Event.SHUTDOWN, Event.DEACTIVATE])
def test_the_end_brakes_lingers_and_stops(make_world, event):
    world = in_motion(make_world)
    velocity = np.abs(world.deployment.controller._filter.velocity)
    braking = float((velocity / world.mirror.robot.acceleration_limit).max())
    world.deployment.surface.put("test", event)
    asked = world.clock.now_ns()
    before = len(world.mirror.commands)
    goal = State.FINALIZED if event is Event.SHUTDOWN else State.INACTIVE
    world.until(goal, 100)
    assert (world.clock.now_ns() - asked) * 1e-9 <= braking + 0.3
    sent = len(world.mirror.commands)
    told = np.array([command for _, command in world.mirror.commands[before:]])
    assert (told[-10:] == told[-1]).all() and len(told) >= 10
    world.clock.wait_until(world.clock.now_ns() + 10**9)
    assert len(world.mirror.commands) <= sent + 1  # the very last one was still on its way
    world.judge()


def test_the_second_request_to_end_ends_at_once_after_one_command(make_world):
    world = in_motion(make_world)
    world.deployment.surface.put("SIGINT", Event.SHUTDOWN)
    world.tick()
    assert world.state is State.STOPPING
    world.deployment.surface.put("SIGINT", Event.SHUTDOWN)
    out = world.tick()
    assert world.state is State.FINALIZED and out.command is not None
