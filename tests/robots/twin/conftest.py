"""A twin of the arm in virtual time, and somebody who commands it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'dynrl[ros]'")

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.description import Robot, TwinSettings
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports.base import Received, TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork, SimTransport
from dynrl.robots.twin import NodeOptions, Twin, TwinNode, schedule

SECOND = 1_000_000_000


@dataclass
class Session:
    """Both sides of a lock-step simulation."""

    robot: Robot
    clock: VirtualClock
    types: MessageTypes
    node: TwinNode
    peer: SimTransport
    start_ns: int

    def advance(self, seconds: float) -> list[Received]:
        """Let time pass; what the peer received on the way."""
        received = []
        end = self.clock.now_ns() + round(seconds * SECOND)
        while self.clock.now_ns() < end:
            self.clock.wait_until(min(self.clock.now_ns() + 2_500_000, end))
            received += self.peer.poll()
        return received

    def command(self, pose: np.ndarray, **fields: Any) -> None:
        """Send model positions as the arm's wire has them, stamped now."""
        seconds, nanoseconds = divmod(self.clock.now_ns(), SECOND)
        stamp = self.types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        values = {
            "header": self.types.new("std_msgs/msg/Header", stamp=stamp),
            "name": list(self.robot.wire_names),
            "position": self.robot.position_to_wire(np.asarray(pose, float)),
        }
        self.peer.publish("command", self.types.new("sensor_msgs/msg/JointState", **(values | fields)))

    def hold_for(
        self, seconds: float, position: np.ndarray | None = None, period: float = 0.02
    ) -> list[Received]:
        """Command one pose every period."""
        received = []
        for _ in range(round(seconds / period)):
            self.command(self.robot.home_position if position is None else position)
            received += self.advance(period)
        return received


@pytest.fixture
def make_session() -> Callable[..., Session]:
    def make(
        faults: tuple[str, ...] = (),
        robot: str | Robot = "arm",
        settings: TwinSettings | None = None,
        **options: Any,
    ) -> Session:
        description = Robot.load(robot) if isinstance(robot, str) else robot
        types, clock = message_types(), VirtualClock()
        network = SimNetwork(clock, types)
        endpoints = twin_endpoints(description, TransportOptions())
        peer = network.join(deployer_endpoints(description, TransportOptions()))
        node = TwinNode(
            Twin(description, settings),
            network.join(endpoints),
            clock,
            types,
            schedule(faults),
            NodeOptions(**({"hardware_limits": True, "command_period": 0.02} | options)),
            endpoints=endpoints,
            connect=network.join,
        )
        peer.open()
        node.start()
        return Session(description, clock, types, node, peer, clock.now_ns())

    return make
