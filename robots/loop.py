"""Ticks at a fixed rate: absolute deadlines, what happens when one is missed, and what the machine can do to help.

A Python loop is a soft-real-time client. The robot's own controller keeps its watchdog and its hard limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dynrl.robots.clocks import Clock

SECOND = 1_000_000_000
GLANCE = 25_000
"""ns between two looks for the message that a tick waits for."""
Step = tuple[int, Callable[[], None]]
"""(ns before a tick is expected to begin, what is done then)"""
FIFO_PRIORITY = 50
"""What ros2_control uses."""
_RESET_ON_FORK = 0x40000000


class Tick(NamedTuple):
    """One tick of the loop.

    Attributes:
        number: of periods since the start; skipped ones count.
        deadline_ns: `start + index * period`.
        woke_ns: when it really began.
    """

    number: int
    deadline_ns: int
    woke_ns: int


class Pacer:
    """Deadlines `start + k * period`, kept in phase for ever.

    A tick that ends after the next deadline is an overrun: the deadlines it ran over are skipped, never caught up.
    Overruns trip the loop when more than `max_consecutive` periods in a row passed without a tick that ended in time
    (so that it is known within six), or when more than `max_consecutive` and more than 1 % of the ticks of one second
    overran (at 50 Hz a single one would be 2 %).

    Args:
        clock: what to wait on.
        period_ns: of the loop.
        max_consecutive: periods in a row, without a tick that ended in time, that are still accepted.

    Attributes:
        overruns, skipped: ticks that ended late and deadlines passed over, so far.
    """

    def __init__(self, clock: Clock, period_ns: int, max_consecutive: int = 5) -> None:
        self._clock = clock
        self.period_ns = period_ns
        self._max_consecutive = max_consecutive
        self._allowed_per_second = max(max_consecutive, SECOND // period_ns // 100)
        self._recent: deque[int] = deque(maxlen=self._allowed_per_second + 1)
        self._start = 0
        self._index = -1
        self._consecutive = 0
        self.overruns = 0
        self.skipped = 0

    def start(self) -> None:
        """The first deadline is one period from now."""
        self._start = self._clock.now_ns() + self.period_ns
        self._index = -1
        self._consecutive = 0
        self._recent.clear()

    def wait(
        self,
        steps: Sequence[Step] = (),
        arrived: Callable[[int], bool] | None = None,
        heard_ns: int = 0,
        source_ns: int = 0,
    ) -> Tick:
        """Waits for the next deadline.

        Args:
            steps: preparations, in the order of their times; one whose time has passed is left out.
            arrived: `arrived(since_ns)` ends the wait early, from half a period before the deadline on, as soon as it
                is true; deadlines stay where they are, so the mean rate does too.
            heard_ns: when what `arrived` looks for came last.
            source_ns: how often it comes; 0 where that is not known.
        """
        self._index += 1
        clock = self._clock
        deadline = self._start + self._index * self.period_ns
        opens = expected = deadline
        if arrived is not None:
            opens = expected = deadline - self.period_ns // 2
            if source_ns and heard_ns:
                expected = min(opens + (heard_ns - opens) % source_ns, deadline)
        later = []
        for lead, do in steps:
            due = expected - lead
            if due > opens:
                later.append((due, do))
            elif clock.now_ns() <= due:
                clock.wait_until(due)
                do()
        clock.wait_until(opens)
        if arrived is not None:
            while not arrived(opens) and (now := clock.now_ns()) < deadline:
                if later and now >= later[0][0]:
                    later.pop(0)[1]()
                else:
                    clock.nap(min(GLANCE, deadline - now))
        return Tick(self._index, deadline, clock.now_ns())

    def finish(self) -> bool:
        """Ends the tick; True when it overran."""
        now = self._clock.now_ns()
        late = now - (self._start + (self._index + 1) * self.period_ns)
        if late <= 0:
            self._consecutive = 0
            return False
        missed = -(-late // self.period_ns)
        self._index += missed
        self.skipped += missed
        self.overruns += 1
        self._consecutive += missed + 1
        self._recent.append(now)
        return True

    def tripped(self) -> bool:
        """Whether there are too many overruns now."""
        if self._consecutive > self._max_consecutive:
            return True
        full = len(self._recent) > self._allowed_per_second
        return full and self._clock.now_ns() - self._recent[0] <= SECOND

    def forgive(self) -> None:
        """Forgets the overruns that tripped the loop; the counts stay."""
        self._consecutive = 0
        self._recent.clear()


@dataclass(frozen=True)
class Scheduling:
    """What the machine granted to the loop thread.

    Attributes:
        policy: `"SCHED_FIFO"` or `"SCHED_OTHER"`.
        priority: of SCHED_FIFO, else 0.
        locked: whether memory is locked.
        core: the only core of the thread, if it was bound to one.
        warning: what was refused and what to do about it; empty when nothing was.
    """

    policy: str
    priority: int
    locked: bool
    core: int | None
    warning: str = ""


REMEDY = (
    "SCHED_FIFO was refused, so ticks may come late on a busy machine; allow it with `@realtime - rtprio 99` and "
    "`@realtime - memlock unlimited` in /etc/security/limits.conf, in a container with "
    "`--cap-add=sys_nice --ulimit rtprio=99 --ulimit memlock=-1`"
)


@contextlib.contextmanager
def real_time(fifo: bool = True, lock_memory: bool = False, core: int | None = None) -> Iterator[Scheduling]:
    """The calling thread at SCHED_FIFO 50 while the block runs, as far as the machine allows it.

    Call it after all other threads exist: threads and processes made inside start at normal priority.

    Args:
        fifo: ask for SCHED_FIFO.
        lock_memory: `mlockall`, so that no page of the loop is ever fetched from disk.
        core: bind the thread to this core.
    """
    before, affinity = os.sched_getscheduler(0), os.sched_getaffinity(0)
    parameter = os.sched_getparam(0)
    warnings = []
    policy, priority = "SCHED_OTHER", 0
    if core is not None:
        try:
            os.sched_setaffinity(0, {core})
        except OSError as error:
            warnings.append(f"the loop cannot be bound to core {core}: {error.strerror}")
            core = None
    if fifo:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | _RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
            policy, priority = "SCHED_FIFO", FIFO_PRIORITY
        except PermissionError:
            warnings.append(REMEDY)
    locked = lock_memory and _lock_memory()
    if lock_memory and not locked:
        warnings.append("memory cannot be locked; allow `@realtime - memlock unlimited` in limits.conf")
    try:
        yield Scheduling(policy, priority, locked, core, "; ".join(warnings))
    finally:
        if priority:
            os.sched_setscheduler(0, before & ~_RESET_ON_FORK, parameter)
        if core is not None:
            os.sched_setaffinity(0, affinity)
        if locked:
            _libc().munlockall()


class Collector:
    """Python's garbage collector: off while a policy may move the robot, run where nothing moves."""

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
        # What the application froze before stays frozen: afterwards it could not be told apart.
        self._unfreezes = gc.get_freeze_count() == 0
        self.off = False

    def stop(self) -> None:
        """Collects, leaves what survived out of all later collections, and collects no more by itself."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self.off = True

    def resume(self) -> None:
        """Back to what it was, and collects."""
        if self.off:
            if self._unfreezes:
                gc.unfreeze()
            if self._was_enabled:
                gc.enable()
            gc.collect()
            self.off = False


def resident_bytes() -> int:
    """Memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def suspended_ns() -> int:
    """ns that the machine has been suspended since it booted: the monotonic clock stops then, boot time does not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()


def _lock_memory() -> bool:
    current_and_future = 3
    return _libc().mlockall(current_and_future) == 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
