"""From the name of a transport to the transport."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Literal, get_args

from dynrl.robots.messages import MessageTypes
from dynrl.robots.transports.base import Endpoints, Transport, TransportError, TransportOptions

Kind = Literal["ros2", "ros1", "rosbridge"]
Backend = Literal["cyclonedds", "rclpy"]


def make_transport(
    kind: str, endpoints: Endpoints, options: TransportOptions, types: MessageTypes | None = None
) -> Transport:
    """The transport of a name, not yet open. `sim` is not among them: both its sides live in one process
    (`SimTransport.pair`).

    Raises:
        TransportError: no such transport, or what it needs is not installed.
    """
    if kind == "ros2":
        if choose_backend(options) == "rclpy":
            from dynrl.robots.transports.rclpy_node import RclpyTransport

            return RclpyTransport(endpoints, options, types)
        from dynrl.robots.transports.ros2 import Ros2Transport

        return Ros2Transport(endpoints, options, types)
    if kind == "ros1":
        from dynrl.robots.transports.ros1 import Ros1Transport

        return Ros1Transport(endpoints, options, types)
    if kind == "rosbridge":
        from dynrl.robots.transports.rosbridge import RosbridgeTransport

        return RosbridgeTransport(endpoints, options, types)
    raise TransportError(f"transport {kind!r} is unknown; expected sim, {', '.join(get_args(Kind))}")


def choose_backend(options: TransportOptions, environment: Mapping[str, str] | None = None) -> Backend:
    """Who speaks DDS. `auto` takes rclpy inside a ROS installation (`AMENT_PREFIX_PATH`) and where the middleware is
    Zenoh, which CycloneDDS does not speak; CycloneDDS everywhere else.

    Raises:
        TransportError: rclpy is needed and not importable.
    """
    variables = os.environ if environment is None else environment
    zenoh = "zenoh" in variables.get("RMW_IMPLEMENTATION", "")
    here = importlib.util.find_spec("rclpy") is not None
    if options.backend == "cyclonedds":
        return "cyclonedds"
    wanted = options.backend == "rclpy" or zenoh or bool(variables.get("AMENT_PREFIX_PATH"))
    if wanted and here:
        return "rclpy"
    if options.backend == "rclpy" or zenoh:
        reason = (
            "--ros2-backend rclpy"
            if options.backend == "rclpy"
            else "RMW_IMPLEMENTATION is a Zenoh one, which"
        )
        raise TransportError(
            f"{reason} needs rclpy, which cannot be imported: source the setup.bash of a ROS 2 installation, or give "
            "--ros2-backend cyclonedds where the robot speaks DDS"
        )
    return "cyclonedds"
