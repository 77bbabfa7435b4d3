"""What a conditional landscape takes as `x`: dense rows, sparse `Features`, codes, or floors with any of these."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.clicks.padding import check_features, pad_rows, row_width
from dynrl.auctions.landscape.floors import FlooredRequest
from dynrl.auctions.log import Features

__all__ = ["dense_rows", "sparse_rows", "take_rows"]


@singledispatch
def take_rows(x: Any, rows: NDArray[np.int64]) -> Any:
    """Rows of any kind of `x` of N requests; None stays None."""
    return np.asarray(x)[rows]


@take_rows.register
def _(x: None, rows: NDArray[np.int64]) -> None:
    return None


@take_rows.register
def _(x: Features, rows: NDArray[np.int64]) -> Features:
    return x.take(rows)


@take_rows.register
def _(x: FlooredRequest, rows: NDArray[np.int64]) -> FlooredRequest:
    return FlooredRequest(take_rows(x.x, rows), np.asarray(x.floor)[rows])


def dense_rows(x: Any, columns: int | None = None) -> NDArray[np.float64]:
    """`x` as finite float64 `[..., d]`; None gives d = 0.

    Raises:
        ValueError: no axes, not finite, or another d than `columns`.
    """
    array = np.zeros(0) if x is None else np.asarray(x, np.float64)
    if array.ndim == 0 or not np.isfinite(array).all():
        raise ValueError(f"x must be finite numbers [..., d], got shape {array.shape}")
    if columns is not None and array.shape[-1] != columns:
        raise ValueError(
            f"x has {array.shape[-1]} columns, expected {columns} as when the landscape was fitted"
        )
    return array


def sparse_rows(x: Features, dimension: int | None = None) -> NDArray[np.int32]:
    """Features as padded rows `[N, width]`; see `pad_rows`.

    Raises:
        ValueError: numbers out of range, or another dimension than `dimension`.
    """
    check_features(x)
    if dimension is not None and x.dimension != dimension:
        raise ValueError(
            f"features have dimension {x.dimension}, expected {dimension} as when the landscape was fitted"
        )
    return pad_rows(x, np.arange(len(x)), row_width(x))
