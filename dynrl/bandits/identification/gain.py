"""The long-run gain h of a system from logs of actions and outputs, with its uncertainty."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.identification.logs import Fit, Logs, fit, lags, require_rows

__all__ = ["GainEstimate", "identify_gain"]

Array = NDArray[np.float64]
_LARGEST_SAFE_RHO = 0.999


@dataclass(frozen=True, eq=False)
class GainEstimate:
    """What the logs say about h.

    Attributes:
        h: long-run effect of each channel on the reward [d].
        covariance: of ``h`` [d, d].
        output_gain: long-run effect of each channel on each output [q, d].
        rho: spectral radius of the fitted recursion; NaN for ``method="fir"``.
        rho_se: standard error of ``rho``.
        unstable: whether ``rho`` ≥ 1, so that ``h`` is no long-run effect.
        order: p lags of the outputs and actions (H for ``"fir"``).
        method: ``"arx"`` or ``"fir"``.
        output_coefficients: F_i [p, q, q] (p = 0 for ``"fir"``). input_coefficients: G_i [order + 1, q, d].
        residual_covariance: [q, q].
        condition_number: of the regressor, columns scaled to unit length.
        ill_conditioned: whether that exceeds 1e8; normal for logs without noise and an order above the true
            one.
        criteria: (order, value) of the information criterion for every order tried.
        samples: rows used. channels: names. unexcited: channels that were not varied independently.
    """

    h: Array
    covariance: Array
    output_gain: Array
    rho: float
    rho_se: float
    unstable: bool
    order: int
    method: str
    output_coefficients: Array
    input_coefficients: Array
    residual_covariance: Array
    condition_number: float
    ill_conditioned: bool
    criteria: tuple[tuple[int, float], ...]
    samples: int
    channels: tuple[str, ...]
    unexcited: tuple[str, ...]

    @property
    def standard_errors(self) -> Array:
        """Of each entry of ``h`` [d]."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def rho_bar(self) -> float:
        """A cautious upper bound on the spectral radius: min(0.999, rho + 2 rho_se + 0.02)."""
        if not np.isfinite(self.rho):
            raise ValueError("method='fir' does not estimate the spectral radius; use method='arx'")
        return min(_LARGEST_SAFE_RHO, self.rho + 2 * self.rho_se + 0.02)

    def confidence_interval(self, u: ArrayLike | None = None, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper ends for each entry of h [d], or for the values h·u [...] of actions u [..., d]."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), but is {level}")
        directions = np.eye(len(self.h)) if u is None else np.asarray(u, dtype=np.float64)
        center = directions @ self.h
        variance = ((directions @ self.covariance) * directions).sum(-1)
        half = scipy.stats.norm.ppf((1 + level) / 2) * np.sqrt(np.maximum(variance, 0.0))
        return center - half, center + half


def identify_gain(
    u: ArrayLike,
    y: ArrayLike,
    order: int | None = None,
    ridge: float = 0.0,
    *,
    method: str = "arx",
    criterion: str = "bic",
    max_order: int = 8,
    weights: ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    allow_unexcited: bool = False,
) -> GainEstimate:
    """Estimate h from logs.

    ``"arx"``: y_t = Σ_{i=1..p} F_i y_{t−i} + Σ_{i=0..p} G_i u_{t−i} + noise by least squares, and
    h = weightsᵀ(I − ΣF)^{-1}ΣG. Without noise it is exact for p at least the number of states; with noise
    inside the recursion the order must be high enough to whiten the residuals. Covariance: delta method.
    ``"fir"``: y_t = Σ_{i=0..H} G_i u_{t−i} + noise and h = weightsᵀΣG; it ignores what acts after more than H
    rounds (a bias of about ρ^H). Covariance: Newey–West, because such residuals are correlated.

    Args:
        u: actions [T, d].
        y: rewards [T] or outputs [T, q].
        order: p (or H); by default the best of 1..``max_order`` by ``criterion``.
        ridge: penalty on the squared coefficients.
        method: ``"arx"`` or ``"fir"``.
        criterion: ``"bic"`` or ``"aic"``.
        max_order: largest order tried.
        weights: of the outputs in the reward [q]; one by default.
        channels: names of the columns of u, for messages.
        allow_unexcited: go on where channels were not varied (constant, or tied to each other), with the
            smallest effects that explain the logs; the result names the channels.

    Raises:
        ValueError: shapes, NaN (row and column named), too few rows, unknown method.
        UnexcitedInputError: channels that were not varied, named.
    """
    if method not in ("arx", "fir"):
        raise ValueError(f"method must be 'arx' or 'fir', but is {method!r}")
    if criterion not in ("aic", "bic"):
        raise ValueError(f"criterion must be 'aic' or 'bic', but is {criterion!r}")
    if order is not None and (int(order) != order or order < 1):
        raise ValueError(f"order must be a whole number of at least 1, but is {order}")
    logs = Logs.read(u, y, weights, channels)
    start = max_order if order is None else int(order)
    q, d = logs.y.shape[1], logs.u.shape[1]
    require_rows(logs, start, _output_lags(method, start) * q + (start + 1) * d)
    unexcited = logs.require_excitation(allow_unexcited)
    criteria: tuple[tuple[int, float], ...] = ()
    if order is None:
        criteria = tuple(
            (p, _information(fit(_regressor(logs, method, p, start), logs.y[start:], ridge), logs, criterion))
            for p in range(1, max_order + 1)
        )
        order = min(criteria, key=lambda row: row[1])[0]
    result = fit(_regressor(logs, method, order, order), logs.y[order:], ridge)
    return _estimate(logs, result, method, order, criteria, unexcited)


