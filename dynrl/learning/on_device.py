"""Proximal policy optimisation (Schulman et al., 2017) with world and learner in one compiled program.

The library's PPO, SAC and TD3 are those of Stable-Baselines3, SBX and Brax. None of them can be one JAX program that
`vmap` repeats over seeds, around any functional environment, with a state that is stored and continued exactly; this
one is that and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from gymnasium import spaces
from jaxtyping import Array

from dynrl.faces.episode import Episode, advance, begin, where
from dynrl.functional import FunctionalEnv, require_functional
from dynrl.learning.action_distributions import ActionDistribution, distribution_of
from dynrl.learning.networks import MLP


class Moments(NamedTuple):
    """Running mean and variance: `count []`, `mean` and `variance` of the quantity's shape."""

    count: Any
    mean: Any
    variance: Any

    def updated(self, batch: Array) -> Moments:
        """With a batch `[n, ...]` more (Chan, Golub and LeVeque, 1983)."""
        new, total = len(batch), self.count + len(batch)
        delta = batch.mean(0) - self.mean
        squares = self.variance * self.count + batch.var(0) * new + delta**2 * self.count * new / total
        return Moments(total, self.mean + delta * new / total, squares / total)


class Weights(NamedTuple):
    """What gradients change: `actor` (observation to outputs), `critic` (to value) and `log_std` of the actions."""

    actor: MLP
    critic: MLP
    log_std: Array


class Lanes(NamedTuple):
    """The running episodes, leaves `[num_envs, ...]`: where they stand, what is seen, return and length so far, and the
    discounted sum of past rewards, whose spread scales rewards."""

    episode: Episode
    observation: Any
    return_: Any
    length: Any
    discounted: Any


class PPOState(NamedTuple):
    """All that training goes on from: a pytree of arrays."""

    weights: Weights
    optimiser: Any
    observations: Moments
    rewards: Moments
    lanes: Lanes
    key: Any
    updates: Any


class Curve(NamedTuple):
    """What one update saw, each `[]`: mean return and length of the episodes that ended in it (NaN if none), their
    number, and the losses."""

    episode_return: Any
    episode_length: Any
    episodes: Any
    policy_loss: Any
    value_loss: Any
    entropy: Any


class _Step(NamedTuple):
    observation: Any
    raw: Any
    log_probability: Any
    value: Any
    next_value: Any
    reward: Any
    terminated: Any
    done: Any
    discounted: Any
    episode_return: Any
    episode_length: Any


class PPOPolicy(eqx.Module):
    """A trained policy: a `dynrl.robust.policy.RobustPolicy` without memory.

    Attributes:
        actor, log_std: see `Weights`.
        observations: moments that observations are normalised with.
        distribution: of the actions.
    """

    actor: MLP
    log_std: Array
    observations: Moments
    distribution: ActionDistribution = eqx.field(static=True)

    def initial_carry(self, num_envs: int) -> tuple[()]:
        return ()

    def act(self, observation: Any, carry: tuple[()], key: Any = None) -> tuple[Any, tuple[()]]:
        """Actions `[B, *shape]` for observations `[B, o]`: the likeliest ones, or random ones with a key."""
        outputs = self.actor(_normalised(observation, self.observations))
        if key is None:
            return self.distribution.to_world(self.distribution.mode(outputs)), carry
        return self.distribution.to_world(self.distribution.sample(outputs, self.log_std, key)), carry


