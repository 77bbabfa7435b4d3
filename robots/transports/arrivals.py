"""When messages arrived that were only picked up later, from when they were written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

DRIFT = 1e-4  # between two clocks, in seconds per second; quartz is ten times better
STEP_NS = 50_000_000  # a writer's clock that is off by more than this has been set


class Arrivals:
    """Arrival times of one writer's messages on our own clock.

    A poll finds what has come since the last poll, and the middleware tells when it was written, by the writer's wall
    clock. The shortest time between writing and picking up that was ever seen is the way itself plus the difference of
    the two clocks; the rest of a message's time it lay waiting. A clock that is set makes the estimate start anew.
    """

    def __init__(self) -> None:
        self._way: float | None = None
        self._updated_ns = 0

    def of(self, written_ns: Sequence[int], last_poll_ns: int, now_ns: int) -> list[int]:
        """Arrival times of messages that were written at `written_ns` and came between the last poll and now.

        They never decrease: messages of one writer come in their order, whatever its clock says.
        """
        newest = max(written_ns)
        waited = now_ns - newest
        if self._way is None or newest + self._way < last_poll_ns - STEP_NS:
            self._way = waited
        else:
            self._way = min(waited, self._way + DRIFT * (now_ns - self._updated_ns))
        self._updated_ns = now_ns
        arrivals = [min(max(int(written + self._way), last_poll_ns), now_ns) for written in written_ns]
        return list(accumulate(arrivals, max))
