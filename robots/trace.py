"""What the report draws: commands, measurements and states over the run, in bounded memory."""

from __future__ import annotations

import numpy as np

ROWS = 8192


class Trace:
    """One row per tick until the memory is full; then every second row goes, and so on: the whole run stays visible.

    Args:
        commands: length of the command.
        measured: length of the measurement.

    Attributes:
        stride: ticks per row.
    """

    def __init__(self, commands: int, measured: int) -> None:
        self._time = np.zeros(ROWS)
        self._command = np.full((ROWS, commands), np.nan)
        self._measured = np.full((ROWS, measured), np.nan)
        self._count = 0
        self._seen = 0
        self.stride = 1

    def add(self, seconds: float, command: np.ndarray | None, measured: np.ndarray) -> None:
        """Adds a tick; `command` None where none was sent."""
        self._seen += 1
        if self._seen % self.stride:
            return
        if self._count == ROWS:
            self._thin()
        row = self._count
        self._time[row] = seconds
        self._command[row] = np.nan if command is None else command
        self._measured[row] = measured
        self._count = row + 1

    def _thin(self) -> None:
        kept = slice(1, ROWS, 2)
        half = ROWS // 2
        for array in (self._time, self._command, self._measured):
            array[:half] = array[kept].copy()
        self._count = half
        self.stride *= 2

    @property
    def seconds(self) -> np.ndarray:
        """float64 `[rows]`, since the start of the run."""
        return self._time[: self._count]

    @property
    def command(self) -> np.ndarray:
        """float64 `[rows, commands]`, nan where none was sent."""
        return self._command[: self._count]

    @property
    def measured(self) -> np.ndarray:
        """float64 `[rows, measured]`."""
        return self._measured[: self._count]
