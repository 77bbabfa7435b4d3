"""Pontryagin's conditions on a differential-equation metamodel, solved as a boundary-value problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_bvp

from dynrl.agents.digital_twins.controllers import Schedule

__all__ = ["Extremal", "extremal"]

Array = Any


class Extremal(NamedTuple):
    """A trajectory that satisfies Pontryagin's conditions.

    Attributes:
        schedule: its commands, one per stride, taken in the middle.
        t: mesh `[K]`, steps of the agent-based model.
        z, costate: `[K, d]`.
        cost: mean of `q + dose_weight / 2 |u / high|²` over the horizon.
    """

    schedule: Schedule
    t: NDArray[np.float64]
    z: NDArray[np.float64]
    costate: NDArray[np.float64]
    cost: float


def extremal(
    slope: Callable[[Array, Array], Array],
    instant: Callable[[Array], Array],
    start: Array,
    horizon: float,
    high: tuple[float, ...],
    *,
    dose_weight: float = 0.1,
    stride: int = 10,
    mesh: int = 121,
    tolerance: float = 1e-3,
    max_nodes: int = 4000,
) -> Extremal:
    """Minimises `1/T ∫ instant(z) + dose_weight / 2 |u / high|² dt` over commands between 0 and `high`.

    The Hamiltonian is `q(z) + λ/2 |u / high|² + pᵀ f(z, u)`, f linear in u, so that the best command is known:
    `u = clip(-high² (∂f/∂u)ᵀ p / λ, 0, high)`; then `z' = f`, `p' = -∂H/∂z`, `z(0)` given, `p(T) = 0`. The dose weight
    is lowered from ten times its value, each solution starting the next.

    Args:
        slope: `(z [d], u [m]) -> dz/dt [d]`, linear in u, such as `WolfSheepOde.slope` with its rates.
        instant: `z [d] -> []`.
        start: z(0) `[d]`.
        horizon: T, steps.
        high: largest commands `[m]`.
        dose_weight: λ, positive: without it the conditions do not determine u.
        stride: of the schedule.
        mesh: first mesh points.
        tolerance, max_nodes: of the solver.

    Raises:
        ValueError: `dose_weight` is not positive.
        RuntimeError: the boundary-value solver did not converge; says what it said.
    """
    if not dose_weight > 0:
        raise ValueError(f"dose_weight is {dose_weight}, expected a positive number")
    start64, top = np.asarray(start, np.float64), np.asarray(high, np.float64)
    d = len(start64)
    with jax.enable_x64(True):
        conditions = _conditions(slope, instant, jnp.asarray(top))
        t = np.linspace(0.0, horizon, mesh)
        y = np.concatenate([np.repeat(start64[:, None], mesh, 1), np.zeros((d, mesh))])
        y[:d] = _free_motion(slope, start64, t, len(top)).T
        for weight in (10 * dose_weight, 3 * dose_weight, dose_weight):
            solved = solve_bvp(
                lambda t, y, w=weight: np.asarray(conditions(jnp.asarray(y.T), w)[0]).T,
                lambda a, b: np.concatenate([a[:d] - start64, b[d:]]),
                t,
                y,
                tol=tolerance,
                max_nodes=max_nodes,
            )
            if not solved.success:
                raise RuntimeError(
                    f"the boundary-value solver failed at dose weight {weight:g}: {solved.message} A larger "
                    "dose_weight or a shorter horizon makes the problem easier"
                )
            t, y = solved.x, solved.y
        middle = np.arange(0.5 * stride, horizon, stride)
        commands = np.asarray(conditions(jnp.asarray(solved.sol(middle).T), dose_weight)[1])
        fine = np.linspace(0.0, horizon, 2001)
        states = jnp.asarray(solved.sol(fine).T)
        u = np.asarray(conditions(states, dose_weight)[1])
        running = np.asarray(jax.vmap(instant)(states[:, :d])) + dose_weight / 2 * ((u / top) ** 2).sum(-1)
    return Extremal(
        Schedule(jnp.asarray(commands, jnp.float32)),
        t,
        y[:d].T,
        y[d:].T,
        float(np.trapezoid(running, fine) / horizon),
    )


def _conditions(
    slope: Callable, instant: Callable, high: Array
) -> Callable[[Array, Any], tuple[Array, Array]]:
    def command(z: Array, p: Array, weight: Array) -> Array:
        effect = jax.jacfwd(lambda u: slope(z, u))(jnp.zeros_like(high))
        return jnp.clip(-(high**2) * (effect.T @ p) / weight, 0.0, high)

    def one(y: Array, weight: Array) -> tuple[Array, Array]:
        z, p = jnp.split(y, 2)
        u = command(z, p, weight)
        change = -jax.grad(lambda z: instant(z) + p @ slope(z, u))(z)
        return jnp.concatenate([slope(z, u), change]), u

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def _free_motion(slope: Callable, start: np.ndarray, t: np.ndarray, channels: int) -> np.ndarray:
    from dynrl.dynamics.solvers import Rk4

    pieces = len(t) - 1
    inner = max(int(np.ceil((t[1] - t[0]) / 2)), 1)
    _, path = Rk4(pieces * inner)(
        lambda t, z, _: slope(z, jnp.zeros(channels)), jnp.asarray(start), None, float(t[-1])
    )
    return np.asarray(path)[::inner]
