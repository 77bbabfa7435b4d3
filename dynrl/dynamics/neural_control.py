"""Neural-network control of known dynamics: train by back-propagation through the solver.

Asikis, Böttcher and Antulov-Fantulin, "Neural ordinary differential equation control of dynamical systems on graphs",
Physical Review Research 4:013221, 2022 (NODEC); Böttcher, Antulov-Fantulin and Asikis, "AI Pontryagin", Nature
Communications 13:333, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.dynamics.solvers import Rk4, Solution, Solver, integrate_control

__all__ = ["ControlProblem", "NeuralControlConfig", "Steered", "steer"]

Array = Any


@dataclass(frozen=True, eq=False)
class ControlProblem:
    """Bring `x' = dynamics(t, x, u)` from `start` to where `loss` is small.

    Attributes:
        dynamics: `(t [], x [n], u [m]) -> [n]`, any JAX function.
        start: x(0) `[n]`, or several `[B, n]` for a feedback law; the loss is then the mean.
        horizon: T, time units.
        target: x* `[n]`; the loss is `|x(T) - x*|²` unless `loss` is given.
        loss: of a `Solution`, `[]`.
    """

    dynamics: Callable[[Array, Array, Array], Array]
    start: Array
    horizon: float
    target: Array | None = None
    loss: Callable[[Solution], Array] | None = None

    def __post_init__(self) -> None:
        if (self.target is None) == (self.loss is None):
            raise ValueError("give a target state or a loss, one of the two")
        if not self.horizon > 0:
            raise ValueError(f"horizon is {self.horizon}, expected a positive time")
        if np.ndim(self.start) not in (1, 2):
            raise ValueError(f"start has shape {np.shape(self.start)}, expected [n] or [B, n]")
        if self.target is not None and np.shape(self.target) != np.shape(self.start)[-1:]:
            raise ValueError(
                f"target has shape {np.shape(self.target)}, start {np.shape(self.start)}: states differ"
            )

    def cost(self, solution: Solution) -> Array:
        """The loss of one trajectory, `[]`."""
        if self.loss is not None:
            return self.loss(solution)
        return jnp.sum((solution.x[-1] - jnp.asarray(self.target)) ** 2)


@dataclass(frozen=True)
class NeuralControlConfig:
    """How `steer` trains.

    Attributes:
        learning_rate: of Adam.
        epochs: most gradient steps.
        tolerance: training stops at the first loss below it; 0 takes all epochs.
        clip: largest norm of a gradient.
    """

    learning_rate: float = 0.02
    epochs: int = 1000
    tolerance: float = 1e-8
    clip: float = 100.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not self.learning_rate > 0 or self.tolerance < 0:
            raise ValueError("epochs and learning_rate must be positive, tolerance at least 0")


class Steered(NamedTuple):
    """What `steer` found.

    Attributes:
        controller: the trained controller.
        solution: its trajectory; leaves `[B, ...]` where `start` is `[B, n]`.
        loss: of it, `[]`.
        losses: before each gradient step `[epochs]`; NaN after the last one taken.
        epochs: gradient steps taken.
    """

    controller: Any
    solution: Solution
    loss: float
    losses: np.ndarray
    epochs: int


@dataclass(frozen=True, eq=False)
class _Training:
    problem: ControlProblem
    solver: Solver
    config: NeuralControlConfig
    optimiser: Any = field(init=False)

    def __post_init__(self) -> None:
        adam = optax.chain(optax.clip_by_global_norm(self.config.clip), optax.adam(self.config.learning_rate))
        object.__setattr__(self, "optimiser", adam)


def steer(
    problem: ControlProblem,
    controller: Any,
    solver: Solver | None = None,
    config: NeuralControlConfig | None = None,
) -> Steered:
    """Trains `controller` on `problem` in one compiled program.

    Energy is reported (`solution.energy[-1]`), not penalised: from small first weights gradient descent finds a signal
    of nearly least energy by itself.

    Args:
        problem: what is to be reached.
        controller: an Equinox module `(t [], x [n]) -> u [m]`, such as `TimeController`.
        solver: `Rk4(40)` unless given.
        config: how to train.

    Raises:
        FloatingPointError: the loss became NaN or infinite; says at which epoch.
    """
    training = _Training(problem, Rk4() if solver is None else solver, config or NeuralControlConfig())
    weights, rest = eqx.partition(controller, eqx.is_inexact_array)
    weights, losses, epochs = _train(training, rest, weights)
    controller = eqx.combine(weights, rest)
    loss, solution = _loss(training, controller)
    losses, count = np.asarray(losses), int(epochs)
    if not np.isfinite(losses[:count]).all() or not np.isfinite(float(loss)):
        wrong = int(np.argmin(np.isfinite(losses[:count]))) if count else 0
        raise FloatingPointError(
            f"the loss is not finite after epoch {wrong}: try a smaller learning rate, smaller first weights or "
            "more solver steps"
        )
    return Steered(controller, solution, float(loss), losses, count)


@partial(jax.jit, static_argnums=(0, 1))
def _train(training: _Training, rest: Any, weights: Any) -> tuple[Any, Array, Array]:
    config, optimiser = training.config, training.optimiser

    def loss_of(weights: Any) -> Array:
        return _loss(training, eqx.combine(weights, rest))[0]

    def go_on(carry: tuple) -> Array:
        _, _, _, epoch, last = carry
        return (epoch < config.epochs) & (last >= config.tolerance)

    def epoch_of(carry: tuple) -> tuple:
        weights, memory, losses, epoch, _ = carry
        loss, gradient = jax.value_and_grad(loss_of)(weights)
        updates, memory = optimiser.update(gradient, memory)
        # Where the loss is small enough already, the weights that gave it are kept.
        updates = jax.tree.map(lambda leaf: jnp.where(loss < config.tolerance, 0.0, leaf), updates)
        return optax.apply_updates(weights, updates), memory, losses.at[epoch].set(loss), epoch + 1, loss

    losses = jnp.full((config.epochs,), jnp.nan)
    carry = (weights, optimiser.init(weights), losses, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf))
    weights, _, losses, epochs, _ = jax.lax.while_loop(go_on, epoch_of, carry)
    return weights, losses, epochs


def _loss(training: _Training, controller: Any) -> tuple[Array, Solution]:
    problem = training.problem

    def from_start(start: Array) -> tuple[Array, Solution]:
        solution = integrate_control(problem.dynamics, controller, start, problem.horizon, training.solver)
        return problem.cost(solution), solution

    start = jnp.asarray(problem.start)
    if start.ndim == 1:
        return from_start(start)
    losses, solutions = jax.vmap(from_start)(start)
    return losses.mean(), solutions
