"""Sets from which nature picks one kernel for the whole episode: a list, or a family over a grid of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dynrl.robust.tabular.polytopes import SAFinite
from dynrl.robust.tabular.rows import checked_array, checked_kernel

__all__ = ["StaticFinite", "StaticParametric", "hull"]


class StaticFinite:
    """A list of kernels; one of them holds for ever. Not rectangular: one choice moves every row at once.

    Args:
        kernels: `[K, S, A, S']`.

    Attributes:
        kernels: the same, float64, read-only.
        shape: `(S, A, S')`.

    Raises:
        ValueError: rows that are no probabilities; names the kernel and the pair.
    """

    def __init__(self, kernels: Any) -> None:
        array = checked_array(kernels, "kernels")
        if array.ndim != 4 or 0 in array.shape:
            raise ValueError(f"kernels has shape {array.shape}, expected [K, S, A, S'].")
        self.kernels = np.stack(
            [checked_kernel(kernel, f"kernel {number}") for number, kernel in enumerate(array)]
        )
        self.kernels.flags.writeable = False
        self.shape: tuple[int, int, int] = self.kernels.shape[1:]

    def __len__(self) -> int:
        return len(self.kernels)


class StaticParametric(StaticFinite):
    """A family of kernels over parameters, looked at on a grid. Nothing is said about what lies between its points.

    Args:
        fn: one point of the grid (`[d]` float64) to a kernel `[S, A, S']`.
        grid: `[K, d]`, or `[K]` for one parameter.

    Attributes:
        grid: `[K, d]`.

    Raises:
        ValueError: an empty grid, or a kernel that is none.
    """

    def __init__(self, fn: Callable[[np.ndarray], Any], grid: Any) -> None:
        points = checked_array(grid, "grid")
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or len(points) == 0:
            raise ValueError(f"grid has shape {points.shape}, expected [K, d] with at least one point.")
        super().__init__([np.asarray(fn(point), np.float64) for point in points])
        points.flags.writeable = False
        self.grid = points


def hull(kernels: np.ndarray) -> SAFinite:
    """The rectangular hull of kernels `[K, S, A, S']`: every pair may take its row from another of them."""
    rows = np.moveaxis(kernels, 0, 2)
    return SAFinite(rows)
