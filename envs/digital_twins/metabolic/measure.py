"""Figures of the metabolic network: its yields, its back ends against each other, its mean field, its speed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from dynrl.bench import Figure
from dynrl.envs.digital_twins.metabolic.backends import Backend, Trajectories, trajectories
from dynrl.envs.digital_twins.metabolic.model import MetabolicGrid

__all__ = ["Agreement", "agreement", "figures", "steady_yields"]

TIMES = (1, 10, 50, 100, 200)
YIELDS = {1.0: 0.035, 4.0: 0.049, 12.0: 0.040}
"""Yield under a constant inflow, each ± 0.003 (the project's specification of the model)."""


class Agreement(NamedTuple):
    """Attributes:
    pvalue: smallest p of the two-sample Kolmogorov–Smirnov tests, over numbers and times.
    z: largest |difference of means| in standard errors.
    """

    pvalue: float
    z: float


def agreement(one: Trajectories, other: Trajectories, times: tuple[int, ...] = TIMES) -> Agreement:
    """Compare two ensembles of runs, all seven numbers at all `times`."""
    pvalues, distances = [], [0.0]
    for at in times:
        for column in range(one.macro.shape[-1]):
            a, b = one.macro[:, at, column], other.macro[:, at, column]
            pvalues.append(ks_2samp(a, b, method="asymp").pvalue)
            error = np.sqrt(a.var() / len(a) + b.var() / len(b))
            if error > 0:
                distances.append(abs(a.mean() - b.mean()) / error)
    return Agreement(float(min(pvalues)), float(max(distances)))


def steady_yields(
    backend: Backend = "jax", runs: int = 24, inflows: tuple[float, ...] = (1, 2, 4, 8, 12)
) -> dict:
    """Harvested over supplied in the last 1000 of 2000 steps, by inflow."""
    found = {}
    for inflow in inflows:
        seen = trajectories(MetabolicGrid(), np.full(2000, float(inflow)), seeds=runs, backend=backend)
        found[float(inflow)] = seen.harvested[:, 1000:].sum() / seen.supplied[:, 1000:].sum()
    return found


def figures(quick: bool = False) -> Iterator[Figure]:
    """What `dynrl bench medical` prints of the metabolic network."""
    yields = steady_yields(runs=12 if quick else 24, inflows=(1, 4, 12) if quick else (1, 2, 4, 8, 12))
    off = max(abs(yields[inflow] - expected) for inflow, expected in YIELDS.items())
    text = ", ".join(f"{inflow:g}: {value:.4f}" for inflow, value in yields.items())
    yield Figure(
        "metabolic yield by inflow", "1: 0.035, 4: 0.049, 12: 0.040, each ± 0.003", text, off <= 0.003
    )
    runs = 150 if quick else 500
    backends: tuple[Backend, ...] = ("jax",) if quick else ("jax", "numpy")
    definition = trajectories(
        MetabolicGrid(), np.full(200, 6.0), seeds=range(10_000, 10_000 + runs), backend="numba"
    )
    for backend in backends:
        found = agreement(
            trajectories(MetabolicGrid(), np.full(200, 6.0), seeds=runs, backend=backend), definition
        )
        yield Figure(
            f"metabolic {backend} against sequential, {runs} runs",
            "KS p > 1e-3, |z| < 4",
            f"p {found.pvalue:.3f}, |z| {found.z:.1f}",
            found.pvalue > 1e-3 and found.z < 4,
        )
    seconds = []
    for seeds in (range(64), range(64, 128)):  # the first call compiles
        start = time.perf_counter()
        trajectories(MetabolicGrid(), np.full(200, 4.0), seeds=seeds)
        seconds.append(time.perf_counter() - start)
    per_step = seconds[1] / (64 * 200)
    yield Figure(
        "metabolic step, 64 networks side by side", "<= 1 ms", f"{1e6 * per_step:.0f} µs", per_step <= 1e-3
    )
