"""The emergency stop, in every state, at random times."""

import numpy as np
import pytest

from dynrl.robots.errors import DeploymentError
from dynrl.robots.states import Event, State
from dynrl.robots.transports import TransportOptions

PERIOD_NS = 20_000_000


def into(world, state):
    """Brings a fresh world into a state."""
    put = world.deployment.surface.put
    if state is State.INACTIVE:
        world.tick(2)
        return
    world.until(State.RAMPING)
    if state is State.RAMPING:
        world.tick(3)
        return
    world.until(State.ACTIVE)
    world.tick(10)
    if state is State.HOLDING:
        put("test", Event.HOLD)
        world.tick()
    elif state is State.STOPPING:
        put("test", Event.DEACTIVATE)
        world.tick()
    elif state is State.ESTOP:
        put("test", Event.ESTOP)
        world.tick()
    assert world.state is state


def test_at_200_random_times_in_every_state(make_world):
    rng = np.random.default_rng(7)
    states = [State.INACTIVE, State.RAMPING, State.ACTIVE, State.HOLDING, State.STOPPING]
    world = make_world(auto_activate=False, ramp=0.2)
    put = world.deployment.surface.put
    met = dict.fromkeys(states, 0)
    for trial in range(200):
        wanted = states[trial % len(states)]
        world.tick(12)
        if wanted is not State.INACTIVE:
            put("test", Event.ACTIVATE)
            world.until(State.RAMPING, 5)
            if wanted is not State.RAMPING:
                world.until(State.ACTIVE, 60)
        world.tick(int(rng.integers(1, 10)))
        if wanted is State.HOLDING:
            put("test", Event.HOLD)
            world.tick(int(rng.integers(1, 4)))
        elif wanted is State.STOPPING:
            put("test", Event.DEACTIVATE)
            world.tick(int(rng.integers(1, 4)))
        met[world.state] += 1
        world.clock.wait_until(world.clock.now_ns() + int(rng.integers(0, PERIOD_NS)))
        asked = world.clock.now_ns()
        world.say("estop", data=True)
        world.tick(2)
        assert world.state is State.ESTOP and world.machine.since_ns - asked <= 2 * PERIOD_NS
        sent = len(world.mirror.commands)
        world.tick(14)
        told = [command for _, command in world.mirror.commands[sent:]]
        if wanted is State.INACTIVE:
            assert told == []
        else:
            np.testing.assert_array_equal(told[-1], told[-2])
        world.say("estop", data=False)
        world.tick(2)
        assert world.state is State.ESTOP, "false does not clear"
        world.say("estop_reset")
        world.tick(2)
        assert world.state is State.INACTIVE, "a reset never returns to ACTIVE"
    assert all(count >= 30 for count in met.values())
    world.judge()


@pytest.mark.parametrize(
    "state", [State.INACTIVE, State.RAMPING, State.ACTIVE, State.HOLDING, State.STOPPING, State.ESTOP]
)
def test_a_reset_is_refused_while_the_button_is_pressed(make_world, state):
    world = make_world(auto_activate=state is not State.INACTIVE)
    into(world, state)
    world.say("estop", data=True)
    world.tick(2)
    world.say("estop_reset")
    world.tick(2)
    assert world.state is State.ESTOP
    assert any("release the button" in line for line in world.lines)
    world.say("estop", data=False)
    world.tick(2)
    world.say("control", data="reset")
    world.tick(2)
    assert world.state is State.INACTIVE
    sent = len(world.mirror.commands)
    world.tick(100)
    assert world.state is State.INACTIVE, "activation after a reset is a person's decision"
    assert len(world.mirror.commands) <= sent + 1


def test_the_policy_is_not_called_while_stopped(make_world):
    world = make_world()
    into(world, State.ACTIVE)
    world.say("estop", data=True)
    world.tick(2)
    calls = world.deployment.controller.policy_calls
    world.tick(50)
    assert world.deployment.controller.policy_calls == calls


def test_an_empty_message_stops_where_the_topic_is_of_that_type(make_world):
    options = TransportOptions(estop_type="std_msgs/msg/Empty")
    world = make_world(options=options)
    into(world, State.ACTIVE)
    world.operator.publish("estop", world.types.new("std_msgs/msg/Empty"))
    world.tick(2)
    assert world.state is State.ESTOP
    world.say("estop_reset")
    world.tick(2)
    assert world.state is State.INACTIVE


def test_a_missing_heartbeat_stops_and_a_living_one_does_not(make_world):
    world = make_world(heartbeat_timeout=0.5)
    for _ in range(20):
        world.say("estop", data=False)
        world.tick(10)
    assert world.state is State.ACTIVE
    last = world.clock.now_ns() - 10 * PERIOD_NS
    world.until(State.ESTOP, 100)
    assert 0.5e9 <= world.machine.since_ns - last <= 0.5e9 + 2 * PERIOD_NS
    assert "heartbeat" in world.machine.reason
    world.say("estop_reset")
    world.tick(2)
    assert world.state is State.ESTOP, "the cause is still there"
    world.say("estop", data=False)
    world.say("estop_reset")
    world.tick(2)
    assert world.state is State.INACTIVE


def test_silent_stops_publishing_so_that_the_robot_watchdog_acts(make_world):
    world = make_world(stop="silent")
    into(world, State.ACTIVE)
    world.say("estop", data=True)
    world.tick(2)
    sent = len(world.mirror.commands)
    world.tick(50)
    assert len(world.mirror.commands) <= sent + 1
    world.deployment.surface.put("test", Event.SHUTDOWN)
    world.until(State.FINALIZED, 100)
    assert len(world.mirror.commands) <= sent + 1


def test_a_shutdown_of_a_stopped_deployment_ends(make_world):
    world = make_world()
    into(world, State.ACTIVE)
    world.say("estop", data=True)
    world.tick(3)
    world.deployment.surface.put("SIGTERM", Event.SHUTDOWN)
    world.until(State.FINALIZED, 100)
    world.judge()


def test_stopped_while_shutting_down_still_ends(make_world):
    world = make_world()
    into(world, State.ACTIVE)
    world.deployment.surface.put("SIGTERM", Event.SHUTDOWN)
    world.tick(2)
    world.say("estop", data=True)
    world.tick(2)
    assert world.state is State.ESTOP
    world.say("estop", data=False)
    world.say("estop_reset")
    world.until(State.FINALIZED, 100)
    world.judge()


def test_suspension_of_the_machine_stops(make_world, monkeypatch):
    world = make_world()
    into(world, State.ACTIVE)
    monkeypatch.setattr(world.deployment, "_was_suspended", lambda: True)
    world.tick()
    assert world.state is State.ESTOP and "suspended" in world.machine.reason


@pytest.mark.parametrize(("mode", "word"), [("damp", "gains"), ("zero_effort", "efforts")])
def test_a_stop_mode_that_cannot_be_sent_is_refused_before_it_is_needed(make_world, mode, word):
    with pytest.raises(DeploymentError, match=f"stop mode {mode} .*{word}.* choose hold or silent"):
        make_world(stop=mode)
