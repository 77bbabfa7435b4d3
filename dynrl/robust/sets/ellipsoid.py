"""The ellipsoid inscribed in a box."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from dynrl.robust.parameter import Param
from dynrl.robust.sets.box import UncertaintySet


class Ellipsoid(UncertaintySet):
    """The ellipsoid inscribed in a box: `sum_i ((2 u_i - 1))^2 <= 1` over the free dimensions, u in the unit cube.

    Its coordinates `to_unit`/`from_unit` map it one to one onto the unit cube (along rays from the centre), so a
    search in the cube stays inside.

    Args:
        params, inertia, grid_endpoint, name: as in `UncertaintySet`.

    Raises:
        ValueError: a parameter of whole numbers.
    """

    def __init__(
        self, params: Iterable[Param], inertia: str = "scale", grid_endpoint: bool = True, name: str = ""
    ):
        super().__init__(params, inertia, grid_endpoint, name)
        if self._whole.any():
            raise ValueError(
                f"an ellipsoid has no whole numbers: {self.names[int(np.argmax(self._whole))]!r}."
            )

    def to_unit(self, psi: np.ndarray) -> np.ndarray:
        centred = 2 * super().to_unit(psi) - 1
        return (_rescaled(centred, to_ball=False) + 1) / 2

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        centred = 2 * self._checked_shape(unit) - 1
        return super().from_unit((_rescaled(centred, to_ball=True) + 1) / 2)

    def contains(self, psi: np.ndarray) -> np.ndarray:
        psi = self._checked_shape(psi)
        without = self._log & (psi <= 0)  # no logarithm: outside, but no error here
        centred = 2 * super().to_unit(np.where(without, self.low, psi)) - 1
        fixed = self.high == self.low
        on_plane = (psi == self.low)[..., fixed].all(-1)
        return ((centred**2).sum(-1) <= 1 + 1e-12) & on_plane & ~without.any(-1)

    def clip(self, psi: np.ndarray) -> np.ndarray:
        """The vectors pulled towards the centre until they are inside."""
        centred = 2 * super().to_unit(psi) - 1
        length = np.sqrt((centred**2).sum(-1, keepdims=True))
        return super().from_unit((centred / np.maximum(length, 1.0) + 1) / 2)

    def sample(self, rng: np.random.Generator, n: int, method: str = "uniform") -> np.ndarray:
        """Draw `[n, d]` vectors, uniform in the ellipsoid: points of the box that fall inside."""
        kept = np.empty((0, self.dim))
        count = max(n, 1)
        while len(kept) < n:
            count *= 2
            box = UncertaintySet(self.params).sample(rng, count, method)
            kept = np.concatenate([kept, box[self.contains(box)]])
        return kept[:n]

    def grid(self, n: int, endpoint: bool | None = None) -> np.ndarray:
        """The points of the box's grid that are inside."""
        box = super().grid(n, endpoint)
        return box[self.contains(box)]

    def corners(self) -> np.ndarray:
        """The images of the cube's corners, and the ends of the axes."""
        free = self.free
        signs = np.array(list(itertools.product((0.0, 1.0), repeat=len(free))))
        unit = np.full((len(signs) + 2 * len(free), self.dim), 0.5)
        unit[: len(signs), free] = signs
        for position, dimension in enumerate(free):
            unit[len(signs) + 2 * position : len(signs) + 2 * position + 2, dimension] = (0.0, 1.0)
        return self.from_unit(unit)

    def _with_params(self, params: Sequence[Param]) -> UncertaintySet:
        return Ellipsoid(params, self.inertia, self.grid_endpoint, self.name)


def _rescaled(centred: np.ndarray, to_ball: bool) -> np.ndarray:
    """Move along rays between the cube [-1, 1]^d and the unit ball."""
    euclidean = np.sqrt((centred**2).sum(-1, keepdims=True))
    largest = np.abs(centred).max(-1, keepdims=True)
    numerator, denominator = (largest, euclidean) if to_ball else (euclidean, largest)
    return centred * np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), 1.0)
