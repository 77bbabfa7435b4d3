"""RARL: a learner and an adversary that plays the parameters in every step, each by TD3.

Source: Pinto, Davidson, Sukthankar, Gupta, "Robust Adversarial Reinforcement Learning" (2017), with TD3 where the paper
uses TRPO.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.robust.collection_config import CollectionConfig, check_counts
from dynrl.agents.robust.game_env import GameVectorEnv
from dynrl.agents.robust.recorder import Recorder
from dynrl.agents.robust.training import (
    Callback,
    MakeVec,
    TrainResult,
    check_budget,
    run_off_policy,
    sizes_of,
    uniform_sampler,
)
from dynrl.learning import td3
from dynrl.learning.networks import ActorPolicy
from dynrl.learning.replay import Replay, Transitions
from dynrl.learning.td3 import TD3Config, TD3State

__all__ = ["RARL", "RARLConfig"]


@dataclass(frozen=True)
class RARLConfig(CollectionConfig):
    """Settings of RARL; the rest is in `CollectionConfig`.

    Attributes:
        agent, adversary: of the two TD3 learners; both learn from batches of the agent's size.
        sees_parameters: whether the adversary sees the parameters that it played last.
        sees_action: whether it sees the agent's action of the step before it plays.
        alternate: the paper's scheme: only one of the two learns at a time, from data of its own phases. False: both
            learn in every step from the same data (the common deep variant).
        agent_phase, adversary_phase: environment steps of one phase when alternating.
    """

    agent: TD3Config = field(default_factory=TD3Config)
    adversary: TD3Config = field(default_factory=TD3Config)
    sees_parameters: bool = False
    sees_action: bool = False
    alternate: bool = False
    agent_phase: int = 5000
    adversary_phase: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "agent_phase", "adversary_phase")


class Seats(NamedTuple):
    """What each player sees and plays, in the columns of the joint observation and action.

    Attributes:
        agent, adversary: columns of the observation.
        action_size: the agent's actions come first, then the adversary's.
        sees_action: whether the adversary sees the agent's action as well.
    """

    agent: tuple[int, ...]
    adversary: tuple[int, ...]
    action_size: int
    sees_action: bool = False


class GameState(NamedTuple):
    """Both learners."""

    agent: TD3State
    adversary: TD3State


BOTH = (True, True)
AGENT_ALONE = (True, False)
ADVERSARY_ALONE = (False, True)


def initial_game(
    agent: TD3Config, adversary: TD3Config, seats: Seats, adversary_size: int, key: Any
) -> GameState:
    """Fresh networks of both players."""
    agent_key, adversary_key = jax.random.split(key)
    seen = len(seats.adversary) + seats.action_size * seats.sees_action
    return GameState(
        td3.initial_state(agent, len(seats.agent), seats.action_size, agent_key),
        td3.initial_state(adversary, seen, adversary_size, adversary_key),
    )


def agent_view(seats: Seats, batch: Transitions) -> Transitions:
    """The transitions as the agent has lived them."""
    columns = np.array(seats.agent)
    return batch._replace(
        observation=batch.observation[..., columns],
        action=batch.action[..., : seats.action_size],
        next_observation=batch.next_observation[..., columns],
    )


def adversary_view(seats: Seats, batch: Transitions, next_action: Any) -> Transitions:
    """The transitions as the adversary has lived them: it is paid what the agent loses.

    Args:
        next_action: what the agent would do next, `[B, a]`; used where the adversary sees actions.
    """
    columns = np.array(seats.adversary)
    observation: Any = batch.observation[..., columns]
    following: Any = batch.next_observation[..., columns]
    if seats.sees_action:
        observation = jnp.concatenate([observation, batch.action[..., : seats.action_size]], axis=-1)
        following = jnp.concatenate([following, next_action], axis=-1)
    return batch._replace(
        observation=observation,
        action=batch.action[..., seats.action_size :],
        reward=-batch.reward,
        next_observation=following,
    )


def joint_action(
    seats: Seats, state: GameState, learning: tuple[bool, bool], observation: Any, key: Any
) -> Any:
    """Unit actions of both, `[N, a + d]`; who does not learn plays without noise."""
    agent_key, adversary_key = jax.random.split(key)
    seen = observation[..., np.array(seats.agent)]
    actor, opponent = state.agent.actor, state.adversary.actor
    action = actor.explore(seen, agent_key) if learning[0] else actor.mode(seen)
    faced = observation[..., np.array(seats.adversary)]
    if seats.sees_action:
        faced = jnp.concatenate([faced, action], axis=-1)
    b = opponent.explore(faced, adversary_key) if learning[1] else opponent.mode(faced)
    return jnp.concatenate([action, b], axis=-1)


def update(
    configs: tuple[TD3Config, TD3Config],
    seats: Seats,
    learning: tuple[bool, bool],
    state: GameState,
    batch: Transitions,
    key: Any,
) -> tuple[GameState, Any]:
    """One TD3 update of each player that learns; the critics' losses `[2]` (0 of one that does not)."""
    agent_key, adversary_key = jax.random.split(key)
    agent, adversary, losses = state.agent, state.adversary, [jnp.zeros(()), jnp.zeros(())]
    if learning[0]:
        agent, losses[0] = td3.update(configs[0], agent, agent_view(seats, batch), agent_key)
    if learning[1]:
        following = state.agent.actor.mode(batch.next_observation[..., np.array(seats.agent)])
        view = adversary_view(seats, batch, following)
        adversary, losses[1] = td3.update(configs[1], adversary, view, adversary_key)
    return GameState(agent, adversary), jnp.stack(losses)


