"""A state-space model from logs: ARX least squares followed by the Ho–Kalman realisation."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.growth import spectral_radius
from dynrl.bandits.identification.logs import Fit, Logs, fit, lags, require_rows
from dynrl.bandits.system import DLBSystem

__all__ = ["StateSpaceEstimate", "identify_state_space"]

Array = NDArray[np.float64]
_SHRUNK_MODULUS = 0.999


@dataclass(frozen=True, eq=False)
class StateSpaceEstimate:
    """x_{t+1} = A x_t + B u_t, z_t = C x_t + D u_t, in the coordinates that the realisation happens to
    choose.

    Attributes:
        A: [n, n]. B: [n, d]. C: [q, n]. D: [q, d].
        kalman_gain: effect F of the output innovations on the state [n, q].
        weights: of the outputs in the reward [q].
        singular_values: of the block-Hankel matrix; a gap after the n-th supports the order.
        rho: spectral radius of A.
        unstable: whether the fitted A had ρ ≥ 1. shrunk: whether its eigenvalues were then pulled to 0.999.
        residual_covariance: of one-step predictions [q, q].
        condition_number: of the regressor, columns scaled to unit length.
        channels: names. unexcited: channels that were not varied independently.
    """

    A: Array
    B: Array
    C: Array
    D: Array
    kalman_gain: Array
    weights: Array
    singular_values: Array
    rho: float
    unstable: bool
    shrunk: bool
    residual_covariance: Array
    condition_number: float
    channels: tuple[str, ...]
    unexcited: tuple[str, ...]

    @property
    def order(self) -> int:
        """Number n of states."""
        return len(self.A)

    @property
    def h(self) -> Array:
        """Long-run effect of each channel on the reward [d]; raises UnstableSystemError where there is
        none.
        """
        return self.system().cumulative_markov

    def system(self, sigma_x: float = 0.0, sigma_out: float = 0.0) -> DLBSystem:
        """The bandit with these matrices; unstable ones can be simulated only."""
        unstable = self.unstable and not self.shrunk
        return DLBSystem.from_state_space(
            self.A, self.B, self.C, self.D, self.weights, sigma_x, sigma_out, allow_unstable=unstable
        )


def identify_state_space(
    u: ArrayLike,
    y: ArrayLike,
    order: int | None = None,
    horizon: int = 12,
    ridge: float = 0.0,
    *,
    shrink: bool = False,
    weights: ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    allow_unexcited: bool = False,
) -> StateSpaceEstimate:
    """Identify A, B, C, D from logs, also of a closed loop.

    Outputs are regressed on the last H outputs and actions and the present action; the coefficients are the
    Markov parameters of the one-step predictor, Ā = A − FC and B̄ = B − FD with the gain F of the
    innovations, which Ho–Kalman realises; then A = Ā + FC and B = B̄ + FD. In logs without noise the past
    outputs are redundant and the predictor is not unique: the Markov parameters of the system itself are
    realised there (F = 0), exactly.

    Args:
        u: actions [T, d]. y: rewards [T] or outputs [T, q].
        order: n; by default where the singular values fall most.
        horizon: H, even. ridge: penalty on the squared coefficients.
        shrink: scale eigenvalues of modulus ≥ 1 down to 0.999 (flagged in the result, with a warning).
        weights, channels, allow_unexcited: as for ``identify_gain``.

    Raises:
        ValueError: shapes, NaN (row and column named), too few rows, an odd or too short horizon.
        UnexcitedInputError: channels that were not varied, named.
    """
    logs = Logs.read(u, y, weights, channels)
    q, d = logs.y.shape[1], logs.u.shape[1]
    if int(horizon) != horizon or horizon < 4 or horizon % 2:
        raise ValueError(f"horizon must be an even number of at least 4, but is {horizon}")
    largest = min(q * horizon // 2, (horizon // 2 - 1) * (q + d))
    if order is not None and not 1 <= order <= largest:
        raise ValueError(
            f"order must lie in 1..{largest} for horizon {horizon}, but is {order}; raise the horizon"
        )
    require_rows(logs, horizon, horizon * (q + d) + d)
    unexcited = logs.require_excitation(allow_unexcited)
    outputs, inputs = lags(logs.y, 1, horizon, horizon), lags(logs.u, 0, horizon, horizon)
    result = fit(np.concatenate([outputs, inputs], axis=1), logs.y[horizon:], ridge)
    F, D, G = _predictor(result, horizon, q, d)
    if result.rank < len(result.coefficients) and not unexcited:
        F, G = np.zeros_like(F), _system_markov_parameters(F, D, G)
    singular_values, A_bar, B_bar, C, gain = _ho_kalman(F, G, order)
    A, B = A_bar + gain @ C, B_bar + gain @ D

    rho = spectral_radius(A)
    unstable = rho >= 1
    if unstable:
        warnings.warn(
            f"the identified system is unstable (spectral radius {rho:.4g})"
            + (
                "; its eigenvalues are scaled down to 0.999" if shrink else "; shrink=True would stabilise it"
            ),
            stacklevel=2,
        )
    if unstable and shrink:
        A = _shrunk(A)
        rho = spectral_radius(A)
    return StateSpaceEstimate(
        A=A,
        B=B,
        C=C,
        D=D,
        kalman_gain=gain,
        weights=logs.weights,
        singular_values=singular_values,
        rho=rho,
        unstable=bool(unstable),
        shrunk=bool(unstable and shrink),
        residual_covariance=result.residual_covariance,
        condition_number=result.condition_number,
        channels=logs.channels,
        unexcited=unexcited,
    )


def _predictor(result: Fit, horizon: int, q: int, d: int) -> tuple[Array, Array, Array]:
    """Coefficients F [H, q, q] of past outputs, D [q, d] of the present action, G [H, q, d] of past ones."""
    outputs, inputs = np.split(result.coefficients, [horizon * q])
    F = outputs.reshape(horizon, q, q).transpose(0, 2, 1)
    G = inputs.reshape(horizon + 1, d, q).transpose(0, 2, 1)
    return F, G[0], G[1:]


def _system_markov_parameters(F: Array, D: Array, G: Array) -> Array:
    """[H, q, d]: response after 1..H rounds of y_t = ΣF_i y_{t−i} + D u_t + ΣG_i u_{t−i}."""
    response = [D]
    for k in range(1, len(G) + 1):
        response.append(G[k - 1] + sum(F[i] @ response[k - 1 - i] for i in range(k)))
    return np.array(response[1:])


def _ho_kalman(F: Array, G: Array, order: int | None) -> tuple[Array, Array, Array, Array, Array]:
    """Singular values and Ā [n, n], B̄ [n, d], C [q, n], gain [n, q] with F_i = CĀ^{i−1}gain, G_i =
    CĀ^{i−1}B̄.
    """
    half, q, d = len(F) // 2, F.shape[1], G.shape[2]
    hankel_F = np.block([[F[i + j] for j in range(half)] for i in range(half)])
    hankel_G = np.block([[G[i + j] for j in range(half)] for i in range(half)])
    H_minus = np.concatenate([hankel_F[:, :-q], hankel_G[:, :-d]], axis=1)
    H_plus = np.concatenate([hankel_F[:, q:], hankel_G[:, d:]], axis=1)
    U, singular, Vt = np.linalg.svd(H_minus, full_matrices=False)
    n = _largest_gap(singular) if order is None else int(order)
    root = np.sqrt(singular[:n])
    observability, controllability = U[:, :n] * root, root[:, None] * Vt[:n]
    A_bar = np.linalg.pinv(observability) @ H_plus @ np.linalg.pinv(controllability)
    first_input = (half - 1) * q
    B_bar, gain = controllability[:, first_input : first_input + d], controllability[:, :q]
    return singular, A_bar, B_bar, observability[:q], gain


def _largest_gap(singular: Array) -> int:
    """Number of singular values before the largest relative fall; values at rounding level count as equal."""
    floor = 1e-9 * singular[0]
    levels = np.maximum(singular, floor if floor > 0 else 1.0)
    ratios = levels[:-1] / levels[1:]
    return int(ratios.argmax()) + 1


def _shrunk(A: Array) -> Array:
    eigenvalues, vectors = np.linalg.eig(A)
    modulus = abs(eigenvalues)
    scaled = np.where(modulus >= 1, eigenvalues * _SHRUNK_MODULUS / np.maximum(modulus, 1.0), eigenvalues)
    return (vectors * scaled @ np.linalg.inv(vectors)).real