def _output_lags(method: str, order: int) -> int:
    return order if method == "arx" else 0


def _regressor(logs: Logs, method: str, order: int, start: int) -> Array:
    outputs = lags(logs.y, 1, _output_lags(method, order), start)
    return np.concatenate([outputs, lags(logs.u, 0, order, start)], axis=1)


def _information(result: Fit, logs: Logs, criterion: str) -> float:
    """AIC or BIC; residuals below rounding count as zero, so without noise the smallest exact order wins."""
    samples, q = result.residuals.shape
    floor = 1e-20 * np.diag(np.maximum(logs.y.var(0), 1e-300))
    _, log_det = np.linalg.slogdet(result.residuals.T @ result.residuals / samples + floor)
    price = np.log(samples) if criterion == "bic" else 2.0
    return float(samples * log_det + price * result.coefficients.shape[0] * q)


def _estimate(
    logs: Logs,
    result: Fit,
    method: str,
    order: int,
    criteria: tuple[tuple[int, float], ...],
    unexcited: tuple[str, ...],
) -> GainEstimate:
    q, d = logs.y.shape[1], logs.u.shape[1]
    p = _output_lags(method, order)
    F = result.coefficients[: p * q].reshape(p, q, q).transpose(0, 2, 1)
    G = result.coefficients[p * q :].reshape(order + 1, d, q).transpose(0, 2, 1)
    feedback = np.eye(q) - F.sum(0)
    # A root at exactly 1 (random walks, trends) leaves nothing to invert: there is no long-run effect.
    unit_root = np.linalg.matrix_rank(feedback) < q
    to_outputs = np.full((q, q), np.nan) if unit_root else np.linalg.inv(feedback)
    output_gain = to_outputs @ G.sum(0)
    # dh = aᵀ(dF·output_gain + dG): every coefficient of output r enters entry j of h with weight a_r Z_j.
    a = logs.weights @ to_outputs
    Z = np.concatenate([np.tile(output_gain, (p, 1)), np.tile(np.eye(d), (order + 1, 1))]).T
    if method == "arx":
        covariance = (a @ result.residual_covariance @ a) * Z @ result.gram_inverse @ Z.T
    else:
        regressor = _regressor(logs, method, order, order)
        scores = (result.residuals @ a)[:, None] * (regressor @ result.gram_inverse @ Z.T)
        covariance = _newey_west(scores, bandwidth=max(order, int(4 * (len(scores) / 100) ** (2 / 9))))
    rho, rho_se = _companion_radius(F, result) if method == "arx" else (float("nan"), float("nan"))
    rho = max(rho, 1.0) if unit_root else rho
    if rho >= 1:
        warnings.warn(
            f"the fitted recursion is unstable (spectral radius {rho:.4g}), so h is no long-run effect; "
            "try another order or longer logs",
            stacklevel=3,
        )
    return GainEstimate(
        h=logs.weights @ output_gain,
        covariance=covariance,
        output_gain=output_gain,
        rho=rho,
        rho_se=rho_se,
        unstable=bool(rho >= 1),
        order=order,
        method=method,
        output_coefficients=F,
        input_coefficients=G,
        residual_covariance=result.residual_covariance,
        condition_number=result.condition_number,
        ill_conditioned=bool(result.condition_number > 1e8),
        criteria=criteria,
        samples=len(result.residuals),
        channels=logs.channels,
        unexcited=unexcited,
    )


def _newey_west(scores: Array, bandwidth: int) -> Array:
    """Long-run covariance of the sum of the rows [N, d] (Newey and West 1987)."""
    total = scores.T @ scores
    for lag in range(1, bandwidth + 1):
        cross = scores[lag:].T @ scores[:-lag]
        total += (1 - lag / (bandwidth + 1)) * (cross + cross.T)
    return total


def _companion_radius(F: Array, result: Fit) -> tuple[float, float]:
    """Largest root modulus of I z^p − F_1 z^{p−1} − … − F_p, and its standard error (numerical delta
    method).
    """
    p, q, _ = F.shape

    def radius(coefficients: Array) -> float:
        companion = np.eye(p * q, k=-q)
        companion[:q] = coefficients.transpose(1, 0, 2).reshape(q, p * q)
        return float(np.abs(np.linalg.eigvals(companion)).max())

    step = 1e-6 * max(1.0, float(abs(F).max()))
    gradient = np.zeros_like(F)
    for index in np.ndindex(*F.shape):
        shift = np.zeros_like(F)
        shift[index] = step
        gradient[index] = (radius(F + shift) - radius(F - shift)) / (2 * step)
    by_output = gradient.transpose(1, 0, 2).reshape(q, p * q)
    spread = by_output @ result.gram_inverse[: p * q, : p * q] @ by_output.T
    variance = float((result.residual_covariance * spread).sum())
    return radius(F), float(np.sqrt(max(variance, 0.0)))
