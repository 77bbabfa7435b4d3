"""Rectangular sets given by their members or by bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.robust.tabular import inner
from dynrl.robust.tabular.rectangular import SARectangular
from dynrl.robust.tabular.rows import (
    TOLERANCE,
    checked_array,
    checked_kernel,
    freeze,
    pair,
)

__all__ = ["SAFinite", "SAInterval"]


@dataclass(frozen=True, eq=False)
class SAFinite(SARectangular):
    """A list of candidate rows for each pair.

    Attributes:
        rows: `[S, A, K, S']`.
        mask: which candidates count, `[S, A, K]` bool; all of them where not given. Others may hold anything but NaN.

    Raises:
        ValueError: a candidate that is no probability row, a pair without candidates; names the pair.
    """

    rows: Any
    mask: Any = None
    inner = staticmethod(inner.finite_rows)

    def __post_init__(self) -> None:
        rows = checked_array(self.rows, "rows")
        mask = np.ones(rows.shape[:-1], bool) if self.mask is None else np.array(self.mask, bool)
        if mask.shape != rows.shape[:-1]:
            raise ValueError(f"mask has shape {mask.shape}, expected {rows.shape[:-1]}, as rows without S'.")
        rows = checked_kernel(rows, "rows", "[S, A, K, S']", mask)
        if not mask.any(axis=-1).all():
            empty = tuple(int(index) for index in np.argwhere(~mask.any(axis=-1))[0])
            raise ValueError(f"mask leaves {pair(empty)} without a candidate; expected at least one.")
        freeze(self, rows=rows, mask=mask, shape=(*rows.shape[:2], rows.shape[-1]))

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.rows, self.mask

    @property
    def nominal_kernel(self) -> np.ndarray:
        first = self.mask.argmax(axis=-1)[..., None, None]
        return np.take_along_axis(self.rows, first, axis=2)[:, :, 0]

    def minimum(self, targets: np.ndarray) -> np.ndarray:
        if targets.ndim > 1:
            return super().minimum(targets)
        return np.where(self.mask, self.rows @ targets, np.inf).min(axis=-1)

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        equal = np.abs(self.rows - kernel[:, :, None]).max(axis=-1) <= tolerance
        return (equal & self.mask).any(axis=-1)


@dataclass(frozen=True, eq=False)
class SAInterval(SARectangular):
    """Rows between bounds: `lower ≤ p ≤ upper`.

    Attributes:
        lower: `[S, A, S']`, at least 0.
        upper: `[S, A, S']`, at least `lower`.

    Raises:
        ValueError: no row fits between the bounds, or they are wrong; names the pair.
    """

    lower: Any
    upper: Any
    inner = staticmethod(inner.interval_rows)

    def __post_init__(self) -> None:
        lower, upper = checked_array(self.lower, "lower"), checked_array(self.upper, "upper")
        if lower.ndim != 3 or lower.shape[0] != lower.shape[2] or lower.shape != upper.shape:
            raise ValueError(f"lower is {lower.shape} and upper {upper.shape}, expected [S, A, S'] both.")
        for wrong, what in (
            ((lower < 0) | (upper < lower), "expected 0 <= lower <= upper"),
            ((lower.sum(axis=-1) > 1 + TOLERANCE)[..., None], "the lower bounds sum to more than 1"),
            ((upper.sum(axis=-1) < 1 - TOLERANCE)[..., None], "the upper bounds sum to less than 1"),
        ):
            if wrong.any():
                where = tuple(int(index) for index in np.argwhere(wrong)[0][:2])
                raise ValueError(f"no row fits between lower and upper at {pair(where)}: {what}.")
        freeze(self, lower=lower, upper=np.minimum(upper, 1.0), shape=lower.shape)

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.lower, self.upper

    @property
    def nominal_kernel(self) -> np.ndarray:
        """The lower bounds plus the same share of every interval."""
        room = self.upper - self.lower
        total = room.sum(axis=-1, keepdims=True)
        slack = 1 - self.lower.sum(axis=-1, keepdims=True)
        return self.lower + room * slack / np.where(total > 0, total, 1.0)

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        within = (kernel >= self.lower - tolerance) & (kernel <= self.upper + tolerance)
        return within.all(axis=-1) & (np.abs(kernel.sum(axis=-1) - 1) <= TOLERANCE)
