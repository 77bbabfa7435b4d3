"""A transport that misbehaves on schedule, around one that does not."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dynrl.robots.clocks import Clock, VirtualClock
from dynrl.robots.transports.base import CLOCK, COMMAND, TF, Endpoints, Matched, Received, Transport
from dynrl.robots.twin.faults import Direction, FaultError, FaultSchedule, ScheduledFault
from dynrl.robots.twin.mutations import mutated, set_stamp, stamp_ns

Connect = Callable[[Endpoints], Transport]

_CLOCK_KINDS = ("clock_back", "clock_forward", "clock_pause")
_RECONNECTING = ("qos_mismatch", "second_commander")
SECOND_COMMANDER = "/second_commander"


class FaultyTransport:
    """The twin's side of a connection, with faults on what it publishes (`state`) and on what it reads (`command`).

    Time runs from `start`. With a virtual clock delayed messages arrive at their exact time; otherwise at the first
    `pump` after it.

    Args:
        inner: the transport.
        schedule: the faults.
        clock: what `inner` stamps arrivals with.
        seed: of everything that is left to chance.
        endpoints: of `inner`; for faults that connect anew.
        connect: makes a transport to the same peers with other endpoints; for the same faults.

    Raises:
        FaultError: the schedule connects anew and `endpoints` or `connect` is missing.
    """

    def __init__(
        self,
        inner: Transport,
        schedule: FaultSchedule,
        clock: Clock,
        seed: int = 0,
        endpoints: Endpoints | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._inner = self._healthy = inner
        self._schedule, self._clock = schedule, clock
        self._rng = np.random.default_rng(seed)
        self._endpoints, self._connect = endpoints, connect
        for kind in _RECONNECTING:
            if schedule.of_kind(kind) and (endpoints is None or connect is None):
                raise FaultError(
                    f"fault {kind} needs a transport that can connect a second time; this one cannot"
                )
        self._origin_ns: int | None = None
        self._down = False
        self._intruder: Transport | None = None
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._arrived: list[Received] = []
        self._held: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._paused: dict[str, int] = {}

    def start(self) -> None:
        """Time zero of the schedule."""
        self._origin_ns = self._clock.now_ns()

    @property
    def seconds(self) -> float:
        """Since `start`; before it nothing is wrong."""
        return -1.0 if self._origin_ns is None else (self._clock.now_ns() - self._origin_ns) * 1e-9

    def open(self) -> None:
        self._inner.open()

    def close(self) -> None:
        self._stop_intruder()
        self._inner.close()

    def matched(self) -> Matched:
        return Matched(alive=False, subscribers=0) if self._down else self._inner.matched()

    @property
    def intruder(self) -> Transport | None:
        """The second commander's transport, while it is there."""
        return self._intruder

    def publish(self, channel: str, message: Any) -> None:
        """Send what the faults make of a message."""
        if channel == TF or self._down:
            if not self._down:
                self._inner.publish(channel, message)
            return
        faults = self._schedule.active(self.seconds, "state", channel)
        if channel == CLOCK:
            faults = [fault for fault in faults if fault.kind in _CLOCK_KINDS]
        for delay_ns, each in self._apply(channel, message, faults):
            self._later(delay_ns, partial(self._send, channel, each))

    def poll(self) -> list[Received]:
        """What the faults make of the commands that came."""
        self.pump()
        if not self._down:
            for received in self._inner.poll():
                direction: Direction = "command" if received.source == COMMAND else "state"
                faults = self._schedule.active(self.seconds, direction) if direction == "command" else []
                for delay_ns, message in self._apply(received.source, received.message, faults):
                    self._receive(received, message, delay_ns)
        arrived, self._arrived = self._arrived, []
        return arrived

    def pump(self) -> None:
        """Bring about what is due: delayed messages, connections that go and come back."""
        self._connections()
        now = self._clock.now_ns()
        while self._waiting and self._waiting[0][0] <= now:
            heapq.heappop(self._waiting)[2]()

    def _receive(self, received: Received, message: Any, delay_ns: int) -> None:
        def arrive() -> None:
            changed = message is not received.message or delay_ns
            now = self._clock.now_ns() if delay_ns else received.receive_ns
            self._arrived.append(received._replace(message=message, receive_ns=now) if changed else received)

        self._later(delay_ns, arrive)

    def _send(self, channel: str, message: Any) -> None:
        if not self._down:
            self._inner.publish(channel, message)

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        if not delay_ns:
            action()
            return
        due = self._clock.now_ns() + delay_ns
        if isinstance(self._clock, VirtualClock):
            self._clock.at(due, action)
        else:
            heapq.heappush(self._waiting, (due, next(self._sequence), action))

    def _apply(self, channel: str, message: Any, faults: list[ScheduledFault]) -> list[tuple[int, Any]]:
        """[(delay in ns, message)] of what one message becomes."""
        reorder = any(fault.kind == "reorder" for fault in faults)
        repeated = self._last.get(channel)
        delay_ns, copies = 0, 1
        for fault in faults:
            match fault.kind:
                case "stale":
                    copies = 0
                case "drop":
                    copies = 0 if self._rng.random() < fault.value else copies
                case "duplicate":
                    copies *= 2
                case "delay":
                    delay_ns += round(fault.value * 1e6)
                case "jitter":
                    delay_ns += round(self._rng.uniform(0, fault.value) * 1e6)
                case "freeze":
                    message = message if repeated is None else repeated
                case "clock_pause":
                    message = self._with_paused_stamp(channel, fault, message)
                case _:
                    message = mutated(message, fault, self._rng)
        if not any(fault.kind == "freeze" for fault in faults):
            self._last[channel] = message
        outgoing = [message] * copies
        if channel in self._held:
            outgoing = [*outgoing, self._held.pop(channel)]
        elif reorder and outgoing:
            self._held[channel] = outgoing.pop()
        return [(delay_ns, each) for each in outgoing]

    def _with_paused_stamp(self, channel: str, fault: ScheduledFault, message: Any) -> Any:
        now = stamp_ns(message)
        if now is None:
            return message
        key = f"{channel} {fault}"
        changed = mutated(message, replace(fault, kind="clock_back", value=0.0), self._rng)
        set_stamp(changed, self._paused.setdefault(key, now))
        return changed

    def _connections(self) -> None:
        seconds = self.seconds
        self._set_down(any(fault.active(seconds) for fault in self._schedule.of_kind("disconnect")))
        self._set_mismatch(any(fault.active(seconds) for fault in self._schedule.of_kind("qos_mismatch")))
        intruding = any(fault.active(seconds) for fault in self._schedule.of_kind("second_commander"))
        if intruding and self._intruder is None and self._endpoints is not None and self._connect is not None:
            command = replace(self._reader(), qos=replace(self._reader().qos, reliability="reliable"))
            self._intruder = self._connect(Endpoints(SECOND_COMMANDER, (), (command,)))
            self._intruder.open()
        elif not intruding:
            self._stop_intruder()

    def _set_down(self, down: bool) -> None:
        if down == self._down:
            return
        self._down = down
        if down:
            self._inner.close()
        else:
            self._inner.open()

    def _set_mismatch(self, mismatch: bool) -> None:
        if mismatch == (self._inner is not self._healthy):
            return
        if not mismatch:
            self._inner.close()
            self._inner = self._healthy
        elif self._endpoints is not None and self._connect is not None:
            self._inner.close()
            reader = self._reader()
            demanding = replace(
                reader, qos=replace(reader.qos, durability="transient_local", reliability="reliable")
            )
            self._inner = self._connect(replace(self._endpoints, readers=(demanding,)))
        self._inner.open()

    def _reader(self) -> Any:
        assert self._endpoints is not None
        return next(endpoint for endpoint in self._endpoints.readers if endpoint.channel == COMMAND)

    def _stop_intruder(self) -> None:
        if self._intruder is not None:
            self._intruder.close()
            self._intruder = None
