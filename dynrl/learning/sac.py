"""Soft actor-critic (Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018) as pure functions.

One compiled call makes several updates. Time limits bootstrap: only true termination cuts the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from dynrl.learning.networks import GaussianActor, TwinCritic, explored, polyak
from dynrl.learning.replay import Transitions

__all__ = ["SAC", "SACConfig", "SACState", "sac_update"]


@dataclass(frozen=True)
class SACConfig:
    """Settings of soft actor-critic; the defaults are those of robust-control work (Zouitine et al., 2024).

    Attributes:
        hidden: widths of the hidden layers of actor and critics.
        actor_rate, critic_rate, temperature_rate: Adam step sizes.
        adam_epsilon: Adam's epsilon.
        discount: gamma.
        averaging: tau, share of the online critic in each new target critic.
        batch_size: transitions of an update.
        first_temperature: alpha at the beginning.
        target_entropy: per action dimension; alpha is learnt towards it.
    """

    hidden: tuple[int, ...] = (256, 256)
    actor_rate: float = 3e-4
    critic_rate: float = 1e-3
    temperature_rate: float = 3e-4
    adam_epsilon: float = 1e-5
    discount: float = 0.99
    averaging: float = 0.005
    batch_size: int = 256
    first_temperature: float = 1.0
    target_entropy: float = -1.0

    def __post_init__(self) -> None:
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount must lie in [0, 1), got {self.discount}")
        if not 0 < self.averaging <= 1:
            raise ValueError(f"averaging must lie in (0, 1], got {self.averaging}")
        if self.batch_size < 1 or self.first_temperature <= 0:
            raise ValueError("batch_size must be at least 1 and first_temperature positive")


class SACState(NamedTuple):
    """Everything that an update changes; a pytree.

    Attributes:
        actor, critic, target: the networks.
        log_temperature: log alpha.
        actor_optimiser, critic_optimiser, temperature_optimiser: Adam's moments.
        key: consumed by the updates.
    """

    actor: GaussianActor
    critic: TwinCritic
    target: TwinCritic
    log_temperature: Float[Array, ""]
    actor_optimiser: optax.OptState
    critic_optimiser: optax.OptState
    temperature_optimiser: optax.OptState
    key: PRNGKeyArray


def initial_state(config: SACConfig, observation_size: int, action_size: int, key: PRNGKeyArray) -> SACState:
    """Fresh networks and optimisers."""
    actor_key, critic_key, key = jax.random.split(key, 3)
    actor = GaussianActor(observation_size, action_size, actor_key, config.hidden)
    critic = TwinCritic(observation_size, action_size, critic_key, config.hidden)
    log_temperature = jnp.log(jnp.float32(config.first_temperature))
    return SACState(
        actor,
        critic,
        critic,
        log_temperature,
        adam(config, config.actor_rate).init(eqx.filter(actor, eqx.is_array)),
        adam(config, config.critic_rate).init(eqx.filter(critic, eqx.is_array)),
        adam(config, config.temperature_rate).init(log_temperature),
        key,
    )


def adam(config: SACConfig, rate: float) -> optax.GradientTransformation:
    """Adam as the config says."""
    return optax.adam(rate, eps=config.adam_epsilon)


def sac_update(config: SACConfig, state: SACState, batch: Transitions) -> tuple[SACState, dict[str, Array]]:
    """One update of critics, actor and temperature on one batch `[B, ...]`.

    The actor's gradient sees the new critics; the temperature follows the entropy of the old actor.

    Returns:
        The new state, and the losses, temperature and mean value by name.
    """
    target_key, actor_key, key = jax.random.split(state.key, 3)
    temperature = jnp.exp(state.log_temperature)

    following, following_log = state.actor.sample(batch.next_observation, target_key)
    soft = state.target(batch.next_observation, following).min(0) - temperature * following_log
    goal = batch.reward + config.discount * (1 - batch.terminated) * soft

    def critic_loss(critic: TwinCritic) -> tuple[Array, Array]:
        values = critic(batch.observation, batch.action)
        return 0.5 * ((values - goal) ** 2).mean(-1).sum(), values.mean()

    (loss, value), gradient = eqx.filter_value_and_grad(critic_loss, has_aux=True)(state.critic)
    critic, critic_optimiser = descend(
        adam(config, config.critic_rate), gradient, state.critic_optimiser, state.critic
    )

    def actor_loss(actor: GaussianActor) -> tuple[Array, Array]:
        action, log_density = actor.sample(batch.observation, actor_key)
        return (
            temperature * log_density - critic(batch.observation, action).min(0)
        ).mean(), log_density.mean()

    (actor_value, log_density), gradient = eqx.filter_value_and_grad(actor_loss, has_aux=True)(state.actor)
    actor, actor_optimiser = descend(
        adam(config, config.actor_rate), gradient, state.actor_optimiser, state.actor
    )

    log_temperature, temperature_optimiser = temperature_step(config, state, log_density, batch)
    updated = SACState(
        actor,
        critic,
        polyak(state.target, critic, config.averaging),
        log_temperature,
        actor_optimiser,
        critic_optimiser,
        temperature_optimiser,
        key,
    )
    figures = {"critic_loss": loss, "actor_loss": actor_value, "temperature": temperature, "value": value}
    return updated, figures


class Tempered(Protocol):
    """The part of a learner's state that `temperature_step` reads."""

    @property
    def log_temperature(self) -> Any: ...

    @property
    def temperature_optimiser(self) -> Any: ...


def temperature_step(
    config: SACConfig, state: Tempered, log_density: Any, batch: Transitions
) -> tuple[Any, Any]:
    """One step of log alpha towards the target entropy, from the actor's mean log density `[]` on the batch.

    Returns:
        The new log alpha and Adam's moments.
    """
    gradient = -(log_density + config.target_entropy * batch.action.shape[-1])
    return descend(
        adam(config, config.temperature_rate), gradient, state.temperature_optimiser, state.log_temperature
    )


def descend(optimiser: Any, gradient: Any, moments: Any, parameters: Any) -> tuple[Any, Any]:
    """One optimiser step; returns the new parameters and moments."""
    step, moments = optimiser.update(gradient, moments)
    return eqx.apply_updates(parameters, step), moments


@partial(jax.jit, static_argnums=0)
def _updates(config: SACConfig, state: SACState, batches: Transitions) -> tuple[SACState, dict[str, Array]]:
    state, figures = jax.lax.scan(partial(sac_update, config), state, batches)
    return state, jax.tree.map(jnp.mean, figures)


class SAC:
    """A SAC learner that holds its state; `run_off_policy` drives it.

    Attributes:
        config: the settings.
        state: networks, optimisers and key.
    """

    def __init__(self, config: SACConfig, observation_size: int, action_size: int, key: PRNGKeyArray) -> None:
        self.config = config
        self.state = initial_state(config, observation_size, action_size, key)

    def explore(self, observation: np.ndarray, key: PRNGKeyArray) -> Array:
        """Random unit actions `[N, a]` of the squashed Gaussian."""
        return explored(self.state.actor, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, Array]:
        """One update per leading row of `batches` (`[k, B, ...]`), in one compiled call; their mean figures."""
        self.state, figures = _updates(self.config, self.state, batches)
        return figures
