"""Corrections that make predicted click probabilities mean what they say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CALIBRATORS", "Calibrator", "Isotonic", "Platt", "undo_down_sampling"]

_CLOSEST = 1e-12
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""


def undo_down_sampling(probability: ArrayLike, negative_rate: float) -> NDArray[np.float64]:
    """p / (p + (1 - p) / w): the click probability when only a share w of the unclicked rows was trained on (He et al.
    2014, section 6.3)."""
    p = np.asarray(probability, np.float64)
    return p / (p + (1 - p) / negative_rate)


class Calibrator(ABC):
    """A map from predicted to calibrated probabilities, fitted on rows that the predictor was not fitted on."""

    method: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, theta: ArrayLike, click: ArrayLike) -> Self:
        """From predictions `[N]` and clicks `[N]`.

        Raises:
            ValueError: different lengths, or no clicks.
        """

    @abstractmethod
    def __call__(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities, of the shape given."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What has to be saved."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """Undoes `arrays`."""


@dataclass(frozen=True)
class Platt(Calibrator):
    """1 / (1 + exp(-(slope · logit θ + intercept))), two parameters by maximum likelihood (Platt 1999).

    Clicks count (N₊ + 1) / (N₊ + 2) and other rows 1 / (N₋ + 2) instead of 1 and 0, as Platt does, so that separable
    rows have a finite fit.
    """

    slope: float
    intercept: float
    method: ClassVar[str] = "platt"

    @classmethod
    def fit(cls, theta: ArrayLike, click: ArrayLike) -> Self:
        from scipy.optimize import minimize
        from scipy.special import expit

        values, clicked = _calibration_rows(theta, click)
        clicks, others = clicked.sum(), (1 - clicked).sum()
        target = np.where(clicked == 1, (clicks + 1) / (clicks + 2), 1 / (others + 2))
        design = np.stack([_logit(values), np.ones(len(values))])

        def loss(parameters: NDArray[np.float64]) -> float:
            score = parameters @ design
            return float((np.logaddexp(0, score) - target * score).mean())

        def gradient(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            return design @ (expit(parameters @ design) - target) / len(target)

        def hessian(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            p = expit(parameters @ design)
            return (design * p * (1 - p)) @ design.T / len(target)

        # Convex in two parameters: the trust region converges quadratically from "no correction". Gradients are
        # compared with the click rate, below which they are rounding errors.
        result = minimize(
            loss,
            np.array([1.0, 0.0]),
            jac=gradient,
            hess=hessian,
            method="trust-exact",
            options={"gtol": 1e-9 * target.mean()},
        )
        if abs(gradient(result.x)).max() > 1e-6 * target.mean():
            raise RuntimeError(f"Platt's two parameters did not converge: {result.message}")
        return cls(float(result.x[0]), float(result.x[1]))

    def __call__(self, theta: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import expit

        return expit(self.slope * _logit(np.asarray(theta, np.float64)) + self.intercept)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        return {"parameters": np.array([self.slope, self.intercept])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        return cls(*(float(value) for value in arrays["parameters"]))


@dataclass(frozen=True, eq=False)
class Isotonic(Calibrator):
    """The non-decreasing map that is closest to the clicks in squares (and in likelihood): pooled adjacent violators
    (Barlow et al. 1972; Zadrozny & Elkan 2002). Between the predictions it was fitted on it is linear, beyond them
    constant.

    Below the lowest clicked prediction the calibrated probability is 0, however few rows there are: use `Platt` when
    clicks are few.

    Attributes:
        knots: `[K]`, ascending predictions, two per pooled group.
        values: `[K]`, their calibrated probabilities.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]
    method: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, theta: ArrayLike, click: ArrayLike) -> Self:
        from scipy.optimize import isotonic_regression

        values, clicked = _calibration_rows(theta, click)
        knots, group = np.unique(values, return_inverse=True)
        rows = np.bincount(group).astype(np.float64)
        pooled = isotonic_regression(np.bincount(group, clicked) / rows, weights=rows).x
        # Inside a group of equal values only the two ends carry information.
        inner = np.zeros(len(knots), bool)
        inner[1:-1] = (pooled[1:-1] == pooled[:-2]) & (pooled[1:-1] == pooled[2:])
        return cls(knots[~inner], pooled[~inner])

    def __call__(self, theta: ArrayLike) -> NDArray[np.float64]:
        return np.interp(np.asarray(theta, np.float64), self.knots, self.values)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        return {"knots": self.knots, "values": self.values}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        return cls(arrays["knots"], arrays["values"])


CALIBRATORS: dict[str, type[Calibrator]] = {kind.method: kind for kind in (Isotonic, Platt)}
"""By name."""


def _calibration_rows(theta: ArrayLike, click: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, clicked = np.asarray(theta, np.float64), np.asarray(click, np.float64)
    if values.ndim != 1 or values.shape != clicked.shape:
        raise ValueError(f"theta has shape {values.shape} and click {clicked.shape}, expected [N] both")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("theta must be probabilities in [0, 1]")
    if not ((clicked == 0) | (clicked == 1)).all():
        raise ValueError("click must hold 0 and 1")
    if not clicked.any():
        raise ValueError("the calibration rows have no clicks; hold out a larger share of the training rows")
    return values, clicked


def _logit(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import logit

    return logit(np.clip(theta, _CLOSEST, 1 - _CLOSEST))
