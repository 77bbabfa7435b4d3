"""Checks of agent settings, where they enter."""

from __future__ import annotations

import math
from collections.abc import Sequence


def check_bound(name: str, value: float | None, *, optional: bool = False) -> None:
    """A finite number ≥ 0, or None if `optional`."""
    if value is None and optional:
        return
    if value is None or not math.isfinite(value) or value < 0.0:
        raise ValueError(f"{name} must be a finite number ≥ 0, got {value}")


def check_positive(name: str, value: float) -> None:
    """A finite number > 0."""
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be a finite number > 0, got {value}")


def check_probability(name: str, value: float) -> None:
    """A number strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must be strictly between 0 and 1, got {value}")


def check_in(name: str, value: str, allowed: Sequence[str]) -> None:
    """One of the `allowed` words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_count(name: str, value: int | None, minimum: int = 0, *, optional: bool = False) -> None:
    """A whole number ≥ `minimum`, or None if `optional`."""
    if value is None and optional:
        return
    if value is None or not math.isfinite(value) or int(value) != value or value < minimum:
        raise ValueError(f"{name} must be a whole number ≥ {minimum}, got {value}")
