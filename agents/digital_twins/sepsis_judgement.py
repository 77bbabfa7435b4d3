"""Therapies of sepsis compared on fresh patients: mortality, burden, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dynrl.agents.digital_twins.sepsis_policy import Outcomes

__all__ = ["PairedDifference", "mortality_interval", "paired_difference"]


class PairedDifference(NamedTuple):
    """Mean of a therapy's figure less that of another on the same patients, and its interval.

    Attributes:
        mean: below 0 where the therapy has less of it.
        low, high: bootstrap interval over patients.
    """

    mean: float
    low: float
    high: float


def paired_difference(
    therapy: np.ndarray, other: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Bootstrap over patients (percentiles, Efron 1979) of the mean of `therapy - other`, `[patients]` each."""
    differences = np.asarray(therapy, float) - np.asarray(other, float)
    rng = np.random.default_rng(seed)
    means = differences[rng.integers(0, len(differences), (resamples, len(differences)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return PairedDifference(float(differences.mean()), float(low), float(high))


def mortality_interval(died: np.ndarray, level_z: float = 1.96) -> tuple[float, float, float]:
    """Share of the dead and its Wilson interval `(share, low, high)`."""
    n, share = len(died), float(np.mean(died))
    centre = (share + level_z**2 / (2 * n)) / (1 + level_z**2 / n)
    half = level_z / (1 + level_z**2 / n) * np.sqrt(share * (1 - share) / n + level_z**2 / (4 * n**2))
    return share, float(centre - half), float(centre + half)


def table(outcomes: Mapping[str, Outcomes], best: str) -> str:
    """One line per therapy, with its burden less that of `best`."""
    lines = []
    for name, found in outcomes.items():
        share, low, high = mortality_interval(found.died)
        gap = paired_difference(outcomes[best].burden, found.burden)
        lines.append(
            f"{name:<16} died {share:.2f} [{low:.2f}, {high:.2f}]  burden {found.burden.mean():.3f}  "
            f"{best} less it {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        )
    return "\n".join(lines)
