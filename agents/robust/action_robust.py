"""Action-robust training: an adversary takes part in the action itself (noisy and probabilistic action robust MDPs).

Source: Tessler, Efroni, Mannor, "Action Robust Reinforcement Learning and Applications in Continuous Control" (2019),
with TD3's critics in place of DDPG's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agents.robust.collection_config import CollectionConfig, check_counts
from dynrl.agents.robust.rarl import GameResult
from dynrl.agents.robust.recorder import Recorder
from dynrl.agents.robust.training import Callback, MakeVec, check_budget, run_off_policy, sizes_of
from dynrl.learning import td3
from dynrl.learning.networks import ActorPolicy, DeterministicActor, polyak
from dynrl.learning.replay import Replay, Transitions
from dynrl.learning.td3 import TD3Config, TD3State

__all__ = ["ActionRobust", "ActionRobustConfig"]


@dataclass(frozen=True)
class ActionRobustConfig(CollectionConfig):
    """Settings of action-robust training; the rest is in `CollectionConfig`.

    Attributes:
        kind: `"noisy"` (NR) executes `(1 - α) a + α ā`; `"probabilistic"` (PR) executes ā with probability α, else a.
        alpha: share of the adversary in the action, in [0, 1); 0 is TD3. The paper uses 0.1.
        learner: of the agent; the adversary's policy has the same network and learning rate.
        adversary_period: policy updates of the agent per policy update of the adversary; the paper's is 10.
    """

    kind: Literal["noisy", "probabilistic"] = "probabilistic"
    alpha: float = 0.1
    learner: TD3Config = field(default_factory=TD3Config)
    adversary_period: int = 10

    def __post_init__(self) -> None:
        if self.kind not in ("noisy", "probabilistic"):
            raise ValueError(f"kind must be 'noisy' or 'probabilistic', got {self.kind!r}")
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha must lie in [0, 1), got {self.alpha}")
        super().__post_init__()
        check_counts(self, "adversary_period")


class ActionRobustState(NamedTuple):
    """The agent with the critics, which value the action that is executed, and the adversary's policy.

    Attributes:
        agent: TD3's state.
        adversary, target_adversary: the policy of ā and its slow copy.
        adversary_moments: Adam's state.
    """

    agent: TD3State
    adversary: Any
    target_adversary: Any
    adversary_moments: Any


def initial_state(config: ActionRobustConfig, sizes: tuple[int, int], key: Any) -> ActionRobustState:
    """Fresh networks."""
    agent_key, adversary_key = jax.random.split(key)
    learner = config.learner
    adversary = DeterministicActor(*sizes, adversary_key, learner.hidden, learner.exploration_noise)
    moments = optax.adam(learner.actor_rate).init(eqx.filter(adversary, eqx.is_inexact_array))
    return ActionRobustState(td3.initial_state(learner, *sizes, agent_key), adversary, adversary, moments)


def executed_action(config: ActionRobustConfig, state: ActionRobustState, observation: Any, key: Any) -> Any:
    """The unit actions that the pair plays while learning, `[N, a]`."""
    agent_key, choice_key = jax.random.split(key)
    own = state.agent.actor.explore(observation, agent_key)
    other = state.adversary.mode(observation)
    if config.kind == "noisy":
        return (1 - config.alpha) * own + config.alpha * other
    return jnp.where(jax.random.bernoulli(choice_key, config.alpha, (*own.shape[:-1], 1)), other, own)


def targets(config: ActionRobustConfig, state: ActionRobustState, batch: Transitions, key: Any) -> Any:
    """The critics' targets `[B]`: the value of the mixture of both policies in the next state."""
    learner, following = config.learner, batch.next_observation
    agent_key, adversary_key = jax.random.split(key)
    own = td3.smoothed_action(learner, state.agent.target_actor, following, agent_key)
    other = td3.smoothed_action(learner, state.target_adversary, following, adversary_key)

    def target(action: Any) -> Any:
        return td3.critic_targets(learner, state.agent, batch, action, batch.extra)

    if config.kind == "noisy":
        return target((1 - config.alpha) * own + config.alpha * other)
    return (1 - config.alpha) * target(own) + config.alpha * target(other)


def mixture_value(
    config: ActionRobustConfig, actor: Any, adversary: Any, critic: Any, batch: Transitions
) -> Any:
    """Mean `Q1` of the mixture of both policies, `[]`."""
    own, other = actor.mode(batch.observation), adversary.mode(batch.observation)

    def value(action: Any) -> Any:
        return critic.first(batch.observation, action, batch.extra).mean()

    if config.kind == "noisy":
        return value((1 - config.alpha) * own + config.alpha * other)
    return (1 - config.alpha) * value(own) + config.alpha * value(other)


