"""M3DDPG for two players: each learns against a slightly worse opponent than the one it faces.

Source: Li, Wu, Cui, Dong, Fang, Russell, "Robust Multi-Agent Reinforcement Learning via Minimax Deep Deterministic
Policy Gradient" (2019), with the agent and an adversary over the parameters as the two players.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.robust.collection_config import CollectionConfig
from dynrl.agents.robust.game_env import GameVectorEnv
from dynrl.agents.robust.rarl import BOTH, GameResult, GameState, Seats, play, played
from dynrl.agents.robust.training import Callback, MakeVec, check_budget, uniform_sampler
from dynrl.learning import td3
from dynrl.learning.replay import Transitions
from dynrl.learning.td3 import TD3Config, TD3State

__all__ = ["M3DDPG", "M3DDPGConfig"]


@dataclass(frozen=True)
class M3DDPGConfig(CollectionConfig):
    """Settings of M3DDPG; the rest is in `CollectionConfig`.

    Attributes:
        learner: of both players.
        perturbation: length of the gradient step that the opponent's action takes against the learner, unit actions.
    """

    learner: TD3Config = field(default_factory=TD3Config)
    perturbation: float = 0.05  # epsilon

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.perturbation >= 0:
            raise ValueError(f"perturbation must not be negative, got {self.perturbation}")


def worse_opponent(config: M3DDPGConfig, critic: Any, observation: Any, own: Any, other: Any) -> Any:
    """The opponent's action `other [B, e]` after one step of length ε against the player whose `critic` it is:
    `clip(other - ε g / |g|)` with `g = ∇_other Q1(s, own, other)`."""
    gradient = jax.grad(lambda other: critic.first(observation, own, other).sum())(other)
    length = jnp.linalg.norm(gradient, axis=-1, keepdims=True)
    # Where the critic is flat there is no direction, and 0 / 0 must not arise.
    direction = gradient / jnp.maximum(length, 1e-12)
    return jax.lax.stop_gradient(jnp.clip(other - config.perturbation * direction, -1, 1))


def player_update(
    config: M3DDPGConfig, player: TD3State, opponent: TD3State, batch: Transitions, key: Any
) -> tuple[TD3State, Any]:
    """One update of one player on transitions as it lived them: its action in `action`, the opponent's in `extra`."""
    action = td3.smoothed_action(config.learner, player.target_actor, batch.next_observation, key)
    other = opponent.target_actor.mode(batch.next_observation)
    other = worse_opponent(config, player.target_critic, batch.next_observation, action, other)
    targets = td3.critic_targets(config.learner, player, batch, action, other)
    player, loss = td3.critic_step(config.learner, player, batch, targets)

    def move(player: TD3State) -> TD3State:
        own, faced = player.actor.mode(batch.observation), opponent.actor.mode(batch.observation)
        faced = worse_opponent(config, player.critic, batch.observation, own, faced)
        gradient = eqx.filter_grad(td3.policy_loss)(player.actor, player.critic, batch._replace(extra=faced))
        return td3.track(config.learner, td3.actor_step(config.learner, player, gradient))

    return td3.delayed(config.learner, player, player.updates, move), loss


def update(
    config: M3DDPGConfig, seats: Seats, state: GameState, batch: Transitions, key: Any
) -> tuple[GameState, Any]:
    """One update of both players from the same state of the game; the critics' losses `[2]`."""
    agent_key, adversary_key = jax.random.split(key)
    columns = np.array(seats.agent)
    batch = batch._replace(
        observation=batch.observation[..., columns], next_observation=batch.next_observation[..., columns]
    )
    action, b = batch.action[..., : seats.action_size], batch.action[..., seats.action_size :]
    mine = batch._replace(action=action, extra=b)
    theirs = batch._replace(action=b, extra=action, reward=-batch.reward)
    agent, agent_loss = player_update(config, state.agent, state.adversary, mine, agent_key)
    adversary, adversary_loss = player_update(config, state.adversary, state.agent, theirs, adversary_key)
    return GameState(agent, adversary), jnp.stack([agent_loss, adversary_loss])


@partial(jax.jit, static_argnums=(0, 1))
def update_many(
    config: M3DDPGConfig, seats: Seats, state: GameState, batches: Transitions, key: Any
) -> tuple[GameState, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K, 2]`."""
    return td3.scanned(partial(update, config, seats), state, batches, key)


class MinimaxPlayers:
    """Both players as `run_off_policy` drives them."""

    def __init__(self, config: M3DDPGConfig, seats: Seats, adversary_size: int, seed: int) -> None:
        agent_key, adversary_key, self._key = jax.random.split(jax.random.key(seed), 3)
        self.config, self.seats, self.learning = config, seats, BOTH
        seen, a = len(seats.agent), seats.action_size
        self.state = GameState(
            td3.initial_state(config.learner, seen, a, agent_key, extra_size=adversary_size),
            td3.initial_state(config.learner, seen, adversary_size, adversary_key, extra_size=a),
        )
        self._calls = 0

    @property
    def batch_size(self) -> int:
        return self.config.learner.batch_size

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray:
        return played(self.seats, self.state, self.learning, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        self._calls += 1
        key = jax.random.fold_in(self._key, self._calls)
        self.state, losses = update_many(self.config, self.seats, self.state, batches, key)
        return {"agent_loss": float(losses[-1, 0]), "adversary_loss": float(losses[-1, 1])}


class M3DDPG:
    """Minimax DDPG: the agent and an adversary over the parameters, whose critics see both actions.

    Problem: as `RARL`, a zero-sum Markov game in which the adversary chooses the parameters in every step. Each
    player's critic is `Q(s, own, other)`; in targets and policy losses the other's action is moved one gradient step of
    length ε against the player, so that the policy does not rely on the opponent of the day.

    When: as `RARL`; in published comparisons on constant parameters it is weaker than `M2TD3` and domain randomisation.

    Guarantees: none.

    Source: Li et al., 2019. Differences: two players, zero sum; twin critics, delay and smoothing of TD3; the gradient
    is normalised, so that ε is a distance in unit actions.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = M3DDPGConfig

    def __init__(self, config: M3DDPGConfig | None = None) -> None:
        self.config = M3DDPGConfig() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> GameResult:
        """As `training.RobustLearner.train`; the result has the adversary too."""
        check_budget(budget)
        env = GameVectorEnv(make_vec(self.config.num_envs, uniform_sampler(uset)), uset)
        seats = Seats(env.own, env.own, env.action_size)
        players = MinimaxPlayers(self.config, seats, uset.dim, seed)
        return play(self.config, env, players, [(BOTH, budget)], budget, seed, callback)
