"""How DRLB learns: rounds of replayed episodes, a reward network and double Q-learning, as one compiled program."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agents.auctions.drlb_slots import FEATURES, SlotRows, SlotTotals, features, play_slot, slot_rows
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.pacing import slope_by_spend
from dynrl.agents.auctions.tuning import training_episodes
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

if TYPE_CHECKING:
    from dynrl.agents.auctions.drlb import DrlbConfig

__all__ = ["RANGE", "Learner", "World", "make_learner", "make_world", "train"]

RANGE = 100.0
"""The multiplier stays within this factor of its start, so that a young network cannot run it to infinity."""


class World(NamedTuple):
    """The training episodes.

    Attributes:
        rows: leaves `[K, L, E]`.
        t_left: `[K]`, auctions left as each slot begins.
        base: `[E]`, what the starting multiplier, kept, gets out of each episode.
        multiplier, clicks_per_slot: of the start.
    """

    rows: SlotRows
    t_left: Any
    base: Any
    multiplier: Any
    clicks_per_slot: Any


class Memory(NamedTuple):
    """Transitions, leaves `[M, ...]`: state, action, relative return of the episode, next state, whether it was the
    last slot."""

    state: Any
    action: Any
    return_: Any
    next_state: Any
    last: Any


class Learner(NamedTuple):
    """All that training keeps; the three networks are trees of arrays.

    Attributes:
        q, target, reward: Q-network, its older copy, reward network.
        q_optimizer, reward_optimizer: of Adam.
        memory: the last transitions.
        rounds, updates: played, and gradient steps taken.
        key: of the draws to come.
    """

    q: Any
    target: Any
    reward: Any
    q_optimizer: Any
    reward_optimizer: Any
    memory: Memory
    rounds: Any
    updates: Any
    key: Any


def make_world(config: DrlbConfig, model: CampaignModel, rules: AuctionRules) -> World:
    if config.slots > rules.horizon:
        raise ConfigError(
            f"slots is {config.slots}, expected at most the number of auctions, T = {rules.horizon}"
        )
    episodes = training_episodes(model, rules)
    multiplier = slope_by_spend(model, rules) if config.multiplier is None else config.multiplier
    start = replay(LinearBidder(multiplier, rules.delta_max), episodes, rules)
    base = np.asarray(getattr(start, config.reward), np.float64)
    if base.sum() == 0:
        raise ConfigError(
            f"the starting multiplier {multiplier:.4g} wins nothing of worth on the training rows; give a larger one"
        )
    base = np.maximum(base, 0.1 * base.mean())  # an episode in which it got nothing must not weigh infinitely
    rows, t_left = slot_rows(episodes, config.slots)
    clicks_per_slot = max(float(start.expected_clicks.mean()), 1e-12) / config.slots
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) if x.dtype != bool else jnp.asarray(x), rows)
    as_floats = (jnp.asarray(x, jnp.float32) for x in (t_left, base, multiplier, clicks_per_slot))
    return World(single, *as_floats)


def _network(config: DrlbConfig, key: Any) -> tuple[Any, Any]:
    """(arrays, the rest) of a network from states to one number per change of lambda."""
    network = eqx.nn.MLP(FEATURES, len(config.changes), config.width, config.depth, key=key)
    return eqx.partition(network, eqx.is_array)


def _apply(config: DrlbConfig, arrays: Any, states: Any) -> Any:
    """`[B, A]` outputs for `[B, 7]` states."""
    rest = _network(config, jax.random.key(0))[1]
    return jax.vmap(eqx.combine(arrays, rest))(states)


def _optimizer(config: DrlbConfig) -> optax.GradientTransformation:
    return optax.adam(config.learning_rate)


def _capacity(config: DrlbConfig) -> int:
    """Transitions in memory: whole rounds."""
    size = config.slots * config.parallel
    return -(-config.memory // size) * size


def make_learner(config: DrlbConfig, key: Any) -> Learner:
    key, first, second = jax.random.split(key, 3)
    q, reward = _network(config, first)[0], _network(config, second)[0]
    optimizer, capacity = _optimizer(config), _capacity(config)
    memory = Memory(
        jnp.zeros((capacity, FEATURES)),
        jnp.zeros(capacity, jnp.int32),
        jnp.zeros(capacity),
        jnp.zeros((capacity, FEATURES)),
        jnp.zeros(capacity, bool),
    )
    zero = jnp.zeros((), jnp.int32)
    return Learner(q, q, reward, optimizer.init(q), optimizer.init(reward), memory, zero, zero, key)


@partial(jax.jit, static_argnums=(3, 4))
def train(learner: Learner, world: World, rounds: Any, config: DrlbConfig, rules: AuctionRules) -> Learner:
    """`rounds` rounds: play, remember, then learn."""

    def one(_: Any, learner: Learner) -> Learner:
        key, play_key, learn_key = jax.random.split(learner.key, 3)
        fresh = _play(learner, world, play_key, config, rules)
        size = config.slots * config.parallel
        at = (learner.rounds * size) % _capacity(config)
        memory = jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at, 0),
            learner.memory,
            fresh,
        )
        learner = learner._replace(memory=memory, rounds=learner.rounds + 1, key=key)
        filled = jnp.minimum(learner.rounds * size, _capacity(config))
        keys = jax.random.split(learn_key, max(size // config.update_every, 1))
        return jax.lax.scan(lambda now, k: (_update(now, k, filled, config), None), learner, keys)[0]

    return jax.lax.fori_loop(0, rounds, one, learner)


def _play(learner: Learner, world: World, key: Any, config: DrlbConfig, rules: AuctionRules) -> Memory:
    """One round of `parallel` training episodes, epsilon-greedy; transitions `[K * N, ...]`."""
    count, slots = config.parallel, config.slots
    draw_key, act_key = jax.random.split(key)
    chosen = jax.random.randint(draw_key, (count,), 0, world.base.shape[0])
    rows = jax.tree.map(lambda x: x[..., chosen], world.rows)
    first, last = config.exploration
    done = learner.rounds * slots * count / config.exploration_slots
    epsilon = first + (last - first) * jnp.minimum(done, 1.0)
    changes, budget = jnp.array(config.changes), jnp.full(count, float(rules.budget))

    def slot(carry: Any, inputs: Any) -> Any:
        left, slope, before, totals = carry
        rows, t_left, index, key = inputs
        first_t, first_left = before
        state = features(
            t_left / rules.horizon,
            left,
            budget,
            (slots - index) / slots,
            first_left,
            totals.paid_wins,
            first_t - t_left,
            totals.paid_value,
            rules.delta_max,
            world.clicks_per_slot,
        )
        which, coin = jax.random.split(key)
        greedy = _apply(config, learner.q, state).argmax(1)
        random = jax.random.randint(which, (count,), 0, len(config.changes))
        action = jnp.where(jax.random.uniform(coin, (count,)) < epsilon, random, greedy)
        slope = jnp.clip(slope / (1 + changes[action]), world.multiplier / RANGE, world.multiplier * RANGE)
        totals = play_slot(rows, slope, left, rules)
        return (left - totals.spent, slope, (t_left, left), totals), (state, action, totals)

    zero = jnp.zeros(count)
    nothing = SlotTotals(zero, zero, zero, zero, zero)
    begin = (
        budget,
        jnp.full(count, world.multiplier),
        (jnp.asarray(float(rules.horizon)), budget),
        nothing,
    )
    inputs = (rows, world.t_left, jnp.arange(slots), jax.random.split(act_key, slots))
    _, (states, actions, totals) = jax.lax.scan(slot, begin, inputs)
    worth = (totals.value if config.reward == "expected_clicks" else totals.clicks).sum(0)
    relative = jnp.clip(worth / world.base[chosen] - 1, -1.0, 2.0)
    following = jnp.concatenate([states[1:], jnp.zeros_like(states[:1])])
    ends = jnp.arange(slots) == slots - 1
    memory = Memory(
        states,
        actions,
        jnp.broadcast_to(relative, actions.shape),
        following,
        jnp.broadcast_to(ends[:, None], actions.shape),
    )
    return jax.tree.map(lambda x: x.reshape(slots * count, *x.shape[2:]), memory)


def _update(learner: Learner, key: Any, filled: Any, config: DrlbConfig) -> Learner:
    """One gradient step of the reward network, then one of the Q-network (double Q-learning)."""
    rows = jax.random.randint(key, (config.batch,), 0, filled)
    batch = jax.tree.map(lambda x: x[rows], learner.memory)
    picked = jnp.arange(config.batch), batch.action

    def reward_loss(arrays: Any) -> Any:
        gap = batch.return_ - _apply(config, arrays, batch.state)[picked]
        return (jnp.where(gap > 0, config.expectile, 1 - config.expectile) * gap**2).mean()

    def q_loss(arrays: Any, target: Any) -> Any:
        return ((_apply(config, arrays, batch.state)[picked] - target) ** 2).mean()

    optimizer = _optimizer(config)
    change, reward_optimizer = optimizer.update(
        jax.grad(reward_loss)(learner.reward), learner.reward_optimizer
    )
    reward = optax.apply_updates(learner.reward, change)
    # a K-th of the return at every slot, so that Q stays of the order of one return
    gained = _apply(config, reward, batch.state)[picked] / config.slots
    best = _apply(config, learner.q, batch.next_state).argmax(1)
    later = _apply(config, learner.target, batch.next_state)[picked[0], best]
    wanted = gained + jnp.where(batch.last, 0.0, config.discount * later)
    change, q_optimizer = optimizer.update(jax.grad(q_loss)(learner.q, wanted), learner.q_optimizer)
    q = optax.apply_updates(learner.q, change)
    updates = learner.updates + 1
    copied = updates % config.target_every == 0
    target = jax.tree.map(lambda new, old: jnp.where(copied, new, old), q, learner.target)
    return Learner(
        q,
        target,
        reward,
        q_optimizer,
        reward_optimizer,
        learner.memory,
        learner.rounds,
        updates,
        learner.key,
    )
