"""Whole episodes in one compiled program: `lax.scan` over time, `vmap` over environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynrl.faces.episode import PRNG, advance, begin, where
from dynrl.faces.params import axes_tree, batched_params
from dynrl.functional import FunctionalEnv, require_functional

Policy = Callable[[Any, Any, Any], tuple[Any, Any]]


class Transition(NamedTuple):
    """One step; collected, every leaf is `[num_envs, num_steps, ...]`.

    Attributes:
        observation: what the policy saw.
        action: what it played.
        reward: 0 after the episode's end.
        next_observation: what came of it.
        terminated: the world ended with this step.
        truncated: time ended with this step.
        mask: the episode was still running when this step was played; where False the row holds nothing.
        info: the step's `transition_info`.
    """

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any
    truncated: Any
    mask: Any
    info: Mapping[str, Any]


def everything(transition: Transition) -> Transition:
    """Keep the whole transition: the default `collect` of `rollout`."""
    return transition


def rollout(
    func_env: FunctionalEnv,
    policy: Policy,
    key: Any,
    *,
    num_envs: int | None = None,
    num_steps: int | None = None,
    params: Any = None,
    policy_state: Any = None,
    collect: Callable[[Transition], Any] = everything,
) -> Any:
    """Play one episode in each of `num_envs` environments, with no Python in the loop.

    Pure: it can be called inside `jax.jit` and `jax.vmap` (over `key`, `params`, `policy_state`). There is no
        auto-reset: after its end an
    episode stands still and `mask` is False. Nothing can raise in compiled code, so actions are not checked:
    what the environment does with an action outside its space is up to its pure functions.

    Args:
        func_env: the world.
        policy: `policy(policy_state, observation, key) -> (action, policy_state)` for one environment. Define
            it once: every new function object is compiled anew. Put arrays, such as weights, into
            `policy_state`; a part that the policy returns unchanged is stored once for all environments.
        key: a random key or an integer seed, from which environment `i` takes `fold_in(key, i)`: environment
            `i` plays the same episode whatever `num_envs` is. Or keys `[num_envs]`:
            `jax.vmap(jax.random.key)(seed + jnp.arange(n))` plays what `VectorEnv.reset(seed=seed)` starts.
        num_envs: number of environments; None for the number of keys, 1 for a single key.
        num_steps: steps to scan; None for `func_env.horizon`.
        params: constants; leaves of the default's shape (shared) or `[num_envs, *shape]`.
        policy_state: the policy's state when the episode begins, the same for every environment.
        collect: what to keep of each `Transition`, any pytree; the less, the faster.

    Returns:
        What `collect` returned, every leaf a JAX array `[num_envs, num_steps, ...]`.

    Raises:
        TypeError: `func_env` cannot be compiled.
        ValueError: wrong `params` or `num_envs`, neither a horizon nor `num_steps`, or a float64 world inside
            a caller's float32 program.
    """
    env = require_functional(func_env)
    steps = env.horizon if num_steps is None else num_steps
    if steps is None or steps < 1:
        raise ValueError(
            f"num_steps is {steps}, expected a positive integer: the "
            f"horizon of {type(env).__name__} is {env.horizon}."
        )
    if isinstance(key, int):
        key = jax.random.key(key, impl=PRNG)
    keys = _keys(key, num_envs)
    if env.x64 and not jax.config.read("jax_enable_x64") and _is_traced((keys, params, policy_state)):
        raise ValueError(
            f"{type(env).__name__} computes in float64, which a jit or vmap in float32 cannot hold: "
            "call the outer function under `with jax.enable_x64(True):`."
        )
    with jax.enable_x64(env.x64):
        params, axes = batched_params(env, params, len(keys))
        return _rollout(env, policy, collect, axes, steps, keys, params, policy_state)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _rollout(
    env: FunctionalEnv,
    policy: Policy,
    collect: Callable,
    axes: tuple[int | None, ...],
    num_steps: int,
    keys: Any,
    params: Any,
    policy_state: Any,
) -> Any:
    def play(key: Any, params: Any) -> Any:
        # The policy's keys come from a stream of their own, so that the world's noise does not depend on who
        # acts.
        policy_key = jax.random.fold_in(key, 0x706F6C)
        episode, observation, _ = begin(env, jax.random.key_data(key), params)

        def step(carry: tuple, time: Any) -> tuple:
            episode, observation, live, policy_state = carry
            action, policy_state = policy(policy_state, observation, jax.random.fold_in(policy_key, time))
            following, shown = advance(env, episode, action, params)
            transition = Transition(
                observation=observation,
                action=action,
                reward=jnp.where(live, shown.reward, 0),
                next_observation=shown.observation,
                terminated=shown.terminated & live,
                truncated=shown.truncated & live,
                mask=live,
                info=shown.info,
            )
            following = where(live, following, episode)
            seen = where(live, shown.observation, observation)
            live = live & ~shown.terminated & ~shown.truncated
            return (following, seen, live, policy_state), collect(transition)

        start = (episode, observation, jnp.ones((), bool), policy_state)
        return jax.lax.scan(step, start, jnp.arange(num_steps))[1]

    return jax.vmap(play, in_axes=(0, axes_tree(params, axes)))(keys, params)


def _keys(key: Any, num_envs: int | None) -> Any:
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key, impl=PRNG)
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_envs or 1))
    if num_envs not in (None, len(key)):
        raise ValueError(f"key holds {len(key)} keys but num_envs is {num_envs}; leave num_envs out.")
    return key


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
