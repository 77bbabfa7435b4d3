"""metrics.csv: one row per log call, appended as whole lines, cut back to a known length on resume."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dynrl.errors import RunError

Value = float | int | str
STEP = "step"


class MetricsFile:
    """Collects rows in memory and appends them to `path` on `flush`.

    The first row fixes the columns (`step` first); a later row may leave out a column, never add one.
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = list(columns)
        self._pending = io.StringIO()

    def append(self, step: int, metrics: Mapping[str, Value]) -> dict[str, Value]:
        """Adds one row (kept in memory until `flush`) and returns it as it will be read back.

        Raises:
            ValueError: an unknown column, or one called `step`.
            TypeError: a value that is neither a number nor a string.
        """
        if STEP in metrics:
            raise ValueError("the metric name 'step' is taken by the first column")
        row: dict[str, Value] = {STEP: int(step)}
        row |= {name: _plain(name, value) for name, value in metrics.items()}
        writer = csv.writer(self._pending, lineterminator="\n")
        if not self.columns:
            self.columns = list(row)
            writer.writerow(self.columns)
        if unknown := [name for name in row if name not in self.columns]:
            raise ValueError(
                f"metric {unknown[0]!r} is not a column; the first row fixed them: {', '.join(self.columns)}"
            )
        writer.writerow([_text(row.get(name, "")) for name in self.columns])
        return row

    def flush(self) -> int:
        """Appends the pending rows durably, in one write; returns the length of the file in bytes."""
        content = self._pending.getvalue().encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = 0
            while written < len(content):
                written += os.write(descriptor, content[written:])
            os.fsync(descriptor)
            length = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        self._pending = io.StringIO()
        return length

    def truncate(self, length: int) -> None:
        """Cuts the file back to what it was at a checkpoint.

        Raises RunError when it is shorter than that.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < length:
            raise RunError(
                f"{self.path} has {size} bytes, the checkpoint needs the first {length}; put the file back "
                "or start a new run"
            )
        if size > length:
            os.truncate(self.path, length)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """The columns of a metrics file: float64 where every cell is a number or empty (NaN), else strings.

    `step` is int64. An empty file gives no columns.
    """
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        return {}
    names, cells = rows[0], rows[1:]
    columns = {name: _column([row[index] for row in cells]) for index, name in enumerate(names)}
    if STEP in columns:
        columns[STEP] = columns[STEP].astype(np.int64)
    return columns


def _column(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells])
    except ValueError:
        return np.array(cells)


def _plain(name: str, value: object) -> Value:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "biuf":
        raise TypeError(f"metric {name!r} must be one number or a string, got {type(value).__name__}")
    number = array.item()
    return int(number) if isinstance(number, bool) else number


def _text(value: Value) -> str:
    return repr(value) if isinstance(value, float) else str(value)
