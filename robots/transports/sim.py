"""Transport `sim`: queues inside one process, with the matching rules, the names and the bytes of ROS 2.

Messages are written to CDR bytes and read back, so that a wrong layout shows here too. With a `VirtualClock` the
whole exchange is lock-step and bit-reproducible; with a `MonotonicClock` sides may live in different threads.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
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


@dataclass
class _Reader:
    endpoint: Endpoint
    side: SimTransport


@dataclass
class _Writer:
    endpoint: Endpoint
    side: SimTransport
    kept: deque[bytes] = field(default_factory=deque)


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

    def join(self, endpoints: Endpoints) -> SimTransport:
        """A new side; it is connected when it is opened."""
        return SimTransport(self, endpoints)


class SimTransport:
    """One side of a `SimNetwork`. Sides may be used from different threads, one thread each."""

    def __init__(self, network: SimNetwork, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._network = network
        self._arrived: dict[int, deque[tuple[int, int, Received]]] = {}
        self._sequence = 0
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
            self._arrived = {id(reader): deque(maxlen=reader.endpoint.qos.depth) for reader in self._readers}
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
            arrived = sorted(entry for queue in self._arrived.values() for entry in queue)
            for queue in self._arrived.values():
                queue.clear()
        return [received for _, _, received in arrived]

    def publish(self, channel: str, message: Any) -> None:
        wanted = self.endpoints.writer(channel).type
        if message.__msgtype__ != wanted:
            raise TransportError(f"channel {channel!r} carries {wanted}, not {message.__msgtype__}")
        self.publish_raw(channel, self._network.types.serialize(message))

    def publish_raw(self, channel: str, raw: bytes) -> None:
        """Send bytes as they are, right or wrong: faults and replays do that."""
        with self._network.lock:
            self._need_open()
            writer = self._writers[channel]
            if writer.endpoint.qos.durability == "transient_local":
                writer.kept.append(raw)
                while len(writer.kept) > writer.endpoint.qos.depth:
                    writer.kept.popleft()
            for reader in self._network.readers:
                if _connects(writer.endpoint, reader.endpoint):
                    reader.side._deliver(reader, raw, self._network.delay_ns)

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
        ours = {reader.endpoint.channel: False for reader in self._readers}
        lines: dict[str, None] = {}
        for reader in self._readers:
            for writer in self._network.writers:
                ours[reader.endpoint.channel] |= _connects(writer.endpoint, reader.endpoint)
        for reader in self._readers:
            for writer in self._network.writers:
                reason = _obstacle(writer.endpoint, reader.endpoint)
                if reason and not ours[reader.endpoint.channel]:
                    lines[f"{reader.endpoint.topic}: {reason}; the peer is {writer.side.endpoints.node}"] = (
                        None
                    )
        for writer in self._writers.values():
            for reader in self._network.readers:
                reason = _obstacle(writer.endpoint, reader.endpoint)
                if reason:
                    lines[f"{writer.endpoint.topic}: {reason}; the peer is {reader.side.endpoints.node}"] = (
                        None
                    )
        return tuple(lines)

    def _catch_up(self, reader: _Reader) -> None:
        for writer in self._network.writers:
            if writer.side is not self and _connects(writer.endpoint, reader.endpoint):
                for raw in writer.kept:
                    self._deliver(reader, raw, self._network.delay_ns)

    def _deliver(self, reader: _Reader, raw: bytes, delay_ns: int) -> None:
        clock = self._network.clock
        if delay_ns and isinstance(clock, VirtualClock):
            clock.at(clock.now_ns() + delay_ns, lambda: self._deliver(reader, raw, 0))
            return
        queue = self._arrived.get(id(reader))
        if queue is None or not self._open:
            return  # closed while the message travelled
        self._sequence += 1
        now = clock.now_ns()
        message = self._network.types.decode(raw, reader.endpoint.type)
        queue.append((now, self._sequence, Received(reader.endpoint.channel, now, message, raw)))

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
