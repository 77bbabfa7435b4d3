"""Which leaves of `params` are shared by all environments and which carry one value per environment."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.functional import FunctionalEnv


def checked_params(env: FunctionalEnv, params: Any) -> Any:
    """Return `params` (None: the defaults) as NumPy arrays, after comparing with the default's structure and
    shapes.

    Raises:
        ValueError: names the leaf, what came and what was expected.
    """
    return batched_params(env, params, None)[0]


def batched_params(
    env: FunctionalEnv, params: Any, num_envs: int | None
) -> tuple[Any, tuple[int | None, ...]]:
    """Return `(params as NumPy arrays, per leaf 0 where it has a leading [num_envs] axis and None where it is
    shared)`.

    Raises:
        ValueError: names the leaf, what came and what was expected.
    """
    default = env.default_params
    if params is None:
        params = default
    structure: Any = jax.tree.structure(default)
    if structure != jax.tree.structure(params):
        raise ValueError(
            f"params of {type(env).__name__} have the structure {jax.tree.structure(params)}, "
            f"expected {structure}."
        )
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(default)[0]]
    leaves, axes = [], []
    for path, leaf, like in zip(paths, jax.tree.leaves(params), jax.tree.leaves(default), strict=True):
        # Inside a caller's jit, vmap or grad the leaves are traced and must stay so.
        array = leaf if isinstance(leaf, jax.core.Tracer) else np.array(leaf, dtype=like.dtype)
        per_env = num_envs is not None and array.shape == (num_envs, *like.shape)
        if array.shape != like.shape and not per_env:
            also = f" or {(num_envs, *like.shape)}, one per environment" if num_envs is not None else ""
            raise ValueError(f"params{path} has shape {array.shape}, expected {like.shape}{also}.")
        leaves.append(array)
        axes.append(0 if per_env else None)
    return jax.tree.unflatten(structure, leaves), tuple(axes)


def axes_tree(params: Any, axes: tuple[int | None, ...]) -> Any:
    """Return `axes` in the structure of `params`, as `jax.vmap`'s `in_axes` wants it."""
    return jax.tree.unflatten(jax.tree.structure(params), axes)


def broadcast(params: Any, axes: tuple[int | None, ...], num_envs: int) -> Any:
    """Return `params` with every leaf `[num_envs, ...]`."""

    def spread(leaf: Any, axis: int | None) -> Any:
        if axis is not None:
            return leaf
        xp = np if isinstance(leaf, np.ndarray) else jnp
        return xp.broadcast_to(leaf, (num_envs, *leaf.shape))

    leaves = jax.tree.leaves(params)
    spreads = [spread(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(params), spreads)


def take(params: Any, axes: tuple[int | None, ...], index: int) -> Any:
    """Return the params of one environment."""
    leaves = jax.tree.leaves(params)
    chosen = [leaf if axis is None else leaf[index] for leaf, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)
