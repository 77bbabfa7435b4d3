"""One deployment in lock-step with a robot that obeys: what is sent, and when."""

import numpy as np
import pytest

from dynrl.robots.errors import DeploymentError
from dynrl.robots.latency import FIELDS
from dynrl.robots.loop import GLANCE
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


def test_ticks_on_messages_use_them_fresh_and_keep_the_rate(make_world):
    """Joint states come every 5 ms, and where none comes the tick waits for its deadline."""
    world = make_world(tick_on="joint_states")
    world.until(State.ACTIVE)
    begin = len(world.mirror.commands)
    world.tick(50)
    fields = {name: world.deployment.latency.recent()[-50:, FIELDS.index(name)] for name in FIELDS}
    assert fields["observation_age"].max() <= GLANCE and fields["lateness"].max() == 0
    world.mirror.mutate = lambda message, now: []
    world.tick()
    world.mirror.mutate = None
    world.tick(50)
    commands = world.mirror.commands[begin:]
    seconds = (commands[-1][0] - commands[0][0]) * 1e-9
    assert len(commands) == pytest.approx(1 + seconds / 0.02, abs=1)
    assert world.state is State.ACTIVE and world.judge() > 100


def test_a_source_that_is_not_there_cannot_start_ticks(make_world):
    with pytest.raises(DeploymentError, match="no source 'imu'; it has joint_states"):
        make_world(tick_on="imu")


def test_shadow_publishes_nothing_on_the_command_topic(make_world):
    world = make_world(shadow=True)
    seen = []
    world.until(State.ACTIVE)
    for _ in range(200):
        world.tick()
        seen += [message for message in world.operator.poll() if message.source == "shadow_command"]
    assert world.mirror.commands == [] and len(seen) >= 200
