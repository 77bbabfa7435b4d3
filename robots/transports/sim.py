"""Transport `sim`: queues inside one process, with the matching rules, the names and the bytes of ROS 2.

Messages are written to CDR bytes and read back, so that a wrong layout shows here too. With a `VirtualClock` the
whole exchange is lock-step and bit-reproducible; with a `MonotonicClock` sides may live in different threads.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any

from dynrl.robots.clocks import Clock, VirtualClock
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports.base import (
    COMMAND,
    ESTOP_RESET,
    Endpoint,
    Endpoints,
    Matched,
    Received,
    TransportError,
)
from dynrl.robots.transports.qos import mismatch


class _Reader:
    """Keeps (arrival time, order of arrival, bytes); they are decoded when they are polled, by whoever polls."""

    def __init__(self, endpoint: Endpoint, side: SimTransport) -> None:
        self.endpoint = endpoint
        self.side = side
        self.queue: deque[tuple[int, int, bytes]] = deque(maxlen=endpoint.qos.depth)


class _Writer:
    """Knows the readers it connects to, as of the last change of the network."""

    def __init__(self, endpoint: Endpoint, side: SimTransport) -> None:
        self.endpoint = endpoint
        self.side = side
        self.kept: deque[bytes] = deque(maxlen=endpoint.qos.depth)
        self.connected: list[_Reader] = []
        self.connected_at = -1


class SimNetwork:
    """What the sides of a simulation are plugged into.

    Args:
        clock: stamps what arrives.
        types: message types.
        delay_ns: how long a message travels; only a virtual clock can delay.

    Raises:
        TransportError: a delay with another than a virtual clock.
    """

    def __init__(self, clock: Clock, types: MessageTypes | None = None, delay_ns: int = 0) -> None:
        if delay_ns and not isinstance(clock, VirtualClock):
            raise TransportError("only a simulation in virtual time can delay messages: use a VirtualClock")
        self.clock = clock
        self.types = types or message_types()
        self.delay_ns = delay_ns
        self.readers: list[_Reader] = []
        self.writers: list[_Writer] = []
        self.lock = threading.RLock()
        self.changes = 0
        self.arrivals = itertools.count()

    def join(self, endpoints: Endpoints) -> SimTransport:
        """A new side; it is connected when it is opened."""
        return SimTransport(self, endpoints)


class SimTransport:
    """One side of a `SimNetwork`. Sides may be used from different threads, one thread each."""

    def __init__(self, network: SimNetwork, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._network = network
        self._readers: list[_Reader] = []
        self._writers: dict[str, _Writer] = {}
        self._open = False
        self._matched = Matched(alive=False, subscribers=0)
        self._matched_at = -1

    @classmethod
    def pair(
        cls,
        deployer: Endpoints,
        twin: Endpoints,
        clock: Clock,
        types: MessageTypes | None = None,
        delay_ns: int = 0,
    ) -> tuple[SimTransport, SimTransport]:
        """(deployer side, twin side) on a network of their own."""
        network = SimNetwork(clock, types, delay_ns)
        return network.join(deployer), network.join(twin)

    def open(self) -> None:
        if self._open:
            raise TransportError("this side of the simulation is open already")
        for endpoint in (*self.endpoints.readers, *self.endpoints.writers):
            self._network.types.type(endpoint.type)
        with self._network.lock:
            self._readers = [_Reader(endpoint, self) for endpoint in self.endpoints.readers]
            self._writers = {e.channel: _Writer(e, self) for e in self.endpoints.writers}
            self._network.readers += self._readers
            self._network.writers += self._writers.values()
            self._open = True
            self._network.changes += 1
            for reader in self._readers:
                if reader.endpoint.qos.durability == "transient_local":
                    self._catch_up(reader)

    def close(self) -> None:
        with self._network.lock:
            self._network.readers[:] = [reader for reader in self._network.readers if reader.side is not self]
            self._network.writers[:] = [writer for writer in self._network.writers if writer.side is not self]
            self._open = False
            self._network.changes += 1

    def poll(self) -> list[Received]:
        with self._network.lock:
            self._need_open()
            arrived = []
            for reader in self._readers:
                if reader.queue:
                    arrived += [(when, order, reader.endpoint, raw) for when, order, raw in reader.queue]
                    reader.queue.clear()
        if len(arrived) > 1:
            arrived.sort(key=lambda entry: entry[1])
        decode = self._network.types.decode
        return [
            Received(endpoint.channel, when, decode(raw, endpoint.type), raw)
            for when, _, endpoint, raw in arrived
        ]

    def publish(self, channel: str, message: Any) -> None:
        writer = self._writers.get(channel)
        if writer is None or message.__msgtype__ != writer.endpoint.type:
            wanted = self.endpoints.writer(channel).type
            self._need_open()
            raise TransportError(f"channel {channel!r} carries {wanted}, not {message.__msgtype__}")
        self._send(writer, self._network.types.serialize(message))

    def publish_raw(self, channel: str, raw: bytes) -> None:
        """Send bytes as they are, right or wrong: faults and replays do that."""
        self._need_open()
        self._send(self._writers[channel], raw)

    def _send(self, writer: _Writer, raw: bytes) -> None:
        network = self._network
        with network.lock:
            self._need_open()
            if writer.endpoint.qos.durability == "transient_local":
                writer.kept.append(raw)
            if writer.connected_at != network.changes:
                writer.connected = [r for r in network.readers if _connects(writer.endpoint, r.endpoint)]
                writer.connected_at = network.changes
            for reader in writer.connected:
                self._deliver(reader, raw)

    def _deliver(self, reader: _Reader, raw: bytes) -> None:
        network = self._network
        if network.delay_ns and isinstance(network.clock, VirtualClock):
            network.clock.at(network.clock.now_ns() + network.delay_ns, lambda: self._arrive(reader, raw))
        else:
            self._arrive(reader, raw)

    def _arrive(self, reader: _Reader, raw: bytes) -> None:
        reader.queue.append((self._network.clock.now_ns(), next(self._network.arrivals), raw))

    def matched(self) -> Matched:
        with self._network.lock:
            if self._matched_at != self._network.changes:
                self._matched = self._look_around()
                self._matched_at = self._network.changes
            return self._matched

    def _look_around(self) -> Matched:
        writers, readers = self._network.writers, self._network.readers
        command, reset = self._writers.get(COMMAND), _of_channel(self._readers, ESTOP_RESET)
        resetters = _others(writers, reset.endpoint, self) if reset else ()
        return Matched(
            alive=self._open,
            subscribers=_count(r for r in readers if command and _connects(command.endpoint, r.endpoint)),
            publishers=self._publishers(),
            other_writers=_others(writers, command.endpoint, self) if command else (),
            other_resetters=resetters if len(resetters) > 1 else (),
            incompatible=self._incompatible(),
        )

    def _publishers(self) -> dict[str, int]:
        counts = dict.fromkeys((reader.endpoint.channel for reader in self._readers), 0)
        for reader in self._readers:
            found = _count(w for w in self._network.writers if _connects(w.endpoint, reader.endpoint))
            counts[reader.endpoint.channel] = max(counts[reader.endpoint.channel], found)
        return counts

    def _incompatible(self) -> tuple[str, ...]:
        lines: dict[str, None] = {}  # a set that keeps its order
        for reader in self._readers:
            for writer in self._network.writers:
                reason = _obstacle(writer.endpoint, reader.endpoint)
                if reason and not self._heard_otherwise(writer, reader):
                    lines[_line(reader.endpoint, reason, writer.side)] = None
        for writer in self._writers.values():
            for reader in self._network.readers:
                reason = _obstacle(writer.endpoint, reader.endpoint)
                if reason and not reader.side._heard_otherwise(writer, reader):
                    lines[_line(writer.endpoint, reason, reader.side)] = None
        return tuple(lines)

    def _heard_otherwise(self, writer: _Writer, reader: _Reader) -> bool:
        """Whether another reader on the same channel of this side hears the writer."""
        return any(
            other.endpoint.channel == reader.endpoint.channel and _connects(writer.endpoint, other.endpoint)
            for other in self._readers
        )

    def _catch_up(self, reader: _Reader) -> None:
        for writer in self._network.writers:
            if writer.side is not self and _connects(writer.endpoint, reader.endpoint):
                for raw in writer.kept:
                    self._deliver(reader, raw)

    def _need_open(self) -> None:
        if not self._open:
            raise TransportError("this side of the simulation is not open")


def _connects(writer: Endpoint, reader: Endpoint) -> bool:
    return (
        writer.topic == reader.topic
        and writer.type == reader.type
        and mismatch(writer.qos, reader.qos) is None
    )


def _obstacle(writer: Endpoint, reader: Endpoint) -> str | None:
    if writer.topic != reader.topic:
        return None
    if writer.type != reader.type:
        return f"the writer's type is {writer.type}, the reader's is {reader.type}"
    return mismatch(writer.qos, reader.qos)


def _line(endpoint: Endpoint, reason: str, peer: SimTransport) -> str:
    return f"{endpoint.topic}: {reason}; the peer is {peer.endpoints.node}"


def _others(writers: list[_Writer], endpoint: Endpoint, side: SimTransport) -> tuple[str, ...]:
    return tuple(
        writer.side.endpoints.node
        for writer in writers
        if writer.side is not side and writer.endpoint.topic == endpoint.topic
    )


def _of_channel(readers: list[_Reader], channel: str) -> _Reader | None:
    return next((reader for reader in readers if reader.endpoint.channel == channel), None)


def _count(items: Any) -> int:
    return sum(1 for _ in items)
