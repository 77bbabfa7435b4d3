"""A specialist of deep IWOCS: SAC on one model, with a plain critic and a predictor of the next observation.

Zouitine, Geist and Rachelson, "Solving robust MDPs as a sequence of static RL problems", 2024, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from dynrl.learning.networks import MLP, GaussianActor, explored, polyak
from dynrl.learning.replay import Replay, Transitions
from dynrl.learning.sac import SACConfig, adam, descend, temperature_step

__all__ = ["EnhancedCritic", "Specialist", "SpecialistState", "TwinEnhancedCritic", "specialist_update"]


class EnhancedCritic(eqx.Module):
    """One trunk with three heads: regularised value Q', plain value Q and next observation T^.

    The entropy bonus differs between agents, so only plain values can be compared; their path is one layer longer.
    """

    trunk: MLP
    soft_head: MLP
    plain_head: MLP
    next_head: MLP

    def __init__(
        self, observation_size: int, action_size: int, key: PRNGKeyArray, hidden: Sequence[int]
    ) -> None:
        keys, width = jax.random.split(key, 4), hidden[-1]
        self.trunk = MLP((observation_size + action_size, *hidden), keys[0])
        self.soft_head = MLP((width, 1), keys[1])
        self.plain_head = MLP((width, width, 1), keys[2])
        self.next_head = MLP((width, width, observation_size), keys[3], last_scale=0.01)

    def features(
        self, observation: Float[Array, "... o"], action: Float[Array, "... a"]
    ) -> Float[Array, "... h"]:
        return jax.nn.relu(self.trunk(jnp.concatenate([observation, action], axis=-1)))

    def soft(self, observation: Float[Array, "... o"], action: Float[Array, "... a"]) -> Float[Array, "..."]:
        return self.soft_head(self.features(observation, action))[..., 0]

    def plain(self, observation: Float[Array, "... o"], action: Float[Array, "... a"]) -> Float[Array, "..."]:
        return self.plain_head(self.features(observation, action))[..., 0]

    def both(self, observation: Float[Array, "... o"], action: Float[Array, "... a"]) -> tuple[Array, Array]:
        """`(soft, plain)` from one pass through the trunk."""
        features = self.features(observation, action)
        return self.soft_head(features)[..., 0], self.plain_head(features)[..., 0]

    def following(
        self, observation: Float[Array, "... o"], action: Float[Array, "... a"]
    ) -> Float[Array, "... o"]:
        """The predicted next observation; the head gives the change."""
        return observation + self.next_head(self.features(observation, action))


class TwinEnhancedCritic(eqx.Module):
    """Two enhanced critics with weights of their own; results lead with an axis of 2."""

    first: EnhancedCritic
    second: EnhancedCritic

    def __init__(
        self, observation_size: int, action_size: int, key: PRNGKeyArray, hidden: Sequence[int]
    ) -> None:
        one, two = jax.random.split(key)
        self.first = EnhancedCritic(observation_size, action_size, one, hidden)
        self.second = EnhancedCritic(observation_size, action_size, two, hidden)

    def soft(self, observation: Array, action: Array) -> Float[Array, "2 ..."]:
        return jnp.stack([critic.soft(observation, action) for critic in (self.first, self.second)])

    def plain(self, observation: Array, action: Array) -> Float[Array, "2 ..."]:
        return jnp.stack([critic.plain(observation, action) for critic in (self.first, self.second)])

    def both(self, observation: Array, action: Array) -> tuple[Float[Array, "2 ..."], Float[Array, "2 ..."]]:
        pairs = [critic.both(observation, action) for critic in (self.first, self.second)]
        return jnp.stack([soft for soft, _ in pairs]), jnp.stack([plain for _, plain in pairs])

    def following(self, observation: Array, action: Array) -> Float[Array, "2 ... o"]:
        return jnp.stack([critic.following(observation, action) for critic in (self.first, self.second)])


class SpecialistState(NamedTuple):
    """Everything that an update changes; a pytree.

    Attributes:
        actor, critic, target: the networks.
        log_temperature: log alpha.
        actor_optimiser, soft_optimiser, plain_optimiser, next_optimiser, temperature_optimiser: Adam's moments.
        key: consumed by the updates.
    """

    actor: GaussianActor
    critic: TwinEnhancedCritic
    target: TwinEnhancedCritic
    log_temperature: Float[Array, ""]
    actor_optimiser: optax.OptState
    soft_optimiser: optax.OptState
    plain_optimiser: optax.OptState
    next_optimiser: optax.OptState
    temperature_optimiser: optax.OptState
    key: PRNGKeyArray


def initial_state(
    config: SACConfig, observation_size: int, action_size: int, key: PRNGKeyArray
) -> SpecialistState:
    """Fresh networks and optimisers."""
    actor_key, critic_key, key = jax.random.split(key, 3)
    actor = GaussianActor(observation_size, action_size, actor_key, config.hidden)
    critic = TwinEnhancedCritic(observation_size, action_size, critic_key, config.hidden)
    return with_networks(config, actor, critic, key)


def with_networks(
    config: SACConfig, actor: GaussianActor, critic: TwinEnhancedCritic, key: PRNGKeyArray
) -> SpecialistState:
    """Given networks and fresh optimisers."""
    log_temperature = jnp.log(jnp.float32(config.first_temperature))
    moments = adam(config, config.critic_rate).init(eqx.filter(critic, eqx.is_array))
    return SpecialistState(
        actor,
        critic,
        critic,
        log_temperature,
        adam(config, config.actor_rate).init(eqx.filter(actor, eqx.is_array)),
        moments,
        moments,
        moments,
        adam(config, config.temperature_rate).init(log_temperature),
        key,
    )


def specialist_update(
    config: SACConfig, state: SpecialistState, batches: tuple[Transitions, Transitions]
) -> tuple[SpecialistState, dict[str, Array]]:
    """One update: the three losses of the critic in turn, each with its own Adam, then actor and temperature.

    Args:
        batches: `[B, ...]` each: for the values and the actor, and for the predictor (usually the same one).

    Returns:
        The new state, and losses, temperature, mean plain value and mean prediction error by name.
    """
    batch, seen = batches
    target_key, actor_key, key = jax.random.split(state.key, 3)
    temperature = jnp.exp(state.log_temperature)
    descend_critic = partial(descend, adam(config, config.critic_rate))

    following, following_log = state.actor.sample(batch.next_observation, target_key)
    soft, plain = state.target.both(batch.next_observation, following)
    alive = config.discount * (1 - batch.terminated)
    soft_goal = batch.reward + alive * (soft.min(0) - temperature * following_log)
    plain_goal = batch.reward + alive * plain.min(0)

    def soft_loss(critic: TwinEnhancedCritic) -> Array:
        return 0.5 * ((critic.soft(batch.observation, batch.action) - soft_goal) ** 2).mean(-1).sum()

    def plain_loss(critic: TwinEnhancedCritic) -> tuple[Array, Array]:
        values = critic.plain(batch.observation, batch.action)
        return 0.5 * ((values - plain_goal) ** 2).mean(-1).sum(), values.mean()

    def next_loss(critic: TwinEnhancedCritic) -> Array:
        error = jnp.abs(critic.following(seen.observation, seen.action) - seen.next_observation)
        return error.sum(-1).mean(-1).sum()

    critic = state.critic
    loss, gradient = eqx.filter_value_and_grad(soft_loss)(critic)
    critic, soft_optimiser = descend_critic(gradient, state.soft_optimiser, critic)
    (_, value), gradient = eqx.filter_value_and_grad(plain_loss, has_aux=True)(critic)
    critic, plain_optimiser = descend_critic(gradient, state.plain_optimiser, critic)
    error, gradient = eqx.filter_value_and_grad(next_loss)(critic)
    critic, next_optimiser = descend_critic(gradient, state.next_optimiser, critic)

    def actor_loss(actor: GaussianActor) -> tuple[Array, Array]:
        action, log_density = actor.sample(batch.observation, actor_key)
        chosen = critic.soft(batch.observation, action).min(0)
        return (temperature * log_density - chosen).mean(), log_density.mean()

    (_, log_density), gradient = eqx.filter_value_and_grad(actor_loss, has_aux=True)(state.actor)
    actor, actor_optimiser = descend(
        adam(config, config.actor_rate), gradient, state.actor_optimiser, state.actor
    )
    log_temperature, temperature_optimiser = temperature_step(config, state, log_density, batch)
    updated = SpecialistState(
        actor,
        critic,
        polyak(state.target, critic, config.averaging),
        log_temperature,
        actor_optimiser,
        soft_optimiser,
        plain_optimiser,
        next_optimiser,
        temperature_optimiser,
        key,
    )
    figures = {"critic_loss": loss, "temperature": temperature, "value": value, "prediction_error": error / 2}
    return updated, figures


@partial(jax.jit, static_argnums=0)
def _updates(
    config: SACConfig, state: SpecialistState, batches: tuple[Transitions, Transitions]
) -> tuple[SpecialistState, dict[str, Array]]:
    state, figures = jax.lax.scan(partial(specialist_update, config), state, batches)
    return state, jax.tree.map(jnp.mean, figures)


class Specialist:
    """A specialist that holds its state; `run_off_policy` drives it.

    Attributes:
        config: the settings.
        state: networks, optimisers and key.
    """

    def __init__(
        self, config: SACConfig, state: SpecialistState, seed: int = 0, predictor_data: Replay | None = None
    ) -> None:
        """Takes a state of `initial_state` or `with_networks`.

        Args:
            seed: of the draws from `predictor_data`.
            predictor_data: transitions of other models; half of each batch of the predictor comes from there.
        """
        self.config, self.state = config, state
        self._rng, self._predictor_data = np.random.default_rng([seed, 2]), predictor_data

    def explore(self, observation: np.ndarray, key: PRNGKeyArray) -> Array:
        """Random unit actions `[N, a]` of the squashed Gaussian."""
        return explored(self.state.actor, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, Array]:
        """One update per leading row of `batches` (`[k, B, ...]`), in one compiled call; their mean figures."""
        seen = batches
        if self._predictor_data is not None:
            rows, size = batches.reward.shape
            others = self._predictor_data.sample(self._rng, rows, size // 2)
            joined = (
                np.concatenate([old, own[:, size // 2 :]], axis=1)
                for old, own in zip(others, batches, strict=True)
            )
            seen = Transitions(*joined)
        self.state, figures = _updates(self.config, self.state, (batches, seen))
        return figures
