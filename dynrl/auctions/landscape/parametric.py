"""Log-normal and gamma landscapes whose parameters are linear in the features, fitted by censored likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.landscape.families import FAMILIES, bin_probabilities
from dynrl.auctions.landscape.inputs import dense_rows, sparse_rows
from dynrl.auctions.landscape.landscape import Landscape, Tie
from dynrl.auctions.landscape.observations import PriceObservations
from dynrl.auctions.log import Features

__all__ = ["ParametricLandscape", "fit_parametric"]


@dataclass(frozen=True, eq=False)
class ParametricLandscape(Landscape):
    """A price z has the probability that the continuous distribution gives to (z - ½, z + ½] (from 0 for z = 0).

    `x` is dense `[..., d]`, sparse `Features`, or None if fitted without. Prices above `delta_max` + ½ are the tail.

    Attributes:
        family: `"log_normal"` (mean and log standard deviation of ln price) or `"gamma"` (log mean and log shape).
        intercept: `[2]`, the two parameters where x is zero.
        weights: `[d, 2]`, their slopes.
        highest_price: `delta_max`.
    """

    family: Literal["log_normal", "gamma"]
    intercept: NDArray[np.float64]
    weights: NDArray[np.float64]
    highest_price: int = DELTA_MAX

    @property
    def delta_max(self) -> int:
        return self.highest_price

    def parameters(self, x: Any = None) -> NDArray[np.float64]:
        """The two parameters `[..., 2]`."""
        if isinstance(x, Features):
            rows = sparse_rows(x, len(self.weights))
            return np.vstack([self.weights, np.zeros(2)])[rows].sum(1) + self.intercept
        return dense_rows(x, len(self.weights)) @ self.weights + self.intercept

    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        location, spread = np.moveaxis(self.parameters(x), -1, 0)
        return bin_probabilities(FAMILIES[self.family], location, spread, self.delta_max + 1)


def fit_parametric(
    observations: PriceObservations,
    x: Any = None,
    family: Literal["log_normal", "gamma"] = "log_normal",
    *,
    delta_max: int = DELTA_MAX,
    tie: Tie = "win",
    l2: float = 1.0,
    max_iterations: int = 500,
) -> ParametricLandscape:
    """Maximises Σ_won ln m(price | x) + Σ_lost ln P(price > bid | x) - ½ l2 Σ weights² by L-BFGS.

    Args:
        x: dense `[N, d]` (standardised inside, so that `l2` does not depend on units), `Features` of N rows, or None.
        l2: penalty on the slopes, not on the intercepts.

    Raises:
        ValueError: an unknown family, rows that do not fit, or no price above 0 was seen.
        RuntimeError: the optimiser stopped early.
    """
    from scipy.optimize import minimize

    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}, expected one of {', '.join(FAMILIES)}")
    seen = observations.price[observations.won & (observations.price > 0)]
    if len(seen) == 0:
        raise ValueError("no price above 0 was seen, so the spread of prices is unknown")
    rows, columns, shift, scale = _inputs(x)
    if x is not None and len(rows) != len(observations):
        raise ValueError(f"x has {len(rows)} rows, expected {len(observations)} as in the observations")
    # A price beyond delta_max and one known to be at least 0 say less than they seem to.
    won = observations.won & (observations.price <= delta_max)
    level = np.where(
        observations.won, np.minimum(observations.price, delta_max), observations.known_above(tie)
    )
    used = won | (level >= 0)
    rows = rows[used] if x is not None else np.zeros((int(used.sum()), 0))
    start = np.concatenate([FAMILIES[family].start(seen.astype(np.float64)), np.zeros(2 * columns)])
    with jax.enable_x64(True):
        data = (jnp.asarray(rows), jnp.asarray(level[used], jnp.float64), jnp.asarray(won[used]))

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, gradient = _loss(family, jnp.asarray(flat), *data, l2)
            return float(value), np.asarray(gradient)

        result = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "maxfun": 10**6},
        )
    # A line search that ends in rounding errors near the optimum is no failure.
    if not result.success and abs(result.jac).max() > 1e-3:
        raise RuntimeError(
            f"the {family} landscape did not converge in {result.nit} iterations ({result.message}): "
            "raise max_iterations or l2"
        )
    intercept, weights = result.x[:2], result.x[2:].reshape(columns, 2)
    weights = weights / scale[:, None]
    return ParametricLandscape(family, intercept - shift @ weights, weights, delta_max)


def _inputs(x: Any) -> tuple[NDArray[Any], int, NDArray[np.float64], NDArray[np.float64]]:
    """(rows, columns, shift [columns], scale [columns]) with dense columns standardised."""
    if isinstance(x, Features):
        return sparse_rows(x), x.dimension, np.zeros(x.dimension), np.ones(x.dimension)
    if x is None:
        return np.zeros((0, 0)), 0, np.zeros(0), np.ones(0)
    dense = dense_rows(x)
    if dense.ndim != 2:
        raise ValueError(f"x has shape {dense.shape}, expected [N, d]")
    shift, scale = dense.mean(0), dense.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return (dense - shift) / scale, dense.shape[1], shift, scale


@partial(jax.jit, static_argnames="family")
def _loss(family: str, flat: Any, rows: Any, level: Any, won: Any, l2: Any) -> Any:
    """Penalised negative log-likelihood per row, and its gradient."""
    law = FAMILIES[family]

    def loss(flat: Any) -> Any:
        intercept, weights = flat[:2], flat[2:].reshape(-1, 2)
        if jnp.issubdtype(rows.dtype, jnp.integer):
            slope = jnp.concatenate([weights, jnp.zeros((1, 2))])[rows].sum(1)
        else:
            slope = rows @ weights
        location, spread = (slope + intercept).T
        log_likelihood = jnp.where(
            won, law.log_bin(location, spread, level), law.log_above(location, spread, level + 0.5)
        )
        return (0.5 * l2 * (weights**2).sum() - log_likelihood.sum()) / len(level)

    return jax.value_and_grad(loss)(flat)
