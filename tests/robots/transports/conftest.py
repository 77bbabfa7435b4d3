"""Peers of the transports: a rosbridge server, a ROS 1 master, and sides of every transport."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynrl.robots.clocks import MonotonicClock
from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports import Endpoints, SimNetwork, Transport, TransportError, TransportOptions
from dynrl.robots.transports.choice import make_transport
from dynrl.robots.transports.ros1 import PACKAGES, probe_master, system_python

PEERS = Path(__file__).parents[1] / "peers"


@pytest.fixture(scope="session")
def types() -> MessageTypes:
    return message_types("jazzy")


@pytest.fixture(scope="session")
def robot() -> Robot:
    return Robot.load("arm")


class RosbridgeServer:
    """The server of `peers/rosbridge_server.py` in a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, str(PEERS / "rosbridge_server.py"), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == {"listening": port}

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def do(self, what: str, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self._process.stdin.flush()

    def operations(self) -> list[dict[str, Any]]:
        """All operations that clients have sent; fails on one that the protocol does not know."""
        self.do("ops")
        report = self._read()
        assert report["violations"] == []
        return report["ops"]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def rosbridge_server(free_port: int) -> Iterator[RosbridgeServer]:
    server = RosbridgeServer(free_port)
    yield server
    server.stop()


class RosMaster:
    """`rosmaster` of the distribution, on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self.environment = {**os.environ, "ROS_MASTER_URI": self.uri, "ROS_IP": "127.0.0.1"}
        self._process = subprocess.Popen(
            [str(shutil.which("rosmaster")), "--core", "-p", str(port)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self._answers(last=time.monotonic() > deadline):
            time.sleep(0.02)

    def _answers(self, last: bool) -> bool:
        try:
            probe_master(self.uri, 1.0)
        except TransportError:
            if last:
                raise
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def need_ros1() -> None:
    """Skips where ROS 1 is not installed."""
    try:
        system_python()
    except TransportError:
        pytest.skip(f"rospy is not installed: apt-get install {PACKAGES}")
    if shutil.which("rosmaster") is None:
        pytest.skip("rosmaster is not installed: apt-get install python3-rosmaster")


@pytest.fixture
def ros_master(free_port: int) -> Iterator[RosMaster]:
    need_ros1()
    master = RosMaster(free_port)
    yield master
    master.kill()


Sides = Callable[..., Transport]


@pytest.fixture
def side(request: pytest.FixtureRequest, types: MessageTypes) -> Iterator[Sides]:
    """A function from endpoints to an open transport of the kind that the test is run for; closed after the test."""
    make = _makers(request, request.param, types)
    opened: list[Transport] = []

    def open_side(endpoints: Endpoints, **options: Any) -> Transport:
        transport = make(endpoints, options)
        opened.append(transport)
        transport.open()
        return transport

    yield open_side
    for transport in reversed(opened):
        transport.close()


def _makers(
    request: pytest.FixtureRequest, kind: str, types: MessageTypes
) -> Callable[[Endpoints, dict[str, Any]], Transport]:
    if kind == "sim":
        network = SimNetwork(MonotonicClock(), types)
        return lambda endpoints, options: network.join(endpoints)
    if kind == "rclpy" and importlib.util.find_spec("rclpy") is None:
        pytest.skip(
            "rclpy is not installed: it comes with a ROS 2 distribution (ros-jazzy-rclpy), not from PyPI"
        )
    if kind in ("ros2", "rclpy"):
        backend = "rclpy" if kind == "rclpy" else "cyclonedds"
        base = TransportOptions(domain=request.getfixturevalue("domain"), backend=backend)
    elif kind == "ros1":
        base = TransportOptions(master=request.getfixturevalue("ros_master").uri)
    else:
        base = TransportOptions(port=request.getfixturevalue("rosbridge_server").port)
    name = "ros2" if kind == "rclpy" else kind
    return lambda endpoints, options: make_transport(name, endpoints, replace(base, **options), types)
