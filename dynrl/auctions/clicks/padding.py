"""Sparse rows as rectangles of feature numbers, the form that compiled code takes."""

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import Features

__all__ = ["check_features", "pad_rows", "row_width"]


def check_features(features: Features) -> None:
    """ValueError unless every index lies in `0..dimension-1`."""
    indices = features.indices
    if len(indices) and (indices.min() < 0 or indices.max() >= features.dimension):
        raise ValueError(
            f"feature numbers go from {indices.min()} to {indices.max()}, expected 0..{features.dimension - 1}"
        )


def row_width(features: Features) -> int:
    """Largest number of features in a row."""
    return int(np.diff(features.indptr).max(initial=0))


def pad_rows(features: Features, start: int, stop: int, width: int) -> NDArray[np.int32]:
    """Rows `start..stop-1` as int32 `[stop - start, width]`, ascending, filled up with the number `dimension`.

    A number that occurs twice in a row (hashing makes that happen) is kept once: features are present or absent.
    """
    offsets = features.indptr[start : stop + 1] - features.indptr[start]
    lengths = np.diff(offsets)
    padded = np.full((stop - start, width), features.dimension, np.int32)
    used = np.arange(width) < lengths[:, None]
    padded[used] = features.indices[features.indptr[start] : features.indptr[stop]]
    padded.sort(axis=1)
    repeated = padded[:, 1:] == padded[:, :-1]
    padded[:, 1:][repeated] = features.dimension
    return padded
