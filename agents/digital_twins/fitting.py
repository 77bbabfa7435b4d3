"""Fit of metamodels to runs of the agent-based model: multi-step roll-outs, then the noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agents.digital_twins.data import Trajectories
from dynrl.agents.digital_twins.metamodel import Metamodel, roll_out
from dynrl.agents.digital_twins.neural_metamodel import StochasticMap

__all__ = ["FitConfig", "Fitted", "fit", "fit_noise"]

Array = Any
M = TypeVar("M", bound=Metamodel)


@dataclass(frozen=True)
class FitConfig:
    """How a metamodel is fitted.

    Attributes:
        horizons: strides rolled out in the loss, one phase of training each.
        iterations: gradient steps per phase.
        batch: windows per gradient step.
        learning_rate: of Adam: (at first, at the end of a phase), falling as a half cosine.
        clip: largest norm of a gradient.
        check_every: gradient steps between two looks at the validation runs; the best weights are kept.
        seed: of the windows drawn.
    """

    horizons: tuple[int, ...] = (6, 12)
    iterations: int = 1000
    batch: int = 128
    learning_rate: tuple[float, float] = (3e-3, 5e-4)
    clip: float = 1.0
    check_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1:
            raise ValueError(f"horizons are {self.horizons}, expected one or more positive numbers")
        for name in ("iterations", "batch", "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")


class Fitted(NamedTuple):
    """What `fit` found.

    Attributes:
        metamodel: with the weights that were best on the validation runs.
        errors: root-mean-square error of whole validation roll-outs, in scaled units, at each look `[looks]`.
    """

    metamodel: Any
    errors: np.ndarray


def fit(metamodel: M, train: Trajectories, valid: Trajectories, config: FitConfig | None = None) -> Fitted:
    """Fits all arrays of `metamodel` by rolling it out from random moments of the runs.

    The loss is the mean squared difference to single random runs in scaled units, whose minimum is the conditional
    mean. Weights are kept from where roll-outs over whole validation runs were best.

    Args:
        metamodel: any; its arrays are what is fitted.
        train, valid: runs, of the metamodel's stride.
        config: how.

    Raises:
        ValueError: the runs are shorter than the longest horizon, or of other components.
        FloatingPointError: no look at the validation runs gave a finite error.
    """
    config = FitConfig() if config is None else config
    _check(metamodel, train, config)
    train, valid = (jax.tree.map(jnp.asarray, part) for part in (train, valid))
    weights, rest = eqx.partition(metamodel, eqx.is_inexact_array)
    best, least, errors = weights, float(_whole_error(rest, weights, valid)), []
    key = jax.random.key(config.seed)
    for horizon in config.horizons:
        optimiser = _adam(config)
        memory = optimiser.init(weights)
        for _ in range(0, config.iterations, config.check_every):
            key, block = jax.random.split(key)
            weights, memory = _block(rest, horizon, config, weights, memory, train, block)
            errors.append(float(_whole_error(rest, weights, valid)))
            if errors[-1] < least or not np.isfinite(least):
                best, least = weights, errors[-1]
    if not np.isfinite(least):
        raise FloatingPointError(
            "roll-outs over the validation runs are not finite: lower the learning rate, or shorten the stride"
        )
    return Fitted(eqx.combine(best, rest), np.asarray(errors))


def fit_noise(metamodel: StochasticMap, data: Trajectories, config: FitConfig | None = None) -> StochasticMap:
    """Fits the noise head by the Gaussian likelihood of one-stride differences; the mean stays as it is."""
    config = FitConfig(horizons=(1,)) if config is None else config
    _check(metamodel, data, config)
    optimiser = _adam(config)

    @jax.jit
    def run(head: Any, data: Trajectories, key: Array) -> Any:
        def loss(head: Any, window: tuple) -> Array:
            model = eqx.tree_at(lambda m: m.log_variance, metamodel, head)
            macro, control, context = window
            x, following = model.scaled(macro[0]), model.scaled(macro[1])
            deviation = model.deviation(x, control[0], context)
            alive = (x > 1e-6) & (following > 0)
            spread = jnp.where(alive, deviation, 1.0)
            z = (following - model.step(x, control[0], context)) / spread
            return jnp.sum(jnp.where(alive, 0.5 * z**2 + jnp.log(spread), 0.0))

        def update(carry: tuple, key: Array) -> tuple[tuple, None]:
            head, memory = carry
            windows = _windows(data, 1, config.batch, key)
            gradient = jax.grad(lambda head: jax.vmap(partial(loss, head))(windows).mean())(head)
            updates, memory = optimiser.update(gradient, memory)
            return (optax.apply_updates(head, updates), memory), None

        keys = jax.random.split(key, config.iterations)
        return jax.lax.scan(update, (head, optimiser.init(head)), keys)[0][0]

    head = run(metamodel.log_variance, jax.tree.map(jnp.asarray, data), jax.random.key(config.seed))
    return eqx.tree_at(lambda m: m.log_variance, metamodel, head)


def _adam(config: FitConfig) -> optax.GradientTransformation:
    first, last = config.learning_rate
    rate = optax.cosine_decay_schedule(first, config.iterations, alpha=last / first)
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _block(
    rest: Any, horizon: int, config: FitConfig, weights: Any, memory: Any, data: Trajectories, key: Array
) -> tuple[Any, Any]:
    optimiser = _adam(config)

    def loss(weights: Any, windows: tuple) -> Array:
        model = eqx.combine(weights, rest)
        macro, control, context = windows
        found = jax.vmap(partial(roll_out, model))(macro[:, 0], control, context)
        return jnp.mean((model.scaled(found) - model.scaled(macro)) ** 2)

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        weights, memory = carry
        gradient = jax.grad(loss)(weights, _windows(data, horizon, config.batch, key))
        updates, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(weights, updates), memory), None

    keys = jax.random.split(key, config.check_every)
    return jax.lax.scan(update, (weights, memory), keys)[0]


def _windows(data: Trajectories, horizon: int, batch: int, key: Array) -> tuple[Array, Array, Array]:
    """Macrostates `[batch, horizon + 1, n]`, commands `[batch, horizon, m]` and contexts `[batch, c]`."""
    runs, strides = data.control.shape[:2]
    which, when = jax.random.split(key)
    run = jax.random.randint(which, (batch,), 0, runs)
    first = jax.random.randint(when, (batch,), 0, strides - horizon + 1)

    def cut(series: Array, length: int) -> Array:
        return jax.vmap(lambda r, f: jax.lax.dynamic_slice_in_dim(series[r], f, length))(run, first)

    return cut(data.macro, horizon + 1), cut(data.control, horizon), data.context[run]


@partial(jax.jit, static_argnums=0)
def _whole_error(rest: Any, weights: Any, data: Trajectories) -> Array:
    model = eqx.combine(weights, rest)
    found = jax.vmap(partial(roll_out, model))(data.macro[:, 0], data.control, data.context)
    return jnp.sqrt(jnp.mean((model.scaled(found) - model.scaled(data.macro)) ** 2))


def _check(metamodel: Metamodel, data: Trajectories, config: FitConfig) -> None:
    strides, components = np.shape(data.control)[1], np.shape(data.macro)[-1]
    if components != len(metamodel.scale) or np.shape(data.control)[-1] != len(metamodel.control_scale):
        raise ValueError(
            f"runs of {components} components and {np.shape(data.control)[-1]} channels do not fit a metamodel of "
            f"{len(metamodel.scale)} and {len(metamodel.control_scale)}"
        )
    if strides < max(config.horizons):
        raise ValueError(f"runs of {strides} strides are too short for horizons {config.horizons}")
