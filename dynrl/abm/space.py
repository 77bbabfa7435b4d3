"""Where agents can be: a grid of cells, closed to a torus or bounded, and what lies next to what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dynrl.abm.arrays import namespace, scatter_add
from dynrl.abm.draws import integers

__all__ = ["Grid", "Neighbourhood", "counts"]

Array = Any
Neighbourhood = Literal["von_neumann", "moore", "moore_self"]

OFFSETS: dict[str, tuple[tuple[int, int], ...]] = {
    "von_neumann": ((-1, 0), (0, -1), (0, 1), (1, 0)),
    "moore": ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
    "moore_self": ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)),
}
"""Steps (down, right) to the neighbours of a cell."""


@dataclass(frozen=True)
class Grid:
    """`height` × `width` cells, numbered row · width + column.

    Args:
        height: rows.
        width: columns.
        torus: whether opposite edges touch. On a torus narrower than 3 neighbours repeat, and moves are uniform over
            the list with its repetitions; on a bounded grid cells at the edge have fewer neighbours.

    Raises:
        ValueError: a size that is no whole number of at least 1.
    """

    height: int
    width: int
    torus: bool = True

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.cells >= 2**31:
            raise ValueError(f"height · width is {self.cells}, expected less than 2^31 cells")

    @property
    def cells(self) -> int:
        """Number of cells N."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)`."""
        return self.height, self.width

    def neighbours(self, kind: Neighbourhood) -> np.ndarray:
        """The neighbours of each cell, int32 `[N, k]`; on a bounded grid those that exist come first, the rest repeats
        the cell itself (see `degrees`).

        Raises:
            ValueError: unknown kind.
        """
        return self._tables(kind)[0]

    def degrees(self, kind: Neighbourhood) -> np.ndarray:
        """Number of neighbours of each cell, int32 `[N]`: k everywhere on a torus."""
        return self._tables(kind)[1]

    def step(self, key: Any, cell: Array, kind: Neighbourhood) -> Array:
        """A uniformly random neighbour of each cell, int32 like `cell`; a cell without neighbours is its own."""
        xp = namespace(cell)
        table = self.neighbours(kind)
        bound = xp.asarray(self.degrees(kind))[cell] if not self.torus else table.shape[1]
        chosen = integers(key, cell.shape, bound)
        return xp.asarray(table.reshape(-1))[cell * table.shape[1] + chosen]

    @cached_property
    def _cache(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _tables(self, kind: Neighbourhood) -> tuple[np.ndarray, np.ndarray]:
        if kind not in OFFSETS:
            raise ValueError(f"neighbourhood is {kind!r}, expected one of {', '.join(map(repr, OFFSETS))}")
        if kind not in self._cache:
            self._cache[kind] = self._worked_out(kind)
        return self._cache[kind]

    def _worked_out(self, kind: Neighbourhood) -> tuple[np.ndarray, np.ndarray]:
        down, right = np.array(OFFSETS[kind]).T
        row, column = np.divmod(np.arange(self.cells), self.width)
        rows, columns = row[:, None] + down, column[:, None] + right
        there = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        if self.torus:
            there = np.ones_like(there)
        found = np.where(
            there, rows % self.height * self.width + columns % self.width, np.arange(self.cells)[:, None]
        )
        found = np.take_along_axis(found, np.argsort(~there, axis=1, kind="stable"), axis=1)
        degrees = np.maximum(there.sum(axis=1), 1)
        return found.astype(np.int32), degrees.astype(np.int32)


def counts(cell: Array, among: Array, cells: int) -> Array:
    """Number of the agents `among` in each cell, int32 `[cells]`."""
    return scatter_add(cells, cell, among)
