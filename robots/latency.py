"""Where the time of each tick went: a ring of the last ticks and a logarithmic histogram of the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FIELDS = ("lateness", "observation_age", "stamp_age", "policy", "filter", "publish", "end_to_end")
"""What is measured in each tick, in ns: start after the deadline; receive to use of the newest observation; age of its
own stamp (own clock only); policy call; filter; publishing; receive of the newest observation to command written."""
ABSENT = -1
"""Of a field that a tick does not have."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_BITS = 5
_HALF = 1 << _BITS
_LARGEST = (1 << 42) - 1


@dataclass(frozen=True)
class Summary:
    """The distribution of one field over a run, in ns.

    Attributes:
        count: ticks that had the field.
        percentiles: at `PERCENTILES`, exact to 1/32 of their value (upper edge of their bucket).
        largest: the exact maximum.
    """

    count: int
    percentiles: tuple[int, ...]
    largest: int


class LogHistogram:
    """Counts of durations in buckets whose width is at most 1/32 of the value, as in HdrHistogram (G. Tene).

    Durations below 32 ns have a bucket each; every further octave has 32. Adding costs a shift and an increment, and
    allocates nothing that stays.
    """

    def __init__(self) -> None:
        self._counts = [0] * (_bucket(_LARGEST) + 1)
        self._total = 0
        self._largest = 0

    def add(self, nanoseconds: int) -> None:
        """Counts one duration; negative ones count as 0, ones above 73 minutes as 73 minutes."""
        value = 0 if nanoseconds < 0 else nanoseconds
        if value > self._largest:
            self._largest = value
        self._counts[_bucket(value if value < _LARGEST else _LARGEST)] += 1
        self._total += 1

    def percentile(self, percent: float) -> int:
        """Upper edge, in ns, of the bucket that holds the percentile (never above the largest); 0 when empty."""
        rank = max(1, -(-self._total * percent // 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_upper(index), self._largest)
        return self._largest

    def summary(self) -> Summary:
        """Count, percentiles and maximum."""
        values = tuple(self.percentile(percent) for percent in PERCENTILES)
        return Summary(self._total, values, self._largest)

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """(lower edge, upper edge, count) of the buckets that are not empty; edges in ns, both inside."""
        for index, count in enumerate(self._counts):
            if count:
                yield (_upper(index - 1) + 1 if index else 0), _upper(index), count


class Latency:
    """Accounts of every tick, in memory of fixed size.

    Attributes:
        histograms: by field, of all ticks.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._ring: list[tuple[int, ...]] = [(ABSENT,) * len(FIELDS)] * capacity
        self.histograms = {name: LogHistogram() for name in FIELDS}
        self._adders = tuple(self.histograms[name].add for name in FIELDS)
        self._count = 0

    def record(self, values: tuple[int, ...]) -> None:
        """Adds one tick: ns in the order of `FIELDS`, `ABSENT` where there is none."""
        self._ring[self._count % self._capacity] = values
        self._count += 1
        for add, value in zip(self._adders, values):  # noqa: B905 (strict costs; both have len(FIELDS))
            if value != ABSENT:
                add(value)

    def last(self) -> tuple[int, ...]:
        """The last tick recorded, in the order of `FIELDS`."""
        return self._ring[(self._count - 1) % self._capacity]

    def recent(self) -> np.ndarray:
        """The last ticks, at most `capacity`, oldest first: int64 `[ticks, len(FIELDS)]`, ns."""
        if self._count <= self._capacity:
            return np.array(self._ring[: self._count], np.int64).reshape(-1, len(FIELDS))
        at = self._count % self._capacity
        return np.array(self._ring[at:] + self._ring[:at], np.int64)

    def summaries(self) -> dict[str, Summary]:
        """The distribution of each field over the run."""
        return {name: histogram.summary() for name, histogram in self.histograms.items()}


def _bucket(value: int) -> int:
    shift = value.bit_length() - _BITS - 1
    return value if shift < 0 else (shift << _BITS) + (value >> shift)


def _upper(index: int) -> int:
    if index < 2 * _HALF:
        return index
    shift = (index >> _BITS) - 1
    return (((index - (shift << _BITS)) + 1) << shift) - 1
