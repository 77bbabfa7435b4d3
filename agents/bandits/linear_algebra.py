"""Small symmetric matrices on NumPy or JAX arrays.

Under `vmap` a product of 3×3 matrices must not become a call into a BLAS per run, so on JAX arrays products are
written as multiply-and-sum, which XLA fuses over the batch.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from dynrl.bandits import action_sets

Array = Any


def matvec(matrix: Array, vector: Array) -> Array:
    """`[m, k] × [k] → [m]`."""
    if isinstance(matrix, np.ndarray) and isinstance(vector, np.ndarray):
        return matrix.dot(vector)
    return sum_last(matrix * vector[None, :])


def sum_last(terms: Array) -> Array:
    """Sum of a JAX array over its last axis; written out when that is short, so that it fuses with what is around."""
    length = terms.shape[-1]
    if not 0 < length <= 8:
        return terms.sum(-1)
    return functools.reduce(operator.add, (terms[..., k] for k in range(length)))


def inner(left: Array, right: Array) -> Array:
    """`[k] · [k]`."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dot(right)
    return sum_last(left * right)


def rank_one_inverse(inverse: Array, vector: Array) -> tuple[Array, Array]:
    """Inverse of `V + vvᵀ` from `V⁻¹` (Sherman-Morrison), and `vᵀV⁻¹v` before the update."""
    image = matvec(inverse, vector)
    leverage = inner(vector, image)
    return inverse - outer(image, image * (1.0 / (1.0 + leverage))), leverage


def outer(left: Array, right: Array) -> Array:
    """`[m] ⊗ [k] → [m, k]`."""
    return left.reshape(-1, 1) * right.reshape(1, -1)


def spd_inverse(matrix: Array) -> Array:
    """Inverse of a symmetric positive-definite `[d, d]` matrix.

    On JAX arrays up to d = 16 by the sweep operator (Goodnight 1979), which needs no pivoting on such matrices and,
    unlike LAPACK, runs over a whole batch at once.
    """
    xp = matrix.__array_namespace__()
    dimension = matrix.shape[-1]
    if isinstance(matrix, np.ndarray) or dimension > 16:
        return xp.linalg.inv(matrix)
    for k in range(dimension):
        unit = np.arange(dimension) == k
        column, pivot = matrix[:, k], matrix[k, k]
        scaled = column / pivot
        swept = matrix - column[:, None] * scaled[None, :]
        swept = xp.where(unit[:, None], scaled[None, :], xp.where(unit[None, :], scaled[:, None], swept))
        matrix = xp.where(unit[:, None] & unit[None, :], -1.0 / pivot, swept)
    return -matrix


def quadratic_forms(actions: Array, matrix: Array) -> Array:
    """`uᵀMu` for every row u of `actions` `[K, d]`, M `[d, d]` being symmetric."""
    if isinstance(actions, np.ndarray) and isinstance(matrix, np.ndarray):
        return np.vecdot(actions.dot(matrix), actions)
    products = sum_last(actions[:, None, :] * matrix[None])  # the matrix is symmetric
    return sum_last(products * actions)


def first_best(values: Array) -> Array:
    """The tie rule of `dynrl.bandits.action_sets.first_best`, for NumPy or JAX `values` `[K]`."""
    if isinstance(values, np.ndarray):
        return action_sets.first_best(values)
    best = values.max()
    return (values >= best - 1e-12 * values.__array_namespace__().maximum(1.0, abs(best))).argmax()