@dataclass(frozen=True)
class PPO:
    """Hyper-parameters; `train` is one program.

    Attributes:
        total_timesteps: environment steps, of all lanes together, rounded down to whole updates.
        num_envs: episodes side by side.
        num_steps: steps of each between two updates.
        num_epochs, num_minibatches: how often the steps are used, and in how many parts.
        learning_rate: of Adam; falls linearly to 0 with `anneal`.
        discount, gae_lambda: gamma, and lambda of the advantage estimates.
        clip: epsilon of the ratio.
        entropy_coefficient, value_coefficient: weights in the loss.
        max_gradient_norm: gradients are scaled down to it.
        hidden: units of each hidden layer (tanh), of actor and critic.
        normalise_observations, normalise_rewards: by running moments, as Stable-Baselines3's `VecNormalize`.

    Raises:
        ValueError: a number below 1 where one is counted, or steps that minibatches do not divide.
    """

    total_timesteps: int = 100_000
    num_envs: int = 8
    num_steps: int = 128
    num_epochs: int = 10
    num_minibatches: int = 16
    learning_rate: float = 3e-4
    anneal: bool = False
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coefficient: float = 0.0
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    hidden: tuple[int, ...] = (64, 64)
    normalise_observations: bool = True
    normalise_rewards: bool = True

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "num_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.num_envs * self.num_steps % self.num_minibatches:
            raise ValueError(
                f"num_minibatches is {self.num_minibatches}, which does not divide num_envs * num_steps = "
                f"{self.num_envs * self.num_steps}"
            )

    @property
    def num_updates(self) -> int:
        """Updates in `total_timesteps`."""
        return self.total_timesteps // (self.num_envs * self.num_steps)

    def train(self, env: FunctionalEnv, key: Any, params: Any = None) -> tuple[PPOState, Curve]:
        """Train from the beginning to the end: pure, so it can be jitted and `vmap`ped over `key` and `params`.

        Args:
            env: the world, computing in float32.
            key: a JAX random key.
            params: its constants; None for the defaults.

        Returns:
            the state, and the curve with leaves `[num_updates]`.
        """
        return self.proceed(env, self.initial_state(env, key, params), self.num_updates, params)

    def initial_state(self, env: FunctionalEnv, key: Any, params: Any = None) -> PPOState:
        """The untrained state.

        Raises:
            TypeError: spaces that it cannot learn on.
            ValueError: a world in float64.
        """
        actions, size = checked_spaces(env)
        params = env.default_params if params is None else params
        key, actor_key, critic_key, reset_key = jax.random.split(key, 4)
        weights = Weights(
            MLP((size, *self.hidden, actions.size), actor_key, jnp.tanh, 0.01),
            MLP((size, *self.hidden, 1), critic_key, jnp.tanh),
            actions.initial_log_std(),
        )
        keys = jax.random.key_data(jax.random.split(reset_key, self.num_envs))
        episode, observation, _ = jax.vmap(partial(begin, env), in_axes=(0, None))(keys, params)
        zero = jnp.zeros(self.num_envs)
        lanes = Lanes(episode, observation, zero, jnp.zeros(self.num_envs, jnp.int32), zero)
        moments = Moments(jnp.asarray(1e-4), jnp.zeros(size), jnp.ones(size))
        rewards = Moments(jnp.asarray(1e-4), jnp.zeros(()), jnp.ones(()))
        optimiser = self._optimiser().init(weights)
        return PPOState(weights, optimiser, moments, rewards, lanes, key, jnp.zeros((), jnp.int32))

    def proceed(
        self, env: FunctionalEnv, state: PPOState, num_updates: int, params: Any = None
    ) -> tuple[PPOState, Curve]:
        """Go on by some updates: pure; pieces give the same numbers as the whole."""
        params = env.default_params if params is None else params
        return jax.lax.scan(lambda state, _: self.update(env, state, params), state, None, num_updates)

    def update(self, env: FunctionalEnv, state: PPOState, params: Any) -> tuple[PPOState, Curve]:
        """Play `num_steps` in every lane and learn from them."""
        actions = distribution_of(env.action_space)
        key, play_key, learn_key = jax.random.split(state.key, 3)
        play = partial(self._play, env, actions, state, params)
        lanes, steps = jax.lax.scan(play, state.lanes, jax.random.split(play_key, self.num_steps))
        observations, rewards = state.observations, state.rewards
        if self.normalise_rewards:
            rewards = rewards.updated(steps.discounted.ravel())
            steps = steps._replace(reward=steps.reward / jnp.sqrt(rewards.variance + 1e-8))
        advantages = self._advantages(steps)
        batch = (steps.observation, steps.raw, steps.log_probability, advantages, advantages + steps.value)
        batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
        normalised = (_normalised(batch[0], observations), *batch[1:])
        epochs = jax.random.split(learn_key, self.num_epochs)
        learn = partial(self._epoch, actions, normalised)
        (weights, optimiser), losses = jax.lax.scan(learn, (state.weights, state.optimiser), epochs)
        if self.normalise_observations:
            observations = observations.updated(batch[0])
        ended = steps.done.sum()
        return_, length = (
            jnp.where(steps.done, part, 0).sum() / ended
            for part in (steps.episode_return, steps.episode_length)
        )
        curve = Curve(return_, length, ended, *(loss.mean() for loss in losses))
        return PPOState(weights, optimiser, observations, rewards, lanes, key, state.updates + 1), curve

    def policy(self, env: FunctionalEnv, state: PPOState) -> PPOPolicy:
        """The policy of a state of one seed."""
        weights = state.weights
        return PPOPolicy(
            weights.actor, weights.log_std, state.observations, distribution_of(env.action_space)
        )

    def _optimiser(self) -> Any:
        steps = self.num_updates * self.num_epochs * self.num_minibatches
        rate = optax.linear_schedule(self.learning_rate, 0.0, steps) if self.anneal else self.learning_rate
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.adam(rate, eps=1e-5))

    def _play(self, env: Any, actions: Any, state: PPOState, params: Any, lanes: Lanes, key: Any) -> Any:
        weights, moments = state.weights, state.observations
        seen = _normalised(lanes.observation, moments)
        outputs = weights.actor(seen)
        raw = actions.sample(outputs, weights.log_std, key)
        episode, shown = jax.vmap(partial(advance, env), in_axes=(0, 0, None))(
            lanes.episode, actions.to_world(raw), params
        )
        reward, done = shown.reward.astype(jnp.float32), shown.terminated | shown.truncated
        discounted = lanes.discounted * self.discount + reward
        return_, length = lanes.return_ + reward, lanes.length + 1
        step = _Step(
            observation=_flat(lanes.observation),
            raw=raw,
            log_probability=actions.log_probability(outputs, weights.log_std, raw),
            value=weights.critic(seen)[..., 0],
            # Of the observation before an auto-reset: time running out is no end of the world.
            next_value=weights.critic(_normalised(shown.observation, moments))[..., 0],
            reward=reward,
            terminated=shown.terminated,
            done=done,
            discounted=discounted,
            episode_return=return_,
            episode_length=length,
        )
        begun, first, _ = jax.vmap(partial(begin, env), in_axes=(0, None))(episode.key, params)
        going = Lanes(episode, shown.observation, return_, length, discounted)
        fresh = Lanes(
            begun, first, jnp.zeros_like(return_), jnp.zeros_like(length), jnp.zeros_like(discounted)
        )
        return where(done, fresh, going), step

    def _advantages(self, steps: _Step) -> Array:
        """Generalised advantage estimates `[num_steps, num_envs]` (Schulman et al., 2016)."""
        errors = (
            steps.reward + self.discount * jnp.where(steps.terminated, 0.0, steps.next_value) - steps.value
        )

        def back(following: Array, part: tuple[Array, Array]) -> tuple[Array, Array]:
            error, done = part
            advantage = error + self.discount * self.gae_lambda * jnp.where(done, 0.0, following)
            return advantage, advantage

        return jax.lax.scan(back, jnp.zeros_like(errors[0]), (errors, steps.done), reverse=True)[1]

    def _epoch(self, actions: Any, batch: Any, learnt: Any, key: Any) -> Any:
        order = jax.random.permutation(key, len(batch[0])).reshape(self.num_minibatches, -1)

        def minibatch(learnt: Any, rows: Array) -> Any:
            weights, optimiser = learnt
            part = jax.tree.map(lambda leaf: leaf[rows], batch)
            (_, losses), gradient = eqx.filter_value_and_grad(self._loss, has_aux=True)(
                weights, actions, part
            )
            change, optimiser = self._optimiser().update(gradient, optimiser)
            return (eqx.apply_updates(weights, change), optimiser), losses

        return jax.lax.scan(minibatch, learnt, order)

    def _loss(self, weights: Weights, actions: Any, part: Any) -> tuple[Array, tuple[Array, Array, Array]]:
        seen, raw, old, advantage, target = part
        outputs = weights.actor(seen)
        ratio = jnp.exp(actions.log_probability(outputs, weights.log_std, raw) - old)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        value_loss = jnp.square(weights.critic(seen)[..., 0] - target).mean()
        entropy = actions.entropy(outputs, weights.log_std).mean()
        total = policy_loss + self.value_coefficient * value_loss - self.entropy_coefficient * entropy
        return total, (policy_loss, value_loss, entropy)


