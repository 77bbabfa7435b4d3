"""The Reed–Frost chain, worked out: how many people an epidemic reaches in the end."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

__all__ = ["final_size_distribution"]


def final_size_distribution(susceptible: int, infected: int, beta: float) -> np.ndarray:
    """Probability that j of the susceptible are ever infected, j = 0 .. `susceptible`, float64 `[susceptible + 1]`.

    With i people infected today, each of the s susceptible is infected tomorrow with probability 1 − (1 − β)^i,
    independently; those of today have then recovered (Abbey 1952, after Reed and Frost).

    Args:
        susceptible: at the beginning.
        infected: at the beginning.
        beta: probability that one infected person infects one susceptible.

    Raises:
        ValueError: negative numbers, or `beta` outside [0, 1].
    """
    if susceptible < 0 or infected < 0 or not 0 <= beta <= 1:
        raise ValueError(
            f"susceptible={susceptible}, infected={infected}, beta={beta}: expected numbers of at least 0 and a "
            "probability"
        )
    reached = np.zeros((susceptible + 1, susceptible + infected + 1))  # probability that (s, i) ever occurs
    reached[susceptible, infected] = 1.0
    sizes = np.zeros(susceptible + 1)
    for s in range(susceptible, -1, -1):
        # Nobody new in a day leaves s as it is and ends the epidemic the day after, so i > 0 never returns to s.
        for i in range(1, reached.shape[1]):
            new = np.arange(s + 1)
            odds = reached[s, i] * binom.pmf(new, s, 1 - (1 - beta) ** i)
            reached[s - new, new] += odds
        sizes[susceptible - s] = reached[s, 0]
    return sizes
