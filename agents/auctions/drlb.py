"""DRLB: the price of money steered by a deep Q-network (Wu et al., CIKM 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agent import Transition, _Callbacks
from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.drlb_slots import FEATURES, SlotRows, SlotTotals, features, play_slot, slot_rows
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.pacing import slope_by_spend
from dynrl.agents.auctions.tuning import training_episodes
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import DrlbPolicy
from dynrl.errors import ConfigError

__all__ = ["DRLB", "DrlbBidder", "DrlbConfig"]

CHANGES = (-0.5, -0.15, -0.08, -0.03, -0.01, 0.0, 0.01, 0.03, 0.08, 0.15, 0.5)
"""Relative changes of lambda (Wu et al., CIKM 2018, section 4)."""
RANGE = 100.0
"""The multiplier stays within this factor of its start, so that a young network cannot run it to infinity."""


@dataclass(frozen=True)
class DrlbConfig:
    """Settings of `DRLB`.

    Attributes:
        slots: times per episode that lambda is changed (96: every quarter of an hour of a day).
        changes: relative changes of lambda to choose among.
        multiplier: `1 / lambda` as an episode starts, ticks per unit of click probability; None for the one that spends
            the budget in the market model.
        reward: what an episode is worth: logged clicks, or the sum of theta over wins (less noise).
        width, depth: of the hidden layers of both networks.
        batch: transitions per gradient step.
        memory: transitions kept.
        learning_rate: of Adam.
        discount: gamma.
        parallel: episodes played side by side.
        update_every: slots per gradient step.
        target_every: gradient steps between two copies to the target network.
        exploration: (share of random actions at first, and in the end).
        exploration_slots: slots over which the share falls, linearly.
        expectile: of the returns seen after (state, action) that the reward network learns; towards 1 it is their
            maximum.
        training_slots: slots to train for at once, as the agent is made; 0 leaves it to `learn`.
    """

    slots: int = 96
    changes: tuple[float, ...] = CHANGES
    multiplier: float | None = None
    reward: Literal["expected_clicks", "clicks"] = "expected_clicks"
    width: int = 100
    depth: int = 3
    batch: int = 256
    memory: int = 100_000
    learning_rate: float = 3e-4
    discount: float = 0.9
    parallel: int = 16
    update_every: int = 8
    target_every: int = 100
    exploration: tuple[float, float] = (0.95, 0.05)
    exploration_slots: int = 50_000
    expectile: float = 0.9
    training_slots: int = 0

    def __post_init__(self) -> None:
        for name in (
            "slots",
            "width",
            "depth",
            "batch",
            "memory",
            "parallel",
            "update_every",
            "target_every",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if len(self.changes) < 2 or min(self.changes) <= -1:
            raise ConfigError(f"changes are {self.changes}, expected at least two numbers above -1")
        if self.multiplier is not None and not self.multiplier > 0:
            raise ConfigError(f"multiplier is {self.multiplier}, expected a positive number")
        for name, value in (("discount", self.discount), ("expectile", self.expectile)):
            if not 0 < value <= 1:
                raise ConfigError(f"{name} is {value}, expected a number in (0, 1]")
        if self.training_slots < 0 or self.exploration_slots < 1:
            raise ConfigError("training_slots must be at least 0, exploration_slots at least 1")


class Control(NamedTuple):
    """What the bidder keeps of its episode, every leaf `[]`.

    Attributes:
        horizon, budget: at the start.
        slot: running time slot, -1 before the first.
        slope: ticks per unit of click probability.
        theta, left: click probability of, and ticks left at, the last auction.
        first_t, first_left: auctions and ticks left as the slot began.
        wins, clicks: impressions paid for in the slot, and their predicted clicks.
    """

    horizon: Any
    budget: Any
    slot: Any
    slope: Any
    theta: Any
    left: Any
    first_t: Any
    first_left: Any
    wins: Any
    clicks: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DrlbBidder(Bidder):
    """`floor(slope * theta)`; as a slot begins, `slope <- slope / (1 + change)` with the change of highest Q.

    Attributes:
        layers: weights `[out, in]` and biases `[out]` of the Q-network, in turn.
        changes: `[A]`, relative changes of lambda.
        multiplier: slope as an episode starts.
        clicks_per_slot: predicted clicks of an ordinary slot, the unit of the last feature.
        delta_max: largest bid, in ticks.
        slots: per episode.
    """

    layers: tuple[Any, ...]
    changes: Any
    multiplier: Any
    clicks_per_slot: Any
    delta_max: Any
    slots: int = field(metadata={"static": True})

    def start(self, horizon: Any, budget: Any, key: Any) -> Control:
        zero, t, b = jnp.zeros((), jnp.float64), jnp.asarray(horizon), jnp.asarray(budget, jnp.float64)
        slope = jnp.asarray(self.multiplier, jnp.float64)
        return Control(t, b, -jnp.ones_like(t), slope, zero, b, t, b, zero, zero)

    def bid(self, memory: Control, request: Request) -> tuple[Any, Control]:
        won = request.b_left < memory.left
        wins, clicks = memory.wins + won, memory.clicks + jnp.where(won, memory.theta, 0.0)
        left = jnp.asarray(request.b_left, jnp.float64)
        slot = (memory.horizon - request.t_left) * self.slots // memory.horizon
        begins = slot != memory.slot
        state = features(
            request.t_left / memory.horizon,
            left,
            memory.budget,
            (self.slots - slot) / self.slots,
            memory.first_left,
            wins,
            memory.first_t - request.t_left,
            clicks,
            self.delta_max,
            self.clicks_per_slot,
        )
        change = jnp.asarray(self.changes)[jnp.argmax(self._q_values(state))]
        slope = jnp.where(begins, self._moved(memory.slope, change), memory.slope)
        memory = Control(
            horizon=memory.horizon,
            budget=memory.budget,
            slot=slot,
            slope=slope,
            theta=jnp.asarray(request.theta, jnp.float64),
            left=left,
            first_t=jnp.where(begins, request.t_left, memory.first_t),
            first_left=jnp.where(begins, left, memory.first_left),
            wins=jnp.where(begins, 0.0, wins),
            clicks=jnp.where(begins, 0.0, clicks),
        )
        return jnp.floor(slope * request.theta), memory

    def _moved(self, slope: Any, change: Any) -> Any:
        return jnp.clip(slope / (1 + change), self.multiplier / RANGE, self.multiplier * RANGE)

    def _q_values(self, state: Any) -> Any:
        layers = [jnp.asarray(layer, jnp.float64) for layer in self.layers]
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            state = jax.nn.relu(weight @ state + bias)
        return layers[-2] @ state + layers[-1]

    def serving(self) -> DrlbPolicy:
        return DrlbPolicy(
            list(self.layers),
            self.changes,
            float(self.multiplier),
            float(self.clicks_per_slot),
            self.slots,
            int(self.delta_max),
        )


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


class DRLB(BidAgent):
    """Deep reinforcement learning to bid: a linear bid whose price of money, lambda, a Q-network changes slot by slot.

    For campaigns with a daily rhythm or a market that no stationary model describes: the agent needs training rows and
    nothing else, and learns from whole replayed episodes when to save and when to spend. In a stationary market `Fluid`
    and RLB do as well or better without training.

    The Q-network does not learn from the clicks of the next slot, which would always favour spending now, but from the
    output of a reward network: the best return of an episode seen after (state, action). No guarantee beyond never
    spending more than the budget.

    `learn(total_timesteps)` counts slots, and plays whole rounds of `parallel` episodes of `slots` slots from
    `model.train` (not from the environment), a round being one compiled program. Training goes on exactly where it
    stopped after `save` and `load`.

    Source: Wu et al., "Budget constrained bidding by model-free reinforcement learning in display advertising", CIKM
    2018, algorithms 1 and 2. Differences: the reward network learns a high expectile of returns in place of a table of
    maxima, states being continuous; returns are relative to what the starting lambda gets from the same episode;
    the share of random actions falls linearly; a win is told by the money it costs; batches of 256 rather than 32, a
    smaller learning rate and a discount of 0.9 rather than 1, with which the policy stays good while training goes on.
    """

    Config = DrlbConfig
    config: DrlbConfig
    state: Learner

    def __init__(
        self,
        env: gym.Env | str,
        config: Any = None,
        *,
        model: CampaignModel | None = None,
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        super().__init__(env, config, model=model, seed=seed, **overrides)
        if self.config.training_slots:
            self.learn(self.config.training_slots)

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> DrlbBidder:
        """The strategy after `config.training_slots` slots of training."""
        world, learner = _world(config, model, rules), _learner(config, jax.random.key(0))
        rounds = -(-config.training_slots // (config.slots * config.parallel))
        return _bidder(_train(learner, world, rounds, config, rules), world, config, rules)

    def own_bidder(self) -> DrlbBidder:
        return _bidder(self.state, self._world, self.config, self.rules)

    def initial_state(self) -> Learner:
        self._world = _world(self.config, self.model, self.rules)
        return _learner(self.config, jax.random.key(int(self.rng.integers(2**31))))

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool = False,
        reset_num_timesteps: bool = True,
    ) -> Self:
        """Trains for at least `total_timesteps` slots, in whole rounds of `parallel * slots` of them.

        Args:
            total_timesteps: slots to play.
            callback: as in `Agent.learn`, called once per round.
            progress_bar: show rate and time left.
            reset_num_timesteps: start counting slots at 0; what was learnt is kept either way.
        """
        from dynrl.runs.progress import Progress

        if reset_num_timesteps:
            self.num_timesteps = 0
        size = self.config.slots * self.config.parallel
        end = self.num_timesteps + int(total_timesteps)
        driver = _Callbacks(self, callback)
        driver.start({"self": self, "total_timesteps": end})
        with Progress(int(total_timesteps), "slots", shown=progress_bar) as progress:
            while self.num_timesteps < end:
                self.state = _train(self.state, self._world, 1, self.config, self.rules)
                progress.advance(min(size, end - self.num_timesteps))
                self.num_timesteps += size
                if not driver.step(Transition(None, np.zeros(()), 0.0, None, True, False, {})):
                    break
        driver.end()
        self._renew()
        return self

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().load_state_dict(arrays)
        self._renew()

    def _renew(self) -> None:
        self.bidder = self.own_bidder()
        self.policy = self.bidder.serving()

    def update(self, transition: Transition) -> None:
        """Nothing: the agent learns from `model.train`."""


def _world(config: DrlbConfig, model: CampaignModel, rules: AuctionRules) -> World:
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


def _learner(config: DrlbConfig, key: Any) -> Learner:
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


def _bidder(learner: Learner, world: World, config: DrlbConfig, rules: AuctionRules) -> DrlbBidder:
    layers = tuple(
        np.asarray(array, np.float64) for layer in learner.q.layers for array in (layer.weight, layer.bias)
    )
    return DrlbBidder(
        layers,
        np.array(config.changes),
        float(world.multiplier),
        float(world.clicks_per_slot),
        rules.delta_max,
        config.slots,
    )


@partial(jax.jit, static_argnums=(3, 4))
def _train(learner: Learner, world: World, rounds: Any, config: DrlbConfig, rules: AuctionRules) -> Learner:
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
