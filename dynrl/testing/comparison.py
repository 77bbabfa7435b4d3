"""Comparing what environments return: nested dicts, tuples, arrays and numbers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np


def snapshot(value: Any) -> Any:
    """Return a deep copy, so that later calls cannot change what was seen."""
    return copy.deepcopy(value)


def difference(first: Any, second: Any, tolerance: float = 0.0, *, dtypes: bool = True) -> str | None:
    """Return where and how two returned values differ, in words, or None.

    Args:
        first: nested dicts, tuples, lists, arrays, numbers.
        second: likewise.
        tolerance: relative and absolute, for numbers.
        dtypes: whether arrays must have the same dtype.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return f"keys {sorted(first)} against {sorted(second)}"
        pairs = [(f"[{name!r}]", first[name], second[name]) for name in first]
    elif isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        if len(first) != len(second):
            return f"{len(first)} entries against {len(second)}"
        pairs = [(f"[{index}]", *pair) for index, pair in enumerate(zip(first, second, strict=True))]
    else:
        return _leaf_difference(first, second, tolerance, dtypes)
    for where, one, other in pairs:
        found = difference(one, other, tolerance, dtypes=dtypes)
        if found is not None:
            return f"{where} {found}"
    return None


def nonfinite(value: Any) -> str | None:
    """Return the first NaN or infinity in a nested value, in words, or None."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((found for found in map(nonfinite, value) if found is not None), None)
    array = np.asarray(value)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        return f"a value that is not finite: {value!r}"
    return None


def _leaf_difference(first: Any, second: Any, tolerance: float, dtypes: bool) -> str | None:
    one, other = np.asarray(first), np.asarray(second)
    if one.shape != other.shape:
        return f"shape {one.shape} against {other.shape}"
    if dtypes and one.dtype != other.dtype:
        return f"dtype {one.dtype} against {other.dtype}"
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        same = np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    else:
        same = bool(np.all(one == other))
    return None if same else f"{first!r} against {second!r}"
