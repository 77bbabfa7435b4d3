"""One episode of a functional environment in pure JAX: what every face compiles.

Key discipline, the same in every face: an episode carries a key; before a reset or a step `key, sub =
split(key)` and `sub` goes to the environment. That is why one environment alone and environment `i` of a
thousand give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.functional import FunctionalEnv

PRNG = "threefry2x32"


class Episode(NamedTuple):
    """Where an episode stands.

    Attributes:
        state: the environment's state, any pytree.
        key: raw random key `[2]` uint32.
        elapsed: steps since the reset, `[]` int32.
    """

    state: Any
    key: Any
    elapsed: Any


class Outcome(NamedTuple):
    """What one step shows: `observation`, `reward []`, `terminated []`, `truncated []` and the step's
    `info`."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Mapping[str, Any]


def key_from_seed(seed: int) -> np.ndarray:
    """Return the raw key `[2]` uint32 of `jax.random.key(seed)`, whatever JAX's default precision."""
    return np.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def begin(
    env: FunctionalEnv, key: Any, params: Any, last: Any = None
) -> tuple[Episode, Any, Mapping[str, Any]]:
    """Start an episode, the one after that which ended in the state `last` where there is one; returns
    `(episode, observation, info)`."""
    key, sub = split_key(key)
    state = _strongly_typed(env.initial(sub, params) if last is None else env.following(last, sub, params))
    episode = Episode(state, key, jnp.zeros((), jnp.int32))
    return episode, env.observation(state, sub, params), env.state_info(state, params)


def advance(env: FunctionalEnv, episode: Episode, action: Any, params: Any) -> tuple[Episode, Outcome]:
    """Play one action; the world ends an episode by termination, time by truncation, never both at once."""
    key, sub = split_key(episode.key)
    state = episode.state
    next_state = _strongly_typed(env.transition(state, action, sub, params))
    elapsed = episode.elapsed + 1
    terminated = jnp.asarray(env.terminal(next_state, sub, params), bool).reshape(())
    out_of_time = False if env.horizon is None else elapsed >= env.horizon
    outcome = Outcome(
        observation=env.observation(next_state, sub, params),
        reward=jnp.asarray(env.reward(state, action, next_state, sub, params), float).reshape(()),
        terminated=terminated,
        truncated=~terminated & (out_of_time | env.truncated(next_state, sub, params)),
        info=env.transition_info(state, action, next_state, params),
    )
    return Episode(next_state, key, elapsed), outcome


def last_state(env: FunctionalEnv, episode: Episode | None) -> Any:
    """Return what `begin` takes as `last`: None where the environment's episodes do not depend on each other, so that
    those environments compile one program only."""
    if episode is None or type(env).following is FunctionalEnv.following:
        return None
    return episode.state


def split_key(key: Any) -> tuple[Any, Any]:
    """Split a raw key; returns `(next raw key, typed key to use now)`."""
    following, sub = jax.random.split(jax.random.wrap_key_data(key, impl=PRNG))
    return jax.random.key_data(following), sub


def where(condition: Any, chosen: Any, other: Any) -> Any:
    """Select whole pytrees by a `[N]` or `[]` condition that stands in front of every leaf's shape."""

    def select(a: Any, b: Any) -> Any:
        a, b = jnp.asarray(a), jnp.asarray(b)
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(select, chosen, other)


def _strongly_typed(tree: Any) -> Any:
    # A weakly typed leaf (`jnp.where(x, 0.0, 1.0)`) changes type after one step and would compile every
    # function twice.
    def strong(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.astype(leaf.dtype)

    return jax.tree.map(strong, tree)
