"""Estimated arrival times against known ones: any clock, any load, clocks that are set."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.transports.arrivals import Arrivals

MS = 1_000_000


def play(
    seed: int, clock_offset: int, drift: float = 0.0, jump_at: float | None = None, jump: int = 0
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """(true arrivals, estimated ones, (last poll, now, estimate) of each): 200 Hz source, 50 Hz polls, late now and
    then; the way takes 0.1 to 0.4 ms."""
    rng = np.random.default_rng(seed)
    sent = 10**12 + np.arange(2000) * 5 * MS
    arrived = sent + rng.integers(MS // 10, 4 * MS // 10, sent.size)
    written = sent + clock_offset + (drift * (sent - sent[0])).astype(np.int64)
    if jump_at is not None:
        written[int(jump_at * sent.size) :] += jump
    late = rng.integers(0, MS, 600) + (rng.random(600) < 0.05) * rng.integers(0, 30 * MS, 600)
    polls = 10**12 + np.arange(1, 601) * 20 * MS + late
    estimator, estimates, bounds = Arrivals(), np.zeros(sent.size, np.int64), []
    last = 10**12 - 1
    for now in polls:
        new = np.flatnonzero((arrived > last) & (arrived <= now))
        if new.size:
            estimates[new] = estimator.of(written[new].tolist(), int(last), int(now))
            bounds += [(int(last), int(now), int(estimate)) for estimate in estimates[new]]
        last = now
    known = estimates > 0
    return arrived[known], estimates[known], bounds


@given(st.integers(0, 10**6), st.integers(-(10**15), 10**15), st.sampled_from([0.0, 2e-5, -2e-5]))
def test_arrivals_are_found_whatever_the_other_clock_says(seed: int, offset: int, drift: float) -> None:
    arrived, estimated, bounds = play(seed, offset, drift)
    assert all(last <= estimate <= now for last, now, estimate in bounds)
    settled = np.abs(estimated - arrived)[200:]
    # the way's own spread, what drift adds between two tight polls, and the source's phase against the polls
    assert np.quantile(settled, 0.95) < 2.5 * MS
    spacing = np.diff(estimated)[200:]
    assert np.quantile(np.abs(spacing - np.diff(arrived)[200:]), 0.95) < 0.5 * MS


@given(st.integers(0, 10**6), st.sampled_from([-3600, -1, 1, 3600]))
def test_a_clock_that_is_set_is_followed(seed: int, seconds: int) -> None:
    arrived, estimated, bounds = play(seed, 0, jump_at=0.5, jump=seconds * 1000 * MS)
    assert all(last <= estimate <= now for last, now, estimate in bounds)
    assert np.quantile(np.abs(estimated - arrived)[-500:], 0.95) < 2.5 * MS


def test_a_poll_without_history_says_now() -> None:
    assert Arrivals().of([5, 10], 0, 100) == [95, 100]
    assert Arrivals().of([5, 10], 98, 100) == [98, 100]


def test_messages_keep_their_order_when_the_clock_is_set_back() -> None:
    assert Arrivals().of([10, 20, 5, 6], 0, 100) == [90, 100, 100, 100]
