"""Conversion of user input to read-only float64 arrays, with errors that name the argument."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["finite_array", "finite_number", "non_negative"]


def finite_array(name: str, value: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """A read-only float64 copy of ``value``; ValueError unless it is finite and has ``ndim`` axes."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be numeric with {ndim} axes; it could not be converted: {error}"
        ) from error
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, but has shape {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, but entry {where} is {array[where]}")
    array.flags.writeable = False
    return array


def finite_number(name: str, value: float) -> float:
    """``value`` as a finite float, else ValueError."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number, but is {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, but is {number}")
    return number


def non_negative(name: str, value: float) -> float:
    """``value`` as a finite float >= 0, else ValueError."""
    number = finite_number(name, value)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, but is {number}")
    return number
