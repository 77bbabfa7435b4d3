"""Metamodels that are networks: a residual map, an ordinary differential equation, and one with noise."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.network import Network
from dynrl.dynamics.solvers import Rk4

__all__ = ["NeuralOde", "ResidualMap", "StochasticMap"]

Array = Any


class ResidualMap(Metamodel):
    """`x_{k+1} = relu(x_k + sqrt(x_k) N(x_k, u_k, context))`: an extinct species does not come back.

    A channel that removes a known share of a species does so before the map: x is `x (1 - u)^stride` in it. That keeps
    doses right which are larger than those of the training runs. Where a component may rise from nothing (molecules
    that flow in) it is not a species: `open_` components are not multiplied by their root.

    Source: the neural-ODE metamodels of Böttcher, Fonseca and Laubenbacher (Phil. Trans. R. Soc. A, 2025).
    """

    network: Network
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    removes: tuple[int | None, ...] = eqx.field(static=True)
    open_: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        scale: tuple[float, ...],
        control_scale: tuple[float, ...],
        stride: int = 10,
        *,
        key: PRNGKeyArray,
        contexts: int = 0,
        width: int = 48,
        depth: int = 2,
        removes: tuple[int | None, ...] | None = None,
        open_: tuple[bool, ...] | None = None,
    ) -> None:
        """Makes an untrained map of `depth` hidden layers.

        Args:
            scale, control_scale, stride: see `Metamodel`.
            key: of the first weights.
            contexts: c, length of what distinguishes patients.
            width, depth: of the hidden layers.
            removes: `[m]`, index of the component of which each channel removes a share per step; None for none.
            open_: `[n]`, which components may rise from zero; None for none.
        """
        inputs = len(scale) + len(control_scale) + contexts
        self.network = Network([inputs, *[width] * depth, len(scale)], key, last_scale=0.1)
        self.scale, self.control_scale, self.stride = tuple(scale), tuple(control_scale), stride
        self.removes = (None,) * len(control_scale) if removes is None else tuple(removes)
        self.open_ = (False,) * len(scale) if open_ is None else tuple(open_)

    def step(self, z: Array, u: Array, context: Array) -> Array:
        z = self.treated(z, u)
        return jax.nn.relu(z + self.root(z) * (0.1 * self.stride) * self.network(self.inputs(z, u, context)))

    def treated(self, z: Array, u: Array) -> Array:
        """x after what the command removes directly."""
        for channel, component in enumerate(self.removes):
            if component is not None:
                z = z.at[component].multiply((1 - u[channel]) ** self.stride)
        return z

    def inputs(self, z: Array, u: Array, context: Array) -> Array:
        """What the network sees. Small doses are spread out by the root, as they matter most."""
        return jnp.concatenate([z, jnp.sqrt(jnp.abs(u) / jnp.asarray(self.control_scale) + 1e-4), context])

    def root(self, z: Array) -> Array:
        """`sqrt(z)`, with a finite slope at 0 where its value is 0; 1 for open components."""
        safe = jnp.where(z > 1e-8, z, 1.0)
        return jnp.where(jnp.asarray(self.open_), 1.0, jnp.where(z > 1e-8, jnp.sqrt(safe), 0.0))


class NeuralOde(Metamodel):
    """`x' = x N(x, u, context)` per stride, by Runge–Kutta steps."""

    network: Network
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    solver: Rk4 = eqx.field(static=True)

    def __init__(
        self,
        scale: tuple[float, ...],
        control_scale: tuple[float, ...],
        stride: int = 10,
        *,
        key: PRNGKeyArray,
        contexts: int = 0,
        width: int = 48,
        depth: int = 2,
        solver: Rk4 | None = None,
    ) -> None:
        """Makes an untrained equation; arguments as for `ResidualMap`, solved with `Rk4(4)` per stride by default."""
        inputs = len(scale) + len(control_scale) + contexts
        self.network = Network([inputs, *[width] * depth, len(scale)], key, last_scale=0.1)
        self.scale, self.control_scale, self.stride = tuple(scale), tuple(control_scale), stride
        self.solver = Rk4(4) if solver is None else solver

    def step(self, z: Array, u: Array, context: Array) -> Array:
        def slope(t: Array, x: Array, args: tuple[Any, Array]) -> Array:
            network, given = args
            # A single run that blows up would take the whole fit with it.
            return x * jnp.clip(network(jnp.concatenate([x, given])), -10.0, 10.0)

        given = jnp.concatenate([u / jnp.asarray(self.control_scale), context])
        _, x = self.solver(slope, z, (self.network, given), 1.0)
        return jnp.clip(x[-1], 0.0, 1e3)


class StochasticMap(Metamodel):
    """A metamodel with a head for its noise: `x_{k+1} = relu(step(x_k) + sqrt(x_k) exp(½ V(x_k, u_k)) ε)`.

    The noise of births and deaths is of the order of the root of the counts, so that V varies little, and zero stays
    zero. V is fitted by the Gaussian likelihood of one-stride differences (`fit_noise`).
    """

    mean: ResidualMap
    log_variance: Network
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __init__(self, mean: ResidualMap, *, key: PRNGKeyArray, width: int = 16) -> None:
        """Adds an unfitted head of one hidden layer to a fitted map."""
        inputs = mean.network.weights[0].shape[1]
        self.mean = mean
        self.log_variance = Network([inputs, width, len(mean.scale)], key, last_scale=0.1, last_bias=-5.0)
        self.scale, self.control_scale, self.stride = mean.scale, mean.control_scale, mean.stride

    def step(self, z: Array, u: Array, context: Array) -> Array:
        return self.mean.step(z, u, context)

    def deviation(self, z: Array, u: Array, context: Array) -> Array:
        """Standard deviation of the next x `[n]`."""
        z = self.mean.treated(z, u)
        half = 0.5 * jnp.clip(self.log_variance(self.mean.inputs(z, u, context)), -14.0, 4.0)
        return self.mean.root(z) * jnp.exp(half)

    def sample(self, z: Array, u: Array, context: Array, key: Array) -> Array:
        noise = jax.random.normal(key, z.shape) * self.deviation(z, u, context)
        return jax.nn.relu(self.mean.step(z, u, context) + noise)
