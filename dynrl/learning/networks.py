"""Networks of actor-critic learners: pytrees of arrays, applied to arrays of any leading shape.

Actions are *unit* actions here, each component in [-1, 1]; `ActorPolicy` turns them into the environment's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = [
    "MLP",
    "Actor",
    "ActorPolicy",
    "Critic",
    "DeterministicActor",
    "GaussianActor",
    "TwinCritic",
    "explored",
]

LOG_STD_LOW, LOG_STD_HIGH = -20.0, 2.0  # Haarnoja et al., SAC, 2018


class MLP(eqx.Module):
    """Dense layers with an activation between them; the output is linear.

    Attributes:
        weights: `[in, out]` of each layer.
        biases: `[out]` of each layer.
    """

    weights: tuple[Float[Array, "in out"], ...]
    biases: tuple[Float[Array, " out"], ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        key: PRNGKeyArray,
        activation: Callable[[Array], Array] = jax.nn.relu,
        last_scale: float = 1.0,
    ) -> None:
        """Draws the first weights uniformly within `1 / sqrt(in)` (PyTorch's default, which the peers use).

        Args:
            sizes: of the input, of each hidden layer, and of the output.
            key: of the draw.
            activation: between layers.
            last_scale: factor on the first weights of the last layer.
        """
        pairs = list(itertools.pairwise(sizes))
        weights, biases = [], []
        for number, (layer_key, (into, out)) in enumerate(
            zip(jax.random.split(key, len(pairs)), pairs, strict=True)
        ):
            weight_key, bias_key = jax.random.split(layer_key)
            bound = (last_scale if number == len(pairs) - 1 else 1.0) / math.sqrt(max(into, 1))
            weights.append(jax.random.uniform(weight_key, (into, out), jnp.float32, -bound, bound))
            biases.append(jax.random.uniform(bias_key, (out,), jnp.float32, -bound, bound))
        self.weights, self.biases, self.activation = tuple(weights), tuple(biases), activation

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.activation(x @ weight + bias)
        return x @ self.weights[-1] + self.biases[-1]


class Actor(Protocol):
    """What `ActorPolicy` asks of an actor."""

    def mode(self, observation: Array) -> Array:
        """The deterministic unit action, `[..., a]`."""
        ...

    def explore(self, observation: Array, key: Array) -> Array:
        """A random unit action, `[..., a]`."""
        ...


@jax.jit
def explored(actor: Actor, observation: Array, key: PRNGKeyArray) -> Array:
    """`actor.explore(observation, key)`, compiled once for every actor of a shape."""
    return actor.explore(observation, key)


class GaussianActor(eqx.Module):
    """A squashed Gaussian: `tanh(mean + std * noise)` (Haarnoja et al., SAC, 2018, appendix C)."""

    network: MLP

    def __init__(
        self, observation_size: int, action_size: int, key: PRNGKeyArray, hidden: Sequence[int] = (256, 256)
    ):
        self.network = MLP((observation_size, *hidden, 2 * action_size), key)

    def distribution(self, observation: Float[Array, "... o"]) -> tuple[Array, Array]:
        """Mean and log standard deviation before the squashing, each `[..., a]`."""
        mean, log_std = jnp.split(self.network(observation), 2, axis=-1)
        return mean, jnp.clip(log_std, LOG_STD_LOW, LOG_STD_HIGH)

    def sample(self, observation: Float[Array, "... o"], key: PRNGKeyArray) -> tuple[Array, Array]:
        """A unit action `[..., a]` and its log density `[...]`."""
        mean, log_std = self.distribution(observation)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        raw = mean + jnp.exp(log_std) * noise
        normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), written so that it stays finite where tanh(x) rounds to 1
        squash = 2 * (math.log(2.0) - raw - jax.nn.softplus(-2 * raw))
        return jnp.tanh(raw), (normal - squash).sum(-1)

    def mode(self, observation: Float[Array, "... o"]) -> Float[Array, "... a"]:
        return jnp.tanh(self.distribution(observation)[0])

    def explore(self, observation: Float[Array, "... o"], key: PRNGKeyArray) -> Float[Array, "... a"]:
        return self.sample(observation, key)[0]


class DeterministicActor(eqx.Module):
    """`tanh` of a network (Lillicrap et al., DDPG, 2016; Fujimoto et al., TD3, 2018).

    Attributes:
        noise: standard deviation of the Gaussian added in `explore`, unit actions.
    """

    network: MLP
    noise: float = eqx.field(static=True)

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        key: PRNGKeyArray,
        hidden: Sequence[int] = (256, 256),
        noise: float = 0.1,
    ) -> None:
        self.network = MLP((observation_size, *hidden, action_size), key)
        self.noise = noise

    def mode(self, observation: Float[Array, "... o"]) -> Float[Array, "... a"]:
        return jnp.tanh(self.network(observation))

    def explore(self, observation: Float[Array, "... o"], key: PRNGKeyArray) -> Float[Array, "... a"]:
        action = self.mode(observation)
        noise = self.noise * jax.random.normal(key, action.shape, action.dtype)
        return jnp.clip(action + noise, -1, 1)


class Critic(eqx.Module):
    """`Q(observation, action[, extra])`, a number."""

    network: MLP

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        key: PRNGKeyArray,
        hidden: Sequence[int] = (256, 256),
        extra_size: int = 0,
    ) -> None:
        """Args: extra_size: length of a further input such as model parameters; 0 for none."""
        self.network = MLP((observation_size + action_size + extra_size, *hidden, 1), key)

    def __call__(
        self, observation: Float[Array, "... o"], action: Float[Array, "... a"], extra: Array | None = None
    ) -> Float[Array, "..."]:
        parts = [observation, action] if extra is None else [observation, action, extra]
        return self.network(jnp.concatenate(parts, axis=-1))[..., 0]


class TwinCritic(eqx.Module):
    """Two critics with weights of their own (Fujimoto et al., TD3, 2018)."""

    first: Critic
    second: Critic

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        key: PRNGKeyArray,
        hidden: Sequence[int] = (256, 256),
        extra_size: int = 0,
    ) -> None:
        one, two = jax.random.split(key)
        self.first = Critic(observation_size, action_size, one, hidden, extra_size)
        self.second = Critic(observation_size, action_size, two, hidden, extra_size)

    def __call__(
        self, observation: Float[Array, "... o"], action: Float[Array, "... a"], extra: Array | None = None
    ) -> Float[Array, "2 ..."]:
        return jnp.stack([self.first(observation, action, extra), self.second(observation, action, extra)])


class ActorPolicy(eqx.Module):
    """An actor as a policy of the environment: memoryless, deterministic unless a key is given.

    It is a `dynrl.robust.policy.RobustPolicy` whose carry is empty.

    Attributes:
        actor: gives unit actions.
        low, high: `[a]`, bounds of the environment's actions.
    """

    actor: Any
    low: Float[Array, " a"]
    high: Float[Array, " a"]

    @classmethod
    def of(cls, actor: Any, action_space: Any) -> Self:
        """The policy of `actor` for a Gymnasium `Box` of actions."""
        return cls(
            actor, jnp.asarray(action_space.low, jnp.float32), jnp.asarray(action_space.high, jnp.float32)
        )

    def initial_carry(self, num_envs: int) -> tuple[()]:
        return ()

    def act(
        self, observation: Float[Array, "b o"], carry: tuple[()], key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "b a"], tuple[()]]:
        observation = jnp.asarray(observation, jnp.float32)
        unit = self.actor.mode(observation) if key is None else self.actor.explore(observation, key)
        return from_unit(unit, self.low, self.high), carry


def from_unit(action: Any, low: Any, high: Any) -> Any:
    """Unit actions `[..., a]` as actions between `low` and `high`."""
    # Where the bounds are not symmetric, rounding alone may lead past one of them, and environments refuse that.
    return (low + 0.5 * (action + 1.0) * (high - low)).clip(low, high)


def to_unit(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Reverses `from_unit`."""
    return 2.0 * (action - low) / (high - low) - 1.0


def polyak(target: Any, online: Any, rate: float) -> Any:
    """`(1 - rate) target + rate online`, leaf by leaf of their arrays."""
    return jax.tree.map(
        lambda old, new: (1 - rate) * old + rate * new if eqx.is_inexact_array(old) else old, target, online
    )
