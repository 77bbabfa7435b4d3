"""Transports that speak through a process of their own: what `ros1` and `rosbridge` share."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from dynrl.robots.messages import Malformed, MalformedMessage, MessageTypes, message_types
from dynrl.robots.transports.base import (
    COMMAND,
    ESTOP_RESET,
    Endpoint,
    Endpoints,
    Matched,
    Received,
    SecurityError,
    TransportError,
    TransportOptions,
)
from dynrl.robots.transports.bridges import framing
from dynrl.robots.transports.security import check_plain

START_TIMEOUT = 15.0
CLOSE_TIMEOUT = 2.0
_CHUNK = 1 << 18


class BridgeTransport(ABC):
    """One side of a connection, carried by a child process.

    Receive times are taken in the child at the moment of arrival. When the child or its connection is lost, `matched`
    says `alive=False`, and what is published goes nowhere.

    Args:
        endpoints: what to read and write.
        options: how to connect.
        types: message types; those of `options` if absent.
    """

    name = ""

    def __init__(
        self, endpoints: Endpoints, options: TransportOptions | None = None, types: MessageTypes | None = None
    ) -> None:
        self.endpoints = endpoints
        self.options = options or TransportOptions()
        self.types = types or message_types(self.options.ros_distro, tuple(self.options.messages))
        self._numbers = {endpoint.channel: index for index, endpoint in enumerate(endpoints.writers)}
        self._readers = _one_per_topic(endpoints.readers)
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._incoming = framing.FrameReader()
        self._inbox: list[Received] = []
        self._pending = b""
        self._status: dict[str, Any] = {}
        self._heard: set[str] = set()  # channels that spoke since the last status
        self._lost = ""
        self.dropped = 0

    @abstractmethod
    def _start(self) -> tuple[list[str], dict[str, Any]]:
        """(command line without the descriptor, content of the SETUP frame)."""

    @abstractmethod
    def _encode(self, endpoint: Endpoint, message: Any) -> bytes:
        """What the child wants to publish."""

    @abstractmethod
    def _decode(self, endpoint: Endpoint, body: bytes) -> bytes:
        """CDR bytes of what the child received; raises `MalformedMessage`."""

    @abstractmethod
    def _describe(self, status: dict[str, Any]) -> Matched:
        """What a STATUS frame means."""

    def open(self) -> None:
        if self._process is not None:
            raise TransportError("this transport is open already")
        if self.options.security is not None:
            raise SecurityError(f"--security: transport {self.name} has no security; use ros2 with rclpy")
        check_plain(self.name)
        command, setup = self._start()
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the transport)
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        self._connection = ours
        try:
            ours.sendall(framing.json_frame(framing.SETUP, setup))
            self._await_ready()
        except BaseException:
            self.close()
            raise
        ours.setblocking(False)

    def _await_ready(self) -> None:
        assert self._connection is not None
        deadline = time.monotonic() + START_TIMEOUT + self.options.timeout
        while not self._status:
            readable, _, _ = select.select([self._connection], [], [], max(deadline - time.monotonic(), 0))
            data = self._connection.recv(_CHUNK) if readable else b""
            if not data:
                state = "ended" if readable else "said nothing"
                raise TransportError(
                    f"the process that speaks {self.name} {state}: {self._last_words() or 'no reason given'}"
                )
            self._take_in(data)
            if self._lost:
                raise TransportError(f"{self.name}: {self._lost}")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def poll(self) -> list[Received]:
        self._need_open()
        self._pump()
        received, self._inbox = self._inbox, []
        return received

    def _pump(self) -> None:
        if self._connection is None or self._lost:
            return
        try:
            self._flush()
            while data := self._connection.recv(_CHUNK):
                self._take_in(data)
            self._lost = f"the process that speaks {self.name} ended: {self._last_words()}"
        except BlockingIOError:
            pass  # nothing more has come, or nothing more can be sent, for now
        except (ConnectionError, ValueError) as error:
            self._lost = f"the process that speaks {self.name} is gone: {error}"

    def _take_in(self, data: bytes) -> None:
        for kind, payload in self._incoming.feed(data):
            if kind == framing.MESSAGE:
                self._inbox.append(self._received(payload))
                self._heard.add(self._inbox[-1].source)
            elif kind == framing.STATUS:
                self._status = json.loads(payload)
                self._heard.clear()
            elif kind == framing.FAILED:
                self._lost = json.loads(payload)

    def _received(self, payload: bytes) -> Received:
        number, when = framing.MESSAGE_HEAD.unpack_from(payload)
        endpoint = self._readers[number]
        body = payload[framing.MESSAGE_HEAD.size :]
        try:
            raw = self._decode(endpoint, body)
        except MalformedMessage as error:
            return Received(endpoint.channel, when, Malformed(str(error)), body)
        return Received(endpoint.channel, when, self.types.decode(raw, endpoint.type), raw)

    def publish(self, channel: str, message: Any) -> None:
        self._need_open()
        endpoint = self.endpoints.writer(channel)
        if message.__msgtype__ != endpoint.type:
            raise TransportError(f"channel {channel!r} carries {endpoint.type}, not {message.__msgtype__}")
        body = self._encode(endpoint, message)
        if self._lost:
            return
        try:
            self._flush()
            if self._pending:  # the child does not keep up: a stale command is worse than none
                self.dropped += 1
                return
            number = framing.PUBLISH_HEAD.pack(self._numbers[channel])
            self._pending = framing.frame(framing.PUBLISH, number + body)
            self._flush()
        except BlockingIOError:
            pass  # the rest is sent at the next call
        except ConnectionError as error:
            self._lost = f"the process that speaks {self.name} is gone: {error}"

    def _flush(self) -> None:
        assert self._connection is not None
        while self._pending:
            self._pending = self._pending[self._connection.send(self._pending) :]

    def matched(self) -> Matched:
        self._pump()
        if self._connection is None:
            return Matched(alive=False, subscribers=0)
        if self._lost:
            return Matched(alive=False, subscribers=0, notices=(self._lost,))
        matched = self._describe(self._status)
        if not self._heard:
            return matched
        # The status comes ten times a second; who spoke since is there, whatever it says.
        heard = {channel: max(matched.publishers.get(channel, 0), 1) for channel in self._heard}
        return replace(matched, publishers={**matched.publishers, **heard})

    def _command_and_reset(self) -> tuple[Endpoint | None, Endpoint | None]:
        command = next((e for e in self.endpoints.writers if e.channel == COMMAND), None)
        reset = next((e for e in self._readers if e.channel == ESTOP_RESET), None)
        return command, reset

    def close(self) -> None:
        connection, self._connection = self._connection, None
        process, self._process = self._process, None
        self._status, self._pending, self._lost = {}, b"", ""
        self._incoming, self._inbox, self._heard = framing.FrameReader(), [], set()
        if connection is not None:
            connection.close()  # the child ends when its end of the socket reads nothing more
        if process is not None:
            try:
                process.wait(CLOSE_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._errors.close()

    def _need_open(self) -> None:
        if self._connection is None:
            raise TransportError("this transport is not open")


def _one_per_topic(readers: tuple[Endpoint, ...]) -> list[Endpoint]:
    """Reliability is a matter of DDS alone: elsewhere a second reader of a topic would only hear everything twice."""
    kept: dict[tuple[str, str], Endpoint] = {}
    for endpoint in readers:
        kept.setdefault((endpoint.channel, endpoint.topic), endpoint)
    return list(kept.values())
