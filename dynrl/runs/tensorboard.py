"""Scalars for TensorBoard, written without TensorFlow or torch."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.runs.metrics import STEP, Value


class ScalarWriter:
    """Writes event files into `folder`. The tensorboard package is imported at the first scalar."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def write(self, row: Mapping[str, Value]) -> None:
        """One point per numeric value of `row` at `row["step"]`.

        Strings in the row become the tag's prefix, so rows of several agents give several curves.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        prefix = "".join(f"{value}/" for value in row.values() if isinstance(value, str) and value)
        values = [
            Summary.Value(tag=prefix + name, simple_value=float(value))
            for name, value in row.items()
            if name != STEP and not isinstance(value, str)
        ]
        if values:
            summary = Summary(value=values)
            self._open().add_event(Event(wall_time=time.time(), step=int(row[STEP]), summary=summary))

    def rebuild(self, columns: Mapping[str, np.ndarray]) -> None:
        """Replaces everything by the rows of a metrics file, so that a resumed run shows no point twice."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for cells in zip(*columns.values(), strict=True):
            row = {name: cell.item() for name, cell in zip(columns, cells, strict=True)}
            self.write({name: cell for name, cell in row.items() if cell == cell})

    def flush(self) -> None:
        """Hands what was written to the operating system."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Ends the event file; the next `write` begins another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._writer = EventFileWriter(str(self.folder))
        return self._writer
