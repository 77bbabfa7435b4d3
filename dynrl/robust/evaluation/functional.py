"""Whole episodes of a functional environment on thousands of models, in one compiled program.

The models are data: another `psi`, other weights, other seeds compile nothing anew. A lane is one (model, episode)
pair; the program plays a fixed number of lanes at a time, the last ones filled up with repetitions, so that a lane
computes the same bytes wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from dynrl.faces.episode import PRNG, Episode, advance, begin, split_key, where
from dynrl.faces.params import batched_params
from dynrl.functional import FunctionalEnv, require_functional
from dynrl.robust.evaluation.compiled_policy import FEWEST_ROWS, Static, merge, split, traceable
from dynrl.robust.evaluation.returns import Returns, checked_request
from dynrl.robust.policy import RobustPolicy

ParamsOf = Callable[[np.ndarray], Any]


class FunctionalEvaluator:
    """Evaluates a traceable policy on a functional environment; see `Evaluator` for what is promised.

    Args:
        env: the world.
        params_of: `psi [N, d] -> params`, leaves of the default's shape (shared) or `[N, *shape]`; a method of an
            object of a module can be sent to other processes.
        horizon: steps after which an episode is over; None for the environment's.
        discount: `gamma` of the discounted returns.
        failure_return: added to the return of an episode whose simulation diverged.
        starts: states `[K, ...]` to begin in: the episode of seed `s` begins in state `s % K`. None for the
            environment's own draw, from `jax.random.key(seed)`: what `VectorEnv.reset(seed=seed)` starts with.
        lanes: episodes played at a time, at least 64; None for 4096, or fewer where the estimated memory of so many
            would exceed a gibibyte.
        stochastic: whether the policy draws its actions (with keys that depend on the episode's seed only).
    """

    def __init__(
        self,
        env: FunctionalEnv,
        params_of: ParamsOf,
        *,
        horizon: int | None = None,
        discount: float = 0.99,
        failure_return: float = 0.0,
        starts: Any = None,
        lanes: int | None = None,
        stochastic: bool = False,
    ) -> None:
        self.env = require_functional(env)
        self.params_of = params_of
        steps = env.horizon if horizon is None else horizon
        if steps is None or steps < 1:
            raise ValueError(
                f"horizon is {steps}: {type(env).__name__} has none of its own, pass a positive integer."
            )
        self.horizon = steps
        self.discount = discount
        self.failure_return = failure_return
        self.starts = None if starts is None else jax.tree.map(np.asarray, starts)
        self.stochastic = stochastic
        self.lanes = _lanes(env) if lanes is None else max(FEWEST_ROWS, lanes)

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        models, seeds = checked_request(psi, episode_seeds)
        static, arrays = split(traceable(policy))
        with jax.enable_x64(self.env.x64):
            params, axes = batched_params(self.env, self.params_of(models), len(models))
            leaves, structure = jax.tree.flatten(params)
            program = _Program(self.env, self.horizon, self.stochastic, structure, axes, static)
            model = np.repeat(np.arange(len(models)), len(seeds))
            seed = np.tile(seeds, len(models))
            width = min(self.lanes, _next_power_of_two(len(model)))
            played = []
            for begin_at in range(0, len(model), width):
                rows = np.arange(begin_at, begin_at + width) % len(model)
                lane = [
                    leaf if axis is None else leaf[model[rows]]
                    for leaf, axis in zip(leaves, axes, strict=True)
                ]
                starts = self._starts(seed[rows])
                played.append(_play(program, arrays, lane, seed[rows], starts, self.discount))
            tallies = [np.concatenate(column)[: len(model)] for column in zip(*played, strict=True)]
        tally = Tally(*tallies)
        failed = self.failure_return * tally.diverged
        return Returns.of_episodes(
            len(models),
            tally.return_ + failed,
            tally.discounted + failed * self.discount**tally.length,
            tally.length,
            tally.terminated,
            tally.diverged,
        )

    def _starts(self, seeds: np.ndarray) -> Any:
        if self.starts is None:
            return None
        return jax.tree.map(lambda leaf: leaf[seeds % len(leaf)], self.starts)


class Tally(NamedTuple):
    """What is counted along an episode, every leaf `[lanes]`."""

    return_: Any
    discounted: Any
    length: Any
    terminated: Any
    diverged: Any


class _Program(NamedTuple):
    """Everything that selects the compiled program; compared by value."""

    env: FunctionalEnv
    horizon: int
    stochastic: bool
    params: Any
    axes: tuple[int | None, ...]
    policy: Static


@partial(jax.jit, static_argnums=0)
def _play(
    program: _Program, policy_arrays: list, params_leaves: list, seeds: Any, starts: Any, discount: Any
) -> Tally:
    env = program.env
    policy = merge(program.policy, policy_arrays)
    params = jax.tree.unflatten(program.params, params_leaves)
    axes = jax.tree.unflatten(program.params, program.axes)
    keys = jax.vmap(lambda seed: jax.random.key_data(jax.random.key(seed, impl=PRNG)))(seeds)
    lanes = len(seeds)

    def start(key: Any, given: Any, params: Any) -> Any:
        episode, observation, _ = begin(env, key, params)
        if given is None:
            return episode, observation
        state = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), given, episode.state)
        episode = episode._replace(state=state)
        return episode, env.observation(state, jax.random.wrap_key_data(key, impl=PRNG), params)

    given_axis = None if starts is None else 0
    episode, observation = jax.vmap(start, in_axes=(0, given_axis, axes))(keys, starts, params)
    step = jax.vmap(lambda episode, action, params: advance(env, episode, action, params), (0, 0, axes))

    def stepped(episode: Any, action: Any) -> Any:
        following, shown = step(episode, action, params)
        return following.state, shown

    def sound_numbers(*arrays: Any) -> Any:
        return _all_finite(arrays, lanes)

    acting = partial(_drawn_actions if program.stochastic else _mode_actions, policy)
    zero = jnp.zeros(lanes, float)
    nothing = Tally(zero, zero, jnp.zeros(lanes, jnp.int32), jnp.zeros(lanes, bool), jnp.zeros(lanes, bool))

    def playing(carry: tuple) -> Any:
        time, _, _, _, live, _, _ = carry
        return (time < program.horizon) & live.any()

    def one_step(carry: tuple) -> tuple:
        time, episode, observation, memory, live, weight, tally = carry
        action, following_memory = _computed_once(live, acting, observation, memory, keys, time)
        playable = _within(env.action_space, action)
        state, shown = _computed_once(live, stepped, episode, playable)
        # The key stays outside: where no draw is made, XLA drops its splitting.
        following = Episode(state, jax.vmap(lambda key: split_key(key)[0])(episode.key), episode.elapsed + 1)
        broken = live & ~_computed_once(live, sound_numbers, action, shown.reward, shown.observation, state)
        if "diverged" in shown.info:
            broken = broken | (live & shown.info["diverged"])
        reward = jnp.where(live & ~broken, shown.reward, 0)
        tally = Tally(
            tally.return_ + reward,
            tally.discounted + weight * reward,
            tally.length + live,
            tally.terminated | (live & (shown.terminated | broken)),
            tally.diverged | broken,
        )
        sound = live & ~broken
        episode, observation, memory = where(
            sound, (following, shown.observation, following_memory), (episode, observation, memory)
        )
        live = sound & ~shown.terminated & ~shown.truncated
        return time + 1, episode, observation, memory, live, weight * discount, tally

    begun = (
        jnp.zeros((), jnp.int32),
        episode,
        observation,
        policy.initial_carry(lanes),
        jnp.ones(lanes, bool),
        jnp.ones((), float),
        nothing,
    )
    return jax.lax.while_loop(playing, one_step, begun)[-1]


def _mode_actions(policy: RobustPolicy, observation: Any, memory: Any, keys: Any, time: Any) -> Any:
    return policy.act(observation, memory, None)


def _drawn_actions(policy: RobustPolicy, observation: Any, memory: Any, keys: Any, time: Any) -> Any:
    def one(observation: Any, memory: Any, key: Any) -> Any:
        # A stream of its own (`rollout` takes the same), so that the world's noise does not depend on who acts.
        own = jax.random.fold_in(jax.random.wrap_key_data(key, impl=PRNG), 0x706F6C)
        alone = jax.tree.map(lambda leaf: leaf[None], (observation, memory))
        return jax.tree.map(
            lambda leaf: leaf[0], policy.act(alone[0], alone[1], jax.random.fold_in(own, time))
        )

    return jax.vmap(one)(observation, memory, keys)


def _within(space: Any, action: Any) -> Any:
    return jnp.clip(action, space.low, space.high) if isinstance(space, Box) else action


def _computed_once(live: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, behind a condition that always holds.

    XLA's CPU compiler gives every array that leaves a loop body a fusion of its own, which computes anew all that
    leads to it; a conditional is the boundary that it respects (it drops an optimization barrier).
    """
    shape = jax.eval_shape(function, *arguments)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)
    return jax.lax.cond(live.any(), lambda given: function(*given), lambda given: nothing, arguments)


def _all_finite(tree: Any, lanes: int) -> Any:
    finite = jnp.ones(lanes, bool)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            finite = finite & jnp.isfinite(leaf).reshape(lanes, -1).all(axis=1)
    return finite


def _lanes(env: FunctionalEnv, budget_bytes: int = 2**30) -> int:
    """How many lanes are played at a time: state, next state and a working copy of both, within `budget_bytes`."""
    params = env.default_params
    with jax.enable_x64(env.x64):
        state = jax.eval_shape(lambda key: env.initial(key, params), jax.random.key(0))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state, params)))
    return min(4096, max(FEWEST_ROWS, _next_power_of_two(budget_bytes // (8 * max(each, 1)) + 1) // 2))


def _next_power_of_two(number: int) -> int:
    return max(FEWEST_ROWS, 1 << (number - 1).bit_length())
