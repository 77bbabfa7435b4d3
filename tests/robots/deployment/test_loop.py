"""Deadlines, overruns, latency accounts, the collector, and what the machine is asked for."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.latency import ABSENT, FIELDS, PERCENTILES, Latency, LogHistogram
from dynrl.robots.loop import GLANCE, REMEDY, Collector, Pacer, real_time
from dynrl.robots.report import coarse

PERIOD = 10_000_000


def test_deadlines_never_drift():
    clock = VirtualClock(5)
    pacer = Pacer(clock, PERIOD)
    pacer.start()
    for index in range(1000):
        tick = pacer.wait()
        assert (tick.number, tick.deadline_ns) == (index, 5 + (index + 1) * PERIOD)
        clock.advance(PERIOD // 3)
        assert not pacer.finish()


@given(st.lists(st.integers(0, 5 * PERIOD), min_size=1, max_size=50))
def test_the_phase_is_kept_whatever_ticks_take(taken):
    """Every deadline is a whole number of periods after the start, later than the end of the tick before."""
    clock = VirtualClock(1)
    pacer = Pacer(clock, PERIOD)
    pacer.start()
    ended = 0
    for work in taken:
        tick = pacer.wait()
        assert (tick.deadline_ns - 1) % PERIOD == 0 and tick.deadline_ns >= ended
        assert tick.deadline_ns - ended <= PERIOD or ended == 0, "no deadline is passed over needlessly"
        clock.advance(work)
        ended = clock.now_ns()
        assert pacer.finish() is (work > PERIOD)
    assert pacer.skipped == sum(-(-(work - PERIOD) // PERIOD) for work in taken if work > PERIOD)


def test_a_message_starts_a_tick_early_but_not_before_half_a_period_and_keeps_the_phase():
    clock = VirtualClock(1)
    pacer = Pacer(clock, PERIOD)
    pacer.start()
    arrivals = [0.1, 0.5, 0.72, 1.4, None]  # in periods after the deadline before

    def wait(at):
        due = None if at is None else clock.now_ns() // PERIOD * PERIOD + 1 + at * PERIOD
        return pacer.wait(arrived=lambda since: due is not None and since <= due <= clock.now_ns())

    begun = []
    for at in arrivals:
        tick = wait(at)
        begun.append((tick.woke_ns - (tick.deadline_ns - PERIOD)) / PERIOD)
        clock.wait_until(tick.deadline_ns)
        assert not pacer.finish()
    assert begun == pytest.approx([1, 0.5, 0.72, 1, 1], abs=GLANCE / PERIOD)
    assert pacer.skipped == 0


def test_preparations_are_done_at_their_times_and_left_out_when_those_have_passed():
    clock = VirtualClock(0)
    pacer = Pacer(clock, PERIOD)
    pacer.start()
    done = []
    steps = tuple(
        (lead, lambda lead=lead: done.append((clock.now_ns(), lead))) for lead in (3_000_000, 1_000_000)
    )
    pacer.wait(steps)
    assert done == [(7_000_000, 3_000_000), (9_000_000, 1_000_000)] and clock.now_ns() == PERIOD
    done.clear()
    clock.advance(8_000_000)  # of work: it is too late for the first
    pacer.finish()
    pacer.wait(steps)
    assert done == [(PERIOD + 9_000_000, 1_000_000)]
    done.clear()
    slow = ((3_000_000, lambda: clock.advance(2_500_000)), (1_000_000, lambda: done.append(clock.now_ns())))
    pacer.finish()
    tick = pacer.wait(slow)
    assert done == [] and tick.woke_ns == tick.deadline_ns


@pytest.mark.parametrize("comes", [0.0, 0.13, 0.31, 0.47])
def test_preparations_precede_the_message_that_is_expected(comes):
    """A source that speaks twice per period starts the tick with its first message of the second half."""
    clock = VirtualClock(1)
    pacer = Pacer(clock, PERIOD)
    pacer.start()
    heard, prepared = 1, []
    every = PERIOD // 2
    for number in range(4):
        due = 1 + number * PERIOD + every + round(comes * PERIOD)
        tick = pacer.wait(
            ((1_000_000, lambda: prepared.append(clock.now_ns())),),
            lambda since, due=due: since <= due <= clock.now_ns(),
            heard,
            every if number else 0,
        )
        heard = due
        assert 0 <= tick.woke_ns - due <= GLANCE
        assert prepared[-1] <= tick.woke_ns and len(prepared) == number + 1
        if number:
            assert 0 <= prepared[-1] - (due - 1_000_000) <= GLANCE
        clock.wait_until(tick.deadline_ns)
        pacer.finish()


def run_with(works, max_consecutive=5, period=PERIOD):
    clock = VirtualClock()
    pacer = Pacer(clock, period, max_consecutive)
    pacer.start()
    tripped = []
    for work in works:
        pacer.wait()
        clock.advance(work)
        pacer.finish()
        tripped.append(pacer.tripped())
    return pacer, tripped


def test_six_periods_without_a_tick_in_time_trip_and_five_do_not():
    late, early = PERIOD + 1, 0  # a late tick takes two periods: its own and the one it runs over
    assert not any(run_with([late] * 2 + [early] + [late] * 2)[1])
    assert run_with([late] * 3)[1] == [False, False, True]
    assert run_with([5 * PERIOD])[1] == [False] and run_with([5 * PERIOD + 1])[1] == [True]


def test_more_than_one_percent_of_a_second_trips():
    period = 1_000_000  # 1 kHz: eleven overruns within a second are more than 1 %
    pattern = [period + 1, 0, 0, 0] * 11
    pacer, tripped = run_with(pattern, period=period)
    assert tripped.index(True) == 4 * 10 and pacer.overruns == 11
    spread = ([period + 1] + [0] * 120) * 30
    assert not any(run_with(spread, period=period)[1]), "one in 120 is less than one percent"


def test_forgiven_overruns_are_counted_and_forgotten():
    pacer, _ = run_with([PERIOD + 1] * 6)
    pacer.forgive()
    assert not pacer.tripped() and pacer.overruns == 6


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=300))
def test_percentiles_are_within_one_part_in_32(values):
    histogram = LogHistogram()
    for value in values:
        histogram.add(value)
    summary = histogram.summary()
    assert summary.count == len(values) and summary.largest == max(values)
    ranked = sorted(values)
    for percent, found in zip(PERCENTILES, summary.percentiles, strict=True):
        exact = ranked[max(1, int(np.ceil(len(values) * percent / 100))) - 1]
        assert exact <= found <= exact + exact / 32 + 1


def test_buckets_hold_everything_once():
    histogram = LogHistogram()
    rng = np.random.default_rng(0)
    values = np.exp(rng.uniform(0, 25, 2000)).astype(int)
    for value in values:
        histogram.add(int(value))
    buckets = list(histogram.buckets())
    assert sum(count for _, _, count in buckets) == 2000
    for low, high, count in buckets:
        assert count == ((values >= low) & (values <= high)).sum()
        assert high - low <= max(1, low / 32)
    edges, counts = coarse(histogram)
    assert counts.sum() == 2000 and (np.diff(edges) > 0).all()


def test_a_histogram_takes_impossible_values():
    histogram = LogHistogram()
    histogram.add(-5)
    histogram.add(10**18)
    assert histogram.summary().count == 2 and histogram.percentile(50) == 0


def test_the_ring_keeps_the_last_ticks_in_order():
    latency = Latency(capacity=4)
    for number in range(10):
        latency.record((number,) + (ABSENT,) * (len(FIELDS) - 1))
    np.testing.assert_array_equal(latency.recent()[:, 0], [6, 7, 8, 9])
    assert latency.last()[0] == 9
    assert latency.summaries()[FIELDS[0]].count == 10 and latency.summaries()[FIELDS[1]].count == 0


@pytest.mark.parametrize("frozen", [False, True])
def test_the_collector_is_off_and_comes_back(frozen):
    """What the application had frozen itself stays so."""
    gc.unfreeze()
    if frozen:
        gc.freeze()
    before = gc.isenabled()
    collector = Collector()
    try:
        collector.stop()
        assert not gc.isenabled() and gc.get_freeze_count() > 0
    finally:
        collector.resume()
    assert gc.isenabled() is before and (gc.get_freeze_count() > 0) is frozen


def test_priority_is_of_the_calling_thread_and_ends():
    before = os.sched_getscheduler(0)
    seen = {}
    with real_time() as granted:
        seen["loop"] = os.sched_getscheduler(0) & ~0x40000000
        thread = threading.Thread(target=lambda: seen.update(thread=os.sched_getscheduler(0) & ~0x40000000))
        thread.start()
        thread.join()
        seen["process"] = int(
            subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"])
        )
    assert os.sched_getscheduler(0) == before
    if granted.policy == "SCHED_FIFO":
        assert seen == {"loop": os.SCHED_FIFO, "thread": os.SCHED_OTHER, "process": os.SCHED_OTHER}
        assert granted.warning == ""
    else:
        assert granted.warning == REMEDY and seen["loop"] == before


def test_refused_priority_is_one_warning_with_the_remedy(monkeypatch):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with real_time() as granted:
        assert (granted.policy, granted.priority, granted.warning) == ("SCHED_OTHER", 0, REMEDY)
    assert "rtprio 99" in REMEDY and "--cap-add=sys_nice" in REMEDY


def test_an_impossible_core_is_a_warning():
    with real_time(fifo=False, core=100_000) as granted:
        assert granted.core is None and "core 100000" in granted.warning


@pytest.mark.parametrize("core", [min(os.sched_getaffinity(0))])
def test_the_loop_can_be_bound_to_a_core(core):
    before = os.sched_getaffinity(0)
    with real_time(fifo=False, core=core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
