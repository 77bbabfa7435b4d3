"""Points of the unit cube: independent, Sobol or Latin hypercube."""

from __future__ import annotations

import warnings

import numpy as np

METHODS = ("uniform", "sobol", "lhs")


def unit_sample(rng: np.random.Generator, n: int, dim: int, method: str = "uniform") -> np.ndarray:
    """Points `[n, dim]` of the unit cube.

    Raises:
        ValueError: unknown method, or a negative number.
    """
    if n < 0:
        raise ValueError(f"n is {n}, expected 0 or more points.")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {list(METHODS)}.")
    if method == "uniform":
        return rng.random((n, dim))
    from scipy.stats import qmc

    if method == "lhs":
        return qmc.LatinHypercube(dim, rng=rng).random(n)
    with warnings.catch_warnings():
        # Any n is fine here; that balance needs a power of two is in the method's literature.
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        return qmc.Sobol(dim, scramble=True, rng=rng).random(n)
