"""A rosbridge server for tests: passes messages between its clients, checks every operation against the protocol.

Usage: python rosbridge_server.py PORT. Commands come as JSON lines on standard input, reports leave as JSON lines on
standard output:
    {"do": "close"}                          drop all clients
    {"do": "mode", "fragment": 40}           from now on cut what is published into fragments of 40 characters
    {"do": "publish", "topic": t, "msg": m}  publish to the subscribers of t
    {"do": "raw", "text": s}                 send s, whatever it is, to all clients
    {"do": "rosapi", "answers": {"publishers /x": ["/node"]}}   what rosapi says; null: there is no rosapi
    {"do": "ops"}                            report all operations so far
"""

import asyncio
import base64
import io
import json
import sys
import threading
from typing import Any

import cbor2
import numpy as np
from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol
from PIL import Image

NAME, TEXT, NUMBER, OBJECT = str, str, int, dict
OPERATIONS: dict[str, dict[str, Any]] = {
    "advertise": {"topic": NAME, "type": NAME},
    "unadvertise": {"topic": NAME},
    "publish": {"topic": NAME, "msg": OBJECT},
    "subscribe": {
        "topic": NAME,
        "type": NAME,
        "throttle_rate": NUMBER,
        "queue_length": NUMBER,
        "compression": NAME,
    },
    "unsubscribe": {"topic": NAME},
    "call_service": {"service": NAME, "args": OBJECT},
}
OPTIONAL = {"id": TEXT, "latch": bool}
TYPED_ARRAY = {"<f8": 86}


def violations(content: dict[str, Any]) -> list[str]:
    """What is wrong with an operation that a client sent."""
    operation = content.get("op")
    if operation not in OPERATIONS:
        return [f"unknown operation {operation!r}"]
    wanted = OPERATIONS[operation]
    found = [f"{operation} lacks {key}" for key in wanted if key not in content]
    for key, value in content.items():
        kind = {**wanted, **OPTIONAL, "op": str}.get(key)
        if kind is None:
            found.append(f"{operation} has the field {key!r}")
        elif not isinstance(value, kind):
            found.append(f"{operation}: {key} is {value!r}")
    if content.get("compression", "none") not in ("none", "png", "cbor", "cbor-raw"):
        found.append(f"compression {content['compression']!r}")
    if operation == "call_service" and not isinstance(content.get("id"), str):
        found.append("call_service without an id")
    return found


class Server:
    """All connections, and what was said on them."""

    def __init__(self) -> None:
        self.clients: list[Connection] = []
        self.operations: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.fragment = 0
        self.rosapi: dict[str, list[str]] | None = {}

    def publish(self, topic: str, message: Any) -> None:
        for client in self.clients:
            if topic in client.subscriptions:
                client.deliver(topic, message, client.subscriptions[topic])

    def command(self, content: dict[str, Any]) -> None:
        what = content["do"]
        if what == "close":
            for client in list(self.clients):
                client.dropConnection(abort=True)
        elif what == "mode":
            self.fragment = content["fragment"]
        elif what == "publish":
            self.publish(content["topic"], content["msg"])
        elif what == "raw":
            for client in self.clients:
                client.sendMessage(content["text"].encode())
        elif what == "rosapi":
            self.rosapi = content["answers"]
        elif what == "ops":
            say({"ops": self.operations, "violations": self.violations})


SERVER = Server()


class Connection(WebSocketServerProtocol):
    def onOpen(self) -> None:
        self.subscriptions: dict[str, str] = {}
        SERVER.clients.append(self)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        if self in SERVER.clients:
            SERVER.clients.remove(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        content = json.loads(payload, parse_constant=lambda word: SERVER.violations.append(f"sent {word}"))
        SERVER.operations.append(content)
        SERVER.violations += violations(content)
        operation = content["op"]
        if operation == "subscribe":
            self.subscriptions[content["topic"]] = content["compression"]
        elif operation == "unsubscribe":
            self.subscriptions.pop(content["topic"], None)
        elif operation == "publish":
            SERVER.publish(content["topic"], content["msg"])
        elif operation == "call_service":
            self.answer(content)

    def answer(self, content: dict[str, Any]) -> None:
        what = content["service"].removeprefix("/rosapi/")
        known = SERVER.rosapi is not None
        values = {what: (SERVER.rosapi or {}).get(f"{what} {content['args'].get('topic')}", [])}
        response = {"op": "service_response", "id": content["id"], "service": content["service"]}
        response |= {"values": values if known else "no such service", "result": known}
        self.sendMessage(json.dumps(response).encode())

    def deliver(self, topic: str, message: Any, compression: str) -> None:
        content = {"op": "publish", "topic": topic, "msg": message}
        if compression in ("cbor", "cbor-raw"):
            if compression == "cbor-raw":
                content["msg"] = {"secs": 0, "nsecs": 0, "bytes": base64.b64decode(message["bytes"])}
            self.sendMessage(cbor2.dumps(typed(content)), isBinary=True)
        elif compression == "png":
            data = json.dumps({"op": "png", "data": picture(json.dumps(content))})
            self.sendMessage(data.encode())
        elif SERVER.fragment:
            self.send_fragments(json.dumps(content))
        else:
            self.sendMessage(json.dumps(content).encode())

    def send_fragments(self, text: str) -> None:
        size = SERVER.fragment
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        for number in reversed(range(len(pieces))):  # out of order: the numbers count, not the arrival
            part = {"op": "fragment", "id": "f", "data": pieces[number], "num": number, "total": len(pieces)}
            self.sendMessage(json.dumps(part).encode())


def typed(value: Any) -> Any:
    """Lists of floats as typed arrays, as the server of ROS does."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        return cbor2.CBORTag(TYPED_ARRAY["<f8"], np.array(value, "<f8").tobytes())
    return value


def picture(text: str) -> str:
    """Text as the pixels of a PNG, padded with line feeds."""
    data = text.encode()
    width = int(np.ceil(np.sqrt(len(data) / 3)))
    height = int(np.ceil(len(data) / 3 / width))
    pixels = data.ljust(width * height * 3, b"\n")
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def say(content: Any) -> None:
    print(json.dumps(content), flush=True)


def read_commands(loop: asyncio.AbstractEventLoop) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(SERVER.command, json.loads(line))
    loop.call_soon_threadsafe(loop.stop)


def main() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    factory = WebSocketServerFactory()
    factory.protocol = Connection
    loop.run_until_complete(loop.create_server(factory, "127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=read_commands, args=(loop,), daemon=True).start()
    say({"listening": int(sys.argv[1])})
    loop.run_forever()


if __name__ == "__main__":
    main()
