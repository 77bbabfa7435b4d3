"""Splits by time: no row lost, no row twice, nothing held out before something trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.auctions import AuctionLog
from dynrl.auctions.splits import split_days, split_fraction


def log_of(days: list[int]) -> AuctionLog:
    times = np.datetime64("2013-06-06T12:00:00.000", "ms") + np.array(days) * np.timedelta64(1, "D")
    return AuctionLog(np.zeros(len(days), np.uint8), np.arange(len(days), dtype=np.int32), timestamp=times)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(1, 5))
def test_days_part_the_rows(days: list[int], held_out: int) -> None:
    log, different = log_of(days), sorted(set(days))
    if held_out >= len(different):
        with pytest.raises(ValueError, match=f"held_out is {held_out}, expected"):
            split_days(log, held_out)
        return
    train, test = split_days(log, held_out)
    late = set(different[-held_out:])
    assert train.price.tolist() == [row for row, day in enumerate(days) if day not in late]
    assert test.price.tolist() == [row for row, day in enumerate(days) if day in late]


@given(st.integers(2, 200), st.floats(0.01, 0.99))
def test_fractions_part_the_rows(rows: int, share: float) -> None:
    log = log_of([0] * rows)
    if not 0 < round(rows * share) < rows:
        with pytest.raises(ValueError, match="leaves one part empty"):
            split_fraction(log, share)
        return
    train, test = split_fraction(log, share)
    assert len(test) == round(rows * share)
    assert [*train.price.tolist(), *test.price.tolist()] == list(range(rows))


def test_what_cannot_be_split_says_so() -> None:
    bare = AuctionLog(np.zeros(3, np.uint8), np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="no timestamps to split by days: use split_fraction"):
        split_days(bare)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a share in"):
            split_fraction(bare, share)
