"""Spending logs as regression problems: checks that name rows and channels, lags, least squares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Fit", "Logs", "UnexcitedInputError", "fit", "lags"]

Array = NDArray[np.float64]
MAX_CONDITION_NUMBER = 1e8
_RANK_TOLERANCE = 1e-11


class UnexcitedInputError(ValueError):
    """The logged actions do not vary enough to tell the effects of the channels apart."""


@dataclass(frozen=True)
class Logs:
    """Checked logs.

    Attributes:
        u: actions [T, d]. y: outputs [T, q]. weights: of the outputs in the reward [q]. channels: d names.
    """

    u: Array
    y: Array
    weights: Array
    channels: tuple[str, ...]

    @classmethod
    def read(
        cls, u: ArrayLike, y: ArrayLike, weights: ArrayLike | None, channels: Sequence[str] | None
    ) -> "Logs":
        """Convert and check u [T, d] and y [T] or [T, q].

        Raises:
            ValueError: shapes that do not match (both named), NaN or infinite entries (row and column named).
        """
        u, y = np.asarray(u, dtype=np.float64), np.asarray(y, dtype=np.float64)
        y = y[:, None] if y.ndim == 1 else y
        if u.ndim != 2 or y.ndim != 2 or len(u) != len(y) or 0 in (u.shape[1], y.shape[1]):
            raise ValueError(
                f"u must have shape [T, d] and y [T] or [T, q], but they are {u.shape} and {y.shape}"
            )
        names = tuple(f"channel {i}" for i in range(u.shape[1])) if channels is None else tuple(channels)
        if len(names) != u.shape[1]:
            raise ValueError(f"channels must name the {u.shape[1]} columns of u, but has {len(names)} names")
        _require_finite("u", u, names)
        _require_finite("y", y, tuple(f"output {i}" for i in range(y.shape[1])))
        w = np.ones(y.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != (y.shape[1],) or not np.isfinite(w).all():
            raise ValueError(f"weights must be {y.shape[1]} finite numbers, one per output, but are {w}")
        return cls(u, y, w, names)

    def unexcited_channels(self) -> tuple[str, ...]:
        """Channels that were not varied, or not independently of each other; empty when all is well."""
        centred = self.u - self.u.mean(0)
        spread = np.sqrt((centred**2).mean(0))
        constant = spread <= 1e-10 * np.maximum(1e-300, abs(self.u).max(0))
        if constant.any():
            return tuple(name for name, flat in zip(self.channels, constant, strict=True) if flat)
        _, singular, directions = np.linalg.svd(centred / spread, full_matrices=False)
        if len(singular) == len(spread) and singular[-1] > singular[0] / MAX_CONDITION_NUMBER:
            return ()
        involved = abs(directions[-1]) > 1e-6
        return tuple(name for name, tied in zip(self.channels, involved, strict=True) if tied)

    def require_excitation(self, allow_unexcited: bool) -> tuple[str, ...]:
        """The unexcited channels; UnexcitedInputError if there are any, unless they are allowed."""
        names = self.unexcited_channels()
        if names and not allow_unexcited:
            raise UnexcitedInputError(
                f"the logs do not vary {', '.join(names)} (constant, or tied to each other), so "
                "their effects cannot be told apart; log varied actions, drop the channel, or pass "
                "allow_unexcited=True for the smallest effects that explain the logs"
            )
        return names


@dataclass(frozen=True)
class Fit:
    """Least squares of outputs on regressors.

    Attributes:
        coefficients: [k, q]. gram_inverse: (XᵀX + ridge)^{-1}, pseudo-inverse where singular [k, k].
        residuals: [N, q]. residual_covariance: with N − rank degrees of freedom [q, q].
        condition_number: of the regressor with columns scaled to unit length. rank: its numerical rank.
    """

    coefficients: Array
    gram_inverse: Array
    residuals: Array
    residual_covariance: Array
    condition_number: float
    rank: int


def fit(X: Array, y: Array, ridge: float = 0.0) -> Fit:
    """Ridge least squares, of smallest norm where the regressor [N, k] has dependent columns."""
    if not ridge >= 0:
        raise ValueError(f"ridge must be at least 0, but is {ridge}")
    scale = np.sqrt((X**2).sum(0))
    scale = np.where(scale > 0, scale, 1.0)
    penalty = np.diag(np.sqrt(ridge) / scale) if ridge else np.zeros((0, X.shape[1]))
    U, singular, Vt = np.linalg.svd(np.concatenate([X / scale, penalty]), full_matrices=False)
    kept = singular > _RANK_TOLERANCE * singular[0]
    pseudo = Vt[kept].T / singular[kept]
    coefficients = pseudo @ (U[: len(X), kept].T @ y) / scale[:, None]
    residuals = y - X @ coefficients
    rank = int(kept.sum())
    return Fit(
        coefficients=coefficients,
        gram_inverse=pseudo @ pseudo.T / np.outer(scale, scale),
        residuals=residuals,
        residual_covariance=residuals.T @ residuals / max(len(X) - rank, 1),
        condition_number=float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf"),
        rank=rank,
    )


def lags(series: Array, first: int, last: int, start: int) -> Array:
    """[T − start, (last − first + 1)·c]: series [T, c] at lags first..last for the rows from ``start`` on."""
    columns = [series[start - lag : len(series) - lag] for lag in range(first, last + 1)]
    return np.concatenate(columns, axis=1) if columns else np.empty((len(series) - start, 0))


def require_rows(logs: Logs, start: int, parameters: int) -> None:
    """ValueError unless the logs have more usable rows than unknowns."""
    if len(logs.u) - start <= parameters:
        raise ValueError(
            f"the logs have {len(logs.u)} rows, but {start} lags and {parameters} unknowns need at least "
            f"{start + parameters + 1}; log longer or lower the order"
        )


def _require_finite(name: str, values: Array, columns: tuple[str, ...]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{name} has {len(bad)} entries that are not finite, the first in row {row}, column {column} "
            f"({columns[column]}): {values[row, column]}; fill or drop such rows"
        )