@partial(jax.jit, static_argnums=(0, 1, 2))
def update_many(
    configs: tuple[TD3Config, TD3Config],
    seats: Seats,
    learning: tuple[bool, bool],
    state: GameState,
    batches: Transitions,
    key: Any,
) -> tuple[GameState, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K, 2]`."""
    return td3.scanned(partial(update, configs, seats, learning), state, batches, key)


played = jax.jit(joint_action, static_argnums=(0, 2))


class GamePlayers:
    """The two learners as `run_off_policy` drives them.

    Attributes:
        learning: which of the two learn.
    """

    def __init__(
        self, configs: tuple[TD3Config, TD3Config], seats: Seats, adversary_size: int, seed: int
    ) -> None:
        key, self._key = jax.random.split(jax.random.key(seed))
        self.configs, self.seats, self.learning = configs, seats, BOTH
        self.state = initial_game(*configs, seats, adversary_size, key)
        self._calls = 0

    @property
    def batch_size(self) -> int:
        return self.configs[0].batch_size

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray:
        return played(self.seats, self.state, self.learning, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        self._calls += 1
        key = jax.random.fold_in(self._key, self._calls)
        self.state, losses = update_many(self.configs, self.seats, self.learning, self.state, batches, key)
        return {"agent_loss": float(losses[-1, 0]), "adversary_loss": float(losses[-1, 1])}


class Players(Protocol):
    """Two learners as `play` drives them; see `run_off_policy` for the two methods."""

    state: GameState
    learning: tuple[bool, bool]

    @property
    def batch_size(self) -> int: ...

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray: ...

    def learn(self, batches: Transitions) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class GameResult(TrainResult):
    """What training against an adversary gives.

    Attributes:
        adversary: an `ActorPolicy` from what the adversary sees to b in [-1, 1]^d.
    """

    adversary: Any = None


class RARL:
    """Training against an adversary that chooses the parameters (or forces) anew in every step.

    Problem: a zero-sum Markov game; the adversary observes the state and plays `b in [-1, 1]^d`, mapped affinely to
    the uncertainty set, for the reward `-r`. This is a *dynamic* adversary, stronger than parameters that an episode
    keeps: the policy is made for more than a static set, and may be worse on it (iwocs.md, section 2.3).

    When: disturbances really change in every step, such as forces. For constant unknown parameters prefer `M2TD3`,
    domain randomisation or IWOCS; in published comparisons RARL is the weakest on those.

    Guarantees: none; simultaneous gradient play need not converge.

    Source: Pinto et al., 2017. TD3 replaces TRPO; by default both learn in every step from the same replay (the common
    deep variant); `alternate=True` keeps the paper's phases, each player with its own replay.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = RARLConfig

    def __init__(self, config: RARLConfig | None = None) -> None:
        self.config = RARLConfig() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> GameResult:
        """As `training.RobustLearner.train`; the result has the adversary too."""
        config = self.config
        check_budget(budget)
        env = GameVectorEnv(make_vec(config.num_envs, uniform_sampler(uset)), uset)
        sees = env.own + env.parameters if config.sees_parameters else env.own
        seats = Seats(env.own, sees, env.action_size, config.sees_action)
        players = GamePlayers((config.agent, config.adversary), seats, uset.dim, seed)
        phases = alternating(config, budget) if config.alternate else [(BOTH, budget)]
        return play(config, env, players, phases, budget, seed, callback)


def alternating(config: RARLConfig, budget: int) -> list[tuple[tuple[bool, bool], int]]:
    """(who learns, environment steps) of the paper's phases, cut off at the budget."""
    phases, left = [], budget
    while left > 0:
        for learning, steps in ((AGENT_ALONE, config.agent_phase), (ADVERSARY_ALONE, config.adversary_phase)):
            if left > 0:
                phases.append((learning, min(steps, left)))
                left -= phases[-1][1]
    return phases


def play(
    config: CollectionConfig,
    env: GameVectorEnv,
    players: Players,
    phases: list[tuple[tuple[bool, bool], int]],
    budget: int,
    seed: int,
    callback: Callback | None,
) -> GameResult:
    """Runs the phases, each with fresh episodes and with the replay of those who learn in it; closes `env`."""
    replays: dict[tuple[bool, bool], Replay] = {}
    recorder = Recorder(config.record_every, "training", callback)
    try:
        for number, (players.learning, steps) in enumerate(phases):
            new = players.learning not in replays
            if new:
                capacity = min(config.capacity, budget + env.num_envs)
                replays[players.learning] = Replay(capacity, *sizes_of(env))
            collection = run_off_policy(
                env,
                players,
                replays[players.learning],
                steps=steps,
                random_steps=config.first_steps(budget) if new else 0,
                batch_size=players.batch_size,
                updates_per_step=config.updates_per_step,
                seed=seed + number,
                after_step=recorder,
            )
            recorder.next_stage(collection)
    finally:
        env.close()
    return GameResult(
        ActorPolicy.of(players.state.agent.actor, env.agent_action_space),
        {"training": recorder.steps},
        recorder.history,
        adversary=ActorPolicy(players.state.adversary.actor, -jnp.ones(env.uset.dim), jnp.ones(env.uset.dim)),
    )
