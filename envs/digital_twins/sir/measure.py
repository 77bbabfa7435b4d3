"""Figures of the epidemics: the fully mixed chain against its exact law."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import chisquare

from dynrl.abm import simulate
from dynrl.bench import Figure
from dynrl.envs.digital_twins.sir.model import SIRModel, SIRParams, checked_params
from dynrl.envs.digital_twins.sir.reed_frost import final_size_distribution

__all__ = ["figures", "reed_frost_pvalue"]


def reed_frost_pvalue(runs: int = 4000, beta: float = 0.12) -> float:
    """Chi-square p of the final sizes of `runs` epidemics among 15 people, 2 of them infected for one day."""
    params = checked_params(SIRParams(beta, 1, 2), 15)
    cohort = simulate(SIRModel(3, 5, mixing="full"), params, steps=15, seeds=runs)
    sizes = np.asarray(cohort.macro)[0, :, -1, 2].astype(int) - 2
    expected = runs * final_size_distribution(13, 2, beta)
    return float(chisquare(np.bincount(sizes, minlength=14), expected).pvalue)


def figures(quick: bool = False) -> Iterator[Figure]:
    """What `dynrl bench medical` prints of the epidemics."""
    runs = 4000 if quick else 40_000
    pvalue = reed_frost_pvalue(runs)
    yield Figure(
        f"SIR final sizes against Reed–Frost, {runs} runs", "χ² p > 1e-3", f"p {pvalue:.3f}", pvalue > 1e-3
    )
