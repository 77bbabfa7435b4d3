"""NumPy or JAX, chosen by the arrays that come: the scatter primitives on which a step of many agents is built.

The rest of the kernel is the same text for both. A table has one entry per cell (or slot); agents that do not take part
are sent to an entry behind the last one, which is then dropped, so no shape depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["loop", "namespace", "put", "scatter_add", "scatter_max"]

Array = Any


def namespace(*arrays: Any) -> Any:
    """`jax.numpy` if any of the arrays is JAX's (traced ones included), else `numpy`."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def scatter_max(size: int, index: Array, values: Array, where: Array) -> Array:
    """Largest of the unsigned `values` `[C]` sent to each entry of a table `[size]`; 0 where nothing came.

    Args:
        size: entries of the table.
        index: entry of each value `[C]`, within the table where `where`.
        values: unsigned integers `[C]`.
        where: which of them take part `[C]` bool.
    """
    if namespace(index, values, where) is np:
        table = np.zeros(size, values.dtype)
        np.maximum.at(table, index[where], values[where])
        return table
    # A value of 0 changes nothing: those that stay out need no place of their own.
    empty = jnp.zeros(size, values.dtype)
    return empty.at[index].max(
        jnp.where(where, values, jnp.zeros((), values.dtype)), mode="promise_in_bounds"
    )


def scatter_add(size: int, index: Array, where: Array, values: Array | None = None) -> Array:
    """Sum of the `values` `[C]` (None: how many, int32) sent to each entry of a table `[size]`; others as
    `scatter_max`."""
    if namespace(index, where) is np:
        if values is None:
            return np.bincount(index[where], minlength=size).astype(np.int32)
        return np.bincount(index[where], values[where], minlength=size).astype(values.dtype)
    if values is None:
        values = jnp.ones((), jnp.int32)
    amounts = jnp.where(where, values, jnp.zeros((), values.dtype))
    return jnp.zeros(size, values.dtype).at[index].add(amounts, mode="promise_in_bounds")


def put(size: int, index: Array, values: Array, where: Array) -> Array:
    """A table `[size]` with `values` `[C]` at the distinct entries `index` `[C]`, where `where` `[C]`; 0 elsewhere."""
    if namespace(index, values, where) is np:
        table = np.zeros(size, values.dtype)
        table[index[where]] = values[where]
        return table
    # Those that stay out are written behind the last entry, all to the same place.
    target = jnp.where(where, index, size)
    return jnp.zeros(size + 1, values.dtype).at[target].set(values, mode="promise_in_bounds")[:size]


def loop(
    going: Callable[[Any], Any], body: Callable[[Any], Any], start: Any, *, xp: Any, most: int | None = None
) -> Any:
    """`body` applied again and again while `going(state)`.

    Args:
        going: state -> `[]` bool.
        body: state -> state.
        start: first state.
        xp: `numpy` or `jax.numpy`.
        most: a fixed number of applications instead, whatever `going` says (a batch then costs the same as its
            slowest member never would).
    """
    if xp is np:
        state, done = start, 0
        while going(state) and (most is None or done < most):
            state, done = body(state), done + 1
        return state
    if most is not None:
        for _ in range(most):
            start = body(start)
        return start
    return jax.lax.while_loop(going, body, start)
