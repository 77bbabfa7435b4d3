"""DRLB: the price of money steered by a deep Q-network (Wu et al., CIKM 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agent import Callbacks, Transition
from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.drlb_slots import features
from dynrl.agents.auctions.drlb_training import RANGE, Learner, World, make_learner, make_world, train
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import DrlbPolicy
from dynrl.errors import ConfigError

__all__ = ["DRLB", "DrlbBidder", "DrlbConfig"]

CHANGES = (-0.5, -0.15, -0.08, -0.03, -0.01, 0.0, 0.01, 0.03, 0.08, 0.15, 0.5)
"""Relative changes of lambda (Wu et al., CIKM 2018, section 4)."""


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
        world, learner = make_world(config, model, rules), make_learner(config, jax.random.key(0))
        rounds = -(-config.training_slots // (config.slots * config.parallel))
        return _bidder(train(learner, world, rounds, config, rules), world, config, rules)

    def own_bidder(self) -> DrlbBidder:
        return _bidder(self.state, self._world, self.config, self.rules)

    def initial_state(self) -> Learner:
        self._world = make_world(self.config, self.model, self.rules)
        return make_learner(self.config, jax.random.key(int(self.rng.integers(2**31))))

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
        driver = Callbacks(self, callback)
        driver.start({"self": self, "total_timesteps": end})
        with Progress(int(total_timesteps), "slots", shown=progress_bar) as progress:
            while self.num_timesteps < end:
                self.state = train(self.state, self._world, 1, self.config, self.rules)
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
