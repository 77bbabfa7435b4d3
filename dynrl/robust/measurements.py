"""What a robustness report holds about each model, about the worst one, and about what can be proved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from dynrl.robust.evaluation.returns import Returns
from dynrl.robust.statistics import Interval, intervals_of_moments


@dataclass(frozen=True)
class Cells:
    """What was measured on each model, after both stages: fresh episodes only where the second stage was played.

    Attributes:
        psi: `[N, d]`.
        mean, spread, lowest: of the returns, `[N]`; `spread` is the standard deviation (of n - 1, 0 for one episode).
        episodes: `[N]`, how many they are from.
        terminated, diverged: shares of the episodes, `[N]`.
        first_mean: `[N]`, mean of the first stage, on which the models of the second were chosen.
    """

    psi: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    lowest: np.ndarray
    episodes: np.ndarray
    terminated: np.ndarray
    diverged: np.ndarray
    first_mean: np.ndarray

    @staticmethod
    def of(psi: np.ndarray, played: Returns) -> Cells:
        several = played.num_episodes > 1
        mean = played.returns.mean(axis=1)
        return Cells(
            psi=psi,
            mean=mean,
            spread=played.returns.std(axis=1, ddof=1) if several else np.zeros(len(psi)),
            lowest=played.returns.min(axis=1),
            episodes=np.full(len(psi), played.num_episodes),
            terminated=played.terminated.mean(axis=1),
            diverged=played.diverged.mean(axis=1),
            first_mean=mean,
        )

    def replaced(self, rows: np.ndarray, fresh: Cells) -> Cells:
        """The same with other measurements in some rows, their first means kept."""
        arrays = {}
        for name in ("mean", "spread", "lowest", "episodes", "terminated", "diverged"):
            arrays[name] = getattr(self, name).copy()
            arrays[name][rows] = getattr(fresh, name)
        return dataclasses.replace(self, **arrays)

    def followed_by(self, more: Cells) -> Cells:
        """These models and others, one below the other."""
        return Cells(
            *(
                np.concatenate([getattr(self, item.name), getattr(more, item.name)])
                for item in dataclasses.fields(Cells)
            )
        )

    def intervals(self, delta: float) -> tuple[np.ndarray, np.ndarray]:
        """Both ends `[N]` of intervals that hold for all models together with confidence `1 - delta`."""
        return intervals_of_moments(self.mean, self.spread, self.episodes, delta)


@dataclass(frozen=True)
class Worst:
    """The worst model found.

    Attributes:
        psi: `[d]`.
        value: its mean return, from the second stage.
        interval: of the smallest mean of all models, holding with confidence `1 - delta`.
        bootstrap: percentile bootstrap interval over the models of the second stage.
        found_by: `"cells"` or `"search"`.
    """

    psi: np.ndarray
    value: float
    interval: Interval
    bootstrap: Interval
    found_by: str


@dataclass(frozen=True)
class Bracket:
    """What is achieved and what cannot be exceeded (spec 2.5).

    Attributes:
        lower, upper: `lower <= robust value <= upper`, as far as `kind` says.
        kind: how they were found, such as `"exact"` or `"estimated: sampled search, learned policies"`.
    """

    lower: float
    upper: float
    kind: str