def checked_spaces(env: FunctionalEnv) -> tuple[ActionDistribution, int]:
    """The distribution of actions, and the length of an observation, of a world that PPO can learn on.

    Raises:
        TypeError: an action space other than `Discrete` or a bounded `Box`, or observations other than a `Box`.
        ValueError: a world that computes in float64.
    """
    require_functional(env)
    name = type(env).__name__
    if env.x64:
        raise ValueError(
            f"{name} computes in float64; on-device training is in float32: make it with x64=False."
        )
    if not isinstance(env.observation_space, spaces.Box):
        raise TypeError(f"the observation space of {name} is {env.observation_space}, expected a Box.")
    return distribution_of(env.action_space), math.prod(env.observation_space.shape)


@partial(jax.jit, static_argnums=(0, 1, 3))
def proceed_seeds(ppo: PPO, env: FunctionalEnv, states: PPOState, num_updates: int) -> tuple[PPOState, Curve]:
    """Go on with several seeds side by side: leaves of `states` `[seeds, ...]`, of the curve `[seeds, num_updates]`."""
    return jax.vmap(lambda state: ppo.proceed(env, state, num_updates))(states)


@partial(jax.jit, static_argnums=(0, 1))
def initial_seeds(ppo: PPO, env: FunctionalEnv, keys: Any) -> PPOState:
    """Untrained states, one per key of `keys [seeds]`; leaves `[seeds, ...]`."""
    return jax.vmap(lambda key: ppo.initial_state(env, key))(keys)


def _flat(observation: Any) -> Array:
    return observation.reshape(len(observation), -1).astype(jnp.float32)


def _normalised(observation: Any, moments: Moments) -> Array:
    values = (_flat(jnp.asarray(observation)) - moments.mean) / jnp.sqrt(moments.variance + 1e-8)
    return jnp.clip(values, -10.0, 10.0)
