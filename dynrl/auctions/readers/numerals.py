"""Numbers written in text, a whole column at a time, with the rows that hold something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fixed_width", "parse_floats", "parse_integers", "parse_timestamps"]

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]
Good = NDArray[np.bool_]

PADDING = 64
"""Bytes that a buffer must hold after its last field, so that every field can be read at full width."""

_MINUS = 45
_FLOAT_ALPHABET = np.zeros(256, bool)
_FLOAT_ALPHABET[list(b"\0+-.0123456789Ee")] = True


def parse_integers(
    buffer: Bytes, start: Positions, length: Positions, digits: int = 9, signed: bool = False
) -> tuple[NDArray[np.int64], Good]:
    """Decimal integers of the fields `[N]`.

    Args:
        buffer: the text; `start` and `length` are in bytes.
        digits: most digits accepted (18 fit int64).
        signed: whether a leading minus is accepted.

    Returns:
        (values, good), both `[N]`; a value that is not good is arbitrary.
    """
    if signed:
        negative = (buffer[start] == _MINUS) & (length > 1)
        values, good = parse_integers(buffer, start + negative, length - negative, digits)
        return np.where(negative, -values, values), good
    good = (length >= 1) & (length <= digits)
    values = np.zeros(len(start), np.int64)
    last = start + length - 1
    power = 1
    for place in range(min(digits, int(length.max(initial=0)))):
        digit = buffer[last - np.minimum(place, length - 1).clip(0)] - np.uint8(48)
        inside = place < length
        good &= ~inside | (digit < 10)
        values += np.where(inside, digit * np.int64(power), 0)
        power *= 10
    return values, good


def fixed_width(buffer: Bytes, start: Positions, length: Positions) -> NDArray[np.bytes_]:
    """The fields `[N]` as bytes of one width, at most `PADDING`; longer ones are cut."""
    width = int(np.clip(length.max(initial=1), 1, PADDING))
    windows: NDArray[np.bytes_] = np.ndarray(
        len(buffer) - width + 1, dtype=f"S{width}", buffer=buffer, strides=(1,)
    )
    fields = windows[start]
    characters = fields.view(np.uint8).reshape(len(start), width)
    characters[np.arange(width) >= length[:, None]] = 0
    return fields


def parse_floats(buffer: Bytes, start: Positions, length: Positions) -> tuple[NDArray[np.float64], Good]:
    """Finite decimal numbers of the fields `[N]`, correctly rounded: (values, good)."""
    fields = fixed_width(buffer, start, length)
    if len(fields) == 0:
        return np.zeros(0), np.zeros(0, bool)
    characters = fields.view(np.uint8).reshape(len(fields), -1)
    good = _FLOAT_ALPHABET[characters].all(1) & (length >= 1) & (length <= PADDING)
    good &= (characters != 0).sum(1) == length
    values = np.zeros(len(fields))
    try:
        values[good] = fields[good].astype(np.float64)
    except ValueError:
        for row in np.flatnonzero(good):
            good[row], values[row] = _float(fields[row])
    good &= np.isfinite(values)
    return values, good


def _float(text: bytes) -> tuple[bool, float]:
    try:
        return True, float(text)
    except ValueError:
        return False, 0.0


def parse_timestamps(
    buffer: Bytes, start: Positions, length: Positions
) -> tuple[NDArray[np.datetime64], Good]:
    """Times written yyyyMMddHHmmssSSS (17 digits, iPinYou): (datetime64[ms], good)."""
    number, good = parse_integers(buffer, start, length, digits=17)
    good &= length == 17
    parts = []
    for base in (1000, 100, 100, 100, 100, 100):
        number, part = np.divmod(number, base)
        parts.append(part)
    millisecond, second, minute, hour, day, month = parts
    good &= (second < 60) & (minute < 60) & (hour < 24) & (month >= 1) & (month <= 12) & (number >= 1900)
    months = (np.where(good, number - 1970, 0) * 12 + np.where(good, month - 1, 0)).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    days_of_month = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    good &= (day >= 1) & (day <= days_of_month)
    within_day = ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
    days = first + np.where(good, day - 1, 0).astype("timedelta64[D]")
    return days.astype("datetime64[ms]") + within_day.astype("timedelta64[ms]"), good
