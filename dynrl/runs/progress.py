"""Progress of a long job: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

LINE_INTERVAL = 30.0
"""Seconds after which a plain line is printed even when less than a tenth of the work has been done since."""


class Progress:
    """Context manager that shows rate, time left and a headline figure.

    Args:
        total: amount of work in the whole job.
        unit: what is counted, e.g. "steps".
        done: work that an earlier process did.
        shown: False shows nothing.
        stream: where plain lines go (default: standard output as it is on entry).
    """

    def __init__(
        self, total: int, unit: str, done: int = 0, shown: bool = True, stream: TextIO | None = None
    ) -> None:
        self.total, self.unit, self.done = total, unit, done
        self._first = done
        self._shown = shown
        self._stream = stream
        self._headline = ""
        self._bar: Any = None
        self._task: Any = None
        self._printed_tenth = 0
        self._printed_time = 0.0
        self._start = 0.0

    def __enter__(self) -> Self:
        self._stream = self._stream or sys.stdout
        self._start = self._printed_time = time.monotonic()
        self._printed_tenth = self._tenth()
        if self._shown and self._stream.isatty():
            self._bar = self._make_bar()
            self._task = self._bar.add_task("", total=self.total, completed=self.done, rate="", headline="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int, headline: str = "") -> None:
        """Adds finished work; `headline` (kept until the next one) is shown beside it, e.g. "regret 12.3"."""
        self.done += amount
        self._headline = headline or self._headline
        if not self._shown:
            return
        if self._bar is not None:
            rate = f"{_short(self.rate())} {self.unit}/s"
            self._bar.update(self._task, completed=self.done, rate=rate, headline=self._headline)
        elif self._tenth() > self._printed_tenth or time.monotonic() - self._printed_time > LINE_INTERVAL:
            self._print_line()

    def rate(self) -> float:
        """Work per second since entry."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def line(self) -> str:
        """The state in words, e.g. `40 % of 1000 steps, 250 steps/s, 2 s left, regret 12.3`."""
        rate = self.rate()
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 else "time left unknown"
        share = 100 * self.done / self.total if self.total else 100
        parts = [f"{share:.0f} % of {self.total} {self.unit}", f"{_short(rate)} {self.unit}/s", left]
        return ", ".join([*parts, self._headline] if self._headline else parts)

    def _tenth(self) -> int:
        return 10 * self.done // self.total if self.total else 10

    def _print_line(self) -> None:
        self._printed_tenth = self._tenth()
        self._printed_time = time.monotonic()
        print(self.line(), file=self._stream, flush=True)

    def _make_bar(self) -> Any:
        from rich import progress
        from rich.console import Console

        return progress.Progress(
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[headline]}"),
            console=Console(file=self._stream),
        )


def _short(number: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.3g}"
