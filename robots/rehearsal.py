"""The twin at the other end of an in-process transport."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynrl.errors import ConfigError
from dynrl.robots.clocks import Clock, VirtualClock
from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork, SimTransport
from dynrl.robots.twin import NodeOptions, Twin, TwinNode, schedule
from dynrl.robots.twin.node import VIRTUAL_EPOCH_NS

SECOND = 1_000_000_000
POSE = "geometry_msgs/msg/PoseStamped"


def connect_twin(
    robot: Robot,
    clock: Clock,
    *,
    command_period: float = 0.02,
    faults: Iterable[str] = (),
    seed: int = 0,
    types: MessageTypes | None = None,
    options: TransportOptions | None = None,
    network: SimNetwork | None = None,
) -> tuple[SimTransport, TwinNode]:
    """(the deployment's side of a transport, the twin at the other side, which has begun to live).

    With a `VirtualClock` waiting on the clock drives the twin; with a `MonotonicClock` somebody must call `twin.run` in
    a thread.

    Args:
        robot: to be simulated.
        clock: of both sides.
        command_period: seconds between two commands; `twin.violations` lists the limits that they broke.
        faults: what goes wrong and when, e.g. `"stale@3:0.5"`.
        seed: of the faults.
        types: message types.
        options: names of topics.
        network: to join; a new one when absent.

    Raises:
        FaultError: a fault that is none.
    """
    types, options = types or message_types(), options or TransportOptions()
    network = network or SimNetwork(clock, types)
    theirs = twin_endpoints(robot, options)
    judge = NodeOptions(hardware_limits=True, command_period=command_period, seed=seed)
    twin = TwinNode(
        Twin(robot), network.join(theirs), clock, types, schedule(faults), judge, theirs, network.join
    )
    twin.start()
    return network.join(deployer_endpoints(robot, options)), twin


def send_goals(twin: TwinNode, clock: VirtualClock, types: MessageTypes, goals: Iterable[str]) -> None:
    """Sends positions to reach, `"T:X,Y,Z"` each (T in seconds from now), on the robot's source of goal poses.

    Raises:
        ConfigError: not such a text, or the robot has no such source.
    """
    robot = twin.twin.robot
    channel = robot.provides.get("command/pose")
    if channel is None or robot.sources[channel].type != POSE:
        raise ConfigError(f"--goal: robot {robot.name!r} has no source of type {POSE} for a goal")
    begin = clock.now_ns()
    for text in goals:
        at, place = _goal(text)
        seconds, nanoseconds = divmod(VIRTUAL_EPOCH_NS + round(at * SECOND), SECOND)
        stamp = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        header = types.new("std_msgs/msg/Header", stamp=stamp, frame_id=robot.base_frame)
        pose = types.new(POSE, header=header)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = place
        pose.pose.orientation.w = 1.0
        clock.at(begin + round(at * SECOND), _sender(twin, channel, pose))


def _sender(twin: TwinNode, channel: str, message: Any) -> Any:
    return lambda: twin.transport.publish(channel, message)


def _goal(text: str) -> tuple[float, list[float]]:
    at, colon, place = text.partition(":")
    try:
        numbers = [float(at), *(float(part) for part in place.split(","))]
    except ValueError:
        numbers = []
    if not colon or len(numbers) != 4 or not all(abs(number) < 1e6 for number in numbers) or numbers[0] < 0:
        raise ConfigError(f"--goal {text!a}: expected T:X,Y,Z (seconds, metres), e.g. 3:0.35,0.2,0.3")
    return numbers[0], numbers[1:]
