"""Figures of the tumour lattice: what no drug, half a dose and a full dose lead to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from dynrl.abm import simulate
from dynrl.bench import Figure
from dynrl.envs.digital_twins.tumour.model import TumourImmuneModel

__all__ = ["Outcomes", "figures", "outcomes"]

STEPS = 600


class Outcomes(NamedTuple):
    """Runs under a constant dose.

    Attributes:
        filled: runs in which the tumour ever covered more than 60 % of the lattice.
        cleared: runs without a tumour cell at the end.
        runs: all.
    """

    filled: int
    cleared: int
    runs: int


def outcomes(dose: float, runs: int = 40) -> Outcomes:
    """Simulate `runs` patients under a constant dose for 600 steps."""
    model = TumourImmuneModel()
    cohort = simulate(model, None, np.full(1, dose), steps=STEPS, seeds=runs, at_once=20, on_overflow="raise")
    tumour = np.asarray(cohort.macro)[0, :, :, 0]
    filled = (tumour.max(1) > 0.6 * model.grid.cells).sum()
    return Outcomes(int(filled), int((tumour[:, -1] == 0).sum()), runs)


def figures(quick: bool = False) -> Iterator[Figure]:
    """What `dynrl bench medical` prints of the tumour lattice."""
    runs = 20 if quick else 60
    for dose, what, bar in (
        (0.0, "filled", "> 80 %"),
        (1.0, "cleared", "> 80 %"),
        (0.5, "cleared", "< 40 %"),
    ):
        count = getattr(outcomes(dose, runs), what)
        interval = binomtest(count, runs).proportion_ci(method="wilson")
        passed = interval.low > 0.8 if bar.startswith(">") else interval.high < 0.4
        yield Figure(
            f"tumour {what} under dose {dose:g}, {runs} runs",
            f"{bar}, with its Wilson interval",
            f"{count / runs:.0%} ({interval.low:.0%} to {interval.high:.0%})",
            bool(passed),
        )
