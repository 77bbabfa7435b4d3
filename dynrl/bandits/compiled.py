"""The model in pure JAX, on `DLBParams`: works in both precisions, under `jit`, `vmap` and `scan`."""

from typing import Any

import jax
import jax.numpy as jnp

from dynrl.bandits.system import DLBParams

__all__ = ["cumulative_markov", "reward_and_next_state", "spectral_radius"]

_SQUARINGS = 60


def reward_and_next_state(params: DLBParams, x: Any, u: Any, noise: Any) -> tuple[Any, Any, Any]:
    """One round from the state x [n] under the action u [d]; returns (reward, expected reward, next state).

    Args:
        noise: [n + 1] standard normals, first those of the state, last the reward's.
    """
    n = x.shape[-1]
    expected = params.omega @ x + params.theta @ u
    reward = expected + params.sigma_y * noise[n]
    return reward, expected, params.A @ x + params.B @ u + params.sigma_x * noise[:n]


def spectral_radius(A: Any) -> Any:
    """ρ(A) [] of a matrix [n, n] as the limit of ‖A^k‖^{1/k}, k = 2, 4, ..., 2^60 (Gelfand).

    Eigenvalues of a non-symmetric matrix are not available on every JAX backend; squarings are.
    """
    A = jnp.asarray(A)
    if A.shape[-1] == 0:
        return jnp.zeros((), A.dtype)

    def square(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        power, log_radius = carry
        norm = jnp.linalg.norm(power)
        power = power / jnp.where(norm > 0, norm, 1.0)
        return power @ power, log_radius + jnp.log(norm) / 2.0**i

    _, log_radius = jax.lax.fori_loop(0, _SQUARINGS, square, (A, jnp.zeros((), A.dtype)))
    return jnp.exp(log_radius)


def cumulative_markov(params: DLBParams) -> Any:
    """h = θ + Bᵀ(I − A)^{-ᵀ}ω [d]; NaN where ρ(A) ≥ 1, because there is no steady state."""
    A, theta = jnp.asarray(params.A), jnp.asarray(params.theta)
    n = A.shape[-1]
    if n == 0:
        return theta
    h = theta + params.B.T @ jnp.linalg.solve(jnp.eye(n, dtype=A.dtype) - A.T, params.omega)
    return jnp.where(spectral_radius(A) < 1, h, jnp.nan)
