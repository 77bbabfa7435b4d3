"""Amounts and columns by channel name, from mappings and from what looks like a DataFrame or a Series.

The order of names never matters: whatever has `columns` or `keys()` and is indexed by name will do (dict, pandas,
polars), and values without names are refused.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from dynrl.bandits.checks import finite_number


def channel_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Checked names.

    Raises:
        TypeError: not a sequence of strings.
        ValueError: none, empty or repeated names.
    """
    if isinstance(channels, str) or not all(isinstance(name, str) for name in channels):
        raise TypeError(f"channels must be a sequence of names, got {channels!r}")
    names = tuple(channels)
    if not names or "" in names:
        raise ValueError(f"channels must name at least one channel, each with a name, got {list(names)}")
    require_unique("channels", names)
    return names


def amounts_by_name(argument: str, values: Any, channels: Sequence[str], scalar: bool = False) -> np.ndarray:
    """One finite amount per channel, in the order of `channels`, `[d]`.

    Args:
        argument: what `values` is called in messages.
        values: amounts by name.
        channels: all names that must be there.
        scalar: also take one number that goes for every channel.

    Raises:
        TypeError: values without names.
        ValueError: missing, unknown or repeated names; an amount that is not a finite number.
    """
    if scalar and isinstance(values, (int, float, np.integer, np.floating)):
        return np.full(len(channels), finite_number(argument, float(values)))
    names = _names(argument, values)
    require_unique(argument, names)
    missing = [name for name in channels if name not in names]
    unknown = [name for name in names if name not in channels]
    if missing or unknown:
        raise ValueError(
            f"{argument} must name each channel once; "
            + "; ".join(
                ([f"missing: {', '.join(missing)}"] if missing else [])
                + [_unknown(str(name), channels) for name in unknown]
            )
        )
    return np.array([_amount(f"{argument}[{name!r}]", values[name]) for name in channels])


def columns_by_name(table: Any, names: Sequence[str]) -> np.ndarray:
    """Columns of a table in the order of `names`, other columns left aside, `[T, len(names)]`.

    Raises:
        TypeError: a table without column names.
        ValueError: missing or repeated names; entries that are not finite numbers (column and row named).
    """
    present = _names("table", table)
    require_unique("table", [name for name in present if name in names])
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(map(repr, missing))}; it has: {', '.join(map(str, present))}"
        )
    columns = [_column(name, table[name]) for name in names]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=True))
        raise ValueError(f"the columns of the table differ in length ({lengths})")
    return np.stack(columns, axis=1)


def require_unique(argument: str, names: Sequence[Any]) -> None:
    """ValueError naming what is there more than once."""
    repeated = [str(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{argument} has {', '.join(map(repr, repeated))} more than once")


def _names(argument: str, values: Any) -> list[Any]:
    columns = getattr(values, "columns", None)
    if columns is not None:
        return list(columns)
    keys = getattr(values, "keys", None)
    if keys is None:
        raise TypeError(
            f"{argument} must give its values by channel name (a dict, Series or DataFrame), got "
            f"{type(values).__name__}: the order of channels means nothing here"
        )
    return list(keys())


def _unknown(name: str, channels: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, channels, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"the channels are {', '.join(channels)}"
    return f"unknown: {name!r} ({hint})"


def _amount(argument: str, value: Any) -> float:
    entries = np.asarray(value)
    if entries.size != 1:
        raise ValueError(f"{argument} must be one number, got {entries.size}")
    return finite_number(argument, entries.item())


def _column(name: str, values: Any) -> np.ndarray:
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} of the table is not numeric: {error}") from None
    if column.ndim != 1:
        raise ValueError(f"column {name!r} of the table must have one axis, got shape {column.shape}")
    bad = np.flatnonzero(~np.isfinite(column))
    if len(bad):
        raise ValueError(
            f"column {name!r} of the table has {len(bad)} entries that are not finite, the first in row "
            f"{bad[0]}: {column[bad[0]]}; fill or drop such rows"
        )
    return column