def update(
    config: ActionRobustConfig, state: ActionRobustState, batch: Transitions, key: Any
) -> tuple[ActionRobustState, Any]:
    """One update on transitions whose action is the executed one; returns the state and the critics' loss."""
    learner = config.learner
    agent, loss = td3.critic_step(learner, state.agent, batch, targets(config, state, batch, key))

    def down(state: ActionRobustState) -> ActionRobustState:
        gradient = eqx.filter_grad(
            lambda other: mixture_value(config, agent.actor, other, agent.critic, batch)
        )(state.adversary)
        step, moments = optax.adam(learner.actor_rate).update(gradient, state.adversary_moments)
        return state._replace(adversary=eqx.apply_updates(state.adversary, step), adversary_moments=moments)

    def move(state: ActionRobustState) -> ActionRobustState:
        agent = state.agent
        gradient = eqx.filter_grad(
            lambda actor: -mixture_value(config, actor, state.adversary, agent.critic, batch)
        )(agent.actor)
        turn = agent.updates // learner.policy_delay % config.adversary_period == 0
        state = jax.lax.cond(turn, down, lambda same: same, state)
        return state._replace(
            agent=td3.track(learner, td3.actor_step(learner, agent, gradient)),
            target_adversary=polyak(state.target_adversary, state.adversary, learner.tracking),
        )

    return td3.delayed(learner, state._replace(agent=agent), agent.updates, move), loss


@partial(jax.jit, static_argnums=0)
def update_many(
    config: ActionRobustConfig, state: ActionRobustState, batches: Transitions, key: Any
) -> tuple[ActionRobustState, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K]`."""
    return td3.scanned(partial(update, config), state, batches, key)


_executed = jax.jit(executed_action, static_argnums=0)


class _Pair:
    """Agent and adversary as `run_off_policy` drives them."""

    def __init__(self, config: ActionRobustConfig, sizes: tuple[int, int], seed: int) -> None:
        key, self._key = jax.random.split(jax.random.key(seed))
        self.config, self.state, self._calls = config, initial_state(config, sizes, key), 0

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray:
        return _executed(self.config, self.state, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        self._calls += 1
        key = jax.random.fold_in(self._key, self._calls)
        self.state, losses = update_many(self.config, self.state, batches, key)
        return {"critic_loss": float(losses[-1])}


class ActionRobust:
    """A policy that stands an adversary's share in its own actions.

    Problem: `max_π min_π̄` of the return when `(1 - α) a + α ā` (noisy) or, with probability α, ā instead of a
    (probabilistic) is executed. The parameters of the world stay nominal; it needs no model of them, only α.

    When: actuators are disturbed, or nothing is known of what will differ. With a known set of parameters, methods that
    train on it (`M2TD3`, domain randomisation, IWOCS) do better on that set.

    Guarantees: none here. With exact policy iteration the probabilistic game has an optimal pair that is stationary and
    deterministic (the paper). The returned policy acts alone: the mixture belongs to the training.

    Source: Tessler et al., 2019. Differences: twin critics, delay and smoothing of TD3; exploration by noise on the
    agent's action instead of on the parameters of the network.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = ActionRobustConfig

    def __init__(self, config: ActionRobustConfig | None = None) -> None:
        self.config = ActionRobustConfig() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> GameResult:
        """As `training.RobustLearner.train`, at the nominal parameters; the result's adversary plays actions."""
        check_budget(budget)
        config = self.config
        env = make_vec(config.num_envs, None)
        sizes = sizes_of(env)
        pair = _Pair(config, sizes, seed)
        recorder = Recorder(config.record_every, "training", callback)
        try:
            run_off_policy(
                env,
                pair,
                Replay(min(config.capacity, budget + config.num_envs), *sizes),
                steps=budget,
                random_steps=config.first_steps(budget),
                batch_size=config.learner.batch_size,
                updates_per_step=config.updates_per_step,
                seed=seed,
                after_step=recorder,
            )
        finally:
            env.close()
        return GameResult(
            ActorPolicy.of(pair.state.agent.actor, env.single_action_space),
            {"training": recorder.steps},
            recorder.history,
            adversary=ActorPolicy.of(pair.state.adversary, env.single_action_space),
        )
