"""Clocks of the control loop: the machine's monotonic clock, and virtual time that moves only when asked."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

SECOND = 1_000_000_000
SPIN = 200_000  # ns; sleeping wakes late by tens of µs even under real-time priority, the rest is spun away
_UNSLEPT_LIMIT = 100
_BREATH = 100e-6


class Clock(Protocol):
    """Time in nanoseconds, and waiting for it."""

    def now_ns(self) -> int:
        """Now."""

    def wait_until(self, deadline_ns: int) -> None:
        """Returns at or after `deadline_ns`, at once if that is past."""

    def nap(self, nanoseconds: int) -> None:
        """Leaves the processor to others for about so long."""


class MonotonicClock:
    """`time.monotonic_ns`, which never jumps: sleeps until 200 µs before the deadline, then spins.

    A loop that never gets to sleep would starve everything else under SCHED_FIFO, so every hundredth wait in a row
    without sleep takes 100 µs.
    """

    def __init__(self, spin_ns: int = SPIN) -> None:
        self._spin = spin_ns
        self._unslept = 0

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int) -> None:
        left = deadline_ns - self._spin - time.monotonic_ns()
        if left > 0:
            time.sleep(left * 1e-9)
            self._unslept = 0
        else:
            self._unslept += 1
            if self._unslept >= _UNSLEPT_LIMIT:
                time.sleep(_BREATH)
                self._unslept = 0
        while time.monotonic_ns() < deadline_ns:
            pass

    def nap(self, nanoseconds: int) -> None:
        time.sleep(nanoseconds * 1e-9)


class VirtualClock:
    """Time that stands still until somebody waits: lock-step simulation, as fast as the machine allows.

    Whoever lives in this time (the twin, a delayed message) asks with `at` to be called; waiting runs those calls in
    the order of their times, and of their asking where times are equal, each with the clock at its time.
    """

    def __init__(self, start_ns: int = SECOND) -> None:
        self._now = start_ns
        self._order = itertools.count()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []

    def now_ns(self) -> int:
        return self._now

    def at(self, ns: int, action: Callable[[], None]) -> None:
        """Call `action` at `ns`.

        Raises:
            ValueError: `ns` is past.
        """
        if ns < self._now:
            raise ValueError(f"an action at {ns} ns lies in the past: it is {self._now} ns")
        heapq.heappush(self._agenda, (ns, next(self._order), action))

    def advance(self, nanoseconds: int) -> None:
        """Let time pass, as slow work would."""
        self.wait_until(self._now + nanoseconds)

    def nap(self, nanoseconds: int) -> None:
        self.advance(nanoseconds)

    def wait_until(self, deadline_ns: int) -> None:
        while self._agenda and self._agenda[0][0] <= deadline_ns:
            due, _, action = heapq.heappop(self._agenda)
            self._now = max(self._now, due)
            action()
        self._now = max(self._now, deadline_ns)
