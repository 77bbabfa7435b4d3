"""Solvers of controlled differential equations that gradients pass through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

__all__ = ["DiffraxSolver", "Rk4", "Solution", "Solver", "integrate_control"]

Array = Any
Field = Callable[[Array, Array, Any], Array]
"""`field(t, y, args) -> dy/dt`; what gradients are wanted for is in `args`."""


class Solution(NamedTuple):
    """A controlled trajectory.

    Attributes:
        t: times `[K + 1]`, equally spaced.
        x: states `[K + 1, n]`.
        u: controls `[K + 1, m]`.
        energy: `∫ |u|² dt` from 0 to each time `[K + 1]`.
    """

    t: Array
    x: Array
    u: Array
    energy: Array


class Solver(Protocol):
    """Solves `y' = field(t, y, args)` from 0 to `horizon` and returns times `[K + 1]` and states `[K + 1, n]`."""

    def __call__(self, field: Field, start: Array, args: Any, horizon: float) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class Rk4:
    """The classical Runge–Kutta scheme with fixed steps; gradients are those of the discrete scheme.

    Attributes:
        steps: number of steps, and of the states returned after the first.
    """

    steps: int = 40

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, expected at least 1")

    def __call__(self, field: Field, start: Array, args: Any, horizon: float) -> tuple[Array, Array]:
        start = jnp.asarray(start)
        h = horizon / self.steps
        t = jnp.linspace(0.0, horizon, self.steps + 1, dtype=start.dtype)

        def step(y: Array, t: Array) -> tuple[Array, Array]:
            k1 = field(t, y, args)
            k2 = field(t + h / 2, y + h / 2 * k1, args)
            k3 = field(t + h / 2, y + h / 2 * k2, args)
            k4 = field(t + h, y + h * k3, args)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return y, y

        _, following = jax.lax.scan(step, start, t[:-1])
        return t, jnp.concatenate([start[None], following])


@dataclass(frozen=True)
class DiffraxSolver:
    """Tsit5 with adaptive steps, from Diffrax.

    Attributes:
        points: number of states returned after the first.
        tolerance: relative and absolute, of the solution and of the adjoint. 32-bit floats carry about 1e-6.
        gradient: `"discrete"` differentiates the steps that were taken (exact, memory by checkpoints);
            `"continuous"` solves the adjoint equation backwards in time (constant memory, gradients only as exact as
            the tolerance: Chen et al., 2018).
        max_steps: of the solver; more are an error.
    """

    points: int = 40
    tolerance: float = 1e-5
    gradient: Literal["discrete", "continuous"] = "discrete"
    max_steps: int = 4096

    def __post_init__(self) -> None:
        if self.gradient not in ("discrete", "continuous"):
            raise ValueError(f"gradient is {self.gradient!r}, expected 'discrete' or 'continuous'")

    def __call__(self, field: Field, start: Array, args: Any, horizon: float) -> tuple[Array, Array]:
        diffrax = _diffrax()
        start = jnp.asarray(start)
        t = jnp.linspace(0.0, horizon, self.points + 1, dtype=start.dtype)
        step_control = diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance)
        adjoint = (
            diffrax.RecursiveCheckpointAdjoint()
            if self.gradient == "discrete"
            else diffrax.BacksolveAdjoint(stepsize_controller=step_control, solver=diffrax.Tsit5())
        )
        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=0.0,
            t1=horizon,
            dt0=horizon / self.points,
            y0=start,
            args=args,
            saveat=diffrax.SaveAt(ts=t),
            stepsize_controller=step_control,
            adjoint=adjoint,
            max_steps=self.max_steps,
        )
        return t, solved.ys


def integrate_control(
    dynamics: Callable[[Array, Array, Array], Array],
    controller: Callable[[Array, Array], Array],
    start: Array,
    horizon: float,
    solver: Solver,
) -> Solution:
    """Solves `x' = dynamics(t, x, u)` with `u = controller(t, x)`; the energy is integrated beside the state.

    Args:
        dynamics: `(t [], x [n], u [m]) -> [n]`.
        controller: `(t [], x [n]) -> [m]`, a pytree.
        start: x(0) `[n]`.
        horizon: T.
        solver: `Rk4` or `DiffraxSolver`.
    """

    def field(t: Array, y: Array, controller: Any) -> Array:
        u = controller(t, y[:-1])
        return jnp.concatenate([dynamics(t, y[:-1], u), jnp.sum(u**2)[None]])

    start = jnp.asarray(start)
    y0 = jnp.concatenate([start, jnp.zeros((1,), start.dtype)])
    t, y = solver(field, y0, controller, horizon)
    return Solution(t, y[:, :-1], jax.vmap(controller)(t, y[:, :-1]), y[:, -1])


def _diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            "DiffraxSolver needs diffrax: pip install 'dynrl[medical]', or use Rk4 instead"
        ) from error
    return diffrax
