"""Click rates drift; a running ratio of clicks to predicted clicks follows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["recalibrate"]


def recalibrate(
    theta: ArrayLike,
    click: ArrayLike,
    won: ArrayLike | None = None,
    half_life: float = 50_000.0,
    prior: float = 10.0,
) -> NDArray[np.float64]:
    """Predictions `[N]` in time order, each times (prior + clicks) / (prior + predicted clicks) of the rows before it;
    at most 1.

    The ratio is the posterior mean of a common factor on all click rates with a Gamma(prior, prior) prior; old rows are
    forgotten exponentially. No row sees its own click or a later one.

    Args:
        theta: predicted click probabilities.
        click: whether the row was clicked.
        won: rows whose click was observed (None: all).
        half_life: rows after which an observation counts half.
        prior: clicks that the factor 1 is worth; larger reacts more slowly.

    Raises:
        ValueError: different lengths, `half_life` or `prior` not positive.
    """
    from scipy.signal import lfilter

    predicted = np.asarray(theta, np.float64)
    clicked = np.asarray(click, np.float64)
    observed = np.ones(predicted.shape) if won is None else np.asarray(won, np.float64)
    if predicted.ndim != 1 or not predicted.shape == clicked.shape == observed.shape:
        raise ValueError(
            f"theta {predicted.shape}, click {clicked.shape} and won {observed.shape} differ, expected [N] all"
        )
    if not (half_life > 0 and prior > 0):
        raise ValueError(f"half_life is {half_life} and prior {prior}, expected positive numbers")
    keep = 0.5 ** (1 / half_life)
    # y[i] = keep y[i-1] + u[i-1]: what was seen before row i.
    past = lfilter([0.0, 1.0], [1.0, -keep], np.stack([clicked, predicted]) * observed)
    return np.minimum(predicted * (prior + past[0]) / (prior + past[1]), 1.0)
