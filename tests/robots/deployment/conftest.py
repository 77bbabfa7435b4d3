"""A robot that does exactly as it is told, in virtual time, and keeps what it was told: the judge of every command."""

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import Robot
from dynrl.robots.messages import message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.transports import TransportOptions, deployer_endpoints, operator_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork

PERIOD_NS = 20_000_000
SOURCE_NS = 5_000_000
JOINT_STATE = "sensor_msgs/msg/JointState"


@dataclass
class Mirror:
    """Publishes joint states every 5 ms; where it stands is where it was told to be one message ago."""

    robot: Robot
    clock: VirtualClock
    side: object
    types: object
    position: np.ndarray
    commands: list = field(default_factory=list)
    mutate: object = None
    obeys: bool = True

    def start(self):
        self.side.open()
        self.clock.at(self.clock.now_ns() + SOURCE_NS, self.beat)

    def beat(self):
        now = self.clock.now_ns()
        for received in self.side.poll():
            command = self.robot.position_to_model(np.array(received.message.position))
            self.commands.append((received.receive_ns, command))
            if self.obeys:
                self.position = command
        message = self.joint_state(now)
        for sent in [message] if self.mutate is None else self.mutate(message, now):
            self.side.publish("joint_states", sent)
        self.clock.at(now + SOURCE_NS, self.beat)

    def joint_state(self, now):
        stamp = self.types.new("builtin_interfaces/msg/Time", sec=now // 10**9, nanosec=now % 10**9)
        return self.types.new(
            JOINT_STATE,
            header=self.types.new("std_msgs/msg/Header", stamp=stamp),
            name=list(self.robot.wire_names),
            position=self.robot.position_to_wire(self.position),
            velocity=np.zeros(len(self.position)),
            effort=np.zeros(len(self.position)),
        )


@dataclass
class World:
    """A deployment, its robot, and an operator, on one virtual clock."""

    deployment: Deployment
    mirror: Mirror
    operator: object
    clock: VirtualClock
    types: object
    lines: list

    @property
    def machine(self):
        return self.deployment.controller.machine

    @property
    def state(self):
        return self.machine.state

    def tick(self, count=1):
        """Ticks; the last output."""
        for _ in range(count):
            out = self.deployment.step()
        return out

    def until(self, state, limit=1000):
        """Ticks until the state is reached; how many."""
        for count in range(limit):
            if self.state is state:
                return count
            self.tick()
        raise AssertionError(
            f"{state} not reached in {limit} ticks; {self.state}: {self.machine.reason} {self.lines[-3:]}"
        )

    def say(self, channel, **values):
        """The operator publishes."""
        kinds = {
            "estop": "std_msgs/msg/Bool",
            "estop_reset": "std_msgs/msg/Empty",
            "control": "std_msgs/msg/String",
        }
        self.operator.publish(channel, self.types.new(kinds[channel], **values))

    def judge(self, tolerance=1e-9):
        """Position, velocity and acceleration limits of everything that the robot was ever told; returns how much."""
        told = self.mirror.commands
        robot = self.mirror.robot
        positions = np.array([command for _, command in told])
        ticks = np.round(np.diff([ns for ns, _ in told]) / PERIOD_NS)
        assert (positions >= robot.lower - tolerance).all() and (positions <= robot.upper + tolerance).all()
        period = PERIOD_NS * 1e-9
        change = np.diff(positions, axis=0)[ticks <= 1]
        assert (np.abs(change) <= robot.velocity_limit * period + tolerance).all()
        velocity = np.diff(positions, axis=0) / period
        together = (ticks[1:] <= 1) & (ticks[:-1] <= 1)
        jumps = np.abs(np.diff(velocity, axis=0))[together]
        assert (jumps <= robot.acceleration_limit * period + tolerance / period).all()
        return len(told)


@pytest.fixture(scope="session")
def arm():
    return Robot.load("arm")


@pytest.fixture(scope="session")
def sway(arm):
    return sample_bundle(arm)


@pytest.fixture(scope="session")
def open_world(arm, sway):
    """`with open_world(**settings of DeploymentConfig) as world`: a world that has just been configured."""

    @contextlib.contextmanager
    def opened(bundle=sway, robot=arm, faults=None, start=None, options=None, **settings):
        pytest.importorskip("rosbags", reason="messages need rosbags: pip install 'dynrl[ros]'")
        clock = VirtualClock(10**9)
        types = message_types()
        options = options or TransportOptions()
        network = SimNetwork(clock, types)
        transport = network.join(deployer_endpoints(robot, options))
        mirror_side = network.join(twin_endpoints(robot, options))
        operator = network.join(operator_endpoints(robot, options))
        operator.open()
        position = np.array(robot.home_position if start is None else start, float)
        mirror = Mirror(robot, clock, mirror_side, types, position)
        mirror.start()
        lines = []
        settings = {"ramp": 0.4, "image": False, **settings}
        deployment = Deployment(
            bundle,
            robot,
            transport,
            DeploymentConfig(**settings),
            clock=clock,
            types=types,
            faults=faults,
            log=lines.append,
        )
        with deployment.running():
            yield World(deployment, mirror, operator, clock, types, lines)

    return opened


@pytest.fixture
def make_world(open_world):
    """`make_world(...)`: as `open_world`, closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(open_world(**given))


@pytest.fixture
def patient_arm(arm, tmp_path):
    """The arm for real time on busy machines: joint states may be 0.25 s old, the watchdog waits for 0.4 s.

    The folder of its file is `tmp_path / "arm"`.
    """
    folder = tmp_path / "arm"
    shutil.copytree(Path(arm.model).parent, folder)
    file = folder / "robot.yaml"
    text = file.read_text()
    for old, new in (("rate: 200", "rate: 200, timeout: 0.25"), ("watchdog: 0.1", "watchdog: 0.4")):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return Robot.load(folder)
