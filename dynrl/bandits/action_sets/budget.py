"""Limits on each coordinate and a total that all coordinates share."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets.base import TOLERANCE, ActionSet, array_and_namespace
from dynrl.bandits.action_sets.box import limits, limits_excess, limits_violation
from dynrl.bandits.action_sets.vertices import budget_vertices
from dynrl.bandits.checks import finite_number

__all__ = ["BudgetSet", "SimplexSet"]

Array = NDArray[np.float64]
_MAX_VERTICES = 100_000


class _SharedTotal(ActionSet):
    """Geometry of {lower ≤ u ≤ upper, Σu ≤ total (or = total)}."""

    total: float
    equality: bool

    def _limits(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def linear_argmax(self, w: Any) -> Any:
        w, xp = array_and_namespace(w)
        lower, upper = self._limits()
        order = _descending(w, xp)
        room = xp.broadcast_to(xp.asarray(upper - lower), w.shape)
        if not self.equality:
            room = xp.where(w > 0, room, 0.0)
        room = xp.take_along_axis(room, order, axis=-1)
        left = (self.total - lower.sum()) - (xp.cumsum(room, axis=-1) - room)
        poured = xp.clip(left, 0.0, room)
        return lower + _unsorted(poured, order, xp)

    def project(self, u: Any) -> Any:
        """clip(u − λ, lower, upper) with the λ (≥ 0 for "≤") that meets the total.

        The total spent is piecewise linear in λ with breaks at u − upper and u − lower, so λ is found
        exactly.
        """
        u, xp = array_and_namespace(u)
        lower, upper = self._limits()
        breaks = xp.sort(xp.concatenate([u - upper, u - lower], axis=-1), axis=-1)
        spent = xp.clip(u[..., None, :] - breaks[..., :, None], lower, upper).sum(-1)
        # Rounding may put the ends of `spent` (all at upper, all at lower) on the wrong side of the total.
        segment = xp.clip((spent >= self.total).sum(-1, keepdims=True) - 1, 0, breaks.shape[-1] - 2)
        left, right = (xp.take_along_axis(breaks, segment + i, axis=-1) for i in (0, 1))
        at_left, at_right = (xp.take_along_axis(spent, segment + i, axis=-1) for i in (0, 1))
        drop = at_left - at_right
        share = xp.clip((at_left - self.total) / xp.where(drop > 0, drop, 1.0), 0.0, 1.0)
        projected = xp.clip(u - (left + share * (right - left)), lower, upper)
        if self.equality:
            return projected
        clipped = xp.clip(u, lower, upper)
        return xp.where(clipped.sum(-1, keepdims=True) <= self.total, clipped, projected)

    def excess(self, u: ArrayLike) -> Any:
        u = np.asarray(u, dtype=np.float64)
        over = u.sum(-1) - self.total
        return np.maximum(limits_excess(u, *self._limits()), abs(over) if self.equality else over)

    def violation(self, u: ArrayLike) -> str:
        u = np.asarray(u, dtype=np.float64)
        over = float(u.sum() - self.total)
        amount = abs(over) if self.equality else max(over, 0.0)
        if amount <= limits_excess(u, *self._limits()):
            return limits_violation(u, *self._limits())
        side = "exceeds" if over > 0 else "falls short of"
        return f"its sum {u.sum():.6g} {side} the total {float(self.total):.6g} by {amount:.6g}"

    def sample(self, rng: np.random.Generator) -> Array:
        """A random convex combination of d + 1 random vertices (every point is possible, not uniform)."""
        corners = self.linear_argmax(rng.standard_normal((self.dimension + 1, self.dimension)))
        return rng.dirichlet(np.ones(self.dimension + 1)) @ corners

    def bounding_box(self) -> tuple[Array, Array]:
        lower, upper = self._limits()
        highest = np.minimum(upper, lower + (self.total - lower.sum()))
        if not self.equality:
            return lower, highest
        return np.maximum(lower, upper - (upper.sum() - self.total)), highest


def _descending(w: Any, xp: Any) -> Any:
    """Indices that sort w along the last axis from large to small, equal entries in their order."""
    if xp is np:
        order = np.argsort(-w, axis=-1)  # several times faster than a stable sort, and the same without ties
        ordered = np.take_along_axis(w, order, axis=-1)
        if not (ordered[..., 1:] == ordered[..., :-1]).any():
            return order
    return xp.argsort(-w, axis=-1, stable=True)


def _unsorted(values: Any, order: Any, xp: Any) -> Any:
    """The values put back where `order` took them from, along the last axis."""
    if xp is np:
        out = np.empty_like(values)
        np.put_along_axis(out, order, values, axis=-1)
        return out
    return xp.take_along_axis(values, xp.argsort(order, axis=-1), axis=-1)


@dataclass(frozen=True, eq=False)
class BudgetSet(_SharedTotal):
    """All u with lower ≤ u ≤ upper and Σu ≤ total (with ``equality``: = total).

    Attributes:
        lower: [d], finite. upper: [d], finite. total: the budget. equality: whether all of it must be spent.

    Raises:
        ValueError: the set is empty (lower > upper, Σlower > total, or Σupper < total with ``equality``).
    """

    lower: Array
    upper: Array
    total: float
    equality: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        lower, upper = limits(self.lower, self.upper)
        total = finite_number("total", self.total)
        slack = TOLERANCE * max(1.0, abs(total))
        if lower.sum() > total + slack:
            raise ValueError(
                f"infeasible budget: the lower limits sum to {lower.sum():.6g}, above the total {total:.6g}"
            )
        if self.equality and upper.sum() < total - slack:
            raise ValueError(
                f"infeasible budget: the upper limits sum to {upper.sum():.6g}, below the total "
                f"{total:.6g} that must be spent"
            )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        object.__setattr__(self, "total", np.float64(total))
        object.__setattr__(self, "equality", bool(self.equality))

    @property
    def dimension(self) -> int:  # type: ignore[override]
        return self.lower.shape[0]

    def _limits(self) -> tuple[Any, Any]:
        return self.lower, self.upper

    def vertices(self, full_spend_only: bool = False) -> Array:
        """[K, d]: the vertices in descending lexicographic order, as ``itertools.permutations`` lists them.

        Args:
            full_spend_only: only those with Σu = total, the actions of the published experiments.

        Raises:
            ValueError: more than 10⁵ vertices.
        """
        found = self._vertices
        if found is None:
            raise ValueError(
                f"this budget set of dimension {self.dimension} has more than {_MAX_VERTICES} vertices; "
                "use linear_argmax, ucb_argmax or ucb_argmax_relaxed, which do not list them"
            )
        if full_spend_only:
            found = found[abs(found.sum(1) - self.total) <= TOLERANCE * max(1.0, abs(self.total))]
        return found

    def candidates(self) -> Array | None:
        """The vertices [K, d] where there are at most 10⁵ of them, else None."""
        return self._vertices

    @cached_property
    def _vertices(self) -> Array | None:
        found = budget_vertices(self.lower, self.upper, float(self.total), self.equality, _MAX_VERTICES)
        if found is not None:
            found.flags.writeable = False
        return found

    def max_norm(self) -> float:
        """Exact where the vertices can be listed, else the upper bound from the chords of u²."""
        vertices = self.candidates()
        if vertices is not None:
            return float(np.linalg.norm(vertices, axis=1).max())
        slope = self.lower + self.upper
        squares = self.lower**2 + slope * (self.linear_argmax(slope) - self.lower)
        return float(np.sqrt(squares.sum()))


@dataclass(frozen=True, eq=False)
class SimplexSet(_SharedTotal):
    """All u ≥ 0 with Σu = total (``equality=False``: Σu ≤ total).

    Attributes:
        dimension: d ≥ 1. total: at least 0. equality: whether all of it must be spent.
    """

    dimension: int = field(metadata={"static": True})
    total: float = 1.0
    equality: bool = field(default=True, metadata={"static": True})

    def __post_init__(self) -> None:
        if int(self.dimension) != self.dimension or self.dimension < 1:
            raise ValueError(f"dimension must be a whole number of at least 1, but is {self.dimension}")
        total = finite_number("total", self.total)
        if total < 0:
            raise ValueError(f"total must be at least 0, but is {total}")
        object.__setattr__(self, "dimension", int(self.dimension))
        object.__setattr__(self, "total", np.float64(total))
        object.__setattr__(self, "equality", bool(self.equality))

    def _limits(self) -> tuple[Any, Any]:
        zeros = np.zeros(self.dimension)
        return zeros, zeros + self.total

    def max_norm(self) -> float:
        return float(self.total)

    def sample(self, rng: np.random.Generator) -> Array:
        """A uniformly distributed point."""
        return self.total * rng.dirichlet(np.ones(self.dimension + (not self.equality)))[: self.dimension]

    def candidates(self) -> Array:
        """The vertices: total·e_i [d, d], and 0 in a last row where less may be spent."""
        return self.total * np.eye(self.dimension + (not self.equality), self.dimension)
