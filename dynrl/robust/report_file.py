"""Robustness reports as JSON: versioned, the same bytes for the same report, and without NaN tokens."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dynrl.errors import FileFormatError
from dynrl.robust.measurements import Bracket, Cells, Worst
from dynrl.robust.report import RobustnessReport
from dynrl.robust.statistics import Interval

VERSION = 1


def report_text(report: RobustnessReport, circumstances: bool = True) -> str:
    """The report as JSON, with or without wall time, versions and hardware."""
    content = {"version": VERSION, **_plain(report)}
    if not circumstances:
        del content["circumstances"]
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_report(text: str) -> RobustnessReport:
    """Read what `report_text` wrote.

    Raises:
        FileFormatError: no such JSON, or another version.
    """
    try:
        content = json.loads(text)
        version = content.pop("version")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"this is no robustness report: {error!r}") from error
    if version != VERSION:
        raise FileFormatError(f"this robustness report has version {version!r}; expected {VERSION}.")
    try:
        return _report(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"this robustness report is damaged: {error!r}") from error


def _report(content: dict[str, Any]) -> RobustnessReport:
    for name in ("cells", "nominal", "searched"):
        content[name] = None if content[name] is None else _read_cells(content[name])
    worst = content["worst"]
    content["worst"] = Worst(
        np.array(worst["psi"], float),
        worst["value"],
        _read_interval(worst["interval"]),
        _read_interval(worst["bootstrap"]),
        worst["found_by"],
    )
    if content["bracket"] is not None:
        content["bracket"] = Bracket(**content["bracket"])
    if content["failures"] is not None:
        share, interval = content["failures"]
        content["failures"] = share, _read_interval(interval)
    for name in ("first_seeds", "second_seeds", "names"):
        content[name] = tuple(content[name])
    return RobustnessReport(**content)


def _read_cells(content: Mapping[str, Any]) -> Cells:
    cells = Cells(**{name: np.array(value, float) for name, value in content.items()})
    return dataclasses.replace(cells, episodes=cells.episodes.astype(np.int64))


def _read_interval(ends: list[float | None]) -> Interval:
    low, high = ends
    return Interval(-math.inf if low is None else low, math.inf if high is None else high)


def _plain(value: Any) -> Any:
    """A JSON value: arrays as lists, what is not finite as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
