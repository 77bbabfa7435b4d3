"""Logistic regression by plain stochastic gradients, as released with the published experiments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dynrl.auctions.clicks.model import ClickModel
from dynrl.auctions.clicks.padding import pad_rows, row_width
from dynrl.auctions.clicks.sampling import check_clicks, check_sampling, expected_rows, passes
from dynrl.auctions.log import Features
from dynrl.runs.progress import Progress

__all__ = ["SGD"]


@dataclass(frozen=True)
class SGD:
    """Steps of `learning_rate` on the *sum* of log-losses of a batch, without regularisation, as in the code released
    with Cai et al. (2017).

    Attributes:
        learning_rate: step per unit of summed gradient.
        batch_size: rows per step.
        initial: weights start uniform in ±`initial`.
        epochs: passes over the rows; the release does not say how many.
        buffer: rows are shuffled within consecutive buffers of this many; 1 keeps the order of the log.
        negative_rate: share of unclicked rows trained on, drawn anew in each pass; predictions are corrected for it.
        seed: of the start, shuffling and drawing.
    """

    learning_rate: float = 1e-3
    batch_size: int = 10_000
    initial: float = 1e-3
    epochs: int = 10
    buffer: int = 1_000_000
    negative_rate: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, expected a positive number")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected at least 1")
        if not self.initial >= 0:
            raise ValueError(f"initial is {self.initial}, expected at least 0")
        check_sampling(self.epochs, self.buffer, self.negative_rate)

    def fit(self, features: Features, click: ArrayLike, progress_bar: bool = False) -> ClickModel:
        """Trains on rows `[N]`; a batch does not reach across the end of a buffer.

        Raises:
            ValueError: rows that do not fit, no clicks, or feature numbers out of range.
        """
        from scipy.special import expit

        clicks = check_clicks(features, click)
        dimension, width = features.dimension, row_width(features)
        initial = np.random.default_rng([self.seed, 0]).uniform(-self.initial, self.initial, dimension)
        weights = np.append(initial, 0.0)  # of the padding
        visits = self.epochs * expected_rows(clicks, self.negative_rate)
        with Progress(visits, "rows", shown=progress_bar) as progress:
            for rows in passes(clicks, self.epochs, self.buffer, self.negative_rate, self.seed):
                for start in range(0, len(rows), self.batch_size):
                    batch = rows[start : start + self.batch_size]
                    present = pad_rows(features, batch, width)
                    error = expit(weights[present].sum(1)) - clicks[batch]
                    gradient = np.bincount(present.ravel(), np.repeat(error, width), minlength=dimension + 1)
                    gradient[dimension] = 0.0
                    weights -= self.learning_rate * gradient
                progress.advance(len(rows))
        return ClickModel(weights[:-1].copy(), self.negative_rate)
