"""Finitely many parameter vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dynrl.robust.parameter import Param
from dynrl.robust.sets.box import UncertaintySet, read_only
from dynrl.robust.sets.unit_cube import unit_sample


class FiniteSet(UncertaintySet):
    """Finitely many parameter vectors.

    Args:
        points: `[K, d]`, in natural units.
        params: what the columns are; the bounds of the `Param`s are replaced by those of the points.
        inertia, grid_endpoint, name: as in `UncertaintySet`.

    Raises:
        ValueError: no points, points that are not finite, or another number of columns than parameters, or
            fractions where whole numbers are expected.
    """

    def __init__(
        self,
        points: Any,
        params: Iterable[Param],
        inertia: str = "scale",
        grid_endpoint: bool = True,
        name: str = "",
    ):
        points = np.atleast_2d(np.array(points, float))
        parts = [part for param in params for part in param.split()]
        if points.ndim != 2 or not len(points) or points.shape[1] != len(parts):
            raise ValueError(f"points have shape {points.shape}, expected [K, {len(parts)}] with K >= 1.")
        if not np.isfinite(points).all():
            raise ValueError(f"point {int(np.argwhere(~np.isfinite(points))[0][0])} is not finite.")
        bounds = zip(parts, points.min(0), points.max(0), strict=True)
        boxed = [dataclasses.replace(param, low=float(low), high=float(high)) for param, low, high in bounds]
        super().__init__(boxed, inertia, grid_endpoint, name)
        fraction = self._whole & (points != np.round(points))
        if fraction.any():
            row, column = np.argwhere(fraction)[0]
            raise ValueError(
                f"point {row}: {self.names[column]!r} is {points[row, column]:g}, expected a whole number."
            )
        self.points = read_only(points)

    def contains(self, psi: np.ndarray) -> np.ndarray:
        psi = self._checked_shape(psi)
        return (psi[..., None, :] == self.points).all(-1).any(-1)

    def clip(self, psi: np.ndarray) -> np.ndarray:
        unit, points = self.to_unit(psi), self.to_unit(self.points)
        nearest = ((unit[..., None, :] - points) ** 2).sum(-1).argmin(-1)
        return self.points[nearest]

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """The points nearest to those of the unit cube."""
        return self.clip(super().from_unit(unit))

    def sample(self, rng: np.random.Generator, n: int, method: str = "uniform") -> np.ndarray:
        """Draw `[n, d]` points with replacement; `"sobol"` and `"lhs"` take each equally often, up to one."""
        order = np.floor(unit_sample(rng, n, 1, method)[:, 0] * len(self.points)).astype(int)
        return self.points[np.minimum(order, len(self.points) - 1)]

    def grid(self, n: int, endpoint: bool | None = None) -> np.ndarray:
        """All points, whatever `n`."""
        return self.points.copy()

    def corners(self) -> np.ndarray:
        """All points: any of them may be extreme."""
        return self.points.copy()

    def subset(self, names: Sequence[str]) -> FiniteSet:
        box = super().subset(names)
        columns = [self.names.index(name) for name in names]
        points = np.unique(self.points[:, columns], axis=0)
        chosen = FiniteSet(points, box.params, self.inertia, self.grid_endpoint, self.name)
        chosen._nominal = box._nominal
        return chosen

    def _own_values(self) -> dict[str, Any]:
        return {"points": self.points.tolist()}

    def _with_params(self, params: Sequence[Param]) -> UncertaintySet:
        return UncertaintySet(params, self.inertia, self.grid_endpoint, self.name)
