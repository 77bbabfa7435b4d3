"""Smoothing of price probabilities. Real prices are spiky (round numbers carry several times their neighbours' mass),
so nothing is smoothed unless asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.landscape.counting import SurvivalCounts

__all__ = ["kernel_smooth", "monotone_hazard"]


def kernel_smooth(
    pmf: ArrayLike, width: float, kernel: Literal["triangular", "gaussian"] = "triangular"
) -> NDArray[np.float64]:
    """Price probabilities `[..., D + 1]` averaged over neighbouring prices; the mass of each row stays the same.

    What would fall below price 0 is reflected back at 0, and what would fall above D at D, so that no mass moves into
    the tail.

    Args:
        width: ticks. Triangular: weights 1 - |j| / width for |j| < width (width ≤ 1 changes nothing). Gaussian: the
            standard deviation, cut at four of them.

    Raises:
        ValueError: `width` not positive, or an unknown kernel.
    """
    from scipy.ndimage import correlate1d

    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"width of the kernel is {width}, expected a positive number of ticks")
    if kernel == "triangular":
        offsets = np.arange(-int(np.ceil(width)) + 1, int(np.ceil(width)))
        weights = 1.0 - np.abs(offsets) / width
    elif kernel == "gaussian":
        offsets = np.arange(-int(np.ceil(4 * width)), int(np.ceil(4 * width)) + 1)
        weights = np.exp(-0.5 * (offsets / width) ** 2)
    else:
        raise ValueError(f"kernel is {kernel!r}, expected 'triangular' or 'gaussian'")
    # SciPy's "reflect" mirrors about the edge of the outer cell, which with symmetric weights keeps every row's sum.
    return correlate1d(np.asarray(pmf, np.float64), weights / weights.sum(), axis=-1, mode="reflect")


def monotone_hazard(counts: SurvivalCounts, increasing: bool = True) -> NDArray[np.float64]:
    """The most likely price probabilities `[D + 1]` among those whose hazard P(price = z | price ≥ z) is monotone.

    Maximises the censored likelihood: pools adjacent violators of d(z) / n(z) with weights n(z) (Barlow, Bartholomew,
    Bremner & Brunk 1972). Prices at which nothing is at risk keep hazard 0: the mass left is the tail.
    """
    from scipy.optimize import isotonic_regression

    if counts.events.ndim != 1:
        raise ValueError(f"counts have shape {counts.events.shape}, expected those of one segment [D + 1]")
    known = counts.at_risk > 0
    hazard = np.zeros_like(counts.events)
    hazard[known] = isotonic_regression(
        counts.events[known] / counts.at_risk[known], weights=counts.at_risk[known], increasing=increasing
    ).x
    return SurvivalCounts(hazard, np.ones_like(hazard)).pmf()
