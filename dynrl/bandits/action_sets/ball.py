"""A Euclidean ball, with the exact optimistic oracle."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets.base import ActionSet, array_and_namespace
from dynrl.bandits.checks import finite_array, finite_number

__all__ = ["BallSet", "longest_in_ellipsoid"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BallSet(ActionSet):
    """All u with ‖u − center‖₂ ≤ radius.

    ``ucb_argmax`` is exact for a centre at the origin; for any other centre it is the ascent heuristic.

    Attributes:
        radius: at least 0.
        center: [d], the origin by default.
        dimension: d; may be left out where ``center`` is given.
    """

    radius: float
    center: Array = None  # type: ignore[assignment]
    dimension: int = field(default=None, metadata={"static": True})  # type: ignore[assignment]

    def __post_init__(self) -> None:
        radius = finite_number("radius", self.radius)
        if radius < 0:
            raise ValueError(f"radius must be at least 0, but is {radius}")
        if self.center is None and self.dimension is None:
            raise ValueError("BallSet needs center or dimension")
        center = finite_array(
            "center", np.zeros(self.dimension or 0) if self.center is None else self.center, 1
        )
        if len(center) == 0 or self.dimension not in (None, len(center)):
            raise ValueError(f"center has shape {center.shape}, but dimension is {self.dimension}")
        object.__setattr__(self, "radius", np.float64(radius))
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "dimension", len(center))

    def linear_argmax(self, w: Any) -> Any:
        w, xp = array_and_namespace(w)
        norm = xp.linalg.norm(w, axis=-1, keepdims=True)
        first = (
            xp.zeros(w.shape[-1], dtype=w.dtype).at[0].set(1) if xp is not np else np.eye(1, w.shape[-1])[0]
        )
        direction = xp.where(norm > 0, w / xp.where(norm > 0, norm, 1.0), first)
        return self.center + self.radius * direction

    def project(self, u: Any) -> Any:
        u, xp = array_and_namespace(u)
        offset = u - self.center
        distance = xp.linalg.norm(offset, axis=-1, keepdims=True)
        outside = distance > self.radius
        return xp.where(outside, self.center + offset * (self.radius / xp.where(outside, distance, 1.0)), u)

    def excess(self, u: ArrayLike) -> Any:
        distance = np.linalg.norm(np.asarray(u, dtype=np.float64) - self.center, axis=-1)
        return np.maximum(distance - self.radius, 0.0)

    def violation(self, u: ArrayLike) -> str:
        amount = self.excess(u)
        return (
            f"its distance from the center exceeds the radius {self.radius:.6g} by {amount:.6g}"
            if amount
            else ""
        )

    def max_norm(self) -> float:
        return float(np.linalg.norm(self.center) + self.radius)

    def sample(self, rng: np.random.Generator) -> Array:
        direction = rng.standard_normal(self.dimension)
        length = self.radius * rng.uniform() ** (1 / self.dimension)
        return self.center + direction * (length / np.linalg.norm(direction))

    def bounding_box(self) -> tuple[Array, Array]:
        return self.center - self.radius, self.center + self.radius

    def ucb_argmax(self, h_hat: ArrayLike, V: ArrayLike, beta: float) -> Array:
        if np.any(self.center):
            return super().ucb_argmax(h_hat, V, beta)
        h_hat, V = self._index_arguments(h_hat, V, beta)
        return self.linear_argmax(longest_in_ellipsoid(h_hat, V, beta))


def longest_in_ellipsoid(h_hat: Array, V: Array, beta: float) -> Array:
    """The point h' [d] of the ellipsoid ‖h' − ĥ‖_V ≤ β that is farthest from the origin.

    Stationarity gives h' − ĥ = (νV − I)^{-1}ĥ with ν ≥ 1/λ_min, a trust-region problem: with V = QΛQᵀ, g =
    Qᵀĥ, find ν from Σ λ_i (g_i/(νλ_i − 1))² = β². In the hard case (g vanishes on the smallest eigenvalue and
    the sum at ν = 1/λ_min stays below β²) the rest of β² goes along one eigenvector of λ_min.
    """
    if beta == 0:
        return h_hat
    eigenvalues, Q = np.linalg.eigh(V)
    g = Q.T @ h_hat
    # With ν = (1 + μ)/λ_min and r_i = λ_i/λ_min, νλ_i − 1 = (r_i − 1) + μ r_i: no cancellation as μ → 0.
    ratio = eigenvalues / eigenvalues[0]
    excess = ratio - 1.0

    def length_squared(mu: float) -> float:
        gap = excess + mu * ratio
        step = np.divide(g, gap, out=np.zeros_like(g), where=g != 0)
        return float((eigenvalues * step**2).sum())

    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        smallest = 1e-14
        if length_squared(smallest) < beta**2:
            s = np.where(excess > smallest, g / np.where(excess > smallest, excess, 1.0), 0.0)
            rest = beta**2 - float((eigenvalues * s**2).sum())
            s[0] = np.copysign(np.sqrt(max(rest, 0.0) / eigenvalues[0]), g[0])
            return h_hat + Q @ s
        low, high = smallest, 1.0
        while length_squared(high) > beta**2:
            low, high = high, 2 * high
        for _ in range(200):  # bisection on log μ, to the last bit
            middle = np.sqrt(low * high)
            if not low < middle < high:
                break
            low, high = (middle, high) if length_squared(middle) > beta**2 else (low, middle)
    return h_hat + Q @ (g / (excess + high * ratio))
