"""Maximising the convex index f(u) = ĥ·u + β‖u‖_{V⁻¹} over a set that only offers a linear oracle."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ascend", "relaxed_weights"]

Array = NDArray[np.float64]
_FOLLOWED = 12  # starts that are followed to their fixed point; the others are only evaluated
_MAX_ROUNDS = 200


def ascend(linear_argmax: Callable[[Array], Array], h_hat: Array, V: Array, beta: float) -> Array:
    """The best fixed point [d] of u ← argmax w(u)·u with w(u) = ∇f(u) = ĥ + βV⁻¹u/‖u‖_{V⁻¹}.

    Every step raises f, because f is convex. The result is a local maximum, in general not the global one.
    Starts: the linear maximisers along ± the eigenvectors of V, along ĥ and along each coordinate.
    """
    eigenvalues, Q = np.linalg.eigh(V)
    V_inv = (Q / eigenvalues) @ Q.T
    along_vectors = linear_argmax(np.concatenate([h_hat[None], Q.T, -Q.T]))
    starts = np.concatenate([along_vectors, linear_argmax(np.eye(len(h_hat)))])
    values, gradients = _index_and_gradient(starts, h_hat, V_inv, beta)
    order = np.argsort(-values, kind="stable")[:_FOLLOWED]
    best, best_value = starts[order[0]], values[order[0]]
    u, values, gradients = starts[order], values[order], gradients[order]
    for _ in range(_MAX_ROUNDS):
        u = linear_argmax(gradients)
        new_values, gradients = _index_and_gradient(u, h_hat, V_inv, beta)
        top = int(new_values.argmax())
        if new_values[top] > best_value:
            best, best_value = u[top], new_values[top]
        moving = new_values > values + 1e-13 * np.maximum(1.0, abs(values))
        if not moving.any():
            break
        u, values, gradients = u[moving], new_values[moving], gradients[moving]
    return best


def relaxed_weights(h_hat: Array, V: Array, beta: float) -> Array:
    """[2d, d]: the points ĥ ± β√d·V^{-1/2}e_i, whose convex hull contains the ellipsoid ‖h' − ĥ‖_V ≤ β."""
    eigenvalues, Q = np.linalg.eigh(V)
    offsets = beta * np.sqrt(len(h_hat)) * (Q / np.sqrt(eigenvalues)) @ Q.T
    return np.concatenate([h_hat + offsets, h_hat - offsets])


def _index_and_gradient(u: Array, h_hat: Array, V_inv: Array, beta: float) -> tuple[Array, Array]:
    """f(u) [K] and a subgradient of f [K, d] at the rows of u [K, d]."""
    direction = u @ V_inv
    width = np.sqrt(np.maximum((u * direction).sum(-1), 0.0))
    safe = np.where(width > 0, width, 1.0)
    return u @ h_hat + beta * width, h_hat + beta * direction / safe[:, None]
