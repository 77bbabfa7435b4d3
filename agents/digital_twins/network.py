"""Tanh networks as pytrees of arrays alone, so that they can travel in the state of a compiled simulation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Network"]


class Network(eqx.Module):
    """Linear layers with tanh between them.

    Attributes:
        weights: `[out, in]` of each layer.
        biases: `[out]` of each layer.
    """

    weights: tuple[Float[Array, "out in"], ...]
    biases: tuple[Float[Array, " out"], ...]

    def __init__(
        self, sizes: Sequence[int], key: PRNGKeyArray, last_scale: float = 1.0, last_bias: float = 0.0
    ) -> None:
        """Draws the first weights, normal with standard deviation `1 / sqrt(in)`.

        Args:
            sizes: of the input, of each hidden layer, and of the output.
            key: of the draw.
            last_scale: factor on the weights of the last layer.
            last_bias: bias of the last layer; the others start at 0.
        """
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = list(itertools.pairwise(sizes))
        weights = [
            jax.random.normal(key, (out, into)) / jnp.sqrt(max(into, 1))
            for key, (into, out) in zip(keys, pairs, strict=True)
        ]
        weights[-1] = weights[-1] * last_scale
        self.weights = tuple(weights)
        biases = [jnp.zeros(out) for _, out in pairs]
        biases[-1] = jnp.full(sizes[-1], float(last_bias))
        self.biases = tuple(biases)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = jnp.tanh(weight @ x + bias)
        return self.weights[-1] @ x + self.biases[-1]
