"""Small networks that give a control signal: of time alone, or of time and state."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["StateController", "TimeController"]


class TimeController(eqx.Module):
    """`u(t) = N(t / horizon)`, an open-loop signal.

    Weights start small: gradient descent from there ends close to the signal of least energy, without a penalty on it
    (Böttcher, Antulov-Fantulin and Asikis, "AI Pontryagin", Nature Communications 13:333, 2022).
    """

    network: eqx.nn.MLP
    horizon: float = eqx.field(static=True)

    def __init__(
        self,
        controls: int,
        horizon: float,
        *,
        key: PRNGKeyArray,
        width: int = 8,
        depth: int = 1,
        scale: float = 0.1,
    ) -> None:
        """Makes a network of `depth` hidden ELU layers.

        Args:
            controls: m, length of the signal's value.
            horizon: T, time units.
            key: of the first weights.
            width, depth: of the hidden layers.
            scale: factor on the usual first weights.
        """
        self.horizon = horizon
        self.network = _small(eqx.nn.MLP(1, controls, width, depth, jax.nn.elu, key=key), scale)

    def __call__(self, t: Float[Array, ""], x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.network(jnp.reshape(t / self.horizon, (1,)))


class StateController(eqx.Module):
    """`u(t, x) = N(t / horizon, x)`, a feedback law."""

    network: eqx.nn.MLP
    horizon: float = eqx.field(static=True)

    def __init__(
        self,
        states: int,
        controls: int,
        horizon: float,
        *,
        key: PRNGKeyArray,
        width: int = 16,
        depth: int = 2,
        scale: float = 0.1,
    ) -> None:
        """Makes a network for a state of length `states`; otherwise as `TimeController`."""
        self.horizon = horizon
        self.network = _small(eqx.nn.MLP(1 + states, controls, width, depth, jax.nn.elu, key=key), scale)

    def __call__(self, t: Float[Array, ""], x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.network(jnp.concatenate([jnp.reshape(t / self.horizon, (1,)), x]))


def _small(network: eqx.nn.MLP, scale: float) -> eqx.nn.MLP:
    weights, rest = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: scale * leaf, weights), rest)
