"""The checks of one source: structure, finite numbers, quaternion, order, age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.robots.description import Source
from dynrl.robots.messages import Malformed
from dynrl.robots.safety import contents
from dynrl.robots.safety.faults import Fault, FaultKind

Floats = NDArray[np.float64]

SECOND = 1e9
SHORTEST_TIMEOUT = 0.02
CLOCK, CLOCK_TYPE = "clock", "rosgraph_msgs/msg/Clock"


@dataclass(slots=True)
class Order:
    """What the last accepted message of a stream was stamped and said, and since when stamps go backwards."""

    stamp: int | None = None
    data: tuple[Floats, ...] = ()
    backwards_since: int | None = None


class SourceCheck:
    """One source.

    Attributes:
        name, required: of the source; without a required one there is no deployment.
        fresh: consecutive good messages.
        jumps: consecutive messages dropped for a jump.
        counted: what the last message was found to be, for the counters.
        length: number of elements of an array message, where it is known.
        needs_rotation: the quaternion is used.
        looked_ns: when a tick last looked whether the source is silent.
        timeout_ns: largest age; None for sources that speak when they please.
        period_ns: between two messages; 0 for those.
    """

    def __init__(
        self, name: str, source: Source, kinds: frozenset[str], required: bool, period: float
    ) -> None:
        self.name, self.required = name, required
        self.fresh = 0
        self.jumps = 0
        self.counted: list[FaultKind] = []
        self.length: int | None = None
        self.needs_rotation = False
        self.looked_ns = 0
        self._kinds = kinds
        self.period_ns = int(SECOND / source.rate) if source.rate else 0
        self.timeout_ns = _timeout_ns(source, period)
        # Until a source without a rate has spoken it is waited for; after that it may be silent.
        self._heard_ns: int | None = None
        self._accepted_ns: int | None = None
        self._order = Order()

    def judge(self, message: Any, receive_ns: int) -> Fault | None:
        """What is wrong with a message; an accepted one is remembered."""
        self.counted = []
        found = self._content(message)
        if isinstance(found, Fault):
            return self._bad(found)
        fault = self._in_order(self._order, contents.stamp_ns(message), (found,), receive_ns)
        if fault is not None:
            return fault
        self._accept(receive_ns)
        self.fresh += 1
        return None

    def silence(self, now_ns: int) -> Fault | None:
        """STALE or FROZEN."""
        if self._heard_ns is None or self._accepted_ns is None:
            return Fault(FaultKind.STALE, self.name, "no message yet")
        if self.timeout_ns is None or now_ns - self._accepted_ns <= self.timeout_ns:
            return None
        limit = f"the limit is {self.timeout_ns / 1e6:g} ms"
        if now_ns - self._heard_ns > self.timeout_ns:
            age = (now_ns - self._heard_ns) / 1e6
            return Fault(FaultKind.STALE, self.name, f"no good message for {age:.1f} ms, {limit}")
        age = (now_ns - self._accepted_ns) / 1e6
        return Fault(FaultKind.FROZEN, self.name, f"the same message for {age:.1f} ms, {limit}")

    def _bad(self, fault: Fault) -> Fault:
        self.fresh = 0
        self.counted.append(fault.kind)
        return fault

    def _fault(self, kind: FaultKind, detail: str) -> Fault:
        """A message that is dropped; the deployment holds unless it can do without the source."""
        return Fault(kind, self.name, detail, dropped=True, holds=self.required)

    def _content(self, message: Any) -> Fault | Floats:
        """The numbers that are used, or why the message is dropped."""
        if (problem := not_decoded(message)) or (problem := contents.shape_error(message, self.length)):
            return self._fault(FaultKind.MALFORMED, problem)
        data = contents.numbers(message, self._kinds)
        rotation = contents.quaternion(message) if self.needs_rotation else None
        if rotation is not None:
            data = np.append(data, rotation)
        if not np.isfinite(data).all():
            return self._fault(FaultKind.NONFINITE_OBSERVATION, "a number that is used is not finite")
        if rotation is not None and not contents.quaternion_is_valid(*rotation):
            detail = f"quaternion {rotation} does not have norm 1"
            return Fault(FaultKind.MALFORMED, self.name, detail, dropped=True, holds=False)
        return data

    def _in_order(
        self, order: Order, stamp: int | None, data: tuple[Floats, ...], receive_ns: int
    ) -> Fault | None:
        """Drops repeated messages and those that come out of order; `order` remembers the others."""
        if stamp is not None and order.stamp is not None:
            if stamp < order.stamp:
                return self._backwards(order, stamp, data, receive_ns)
            if stamp == order.stamp and all(map(np.array_equal, data, order.data)):
                self._heard_ns = receive_ns
                self.counted.append(FaultKind.DUPLICATE)
                return Fault(
                    FaultKind.DUPLICATE, self.name, "the same message again", dropped=True, holds=False
                )
        order.backwards_since = None
        order.stamp, order.data = stamp, data
        return None

    def _backwards(self, order: Order, stamp: int, data: tuple[Floats, ...], receive_ns: int) -> Fault | None:
        """A stamp from the past is a late message; when it goes on for longer than the timeout, it is a new clock.

        A tick must have looked since: without one in between, the deployment would go on as if nothing had been lost.
        """
        self.counted.append(FaultKind.CLOCK_JUMP)
        if order.backwards_since is None:
            order.backwards_since = receive_ns
        if self.looked_ns - order.backwards_since > (self.timeout_ns or 0):
            order.backwards_since = None
            order.stamp, order.data = stamp, data
            return None
        behind = ((order.stamp or 0) - stamp) / 1e6
        detail = f"stamped {behind:.1f} ms before the message before it"
        return Fault(FaultKind.CLOCK_JUMP, self.name, detail, dropped=True, holds=False)

    def _accept(self, receive_ns: int) -> None:
        self._heard_ns = self._accepted_ns = receive_ns


class ClockCheck(SourceCheck):
    """Simulated time, which must run: a paused clock is a silent one."""

    def __init__(self, period: float) -> None:
        source = Source("clock", CLOCK_TYPE, timeout=max(5 * period, 0.1))
        super().__init__(CLOCK, source, frozenset(), True, period)
        self._time = -1

    def judge(self, message: Any, receive_ns: int) -> Fault | None:
        self.counted = []
        if problem := not_decoded(message):
            return self._bad(self._fault(FaultKind.MALFORMED, problem))
        time = message.clock.sec * 1_000_000_000 + message.clock.nanosec
        if time == self._time:
            return None
        if time < self._time:
            self.counted.append(FaultKind.CLOCK_JUMP)
        self._time = time
        self._accept(receive_ns)
        self.fresh += 1
        return None


def not_decoded(message: Any) -> str:
    return message.reason if isinstance(message, Malformed) else ""


def _timeout_ns(source: Source, period: float) -> int | None:
    """None for a source without a rate: it speaks when it pleases."""
    if source.timeout is not None:
        return int(source.timeout * SECOND)
    if not source.rate:
        return None
    return int(max(3 / source.rate, 2 * period, SHORTEST_TIMEOUT) * SECOND)
