"""TD3 as pure functions: twin critics, delayed policy updates, smoothed targets.

Source: Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in Actor-Critic Methods" (2018),
Algorithm 1. The pieces (`critic_targets`, `critic_step`, `actor_step`, `track`) are what the robust algorithms put
together differently; `update` puts them together as the paper does. The column `extra` of the transitions, such as
uncertain parameters in M2TD3, is seen by the critics alone; it has the width 0 in plain TD3.

Actions are unit actions, each component in [-1, 1]; `ActorPolicy` scales them to the action space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from dynrl.learning.networks import DeterministicActor, TwinCritic, polyak
from dynrl.learning.replay import Transitions

__all__ = [
    "TD3Config",
    "TD3State",
    "actor_step",
    "critic_step",
    "critic_targets",
    "initial_state",
    "smoothed_action",
    "track",
    "update",
    "update_many",
]


@dataclass(frozen=True)
class TD3Config:
    """Settings of the learner (the paper's symbols in the comments).

    Attributes:
        hidden: widths of the hidden layers of the actor and of each critic.
        actor_rate, critic_rate: Adam's learning rates.
        discount: of the next step's value.
        tracking: share of the online networks that enters the target networks per policy update.
        batch_size: transitions per update.
        exploration_noise: standard deviation of the noise on played actions, in units of half the action range.
        target_noise: standard deviation of the noise on the target policy's action.
        noise_clip: where that noise is cut off.
        policy_delay: critic updates per policy update.
    """

    hidden: tuple[int, ...] = (256, 256)
    actor_rate: float = 3e-4
    critic_rate: float = 3e-4
    discount: float = 0.99  # gamma
    tracking: float = 0.005  # tau
    batch_size: int = 256  # N
    exploration_noise: float = 0.1  # sigma
    target_noise: float = 0.2  # sigma tilde
    noise_clip: float = 0.5  # c
    policy_delay: int = 2  # d

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be one or more positive widths, got {self.hidden}")
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount must lie in [0, 1), got {self.discount}")
        if not 0 < self.tracking <= 1:
            raise ValueError(f"tracking must lie in (0, 1], got {self.tracking}")
        for name in ("batch_size", "policy_delay"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("actor_rate", "critic_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("exploration_noise", "target_noise", "noise_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


class TD3State(NamedTuple):
    """All that is learnt.

    Attributes:
        actor, critic: online networks.
        target_actor, target_critic: their slow copies.
        actor_moments, critic_moments: Adam's state.
        updates: `[]` int, critic updates so far.
    """

    actor: Any
    critic: Any
    target_actor: Any
    target_critic: Any
    actor_moments: Any
    critic_moments: Any
    updates: Any


def initial_state(
    config: TD3Config, observation_size: int, action_size: int, key: Any, extra_size: int = 0
) -> TD3State:
    """Fresh networks drawn with `key`; the targets begin as copies."""
    actor_key, critic_key = jax.random.split(key)
    actor = DeterministicActor(
        observation_size, action_size, actor_key, config.hidden, config.exploration_noise
    )
    critic = TwinCritic(observation_size, action_size, critic_key, config.hidden, extra_size)
    return TD3State(
        actor,
        critic,
        actor,
        critic,
        optax.adam(config.actor_rate).init(eqx.filter(actor, eqx.is_inexact_array)),
        optax.adam(config.critic_rate).init(eqx.filter(critic, eqx.is_inexact_array)),
        jnp.zeros((), jnp.int32),
    )


def clipped_noise(key: Any, shape: tuple[int, ...], deviation: float, clip: float) -> Any:
    """Independent Gaussian noise for every component, cut off at `clip`."""
    return jnp.clip(deviation * jax.random.normal(key, shape), -clip, clip)


def smoothed_action(config: TD3Config, actor: Any, observation: Any, key: Any) -> Any:
    """A target actor's unit action with clipped noise, `[B, a]` (the paper's eq. 14)."""
    action = actor.mode(observation)
    return jnp.clip(action + clipped_noise(key, action.shape, config.target_noise, config.noise_clip), -1, 1)


def critic_targets(
    config: TD3Config, state: TD3State, batch: Transitions, next_action: Any, next_extra: Any
) -> Any:
    """`r + discount * min(Q1', Q2')(s', a')`, `[B]`; a terminated step has no next value."""
    value = state.target_critic(batch.next_observation, next_action, next_extra).min(axis=0)
    return batch.reward + config.discount * (1 - batch.terminated) * value


def critic_step(config: TD3Config, state: TD3State, batch: Transitions, targets: Any) -> tuple[TD3State, Any]:
    """One Adam step of both critics towards `targets` `[B]`; returns the state and the loss before it."""
    targets = jax.lax.stop_gradient(targets)

    def loss(critic: Any) -> Any:
        error = critic(batch.observation, batch.action, batch.extra) - targets[None]
        return jnp.square(error).mean(axis=-1).sum()

    value, gradient = eqx.filter_value_and_grad(loss)(state.critic)
    step, moments = optax.adam(config.critic_rate).update(gradient, state.critic_moments)
    critic = eqx.apply_updates(state.critic, step)
    return state._replace(critic=critic, critic_moments=moments, updates=state.updates + 1), value


def actor_step(config: TD3Config, state: TD3State, gradient: Any) -> TD3State:
    """One Adam step of the actor along `gradient` (of a loss, so downhill)."""
    step, moments = optax.adam(config.actor_rate).update(gradient, state.actor_moments)
    return state._replace(actor=eqx.apply_updates(state.actor, step), actor_moments=moments)


def track(config: TD3Config, state: TD3State) -> TD3State:
    """Both target networks move a share `tracking` towards the online ones."""
    return state._replace(
        target_actor=polyak(state.target_actor, state.actor, config.tracking),
        target_critic=polyak(state.target_critic, state.critic, config.tracking),
    )


def policy_loss(actor: Any, critic: Any, batch: Transitions) -> Any:
    """`-mean Q1(s, actor(s))`, `[]`."""
    return -critic.first(batch.observation, actor.mode(batch.observation), batch.extra).mean()


def delayed(config: TD3Config, state: Any, updates: Any, move: Callable[[Any], Any]) -> Any:
    """`move(state)` on every `policy_delay`-th of the critic `updates`, else `state`."""
    return jax.lax.cond(updates % config.policy_delay == 0, move, lambda same: same, state)


def update(config: TD3Config, state: TD3State, batch: Transitions, key: Any) -> tuple[TD3State, Any]:
    """One update of TD3 on transitions `[B, ...]`; returns the state and the critics' loss before it."""
    next_action = smoothed_action(config, state.target_actor, batch.next_observation, key)
    targets = critic_targets(config, state, batch, next_action, batch.extra)
    state, loss = critic_step(config, state, batch, targets)

    def move(state: TD3State) -> TD3State:
        gradient = eqx.filter_grad(policy_loss)(state.actor, state.critic, batch)
        return track(config, actor_step(config, state, gradient))

    return delayed(config, state, state.updates, move), loss


def scanned(step: Callable[[Any, Any, Any], tuple[Any, Any]], state: Any, batches: Any, key: Any) -> Any:
    """`step(state, batch, key)` for each of the stacked `batches` `[K, B, ...]`, in one loop on the device."""
    keys = jax.random.split(key, jax.tree.leaves(batches)[0].shape[0])
    return jax.lax.scan(lambda state, item: step(state, *item), state, (batches, keys))


@partial(jax.jit, static_argnums=0)
def update_many(config: TD3Config, state: TD3State, batches: Transitions, key: Any) -> tuple[TD3State, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K]`."""
    return scanned(partial(update, config), state, batches, key)
