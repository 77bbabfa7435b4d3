"""A rosbridge client: roslibpy and its Twisted reactor, which cannot be started twice in one process.

Usage: python -m dynrl.robots.transports.bridges.rosbridge_client DESCRIPTOR (of an open Unix socket; see `framing`).
Messages reach the control loop as CDR bytes. Nothing is queued while the server is away: a command that comes late is
worse than none.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
from roslibpy import Message, Ros
from roslibpy.comm import comm_autobahn
from roslibpy.comm.comm import RosBridgeException
from roslibpy.core import RosTimeoutError
from twisted.internet import reactor, task

from dynrl.robots.messages import MalformedMessage, MessageTypes, message_types
from dynrl.robots.transports.bridges import framing
from dynrl.robots.transports.rosbridge_json import from_json

STATUS_PERIOD, ROSAPI_PERIOD = 0.1, 1.0
LEAVING = 1.0
LARGEST_FRAGMENTS = 1 << 28
MAX_DELAY = 1.0
# What a frame that is no operation of the protocol can raise on its way through the decoders.
BROKEN = (ValueError, KeyError, TypeError, OSError, cbor2.CBORDecodeError, RosBridgeException)
# RFC 8746, little endian and single octets
TYPED_ARRAYS = {
    64: "u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: "i1",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    84: "<f2",
    85: "<f4",
    86: "<f8",
}


class Protocol(comm_autobahn.AutobahnRosBridgeProtocol):
    """What roslibpy leaves out: fragments, pictures of text, CBOR, status messages."""

    client: Client

    def onOpen(self) -> None:
        self._fragments: dict[str, dict[int, str]] = {}
        super().onOpen()
        self.client.connected(self)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.client.disconnected(self)
        super().onClose(wasClean, code, reason)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            self.handle(_untagged(cbor2.loads(payload)) if isBinary else json.loads(payload))
        except BROKEN as error:
            self.client.notice(
                f"a frame of the rosbridge server was dropped: {type(error).__name__}: {error}"
            )

    def handle(self, content: dict[str, Any]) -> None:
        """One operation of the server."""
        operation = content["op"]
        if operation == "fragment":
            self.assemble(content)
        elif operation == "png":
            self.handle(json.loads(_text_of_picture(content["data"])))
        elif operation == "status":
            self.client.notice(f"rosbridge {content.get('level')}: {content.get('msg')}")
        elif operation == "publish":
            self.client.received(content["topic"], content["msg"])
        else:
            self.on_message(json.dumps(content).encode())

    def assemble(self, content: dict[str, Any]) -> None:
        """Put a fragment to the others of its message."""
        parts = self._fragments.setdefault(str(content["id"]), {})
        parts[int(content["num"])] = content["data"]
        if sum(map(len, parts.values())) > LARGEST_FRAGMENTS:
            del self._fragments[str(content["id"])]
            raise ValueError(f"fragments of more than {LARGEST_FRAGMENTS} characters")
        if len(parts) == int(content["total"]):
            del self._fragments[str(content["id"])]
            self.handle(json.loads("".join(parts[number] for number in sorted(parts))))


def _untagged(value: Any) -> Any:
    """Decoded CBOR with typed arrays in the place of their tags."""
    if isinstance(value, dict):
        return {key: _untagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, cbor2.CBORTag):
        return value
    if value.tag not in TYPED_ARRAYS:
        raise ValueError(f"CBOR tag {value.tag} is not a typed array of little-endian numbers")
    return np.frombuffer(value.value, TYPED_ARRAYS[value.tag])


def _text_of_picture(data: str) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return picture.convert("RGB").tobytes().rstrip(b"\n\0").decode()


class Client:
    """Carries out what the control loop wants; all methods but `run` run in the reactor's thread."""

    def __init__(self, connection: socket.socket, setup: dict[str, Any], types: MessageTypes) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._setup = setup
        self._types = types
        self._by_topic = {reader["topic"]: number for number, reader in enumerate(setup["readers"])}
        self._protocol: Protocol | None = None
        self._ids = itertools.count(1)
        self._notices: list[str] = []
        self._rosapi: dict[str, list[str]] = {}
        self._rosapi_answers = True
        self._heard: set[str] = set()
        self._gone = threading.Event()

    def run(self, incoming: Any) -> None:
        """Until the control loop closes the connection."""
        Protocol.client = self
        comm_autobahn.AutobahnRosBridgeClientFactory.protocol = Protocol
        comm_autobahn.AutobahnRosBridgeClientFactory.set_initial_delay(0.1)
        comm_autobahn.AutobahnRosBridgeClientFactory.set_max_delay(MAX_DELAY)
        host, port, timeout = (self._setup[key] for key in ("host", "port", "timeout"))
        ros = Ros(host, port)
        try:
            ros.run(timeout)
        except RosTimeoutError:
            text = f"no rosbridge server answers at {host}:{port} within {timeout:g} s: start rosbridge_server there"
            self._send(framing.json_frame(framing.FAILED, text))
            return
        reactor.callFromThread(task.LoopingCall(self.report).start, STATUS_PERIOD)
        reactor.callFromThread(task.LoopingCall(self.ask).start, ROSAPI_PERIOD)
        for _, payload in incoming:
            reactor.callFromThread(self.publish, payload)
        reactor.callFromThread(self.leave)
        self._gone.wait(LEAVING)

    def connected(self, protocol: Protocol) -> None:
        """Subscribe and advertise, the first time and after each loss of the connection."""
        self._protocol = protocol
        for writer in self._setup["writers"]:
            extra = {"latch": True} if writer["latch"] else {}
            self._operation("advertise", topic=writer["topic"], type=writer["type"], **extra)
        for reader in self._setup["readers"]:
            self._operation(
                "subscribe",
                topic=reader["topic"],
                type=reader["type"],
                throttle_rate=0,
                queue_length=reader["queue_length"],
                compression=self._setup["compression"],
            )

    def disconnected(self, protocol: Protocol) -> None:
        """The server has gone."""
        if self._protocol is protocol:
            self._protocol = None
            self._rosapi, self._heard = {}, set()
            self._gone.set()
            self.report()

    def leave(self) -> None:
        """Tell the server that this was all."""
        self._gone.clear()
        for reader in self._setup["readers"]:
            self._operation("unsubscribe", topic=reader["topic"])
        if self._protocol is None:
            self._gone.set()
        else:
            self._protocol.send_close()

    def _operation(self, operation: str, **fields: Any) -> None:
        if self._protocol is not None:
            content = {"op": operation, "id": f"{operation}:{next(self._ids)}", **fields}
            self._protocol.sendMessage(json.dumps(content, allow_nan=False).encode())

    def publish(self, payload: bytes) -> None:
        """The message of a PUBLISH frame: JSON already."""
        (number,) = framing.PUBLISH_HEAD.unpack_from(payload)
        topic = self._setup["writers"][number]["topic"]
        self._operation("publish", topic=topic, msg=json.loads(payload[framing.PUBLISH_HEAD.size :]))

    def received(self, topic: str, content: Any) -> None:
        """A message that the server publishes to us."""
        now = time.monotonic_ns()
        number = self._by_topic[topic]
        self._heard.add(topic)
        name = self._setup["readers"][number]["ros_type"]
        try:
            raw = self._cdr(name, content)
        except MalformedMessage as error:
            raw = (
                b"\xff" + str(error).encode()
            )  # no encapsulation starts so: the control loop counts it as malformed
        self._send(framing.frame(framing.MESSAGE, framing.MESSAGE_HEAD.pack(number, now) + raw))

    def _cdr(self, name: str, content: Any) -> bytes:
        ros1 = self._setup["ros1"]
        if self._setup["compression"] == "cbor-raw":
            raw = bytes(content["bytes"])
            return bytes(self._types.store.ros1_to_cdr(raw, name)) if ros1 else raw
        return self._types.serialize(from_json(self._types, name, content, ros1))

    def ask(self) -> None:
        """Ask the server who else is on our topics."""
        if self._protocol is None:
            return
        wanted = [("publishers", reader["topic"]) for reader in self._setup["readers"]]
        for writer in self._setup["writers"]:
            if writer["watched"]:
                wanted += [("publishers", writer["topic"]), ("subscribers", writer["topic"])]
        for what, topic in wanted:
            request = Message(
                {
                    "op": "call_service",
                    "id": f"call_service:{next(self._ids)}",
                    "service": f"/rosapi/{what}",
                    "args": {"topic": topic},
                }
            )
            self._protocol.send_ros_service_request(
                request,
                lambda values, what=what, topic=topic: self.answered(what, topic, values),
                self.refused,
            )

    def answered(self, what: str, topic: str, values: Any) -> None:
        """An answer of rosapi."""
        self._rosapi_answers = True
        nodes = [str(node) for node in values.get(what, [])]
        self._rosapi[f"{what} {topic}"] = nodes
        if what == "publishers" and not nodes:
            self._heard.discard(topic)

    def refused(self, values: Any) -> None:
        """rosapi is not there."""
        self._rosapi_answers = False

    def notice(self, text: str) -> None:
        """A line that a person should see; the last few are kept."""
        self._notices = [*self._notices, text][-5:]

    def report(self) -> None:
        """A STATUS frame."""
        self._send(
            framing.json_frame(
                framing.STATUS,
                {
                    "alive": self._protocol is not None,
                    "rosapi": self._rosapi,
                    "rosapi_answers": self._rosapi_answers,
                    "heard": sorted(self._heard),
                    "notices": self._notices,
                },
            )
        )

    def _send(self, data: bytes) -> None:
        with (
            self._lock,
            contextlib.suppress(BrokenPipeError),
        ):  # the control loop has left; `run` is about to see it
            self._connection.sendall(data)


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    incoming = framing.frames(connection)
    _, payload = next(incoming)
    setup = json.loads(payload)
    types = message_types(setup["distro"], tuple(Path(folder) for folder in setup["messages"]))
    Client(connection, setup, types).run(incoming)


if __name__ == "__main__":
    main()
