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


def pad_rows(features: Features, rows: NDArray[np.int64], width: int) -> NDArray[np.int32]:
    """Some rows as int32 `[len(rows), width]`, ascending, filled up with the number `dimension`.

    A number that occurs twice in a row (hashing makes that happen) is kept once: features are present or absent.
    """
    if len(features.indices) == 0 or width == 0:
        return np.full((len(rows), width), features.dimension, np.int32)
    starts, stops = features.indptr[rows], features.indptr[rows + 1]
    place = starts[:, None] + np.arange(width)
    padded = features.indices.take(place, mode="clip")
    padded[place >= stops[:, None]] = features.dimension
    padded.sort(axis=1)
    repeated = padded[:, 1:] == padded[:, :-1]
    padded[:, 1:][repeated] = features.dimension
    return padded
