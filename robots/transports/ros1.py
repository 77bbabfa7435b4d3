"""Transport `ros1`: rospy of the system's Python, in a process of its own."""

from __future__ import annotations

import http.client
import ipaddress
import os
import shutil
import socket
import subprocess
import xmlrpc.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dynrl.robots.messages import MalformedMessage, MessageError, MessageTypes
from dynrl.robots.transports import bridges
from dynrl.robots.transports.base import Endpoint, Matched, TransportError
from dynrl.robots.transports.bridge import BridgeTransport
from dynrl.robots.transports.discovery import OPEN_NETWORK

DEFAULT_MASTER = "http://127.0.0.1:11311"
PACKAGES = "python3-rospy python3-rosmaster"


class Ros1Transport(BridgeTransport):
    """A ROS 1 node. Everything stays on this machine unless `options.interface` is an address of another one."""

    name = "ros1"

    def _start(self) -> tuple[list[str], dict[str, Any]]:
        python = system_python()
        master = self.options.master or os.environ.get("ROS_MASTER_URI", "").strip() or DEFAULT_MASTER
        address = self._address(master)
        probe_master(master, self.options.timeout)
        script = Path(bridges.__file__).with_name("ros1_node.py")
        setup = {
            "node": self.endpoints.node.rpartition("/")[2],
            "master": master,
            "ip": address,
            "readers": [self._description(endpoint) for endpoint in self._readers],
            "writers": [self._description(endpoint) for endpoint in self.endpoints.writers],
        }
        return [python, str(script)], setup

    def _address(self, master: str) -> str:
        host = urlsplit(master).hostname or ""
        if self.options.interface is None:
            if not _is_local(host):
                raise TransportError(
                    f"the ROS 1 master {master} is on another machine, but only this one is allowed: give --interface "
                    "with this machine's address there"
                )
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(self.options.interface))
        except ValueError:
            raise TransportError(
                f"--interface {self.options.interface!r}: ROS 1 announces an address, not an interface: give it, e.g. "
                "192.168.80.2"
            ) from None

    def _description(self, endpoint: Endpoint) -> dict[str, Any]:
        definition, md5sum = ros1_definition(self.types, endpoint.type)
        return {
            "topic": endpoint.topic,
            "type": endpoint.type.replace("/msg/", "/"),
            "definition": definition,
            "md5sum": md5sum,
            "has_header": _has_header(self.types, endpoint.type),
            "latch": endpoint.qos.durability == "transient_local",
            "depth": endpoint.qos.depth,
        }

    def _encode(self, endpoint: Endpoint, message: Any) -> bytes:
        return bytes(self.types.store.cdr_to_ros1(self.types.serialize(message), endpoint.type))

    def _decode(self, endpoint: Endpoint, body: bytes) -> bytes:
        from rosbags.serde import SerdeError

        try:
            return bytes(self.types.store.ros1_to_cdr(body, endpoint.type))
        except SerdeError as error:
            raise MalformedMessage(str(error)) from error

    def _describe(self, status: dict[str, Any]) -> Matched:
        command, reset = self._command_and_reset()
        resetters = self._others(status, reset)
        notices = []
        if self.options.interface is not None and not _is_local(self.options.interface):
            notices.append(f"--interface {self.options.interface}: {OPEN_NETWORK}")
        if not status["master_alive"]:
            notices.append(
                "the ROS 1 master does not answer any more; connections that exist go on without it"
            )
        publishers: dict[str, int] = {}
        for endpoint, count in zip(self._readers, status["readers"], strict=True):
            publishers[endpoint.channel] = max(publishers.get(endpoint.channel, 0), count)
        return Matched(
            alive=True,
            subscribers=status["writers"][self._numbers[command.channel]] if command else 0,
            publishers=publishers,
            other_writers=self._others(status, command),
            other_resetters=resetters if len(resetters) > 1 else (),
            notices=tuple(notices),
        )

    def _others(self, status: dict[str, Any], endpoint: Endpoint | None) -> tuple[str, ...]:
        nodes = status["publishers"].get(endpoint.topic, []) if endpoint else []
        return tuple(f"node {ascii(node)[1:-1]}" for node in nodes if node != status["node"])


def system_python() -> str:
    """The interpreter that has rospy.

    Raises:
        TransportError: there is none.
    """
    for path in (None, os.defpath):
        python = shutil.which("python3", path=path)
        if python and subprocess.run([python, "-c", "import rospy"], capture_output=True).returncode == 0:
            return python
    raise TransportError(
        f"transport ros1 needs rospy in the system's Python: apt-get install {PACKAGES} (Debian, Ubuntu), or source "
        "the setup.bash of a ROS 1 installation; without ROS 1 on this machine use transport rosbridge"
    )


class _TimeoutTransport(xmlrpc.client.Transport):
    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection


def probe_master(master: str, timeout: float) -> None:
    """Raises `TransportError` unless a ROS 1 master answers within `timeout` seconds; rospy would wait for ever."""
    parts = urlsplit(master)
    if parts.scheme != "http" or not parts.hostname:
        raise TransportError(f"the ROS 1 master is {master!r}, expected e.g. {DEFAULT_MASTER}")
    try:
        xmlrpc.client.ServerProxy(master, transport=_TimeoutTransport(timeout)).getPid("/dynrl")
    except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
        raise TransportError(
            f"no ROS 1 master answers at {master} within {timeout:g} s ({error}): start `rosmaster --core` (or "
            "roscore), or name another with ROS_MASTER_URI"
        ) from error


def ros1_definition(types: MessageTypes, name: str) -> tuple[str, str]:
    """(text with nested types, md5 sum) of a message as ROS 1 knows it.

    Raises:
        MessageError: ROS 1 and ROS 2 have this type with different fields.
    """
    from rosbags.typesys import Stores, get_typestore

    noetic = get_typestore(Stores.ROS1_NOETIC)
    if name not in noetic.fielddefs:
        return types.store.generate_msgdef(name, ros_version=1)
    if _layout(noetic.fielddefs, name) != _layout(types.store.fielddefs, name):
        raise MessageError(
            f"{name} has other fields in ROS 1 than in ROS 2 {types.distro}: it cannot be used here"
        )
    return noetic.generate_msgdef(name, ros_version=1)


def _layout(definitions: Any, name: str) -> list[Any]:
    from rosbags.interfaces import Nodetype

    layout: list[Any] = []
    for field, (kind, detail) in definitions[name][1]:
        if name == "std_msgs/msg/Header" and field == "seq":
            continue  # which the byte converters of rosbags add and take away
        if kind == Nodetype.NAME:
            layout.append(_layout(definitions, detail))
        elif kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) and detail[0][0] == Nodetype.NAME:
            layout.append((kind, detail[1], _layout(definitions, detail[0][1])))
        else:
            layout.append((kind, _octets_alike(detail)))
    return layout


def _octets_alike(detail: Any) -> Any:
    if isinstance(detail, tuple):
        return tuple(_octets_alike(part) for part in detail)
    return "uint8" if detail in ("byte", "char", "octet") else detail


def _has_header(types: MessageTypes, name: str) -> bool:
    from rosbags.interfaces import Nodetype

    fields = types.fields(name)
    return name == "std_msgs/msg/Header" or bool(
        fields and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")
    )


def _is_local(host: str) -> bool:
    if host in ("localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
