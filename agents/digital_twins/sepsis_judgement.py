"""Therapies of sepsis compared on fresh patients: mortality, burden, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dynrl.agents.digital_twins.sepsis_policy import (
    Outcomes,
    SepsisPolicyConfig,
    constant_weights,
    judge,
    train_policy,
)
from dynrl.agents.digital_twins.sepsis_weights import BEST_CONSTANT, FEEDBACK
from dynrl.bench import Figure
from dynrl.registry import make_functional

__all__ = [
    "PairedDifference",
    "compare",
    "figures",
    "mortality_interval",
    "paired_difference",
    "search",
    "table",
]


def search(config: SepsisPolicyConfig, verbose: bool = True) -> dict[str, np.ndarray]:
    """Find the feedback and the best constant with equally many patients: a constant is searched first, and from there
    both go on for as many generations, as feedback and as a constant."""
    begin = train_policy(config, constant=True, verbose=verbose)
    return {
        "feedback": train_policy(config, start=begin, verbose=verbose),
        "best constant": train_policy(config, constant=True, start=begin, verbose=verbose),
    }


def compare(
    weights: Mapping[str, np.ndarray], grid: int = 101, patients: int = 100, seed: int = 1_000_000
) -> dict[str, Outcomes]:
    """Feedback, the best constant and no therapy on fresh patients, on the full model."""
    config = SepsisPolicyConfig()
    settings = {**config.env_kwargs, "grid": grid, "horizon": 82}
    env = make_functional(config.env, cohort=True, **settings)
    return judge({**weights, "none": constant_weights(env, {})}, env, patients, seed)


def figures(quick: bool) -> Iterator[Figure]:
    """The feedback that `search` has found, beside the best constant and no therapy, on pieces of tissue."""
    weights = {"feedback": np.array(FEEDBACK), "best constant": np.array(BEST_CONSTANT)}
    grid, patients = (
        (31, 16) if quick else (51, 100)
    )  # steps of 101 x 101 cells take ten times those of 31 x 31
    found = compare(weights, grid, patients)
    share, low, high = mortality_interval(found["none"].died)
    yield Figure(
        f"sepsis: mortality untreated, {grid} x {grid} cells",
        "about one half",
        f"{share:.2f} [{low:.2f}, {high:.2f}]",
        low <= 0.5 <= high,
    )
    for other in ("none", "best constant"):
        gap = paired_difference(found["feedback"].burden, found[other].burden)
        yield Figure(
            f"sepsis: burden under feedback less {other}, same {len(found['none'].died)} patients",
            "95 % interval below 0",
            f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]",
            gap.high < 0,
            f"died {found['feedback'].died.mean():.2f}, {other}: {found[other].died.mean():.2f}",
        )


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
