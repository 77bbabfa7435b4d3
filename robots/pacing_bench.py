"""How late ticks come, beside a bare loop that does nothing but sleep and look at the clock.

What the two have in common is the machine's: a thread that sleeps is woken late by whatever the kernel or the
hypervisor does not interrupt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np

from dynrl.bench import Figure
from dynrl.robots.clocks import SPIN, MonotonicClock
from dynrl.robots.loop import Pacer, real_time

SECOND = 1_000_000_000
TURN = 0.5
"""Seconds that one loop runs before the other has its turn."""
LATENESS_FIFO, LATENESS_FIFO_MAX, LATENESS_NORMAL = 100.0, 1000.0, 500.0


def loop_figures(quick: bool) -> Iterator[Figure]:
    """Lateness of empty ticks at 500 Hz and 1 kHz, with and without SCHED_FIFO; a bare loop takes turns with them."""
    turns = 3 if quick else 20
    for rate in (500, 1000):
        for fifo in (True, False):
            with real_time(fifo) as granted:
                if fifo and granted.policy != "SCHED_FIFO":
                    yield Figure(
                        f"loop at {rate} Hz, SCHED_FIFO",
                        "p99 <= 100 µs",
                        "SCHED_FIFO refused",
                        False,
                        granted.warning,
                    )
                    continue
                both = [(_pace(rate, TURN), _bare(rate, TURN)) for _ in range(turns)]
            lateness = np.concatenate([ours for (ours, _), _ in both])
            skipped = sum(count for (_, count), _ in both)
            bare = np.concatenate([theirs for _, theirs in both])
            yield _lateness_figure(rate, fifo, lateness, skipped, bare)


def _pace(rate: int, seconds: float) -> tuple[np.ndarray, int]:
    """(lateness in µs of each tick, deadlines skipped)"""
    count = round(rate * seconds)
    late = np.zeros(count)
    pacer = Pacer(MonotonicClock(), SECOND // rate)
    pacer.start()
    for index in range(count):
        tick = pacer.wait()
        late[index] = (tick.woke_ns - tick.deadline_ns) / 1000
        pacer.finish()
    return late, pacer.skipped


def _bare(rate: int, seconds: float) -> np.ndarray:
    """Lateness in µs of a loop without any code of ours, which also sleeps and then spins."""
    now, period = time.monotonic_ns, SECOND // rate
    count = round(rate * seconds)
    late = np.zeros(count)
    due = now() + period
    for index in range(count):
        left = due - SPIN - now()
        if left > 0:
            time.sleep(left * 1e-9)
        while now() < due:
            pass
        late[index] = (now() - due) / 1000
        due += period
        while due < now():
            due += period
    return late


def _lateness_figure(rate: int, fifo: bool, lateness: np.ndarray, skipped: int, bare: np.ndarray) -> Figure:
    half, most = np.percentile(lateness, [50, 99])
    largest = lateness.max()
    measured = f"p50 {half:.0f}, p99 {most:.0f}, max {largest:.0f} µs, {skipped} skipped"
    if fifo:
        none = ", 0 skipped" if rate == 500 else ""
        bar = f"p99 <= 100 µs, max <= 1 ms{none}"
        passed = most <= LATENESS_FIFO and largest <= LATENESS_FIFO_MAX and (rate != 500 or not skipped)
    else:
        bar, passed = "p99 <= 500 µs on an idle machine", bool(most <= LATENESS_NORMAL)
    words = "SCHED_FIFO" if fifo else "normal priority"
    peer = f"bare loop in turns: p99 {np.percentile(bare, 99):.0f}, max {bare.max():.0f} µs; {machine_load()}"
    return Figure(f"loop at {rate} Hz, {words}: lateness", bar, measured, bool(passed), peer)


def machine_load() -> str:
    """What else goes on."""
    return f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"
