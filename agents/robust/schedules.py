"""Parameters that drift through an episode on a fixed schedule, never faster than a given rate."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

__all__ = ["SCHEDULES", "Schedule", "drifting_parameters"]

Schedule = Literal["random_walk", "cosine", "linear", "exponential", "logarithmic"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)
BEND = 4.0  # of the exponential and the logarithmic schedule: 98 % of the way in one half of the time


def drifting_parameters(
    schedule: Schedule, uset: Any, rate: float, steps: int, start: Any, rng: np.random.Generator
) -> np.ndarray:
    """Parameters of every step of an episode, `[steps, d]` in natural units.

    The schedules (Zouitine et al., time-constrained robust MDPs, 2024), each in units of the range, τ from 0 at the
    first step to 1 at the last:

    * `random_walk`: steps of ±rate, each sign as likely, independently per dimension;
    * `cosine`: from `start` to the far end and back as fast as the rate allows at the middle;
    * `linear`, `exponential`, `logarithmic`: to the far end along τ, `(e^{kτ} - 1) / (e^k - 1)` and
      `log(1 + (e^k - 1) τ) / k` with k = 4.

    The far end is the end of each interval away from `start` (the upper one from the middle). Whatever the shape asks
    for, no step is longer than the rate; a shape that asks for more lags behind.

    Args:
        schedule: which.
        uset: the uncertainty set.
        rate: L, greatest change per step, as a fraction of each range.
        steps: of the episode.
        start: `[d]`, parameters before the first step.
        rng: of the random walk.

    Raises:
        ValueError: an unknown schedule, or a rate or number of steps that is not positive.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"no schedule {schedule!r}; there are: {', '.join(SCHEDULES)}")
    if not rate > 0 or steps < 1:
        raise ValueError(f"rate and steps must be positive, got {rate} and {steps}")
    now = np.asarray(uset.to_unit(np.asarray(start, float)), float)
    far = np.where(now <= 0.5, 1.0, 0.0)
    if schedule == "random_walk":
        wanted = None
        signs = rng.choice([-rate, rate], size=(steps, len(now)))
    else:
        shape = _shape(schedule, rate, steps, np.abs(far - now))
        wanted = now + shape * (far - now)
    path = np.empty((steps, len(now)))
    for t in range(steps):
        change = signs[t] if wanted is None else np.clip(wanted[t] - now, -rate, rate)
        now = np.clip(now + change, 0, 1)
        path[t] = now
    return np.asarray(uset.from_unit(path))


def _shape(schedule: str, rate: float, steps: int, distance: np.ndarray) -> np.ndarray:
    """How much of the way to the far end is wanted after each step, `[steps, 1 or d]` in [0, 1]."""
    t = np.arange(1, steps + 1)[:, None]
    if schedule == "cosine":
        # (1 - cos(w t)) / 2 of the distance changes by at most w / 2 of it per step.
        return (1 - np.cos(2 * rate / np.maximum(distance, rate) * t)) / 2
    progress = t / steps
    if schedule == "linear":
        return progress
    if schedule == "exponential":
        return np.expm1(BEND * progress) / np.expm1(BEND)
    return np.log1p(np.expm1(BEND) * progress) / BEND
