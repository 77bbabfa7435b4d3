"""Limits on treatment: what a prescribed dose becomes under peak, budget, interval and rate limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = ["DoseHistory", "DoseLimits", "Projected"]

Array = Any


class DoseHistory(NamedTuple):
    """Attributes:
    last: what was given last, `[m]`.
    spent: sum over all steps and channels, `[]`.
    since: steps since the last dose above 0, int32 `[]`; large before the first.
    """

    last: Array
    spent: Array
    since: Array


class Projected(NamedTuple):
    """Attributes:
    dose: within the limits `[m]`.
    changed: whether it differs from what was asked, bool `[]`.
    """

    dose: Array
    changed: Array


@dataclass(frozen=True)
class DoseLimits:
    """Which doses may be given; applied in the order of the fields, each None for no limit.

    Args:
        rate: largest change of a channel from one step to the next.
        peak: largest dose of a channel.
        interval: least number of steps between two steps with a dose; doses in between are withheld.
        budget: largest sum of doses over all steps and channels; what is left is scaled down to fit.

    Raises:
        ValueError: a limit that is negative or no number, an interval below 1.
    """

    rate: float | None = None
    peak: float | None = None
    interval: int | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "peak", "budget"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}, expected a finite number of at least 0, or None")
        if self.interval is not None and (int(self.interval) != self.interval or self.interval < 1):
            raise ValueError(f"interval is {self.interval!r}, expected a whole number of at least 1, or None")

    def start(self, channels: int) -> DoseHistory:
        """Nothing given yet."""
        return DoseHistory(
            jnp.zeros(channels, jnp.float32), jnp.zeros((), jnp.float32), jnp.full((), 2**30, jnp.int32)
        )

    def project(self, dose: Array, history: DoseHistory) -> Projected:
        """The nearest permitted dose `[m]` below or at what was asked, channel by channel (negative doses, which add
        agents, are limited by their size)."""
        asked = dose
        if self.rate is not None:
            dose = jnp.clip(dose, history.last - self.rate, history.last + self.rate)
        if self.peak is not None:
            dose = jnp.clip(dose, -self.peak, self.peak)
        if self.interval is not None:
            dose = jnp.where(history.since >= self.interval, dose, 0.0)
        if self.budget is not None:
            left = jnp.maximum(self.budget - history.spent, 0.0)
            total = jnp.abs(dose).sum()
            dose = dose * jnp.where(total > left, left / jnp.maximum(total, 1e-30), 1.0)
        return Projected(dose.astype(jnp.float32), jnp.any(dose != asked))

    def after(self, dose: Array, history: DoseHistory) -> DoseHistory:
        """The history with one more step in which `dose` `[m]` was given."""
        given = jnp.any(dose != 0)
        since = jnp.where(given, 1, jnp.minimum(history.since + 1, 2**30))
        return DoseHistory(
            dose.astype(jnp.float32),
            history.spent + jnp.abs(dose).sum().astype(jnp.float32),
            since.astype(jnp.int32),
        )
