"""The vertices of a box cut by one budget constraint."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["budget_vertices"]

Array = NDArray[np.float64]
_EQUAL = 1e-12  # relative to the scale of the set


def budget_vertices(lower: Array, upper: Array, total: float, equality: bool, at_most: int) -> Array | None:
    """Vertices [K, d] of {lower ≤ u ≤ upper, Σu ≤ total (or =)} in descending lexicographic order.

    A vertex has every coordinate at a limit, except at most one that absorbs what the budget leaves. None
    when there are more than ``at_most``.
    """
    room = upper - lower
    rest = total - lower.sum()
    slack = _EQUAL * max(1.0, abs(total), float(np.abs(lower).sum()), float(np.abs(upper).sum()))
    free = np.flatnonzero(room > 0)
    # Subsets of coordinates at their upper limit that the budget can pay for, grown one coordinate at a time.
    at_upper, left = np.zeros((1, len(room)), dtype=bool), np.array([rest])
    for i in free:
        payable = left >= room[i] - slack
        if len(left) + payable.sum() > at_most:
            return None
        raised = at_upper[payable]
        raised[:, i] = True
        at_upper, left = np.concatenate([at_upper, raised]), np.concatenate([left, left[payable] - room[i]])

    corners = np.where(at_upper[abs(left) <= slack] if equality else at_upper, upper, lower)
    absorbs = ~at_upper & (left[:, None] > slack) & (room > left[:, None] + slack)
    if len(corners) + absorbs.sum() > at_most:
        return None
    subset, coordinate = np.nonzero(absorbs)
    partial = np.where(at_upper[subset], upper, lower)
    partial[np.arange(len(subset)), coordinate] += left[subset]
    points = np.concatenate([corners, partial])
    return points[np.lexsort(-points.T[::-1])]
