"""How good click probabilities are: ranking, log-loss, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Reliability", "auc", "log_loss", "relative_log_loss", "reliability"]


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted against realised rates, in groups of rows with similar predictions, lowest first.

    Attributes:
        count: `[G]`, rows.
        predicted: `[G]`, mean prediction.
        realised: `[G]`, share of rows in which it happened.
    """

    count: NDArray[np.int64]
    predicted: NDArray[np.float64]
    realised: NDArray[np.float64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """`[G]`, predicted / realised; 1 is calibrated, NaN where it never happened."""
        return np.divide(
            self.predicted, self.realised, out=np.full(len(self.count), np.nan), where=self.realised > 0
        )

    @property
    def overall_ratio(self) -> float:
        """Mean prediction over the realised rate of all rows, e.g. mean(pCTR) / CTR; NaN where it never happened."""
        happened = self.count @ self.realised
        return float(self.count @ self.predicted / happened) if happened > 0 else float("nan")

    @property
    def expected_error(self) -> float:
        """Mean of |predicted - realised|, groups weighted by their rows (expected calibration error)."""
        return float(self.count @ np.abs(self.predicted - self.realised) / self.count.sum())


def reliability(probability: ArrayLike, happened: ArrayLike, bins: int = 10) -> Reliability:
    """Groups rows `[N]` by their predicted probability into `bins` groups of equal size (deciles for 10).

    Fewer rows than `bins` make a group each. Rows of equal prediction may fall into neighbouring groups, in the order
    given.

    Raises:
        ValueError: no rows, different lengths, or fewer than one bin.
    """
    probability, happened = _outcomes(probability, happened)
    if bins < 1:
        raise ValueError(f"bins is {bins}, expected at least 1")
    groups = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(probability)))
    return Reliability(
        np.array([len(group) for group in groups]),
        np.array([probability[group].mean() for group in groups]),
        np.array([happened[group].mean() for group in groups]),
    )


def auc(probability: ArrayLike, click: ArrayLike) -> float:
    """Chance that a clicked row has the higher probability than an unclicked one, a tie counting one half
    (Mann-Whitney U); NaN when all rows were clicked or none."""
    from scipy.stats import rankdata

    probability, clicked = _outcomes(probability, click)
    clicks, others = int(clicked.sum()), int((1 - clicked).sum())
    if clicks == 0 or others == 0:
        return float("nan")
    ranks = rankdata(probability)
    return float((ranks[clicked == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * others))


def log_loss(probability: ArrayLike, click: ArrayLike) -> float:
    """Mean of -ln of the probability given to what happened, in nats; infinite when that was 0 somewhere."""
    probability, clicked = _outcomes(probability, click)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(clicked == 1, probability, 1 - probability)).mean())


def relative_log_loss(probability: ArrayLike, click: ArrayLike, rate: float) -> float:
    """Log-loss over that of predicting the constant `rate` (the click rate of the training rows); below 1 is better.

    Raises:
        ValueError: `rate` outside (0, 1).
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}, expected the training click rate, between 0 and 1")
    clicked = np.asarray(click)
    return log_loss(probability, clicked) / log_loss(np.full(clicked.shape, rate), clicked)


def _outcomes(probability: ArrayLike, happened: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, outcome = np.asarray(probability, np.float64), np.asarray(happened, np.float64)
    if values.ndim != 1 or values.shape != outcome.shape:
        raise ValueError(
            f"probabilities have shape {values.shape} and outcomes {outcome.shape}, expected [N] both"
        )
    if len(values) == 0:
        raise ValueError("there are no rows to evaluate")
    if not ((values >= 0) & (values <= 1 + 1e-12)).all():
        raise ValueError(f"probabilities go from {values.min()} to {values.max()}, expected [0, 1]")
    if not ((outcome == 0) | (outcome == 1)).all():
        raise ValueError("outcomes must be 0 or 1")
    return values, outcome
