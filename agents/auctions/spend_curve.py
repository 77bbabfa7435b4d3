"""Plans of how an episode's budget is spent over its time slots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

__all__ = ["check_curve", "spend_curve", "traffic_curve"]


def check_curve(curve: Sequence[float] | None, slots: int) -> None:
    """Raises ConfigError unless `curve` is None or rises from 0 to 1 over `slots` slots."""
    if slots < 1:
        raise ConfigError(f"slots is {slots}, expected at least 1")
    if curve is None:
        return
    values = np.asarray(curve, np.float64)
    if values.shape != (slots + 1,):
        raise ConfigError(f"curve has {values.size} values, expected slots + 1 = {slots + 1}")
    if values[0] != 0 or values[-1] != 1 or (np.diff(values) < 0).any():
        raise ConfigError(
            "curve must rise from 0 to 1: the share of the budget spent by the end of each slot"
        )


def spend_curve(curve: Sequence[float] | None, slots: int, rules: AuctionRules) -> NDArray[np.float64]:
    """`[slots + 1]`; even where `curve` is None.

    Raises:
        ConfigError: more slots than auctions.
    """
    if slots > rules.horizon:
        raise ConfigError(f"slots is {slots}, expected at most the number of auctions, T = {rules.horizon}")
    return np.linspace(0, 1, slots + 1) if curve is None else np.asarray(curve, np.float64)


def traffic_curve(requests: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    """A curve in proportion to the requests expected in each slot, for the `curve` of a config.

    Raises:
        ValueError: negative numbers, or no request at all.
    """
    volume = np.asarray(requests, np.float64)
    if volume.ndim != 1 or not np.isfinite(volume).all() or (volume < 0).any() or not volume.sum() > 0:
        raise ValueError("requests must be non-negative numbers, one per slot, not all zero")
    curve = np.append(0.0, np.cumsum(volume) / volume.sum())
    curve[-1] = 1.0
    return tuple(curve.tolist())
