"""Spectral radius and transient growth: how fast, and after which detour, powers of a matrix die out."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["spectral_radius", "transient_growth"]

_BLOCK = 64
_MAX_POWERS = 20_000
_AT_ONE = 1e-12  # rounding in ‖S^k‖ when the true norm is 1


def spectral_radius(matrix: NDArray[np.float64]) -> float:
    """ρ(A) = max |eigenvalue| of a square matrix [n, n]; 0 for n = 0.

    A nilpotent matrix that is not triangular has computed eigenvalues of size ``eps**(1/n)``; it is
    recognised by its vanishing n-th power instead.
    """
    n = len(matrix)
    scale = np.linalg.norm(matrix, 2) if n else 0.0
    if scale == 0.0:
        return 0.0
    if np.linalg.norm(np.linalg.matrix_power(matrix / scale, n), 2) <= n * np.finfo(np.float64).eps:
        return 0.0
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def transient_growth(matrix: NDArray[np.float64], level: float) -> float:
    """Φ_r(A) = sup over τ ≥ 0 of ‖A^τ‖₂ / r^τ at level r (Mussi et al. 2023, Assumption 1 with r = ρ(A)).

    Infinite below the spectral radius, and at the spectral radius when an eigenvalue of that modulus is
    defective. At r = 0 it is the limit r → 0: 1 for the zero matrix, infinite for every other one.
    """
    if len(matrix) == 0 or not matrix.any():
        return 1.0
    radius = spectral_radius(matrix)
    if level < radius * (1 - 1e-12) or level == 0.0:
        return float("inf")
    scaled = matrix / level
    at_radius = level <= radius * (1 + 1e-12)
    powers = _first_powers(scaled)
    stalled_after = max(50 * len(matrix), 10_000 // len(matrix))  # rotations approach their supremum slowly
    diagonalisable = np.linalg.cond(np.linalg.eig(scaled).eigenvectors) < 1e8

    highest, half_way, last_rise = 1.0, 1.0, 0
    power = np.eye(len(matrix))
    for start in range(0, _MAX_POWERS, _BLOCK):
        block = power @ powers
        norms = np.linalg.norm(block, 2, axis=(1, 2))
        below = np.flatnonzero(norms <= 1 + _AT_ONE)
        if below.size:  # ‖S^k‖ ≤ 1 and submultiplicativity: no later power exceeds the first k
            return float(max(highest, norms[: below[0] + 1].max()))
        if norms.max() > highest * (1 + 1e-10):
            highest, last_rise = float(norms.max()), start + _BLOCK
        if start < _MAX_POWERS // 2:
            half_way = highest
        if at_radius and diagonalisable and start + _BLOCK - last_rise >= stalled_after:
            return highest
        if at_radius and abs(block[-1] - block[-3]).max() < 1e-13:  # converged, or alternating
            return highest
        power = block[-1]
    if at_radius:
        return float("inf") if highest > half_way * (1 + 1e-6) else highest
    return _sparse_search(power, scaled, highest)


def _first_powers(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """[_BLOCK, n, n]: the powers 1, ..., _BLOCK."""
    powers = np.empty((_BLOCK, *matrix.shape))
    powers[0] = matrix
    for k in range(1, _BLOCK):
        powers[k] = powers[k - 1] @ matrix
    return powers


def _sparse_search(power: NDArray[np.float64], scaled: NDArray[np.float64], highest: float) -> float:
    """The supremum when it lies beyond ``_MAX_POWERS`` (a level barely above the radius).

    Growth is smooth there, so exponents 1/64 apart (relatively) are enough: the error is below 1e-3 of the
    value.
    """
    stride = _MAX_POWERS // _BLOCK
    step = np.linalg.matrix_power(scaled, stride)
    for _ in range(60):  # each round doubles the exponent
        for _ in range(_BLOCK):
            power = power @ step
            norm = float(np.linalg.norm(power, 2))
            highest = max(highest, norm)
            if norm <= 1.0:
                return highest
        step = step @ step
    return float("inf")
