"""Checks of probabilities where they enter, and the small array moves that the inner problems share."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCE = 1e-8
"""How far the sum of a row may be from 1."""


def checked_kernel(
    rows: Any, name: str, axes: str = "[S, A, S']", mask: np.ndarray | None = None
) -> np.ndarray:
    """Rows of probabilities as float64, each scaled to sum to 1 exactly, or an error that names the pair.

    Args:
        rows: `[S, A, S']` or `[S, A, K, S']`, as `axes` says.
        name: of the argument.
        mask: `[S, A, K]`, which rows count; the others are set to zero.

    Raises:
        ValueError: wrong shape, NaN, a negative entry, or a row whose sum is off by more than 1e-8.
    """
    array = checked_array(rows, name)
    if array.ndim != axes.count(",") + 1 or array.shape[0] != array.shape[-1] or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {axes} with as many successors as states."
        )
    counted = np.ones(array.shape[:-1], bool) if mask is None else mask
    low, total = array.min(axis=-1), array.sum(axis=-1)
    wrong = counted & ~((low >= 0) & (np.abs(total - 1) <= TOLERANCE))
    if wrong.any():
        where = tuple(int(index) for index in np.argwhere(wrong)[0])
        what = (
            f"sums to {total[where]:.9g}" if low[where] >= 0 else f"has the negative entry {low[where]:.6g}"
        )
        raise ValueError(f"{name}: the row of {pair(where)} {what}; expected probabilities that sum to 1.")
    return np.where(counted[..., None], array / np.where(counted, total, 1.0)[..., None], 0.0)


def checked_array(values: Any, name: str) -> np.ndarray:
    """`values` as float64.

    Raises:
        ValueError: no numbers, or NaN among them; names the first place.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers ({error}).") from error
    if np.isnan(array).any():
        where = tuple(int(index) for index in np.argwhere(np.isnan(array))[0])
        raise ValueError(f"{name} holds NaN at {pair(where)}; expected numbers.")
    return array


def checked_radius(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Sizes of sets, a number or one for each of `shape`, as float64 of that shape.

    Raises:
        ValueError: wrong shape, NaN or negative.
    """
    array = checked_array(values, name)
    if array.ndim and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected one number or {list(shape)}.")
    array = np.broadcast_to(array, shape).copy()
    if (array < 0).any():
        where = tuple(int(index) for index in np.argwhere(array < 0)[0])
        raise ValueError(f"{name} is {array[where]:.6g} at {pair(where)}, expected at least 0.")
    return array


def pair(where: tuple[int, ...]) -> str:
    """The words for an index: `(s, a) = (3, 1)`."""
    if len(where) < 2:
        return f"state {where[0]}" if where else "its only entry"
    further = "".join(f", entry {index}" for index in where[2:])
    return f"(s, a) = ({where[0]}, {where[1]}){further}"


def freeze(instance: Any, **fields: Any) -> None:
    """Sets checked fields of a frozen dataclass, its arrays read-only."""
    for name, field in fields.items():
        if isinstance(field, np.ndarray):
            field.flags.writeable = False
        object.__setattr__(instance, name, field)


def gather(xp: Any, rows: Any, order: Any) -> Any:
    """`rows [..., n]` in the order of `order`: `[n]`, one for all, or `[..., n]`, one for each row."""
    if order.ndim == 1:
        return rows[..., order]
    return xp.take_along_axis(xp.broadcast_to(rows, order.shape), order, axis=-1)


def scatter(xp: Any, rows: Any, order: Any) -> Any:
    """Undoes `gather`."""
    return gather(xp, rows, xp.argsort(order, axis=-1))


def point_mass(xp: Any, targets: Any) -> Any:
    """`[..., n]`: all the mass on the lowest index with the smallest target."""
    return xp.eye(targets.shape[-1], dtype=targets.dtype)[xp.argmin(targets, axis=-1)]


def running_sum(xp: Any, rows: Any) -> Any:
    """Cumulative sums along the last axis."""
    if xp is np:
        return np.cumsum(rows, axis=-1)
    # XLA's own scan costs twice as much on a CPU as the product with a triangle of ones.
    return rows @ xp.triu(xp.ones((rows.shape[-1], rows.shape[-1]), rows.dtype))
