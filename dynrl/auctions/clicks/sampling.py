"""The order in which training rows are visited: shuffled within buffers, negatives thinned."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.clicks.padding import check_features
from dynrl.auctions.log import Features

__all__ = ["check_clicks", "check_sampling", "expected_rows", "passes"]


def check_clicks(features: Features, click: ArrayLike) -> NDArray[np.float64]:
    """The clicks `[N]` as float64.

    Raises:
        ValueError: another number of rows than `features`, no rows, values other than 0 and 1, no click at all, or
            feature numbers out of range.
    """
    clicks = np.asarray(click, np.float64)
    if clicks.shape != (len(features),):
        raise ValueError(f"click has shape {clicks.shape}, expected [{len(features)}] as in the features")
    if len(clicks) == 0:
        raise ValueError("there are no rows to train on")
    if not ((clicks == 0) | (clicks == 1)).all():
        raise ValueError("click must hold 0 and 1; read the log with clicks='binary'")
    if not clicks.any():
        raise ValueError(
            "the training rows have no clicks, so nothing can be learnt; train on a longer period"
        )
    check_features(features)
    return clicks


def check_sampling(epochs: int, buffer: int, negative_rate: float) -> None:
    """ValueError that names the setting."""
    for name, value in (("epochs", epochs), ("buffer", buffer)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    if not 0 < negative_rate <= 1:
        raise ValueError(f"negative_rate is {negative_rate}, expected a share in (0, 1]")


def expected_rows(click: NDArray[np.float64], negative_rate: float) -> int:
    """Mean number of rows in one pass."""
    return round(click.sum() + negative_rate * (1 - click).sum())


def passes(
    click: NDArray[np.float64], epochs: int, buffer: int, negative_rate: float, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Row numbers in the order of training, one array per buffer.

    The log is cut into consecutive buffers of `buffer` rows; each is thinned (every clicked row stays, an unclicked one
    with probability `negative_rate`) and shuffled, anew in each of the `epochs` passes. `buffer=1` keeps the order of
    the log.
    """
    rng = np.random.default_rng(seed)
    if buffer == 1:  # one array for the whole pass, not one per row
        buffer, shuffled = len(click), False
    else:
        shuffled = True
    for _ in range(epochs):
        for start in range(0, len(click), buffer):
            rows = np.arange(start, min(start + buffer, len(click)))
            if negative_rate < 1:
                rows = rows[(click[rows] == 1) | (rng.random(len(rows)) < negative_rate)]
            yield rng.permutation(rows) if shuffled else rows
