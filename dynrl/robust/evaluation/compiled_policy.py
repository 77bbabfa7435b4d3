"""Policies as the arguments of compiled programs: what selects the program, and the arrays that are its data."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dynrl.compilation import classes_in
from dynrl.robust.policy import FunctionPolicy, HostPolicy, RobustPolicy, as_policy

# XLA multiplies matrices of fewer rows in another order of additions: the last bits of a network's output would depend
# on how many lanes there are. From 64 rows on (measured for layers of up to 400) they depend on the row alone.
FEWEST_ROWS = 64


class Static(NamedTuple):
    """What selects the program of a policy: its structure, and its leaves that are no arrays. Compared by value."""

    structure: Any
    is_array: tuple[bool, ...]
    fixed: tuple[Any, ...]
    classes: tuple[type, ...]


def traceable(policy: Any) -> RobustPolicy | FunctionPolicy:
    """Return the policy for a compiled rollout.

    Raises:
        TypeError: it runs in NumPy, or is no policy.
    """
    policy = as_policy(policy, jax=True)
    if isinstance(policy, HostPolicy):
        raise TypeError(
            "this policy runs in NumPy and cannot enter a compiled rollout: give a function that JAX can trace, or "
            "evaluate through dynrl.robust.evaluation.GymnasiumEvaluator."
        )
    return policy


def split(policy: Any) -> tuple[Static, list[Any]]:
    """Take a policy apart; one that is no pytree is a single static leaf."""
    leaves, structure = jax.tree.flatten(policy)
    is_array = tuple(isinstance(leaf, (np.ndarray, np.generic, jax.Array)) for leaf in leaves)
    fixed = tuple(None if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
    arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]
    return Static(structure, is_array, fixed, classes_in(policy)), arrays


def merge(static: Static, arrays: list[Any]) -> Any:
    """Reverse `split`."""
    remaining = iter(arrays)
    leaves = [
        next(remaining) if array else leaf for leaf, array in zip(static.fixed, static.is_array, strict=True)
    ]
    return jax.tree.unflatten(static.structure, leaves)


@partial(jax.jit, static_argnums=0)
def act(static: Static, arrays: list[Any], observation: Any, carry: Any) -> tuple[Any, Any]:
    """The mode action of a policy that `split` took apart."""
    return merge(static, arrays).act(observation, carry, None)


def restarted(policy: Any, carry: Any, begun: np.ndarray) -> Any:
    """The carry, as NumPy arrays, with the rows of `begun [B]` bool as at the start of an episode."""
    if isinstance(policy, HostPolicy):
        # How a recurrent agent lays out its memory is its own affair; it forgets where it is told so.
        return {**carry, "episode_start": carry["episode_start"] | begun}

    def rows(now: Any, first: Any) -> np.ndarray:
        now = np.array(now)
        now[begun] = np.asarray(first)[begun]
        return now

    return jax.tree.map(rows, carry, policy.initial_carry(len(begun)))
