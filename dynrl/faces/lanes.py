"""Many episodes side by side in pure JAX: the compiled reset and step, with auto-reset, behind
`VectorEnv`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynrl.faces.episode import Episode, advance, begin, last_state, where
from dynrl.faces.params import axes_tree, broadcast
from dynrl.functional import FunctionalEnv


class Lanes(NamedTuple):
    """All environments side by side.

    Attributes:
        episode: every leaf with a leading `[N]` axis.
        done: whether the episode ended with the last step, `[N]` bool.
        params: constants of the running episodes `[N, ...]`, only after a reset with options; else None.
    """

    episode: Episode
    done: Any
    params: Any


class Stepped(NamedTuple):
    """What one step of all environments shows, every leaf `[N, ...]`.

    Attributes:
        observation: the new observation; of the new episode where one began.
        reward: 0 where the step was a reset.
        terminated: the world ended.
        truncated: time ended.
        info: of the step; zero where an episode began.
        reset_info: of the reset; zero where none began.
        final_observation: last observation of an episode that ended in this step (SAME_STEP); None in
            NEXT_STEP.
        final_info: last info, likewise.
    """

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Mapping[str, Any]
    reset_info: Mapping[str, Any]
    final_observation: Any
    final_info: Any


@partial(jax.jit, static_argnums=(0, 1))
def reset_lanes(
    env: FunctionalEnv, axes: tuple[int | None, ...], keys: Any, params: Any, last: Any = None
) -> tuple:
    """Begin an episode in every lane, after the ones that ended in the states `last`, if any; returns
    `(episode, observation, info)`, leaves `[N, ...]`."""
    return jax.vmap(partial(begin, env), in_axes=(0, axes_tree(params, axes), 0))(keys, params, last)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def step_lanes(
    env: FunctionalEnv,
    axes: tuple[int | None, ...],
    same_step: bool,
    lanes: Lanes,
    params: Any,
    actions: Any,
) -> tuple[Lanes, Stepped]:
    """Play one action per lane, and begin new episodes where the mode asks for it.

    Args:
        env: the world (static).
        axes: per leaf of `params` 0 or None (static).
        same_step: auto-reset mode (static).
        lanes: consumed; its buffers are reused.
        params: constants, shared or per lane.
        actions: `[N, *shape]`.
    """
    shared = axes_tree(params, axes)
    running, running_axes = (params, shared) if lanes.params is None else (lanes.params, 0)
    episode, outcome = jax.vmap(partial(advance, env), in_axes=(0, 0, running_axes))(
        lanes.episode, actions, running
    )
    ended = outcome.terminated | outcome.truncated
    # In NEXT_STEP mode a lane that ended one step ago now only resets: its key must be the one before
    # `advance`.
    fresh = ended if same_step else lanes.done
    keys = episode.key if same_step else lanes.episode.key
    last = last_state(env, episode if same_step else lanes.episode)
    start = jax.vmap(partial(begin, env), in_axes=(0, shared, 0))

    def with_resets() -> tuple:
        begun, observation, reset_info = start(keys, params, last)
        live = ~fresh
        return (
            where(fresh, begun, episode),
            where(fresh, observation, outcome.observation),
            _kept(live, outcome.info),
            _kept(fresh, reset_info),
            None if lanes.params is None else where(fresh, broadcast(params, axes, len(fresh)), lanes.params),
        )

    def without_resets() -> tuple:
        _, _, reset_info = jax.eval_shape(start, keys, params, last)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), reset_info)
        return episode, outcome.observation, outcome.info, nothing, lanes.params

    following, observation, info, reset_info, lane_params = jax.lax.cond(
        jnp.any(fresh), with_resets, without_resets
    )
    live = jnp.ones_like(fresh) if same_step else ~fresh
    shown = Stepped(
        observation=observation,
        reward=jnp.where(live, outcome.reward, 0),
        terminated=outcome.terminated & live,
        truncated=outcome.truncated & live,
        info=info,
        reset_info=reset_info,
        final_observation=_kept(ended, outcome.observation) if same_step else None,
        final_info=_kept(ended, outcome.info) if same_step else None,
    )
    return Lanes(following, shown.terminated | shown.truncated, lane_params), shown


def dense_info(info: Mapping[str, Any], mask: Any) -> dict[str, Any]:
    """Return Gymnasium's vector info with arrays left on the device: each `name` beside `_name`, its mask."""
    result: dict[str, Any] = {}
    for name, value in info.items():
        result[name] = dense_info(value, mask) if isinstance(value, Mapping) else value
        result[f"_{name}"] = jnp.array(mask)
    return result


def joined_infos(info: Mapping[str, Any], reset_info: Mapping[str, Any], fresh: Any) -> dict[str, Any]:
    """Return the info of a step in which the lanes of `fresh` began an episode, with masks, on the device."""
    shared = info.keys() & reset_info.keys()
    result = dense_info({name: info[name] for name in info.keys() - shared}, ~fresh)
    result |= dense_info({name: reset_info[name] for name in reset_info.keys() - shared}, fresh)
    for name in shared:
        ours, theirs = info[name], reset_info[name]
        nested = isinstance(ours, Mapping) and isinstance(theirs, Mapping)
        result[name] = joined_infos(ours, theirs, fresh) if nested else where(fresh, theirs, ours)
        result[f"_{name}"] = jnp.ones_like(fresh)
    return result


def _kept(mask: Any, tree: Any) -> Any:
    return where(mask, tree, jax.tree.map(jnp.zeros_like, tree))
