"""Ridge regression of rewards on actions, one sample at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynrl.agents.bandits.algorithm import Array
from dynrl.agents.bandits.linear_algebra import matvec, outer, rank_one_inverse, spd_inverse


class RidgeState(NamedTuple):
    """Ridge regression of the samples on the actions, all float64.

    Attributes:
        V: `[d, d]`, λI + Σ uuᵀ, the master copy.
        V_inverse: `[d, d]`, kept by rank-one updates and refreshed from `V`.
        b: `[d]`, Σ u·y.
        h_hat: `[d]`, V⁻¹b.
        log_det: log(det V / λ^d).
        energy: Σ y².
    """

    V: Array
    V_inverse: Array
    b: Array
    h_hat: Array
    log_det: Array
    energy: Array


def ridge_init(dimension: int, lambda_: float) -> RidgeState:
    """No samples yet."""
    eye = np.eye(dimension)
    return RidgeState(
        lambda_ * eye, eye / lambda_, np.zeros(dimension), np.zeros(dimension), np.zeros(()), np.zeros(())
    )


def ridge_update(state: RidgeState, action: Array, sample: Array) -> RidgeState:
    """One sample more."""
    xp = action.__array_namespace__()
    V_inverse, leverage = rank_one_inverse(state.V_inverse, action)
    b = state.b + action * sample
    V = state.V + outer(action, action)
    log_det, energy = state.log_det + xp.log1p(leverage), state.energy + sample * sample
    return RidgeState(V, V_inverse, b, matvec(V_inverse, b), log_det, energy)


def ridge_refresh(state: RidgeState) -> RidgeState:
    """Recompute the inverse, so that the rounding of 10⁴ rank-one updates never adds up."""
    V_inverse = spd_inverse(state.V)
    return state._replace(V_inverse=V_inverse, h_hat=matvec(V_inverse, state.b))
