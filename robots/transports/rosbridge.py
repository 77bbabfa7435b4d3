"""Transport `rosbridge`: JSON over a WebSocket, to a robot whose ROS one cannot reach otherwise.

For slow set-points: a round trip takes a millisecond at best and tens of them under load. The protocol has no
authentication.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import sys
from typing import Any

from dynrl.robots.messages import MalformedMessage
from dynrl.robots.transports.base import COMMAND, ESTOP_RESET, Endpoint, Matched, TransportError
from dynrl.robots.transports.bridge import BridgeTransport
from dynrl.robots.transports.bridges import framing
from dynrl.robots.transports.rosbridge_json import to_json

SHORTEST_PERIOD = 0.02
CLIENT = "dynrl.robots.transports.bridges.rosbridge_client"


class RosbridgeTransport(BridgeTransport):
    """A client of a rosbridge server.

    Who else publishes is known from the `rosapi` node that runs beside most servers. Other clients of the same server
    look like the server itself, and cannot be told apart.
    """

    name = "rosbridge"

    def _start(self) -> tuple[list[str], dict[str, Any]]:
        if importlib.util.find_spec("roslibpy") is None:
            raise TransportError("transport rosbridge needs roslibpy: pip install 'dynrl[ros]'")
        options = self.options
        setup = {
            "host": options.host,
            "port": options.port,
            "timeout": options.timeout,
            "compression": options.compression,
            "ros1": options.ros1_server,
            "distro": self.types.distro,
            "messages": [str(folder) for folder in options.messages],
            "readers": [
                {
                    "topic": endpoint.topic,
                    "type": self._type(endpoint),
                    "ros_type": endpoint.type,
                    "queue_length": 1,
                }
                for endpoint in self._readers
            ],
            "writers": [
                {
                    "topic": endpoint.topic,
                    "type": self._type(endpoint),
                    "latch": endpoint.qos.durability == "transient_local",
                    "watched": endpoint.channel in (COMMAND, ESTOP_RESET),
                }
                for endpoint in self.endpoints.writers
            ],
        }
        return [sys.executable, "-m", CLIENT], setup

    def _type(self, endpoint: Endpoint) -> str:
        return endpoint.type.replace("/msg/", "/") if self.options.ros1_server else endpoint.type

    def _encode(self, endpoint: Endpoint, message: Any) -> bytes:
        return json.dumps(to_json(self.types, message, self.options.ros1_server), allow_nan=False).encode()

    def _decode(self, endpoint: Endpoint, body: bytes) -> bytes:
        if body.startswith(framing.MALFORMED):
            raise MalformedMessage(body.removeprefix(framing.MALFORMED).decode())
        return body

    def _describe(self, status: dict[str, Any]) -> Matched:
        command, reset = self._command_and_reset()
        rosapi = status["rosapi"]
        notices = list(status["notices"])
        if not _is_loopback(self.options.host):
            notices.append(
                f"rosbridge at {self.options.host}: it asks for no password; whoever reaches it can command the robot"
            )
        if not status["rosapi_answers"]:
            notices.append("the rosbridge server has no rosapi: who publishes and subscribes is not known")
        if not status["alive"]:
            notices.append(
                f"the rosbridge server at {self.options.host}:{self.options.port} has closed the connection"
            )
        resetters = self._others(rosapi, reset)
        return Matched(
            alive=status["alive"],
            subscribers=len(rosapi.get(f"subscribers {command.topic}", [])) if command else 0,
            publishers={e.channel: self._publishers(status, e) for e in self._readers},
            other_writers=self._others(rosapi, command),
            other_resetters=resetters if len(resetters) > 1 else (),
            notices=tuple(notices),
        )

    def _publishers(self, status: dict[str, Any], endpoint: Endpoint) -> int:
        """How many publish to a topic: what rosapi says, or one that was heard since it last said that nobody does."""
        told = len(status["rosapi"].get(f"publishers {endpoint.topic}", []))
        return max(told, int(endpoint.topic in status["heard"]))

    def _others(self, rosapi: dict[str, list[str]], endpoint: Endpoint | None) -> tuple[str, ...]:
        nodes = rosapi.get(f"publishers {endpoint.topic}", []) if endpoint else []
        return tuple(f"node {ascii(node)[1:-1]}" for node in nodes if "rosbridge" not in node)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
