"""One deployment in lock-step with a robot that obeys: what is sent, and when."""

import numpy as np

from dynrl.robots.states import Event, State


def test_first_command_is_the_measured_pose(make_world, arm):
    start = arm.home_position + 0.3
    world = make_world(start=start)
    world.until(State.RAMPING)
    world.tick(2)
    assert np.abs(world.mirror.commands[0][1] - start).max() <= 1e-9
    world.until(State.ACTIVE)
    world.tick(100)
    assert world.judge() > 100


def test_nothing_is_sent_before_activation(make_world):
    world = make_world(auto_activate=False)
    world.tick(100)
    assert world.state is State.INACTIVE and world.mirror.commands == []
    world.deployment.surface.put("test", Event.ACTIVATE)
    world.tick(3)
    assert world.state is State.RAMPING and len(world.mirror.commands) >= 2


def test_shadow_publishes_nothing_on_the_command_topic(make_world):
    world = make_world(shadow=True)
    seen = []
    world.until(State.ACTIVE)
    for _ in range(200):
        world.tick()
        seen += [message for message in world.operator.poll() if message.source == "shadow_command"]
    assert world.mirror.commands == [] and len(seen) >= 200
