"""How a policy's outputs become actions: one distribution for discrete actions, one for boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces
from jaxtyping import Array

from dynrl.learning.networks import from_unit


class ActionDistribution(Protocol):
    """A family of distributions over raw actions, with parameters `outputs [..., size]` and `log_std`."""

    @property
    def size(self) -> int:
        """Number of outputs that one distribution needs."""
        ...

    def initial_log_std(self) -> Array:
        """Log standard deviations to begin with; empty where there are none."""
        ...

    def sample(self, outputs: Array, log_std: Array, key: Array) -> Array:
        """A raw action."""
        ...

    def mode(self, outputs: Array) -> Array:
        """The likeliest raw action."""
        ...

    def log_probability(self, outputs: Array, log_std: Array, raw: Array) -> Array:
        """Of raw actions, `[...]`."""
        ...

    def entropy(self, outputs: Array, log_std: Array) -> Array:
        """`[...]`."""
        ...

    def to_world(self, raw: Array) -> Any:
        """The environment's action."""
        ...


@dataclass(frozen=True)
class Categorical:
    """`size` actions, the first of which the environment calls `first`; raw actions are their indices."""

    size: int
    first: int = 0

    def initial_log_std(self) -> Array:
        return jnp.zeros(0)

    def sample(self, outputs: Array, log_std: Array, key: Array) -> Array:
        return jax.random.categorical(key, outputs)

    def mode(self, outputs: Array) -> Array:
        return jnp.argmax(outputs, -1)

    def log_probability(self, outputs: Array, log_std: Array, raw: Array) -> Array:
        return jnp.take_along_axis(jax.nn.log_softmax(outputs), raw[..., None], -1)[..., 0]

    def entropy(self, outputs: Array, log_std: Array) -> Array:
        log = jax.nn.log_softmax(outputs)
        return -(jnp.exp(log) * log).sum(-1)

    def to_world(self, raw: Array) -> Any:
        return raw + self.first


@dataclass(frozen=True)
class Gaussian:
    """Independent normal unit actions, clipped to [-1, 1] and mapped to the box `low`, `high` (row by row)."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.low)

    def initial_log_std(self) -> Array:
        return jnp.zeros(self.size)

    def sample(self, outputs: Array, log_std: Array, key: Array) -> Array:
        return outputs + jnp.exp(log_std) * jax.random.normal(key, outputs.shape)

    def mode(self, outputs: Array) -> Array:
        return outputs

    def log_probability(self, outputs: Array, log_std: Array, raw: Array) -> Array:
        noise = (raw - outputs) / jnp.exp(log_std)
        return (-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, outputs: Array, log_std: Array) -> Array:
        one = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return jnp.broadcast_to(one, outputs.shape[:-1])

    def to_world(self, raw: Array) -> Any:
        inside = from_unit(jnp.clip(raw, -1.0, 1.0), np.array(self.low), np.array(self.high))
        return inside.astype(jnp.float32).reshape(*raw.shape[:-1], *self.shape)


def distribution_of(space: Space) -> ActionDistribution:
    """The family for an action space.

    Raises:
        TypeError: neither `Discrete` nor a bounded `Box`.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n), int(space.start))
    if isinstance(space, spaces.Box) and space.is_bounded():
        low, high = (tuple(bound.ravel().astype(float).tolist()) for bound in (space.low, space.high))
        return Gaussian(low, high, space.shape)
    raise TypeError(f"the action space is {space}, expected Discrete, or a Box with bounds.")
