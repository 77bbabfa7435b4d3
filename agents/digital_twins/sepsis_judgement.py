"""Therapies of sepsis compared on fresh patients: return, mortality, burden and dose, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dynrl.agents.digital_twins.sepsis_policy import constant_weights, policy_action
from dynrl.agents.digital_twins.sepsis_search import SepsisSearchConfig, relaxed
from dynrl.agents.digital_twins.sepsis_weights import BEST_CONSTANT
from dynrl.bench import Figure
from dynrl.registry import make_functional

__all__ = [
    "Judged",
    "PairedDifference",
    "compare",
    "figures",
    "mortality_interval",
    "paired_difference",
    "table",
]

HORIZON = 82
"""Decisions of 60 steps: three weeks."""


class Judged(NamedTuple):
    """What became of patients under a therapy `[patients]` each.

    Attributes:
        public: returns under the published reward, which the search maximises.
        shaped: returns under the environment's default reward.
        died: bool.
        burden: mean shares of missing oxygen over the whole horizon; 0 after healing, 0.8 after death.
        dose: sums of the absolute actions over the drugs and the decisions while therapy went on.
    """

    public: np.ndarray
    shaped: np.ndarray
    died: np.ndarray
    burden: np.ndarray
    dose: np.ndarray


def compare(
    constant: np.ndarray, grid: int = 101, patients: int = 100, seed: int = 1_000_000
) -> dict[str, Judged]:
    """A constant, the feedback made of it and no therapy on the same fresh patients, cell after cell. While both
    therapies act alike a patient meets the same chance."""
    config = SepsisSearchConfig()
    settings = {**config.env_kwargs, "grid": grid, "horizon": HORIZON}
    env: Any = make_functional(config.env, cohort=True, **settings)
    ward = env.ward(seed + np.arange(patients))
    therapies = {
        "feedback": relaxed(constant, env),
        "best constant": constant,
        "none": constant_weights(env, {}),
    }
    return {name: _judged(ward, weights, len(constant)) for name, weights in therapies.items()}


def _judged(ward: Any, weights: np.ndarray, size: int) -> Judged:
    courses = ward.courses(partial(policy_action, weights, size=size))
    returns = [course.returns for course in courses]
    return Judged(
        public=np.array([found["public"] for found in returns]),
        shaped=np.array([found["shaped"] for found in returns]),
        died=np.array([course.died for course in courses]),
        burden=np.array([course.burden(HORIZON) for course in courses]),
        dose=np.array([course.dose for course in courses]),
    )


def figures(quick: bool) -> Iterator[Figure]:
    """Feedback beside the best constant that `sepsis_search.search` has found and no therapy. The headline is the
    return under the published reward, under which it was searched; what else is of interest stands beside it."""
    grid, patients = (31, 24) if quick else (101, 100)
    found = compare(np.array(BEST_CONSTANT), grid, patients)
    yield Figure(
        f"sepsis: mortality untreated, {grid} x {grid} cells",
        "reported (another cohort, published: 0.49)",
        _mortality(found["none"]),
        True,
        f"feedback {_mortality(found['feedback'])}",
    )
    for other in ("none", "best constant"):
        gap = paired_difference(found["feedback"].public, found[other].public)
        yield Figure(
            f"sepsis: published return under feedback less {other}, same {patients} patients",
            "95 % interval above 0",
            f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]",
            gap.low > 0,
            f"feedback {found['feedback'].public.mean():.0f}; less it, "
            + _beside(found["feedback"], found[other]),
        )


def _mortality(judged: Judged) -> str:
    share, low, high = mortality_interval(judged.died)
    return f"{share:.2f} [{low:.2f}, {high:.2f}]"


def _beside(feedback: Judged, other: Judged) -> str:
    """Differences in the figures that are not the headline."""
    parts = []
    for name in ("died", "burden", "dose", "shaped"):
        gap = paired_difference(getattr(feedback, name), getattr(other, name))
        parts.append(f"{name} {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
    return ", ".join(parts)


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
    return share, max(0.0, float(centre - half)), min(1.0, float(centre + half))


def table(found: Mapping[str, Judged], best: str) -> str:
    """One line per therapy, with what `best` has more of each figure than it."""
    lines = []
    for name, judged in found.items():
        gap = paired_difference(found[best].public, judged.public)
        lines.append(
            f"{name:<14} return {judged.public.mean():.0f} died {_mortality(judged)} "
            f"burden {judged.burden.mean():.4f} dose {judged.dose.mean():.1f} shaped {judged.shaped.mean():.3f}; "
            f"{best} less it: return {gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}], "
            + _beside(found[best], judged)
        )
    return "\n".join(lines)
