"""How fast the auction environments are: what `dynrl bench rtb` calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

__all__ = ["best_rate", "single_steps_per_second"]


def best_rate(work: Callable[[], int], seconds: float = 1.0, least_repeats: int = 3) -> float:
    """Units per second of the fastest of several calls of `work`, which returns how many units it did.

    The fastest call is the one that other programs disturbed least. One call before them is not counted.
    """
    work()
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < least_repeats or time.perf_counter() < until:
        start = time.perf_counter()
        units = work()
        rates.append(units / (time.perf_counter() - start))
    return max(rates)


def single_steps_per_second(name: str = "dynrl/BidReplay-v0", steps: int = 20_000, seconds: float = 1.0) -> float:
    """Steps per second of `gymnasium.make(name)`, resets included, with a constant bid of 60 ticks."""
    import gymnasium

    import dynrl  # noqa: F401 (registers the environments)

    env = gymnasium.make(name)
    env.reset(seed=0)
    action = np.array([60.0], np.float32)

    def play() -> int:
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps

    return best_rate(play, seconds)
