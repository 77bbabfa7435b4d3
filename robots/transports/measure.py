"""How long a message takes to another process and back, beside bare CycloneDDS doing the same.

As a program it is the other process: `python -m dynrl.robots.transports.measure {bare,dynrl} DOMAIN`. It reads numbers
from standard input, answers so many messages for each, and prints the number when it has.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from dynrl.bench import Figure
from dynrl.errors import RunError
from dynrl.robots.messages import message_types
from dynrl.robots.transports.base import Endpoint, Endpoints, TransportOptions
from dynrl.robots.transports.discovery import SAFE_DOMAIN, discovery, ports
from dynrl.robots.transports.qos import PROFILES
from dynrl.robots.transports.ros2 import Ros2Transport

JOINTS = 12
JOINT_STATE = "sensor_msgs/msg/JointState"
BAR = 1.3
BATCH = 50
PATIENCE = 20.0


class End(Protocol):
    """One end of a conversation."""

    def send(self, number: float) -> None:
        """A message whose first position is `number`."""

    def receive(self) -> float | None:
        """The first position of the newest message; None if none has come."""

    def connected(self) -> bool:
        """Whether both directions are matched."""


def round_trip_figures(quick: bool) -> Iterator[Figure]:
    """Round trip of a joint state of 12 joints through a second process, reliable, against bare CycloneDDS.

    Short batches of both take turns, and each batch is compared with the one beside it, which saw the same load of the
    machine: the figure is the median of those ratios of medians.

    Raises:
        RunError: the second process does not answer.
    """
    # A domain each: one process has one configuration per domain, and the bare script sets its own.
    one, other = free_domains(2)
    peer: list[list[float]] = []
    measured: list[list[float]] = []
    with conversation("bare", one) as bare, conversation("dynrl", other) as ours:
        for _ in range(20 if quick else 100):
            peer.append(bare(BATCH))
            measured.append(ours(BATCH))
    ratio = float(np.median(np.median(measured, axis=1) / np.median(peer, axis=1)))
    yield Figure(
        name=f"DDS round trip of a JointState of {JOINTS} joints through another process, p50 against bare CycloneDDS",
        bar=f"<= {BAR}x",
        measured=f"{ratio:.2f}x ({_spread(measured)})",
        passed=ratio <= BAR,
        peer=f"bare CycloneDDS: {_spread(peer)}",
    )


def free_domains(count: int) -> list[int]:
    """Random DDS domains that no process of this machine is in.

    Raises:
        RunError: there are not so many.
    """
    free: list[int] = []
    for domain in random.sample(range(1, SAFE_DOMAIN + 1), SAFE_DOMAIN):
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(
                    ("0.0.0.0", ports(domain).start + 10)
                )  # where the first process of a domain listens
            except OSError:
                continue
        free.append(domain)
        if len(free) == count:
            return free
    raise RunError(f"only {len(free)} of the DDS domains 1 to {SAFE_DOMAIN} are not in use")


def _spread(seconds: list[list[float]]) -> str:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e6
    return f"p50 {p50:.0f} µs, p99 {p99:.0f} µs"


@contextmanager
def conversation(kind: str, domain: int) -> Iterator[Callable[[int], list[float]]]:
    """A function from a number of round trips to the seconds that each took.

    Args:
        kind: "bare" or "dynrl".
        domain: DDS domain.

    Raises:
        RunError: the other process does not answer.
    """
    command = [sys.executable, "-m", "dynrl.robots.transports.measure", kind, str(domain)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        with open_end(kind, domain, asks=True) as end:
            _wait(end.connected, f"the {kind} peer in another process does not appear")
            yield lambda count: _round_trips(end, process, count)
        process.kill()


def _round_trips(end: End, process: subprocess.Popen[str], count: int) -> list[float]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        end.send(float(number))
        while end.receive() != number:
            os.sched_yield()  # to the thread of CycloneDDS that receives, where there are few cores
            if time.perf_counter() - start > PATIENCE:
                raise RunError(f"message {number} of {count} was not answered within {PATIENCE:g} s")
        seconds.append(time.perf_counter() - start)
    process.stdout.readline()
    return seconds


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RunError(f"{otherwise} within {PATIENCE:g} s")
        time.sleep(0.01)


@contextmanager
def open_end(kind: str, domain: int, asks: bool) -> Iterator[End]:
    """The asking or the answering end of a kind of conversation."""
    if kind == "bare":
        yield BareEnd(domain, asks)
        return
    topics = ("/ask", "/answer") if asks else ("/answer", "/ask")
    writes, reads = (
        Endpoint(channel, f"/measure{topic}", JOINT_STATE, PROFILES["command"])
        for channel, topic in zip(("command", "states"), topics, strict=True)
    )
    node = "/measure/asks" if asks else "/measure/answers"
    transport = Ros2Transport(Endpoints(node, (reads,), (writes,)), TransportOptions(domain=domain))
    transport.open()
    try:
        yield DynrlEnd(transport)
    finally:
        transport.close()


class DynrlEnd:
    """The transport of this package."""

    def __init__(self, transport: Ros2Transport) -> None:
        self._transport = transport
        self._message = message_types().new(JOINT_STATE, **_content())

    def send(self, number: float) -> None:
        self._message.position[0] = number
        self._transport.publish("command", self._message)

    def receive(self) -> float | None:
        received = self._transport.poll()
        return float(received[-1].message.position[0]) if received else None

    def connected(self) -> bool:
        matched = self._transport.matched()
        return matched.subscribers == 1 and matched.publishers["states"] == 1


class BareEnd:
    """What a script without this package would do: classes of CycloneDDS's own, its own marshalling."""

    def __init__(self, domain: int, asks: bool) -> None:
        import cyclonedds.idl.types
        from cyclonedds.domain import Domain, DomainParticipant
        from cyclonedds.idl import make_idl_struct
        from cyclonedds.pub import DataWriter
        from cyclonedds.qos import Policy, Qos
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic

        idl: Any = cyclonedds.idl.types
        stamp: Any = make_idl_struct(
            "Time_", "builtin_interfaces::msg::dds_::Time_", {"sec": idl.int32, "nanosec": idl.uint32}
        )
        header: Any = make_idl_struct(
            "Header_", "std_msgs::msg::dds_::Header_", {"stamp": stamp, "frame_id": str}
        )
        numbers = idl.sequence[idl.float64]
        fields = {"header": header, "name": idl.sequence[str]}
        fields |= {"position": numbers, "velocity": numbers, "effort": numbers}
        struct: Any = make_idl_struct("JointState_", "sensor_msgs::msg::dds_::JointState_", fields)
        self._domain = Domain(domain, discovery(domain).config)
        participant = DomainParticipant(domain)
        topics = [Topic(participant, f"rt/bare/{name}", struct) for name in ("ask", "answer")]
        qos = Qos(Policy.Reliability.Reliable(2_000_000), Policy.History.KeepLast(1))
        self._writer = DataWriter(participant, topics[0 if asks else 1], qos=qos)
        self._reader = DataReader(participant, topics[1 if asks else 0], qos=qos)
        content = {key: list(value) for key, value in _content().items()}
        self._message = struct(
            header=header(stamp=stamp(sec=0, nanosec=0), frame_id=""), effort=[], **content
        )

    def send(self, number: float) -> None:
        self._message.position[0] = number
        self._writer.write(self._message)

    def receive(self) -> float | None:
        samples = self._reader.take(1)
        return samples[-1].position[0] if samples else None

    def connected(self) -> bool:
        return bool(self._writer.get_matched_subscriptions() and self._reader.get_matched_publications())


def _content() -> dict[str, Any]:
    return {
        "name": [f"joint_{index}" for index in range(JOINTS)],
        "position": np.zeros(JOINTS),
        "velocity": np.zeros(JOINTS),
    }


def answer(kind: str, domain: int) -> None:
    """The other process: send back what comes, as often as standard input says."""
    with open_end(kind, domain, asks=False) as end:
        for line in sys.stdin:
            for _ in range(int(line)):
                number = end.receive()
                while number is None:
                    os.sched_yield()
                    number = end.receive()
                end.send(number)
            print(line.strip(), flush=True)


if __name__ == "__main__":
    answer(sys.argv[1], int(sys.argv[2]))
