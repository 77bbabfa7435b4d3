"""Independent lower and upper limits on each coordinate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets.base import ActionSet, array_and_namespace
from dynrl.bandits.checks import finite_array

__all__ = ["BoxSet", "limits", "limits_excess", "limits_violation"]

Array = NDArray[np.float64]
_MAX_ENUMERATED_DIMENSION = 16


@dataclass(frozen=True, eq=False)
class BoxSet(ActionSet):
    """All u with lower ≤ u ≤ upper.

    Attributes:
        lower: [d], finite. upper: [d], finite, at least ``lower``.
    """

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        lower, upper = limits(self.lower, self.upper)
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @property
    def dimension(self) -> int:  # type: ignore[override]
        return self.lower.shape[0]

    def linear_argmax(self, w: Any) -> Any:
        w, xp = array_and_namespace(w)
        return xp.where(w > 0, self.upper, self.lower)

    def project(self, u: Any) -> Any:
        u, xp = array_and_namespace(u)
        return xp.clip(u, self.lower, self.upper)

    def excess(self, u: ArrayLike) -> Any:
        return limits_excess(np.asarray(u, dtype=np.float64), self.lower, self.upper)

    def violation(self, u: ArrayLike) -> str:
        return limits_violation(np.asarray(u, dtype=np.float64), self.lower, self.upper)

    def max_norm(self) -> float:
        return float(np.linalg.norm(np.maximum(abs(self.lower), abs(self.upper))))

    def sample(self, rng: np.random.Generator) -> Array:
        return rng.uniform(self.lower, self.upper)

    def bounding_box(self) -> tuple[Array, Array]:
        return self.lower, self.upper

    def candidates(self) -> Array | None:
        """The 2^d vertices [2^d, d] for d ≤ 16, else None."""
        if self.dimension > _MAX_ENUMERATED_DIMENSION:
            return None
        at_upper = np.arange(2**self.dimension)[:, None] >> np.arange(self.dimension) & 1
        return np.where(at_upper, self.upper, self.lower)


def limits(lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    """Checked read-only limits [d], [d]; ValueError naming the first coordinate whose limits are crossed."""
    lower, upper = finite_array("lower", lower, 1), finite_array("upper", upper, 1)
    if lower.shape != upper.shape or len(lower) == 0:
        raise ValueError(
            f"lower and upper must have the same shape (d,), d ≥ 1, not {lower.shape} and {upper.shape}"
        )
    if (lower > upper).any():
        i = int(np.argmax(lower > upper))
        raise ValueError(f"the set is empty: lower[{i}] = {lower[i]:.6g} exceeds upper[{i}] = {upper[i]:.6g}")
    return lower, upper


def limits_excess(u: Array, lower: Array, upper: Array) -> Array:
    """Largest amounts [...] by which a coordinate of the points u [..., d] leaves its limits."""
    return np.maximum(lower - u, u - upper).max(axis=-1, initial=0.0)


def limits_violation(u: Array, lower: Array, upper: Array) -> str:
    """The coordinate that leaves its limits by most, in words; empty when none does."""
    below, above = lower - u, u - upper
    amount = np.maximum(below, above)
    i = int(amount.argmax())
    if amount[i] <= 0:
        return ""
    if below[i] > 0:
        return f"coordinate {i} is {u[i]:.6g}, below its lower limit {lower[i]:.6g} by {amount[i]:.6g}"
    return f"coordinate {i} is {u[i]:.6g}, above its upper limit {upper[i]:.6g} by {amount[i]:.6g}"
