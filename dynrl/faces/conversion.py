"""From device arrays to what users hold: fresh NumPy arrays and Python scalars, never views of a buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from gymnasium import Space, spaces

_SCALARS = {
    "b": np.dtype(np.bool_),
    "i": np.dtype(np.int64),
    "u": np.dtype(np.int64),
    "f": np.dtype(np.float64),
}


def to_space(space: Space, values: Any) -> Any:
    """Copy an observation, or a batch of them, to fresh NumPy arrays in the dtypes of `space` (the single
    one)."""
    if isinstance(space, spaces.Dict):
        return {name: to_space(inner, values[name]) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(to_space(inner, value) for inner, value in zip(space.spaces, values, strict=True))
    return np.array(values, dtype=space.dtype)


def to_single(space: Space, values: Any) -> Any:
    """As `to_space`, for one observation: a Discrete value becomes a NumPy integer."""
    if isinstance(space, spaces.Dict):
        return {name: to_single(inner, values[name]) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(to_single(inner, value) for inner, value in zip(space.spaces, values, strict=True))
    array = np.array(values, dtype=space.dtype)
    return array[()] if isinstance(space, spaces.Discrete) else array


def single_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return one environment's info: arrays are copied, 0-d leaves become Python scalars."""
    return {
        name: single_info(value) if isinstance(value, Mapping) else _leaf(np.asarray(value))
        for name, value in info.items()
    }


def batched_info(info: Mapping[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return Gymnasium's vector info: each `name` beside `_name`, the mask of environments that have it.

    Scalars take the dtypes that Python's do in `gymnasium.vector.SyncVectorEnv` (float64, int64, bool).
    """
    result: dict[str, Any] = {}
    for name, value in info.items():
        result[name] = batched_info(value, mask) if isinstance(value, Mapping) else _batch(np.asarray(value))
        result[f"_{name}"] = mask.copy()
    return result


def merged_infos(first: dict[str, Any], second: dict[str, Any], chosen: np.ndarray) -> dict[str, Any]:
    """Join the infos of disjoint sets of environments; where both have a key, rows of `chosen` come from
    `second`."""
    result = {**first, **second}
    for name in first.keys() & second.keys():
        ours, theirs = first[name], second[name]
        if isinstance(ours, dict):
            result[name] = merged_infos(ours, theirs, chosen)
        elif name.startswith("_") and name[1:] in first:
            result[name] = ours | theirs
        else:
            result[name] = np.where(chosen.reshape((-1,) + (1,) * (ours.ndim - 1)), theirs, ours)
    return result


def to_host(tree: Any) -> Any:
    """Copy a pytree to fresh NumPy arrays."""
    return jax.tree.map(np.array, jax.device_get(tree))


def _leaf(value: np.ndarray) -> Any:
    return value.item() if value.ndim == 0 else value.copy()


def _batch(value: np.ndarray) -> np.ndarray:
    return np.array(value, dtype=_SCALARS.get(value.dtype.kind) if value.ndim == 1 else None)
