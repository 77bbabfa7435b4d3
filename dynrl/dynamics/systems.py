"""Systems of the NODEC papers, with closed forms where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm

__all__ = ["Kuramoto", "LinearSystem", "NetworkSirx"]

Array = Any


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """`x' = A x + B u`.

    Attributes:
        drift: A `[n, n]`, per time unit.
        input: B `[n, m]`.
    """

    drift: NDArray[np.float64]
    input: NDArray[np.float64]

    def __post_init__(self) -> None:
        a, b = np.shape(self.drift), np.shape(self.input)
        if len(a) != 2 or a[0] != a[1] or len(b) != 2 or b[0] != a[0]:
            raise ValueError(f"drift {a} and input {b}: expected [n, n] and [n, m]")

    def __call__(self, t: Array, x: Array, u: Array) -> Array:
        return jnp.asarray(self.drift, x.dtype) @ x + jnp.asarray(self.input, x.dtype) @ u

    def minimum_energy(self, start: ArrayLike, targets: Sequence[ArrayLike], times: Sequence[float]) -> float:
        """The least `∫ |u|² dt` that takes the system from `start` through every target at its time.

        With one target this is `dᵀ W⁻¹ d`, W the controllability Gramian and d what the free motion misses by; with
        several, W is the Gram matrix of the responses at all the times.

        Args:
            start: x(0) `[n]`.
            targets: states `[n]`.
            times: of the targets, increasing.

        Raises:
            ValueError: a target cannot be reached with this input.
        """
        n = len(self.drift)
        missed = np.concatenate(
            [
                np.asarray(x) - expm(self.drift * t) @ np.asarray(start)
                for x, t in zip(targets, times, strict=True)
            ]
        )
        gram = np.zeros((n * len(times), n * len(times)))
        for i, first in enumerate(times):
            for j, second in enumerate(times):
                gram[i * n : (i + 1) * n, j * n : (j + 1) * n] = self._gram(first, second)
        signal = np.linalg.pinv(gram, hermitian=True) @ missed
        if not np.allclose(gram @ signal, missed, atol=1e-8):
            raise ValueError("a target is out of reach: the system is not controllable through this input")
        return float(missed @ signal)

    def _gram(self, first: float, second: float) -> NDArray[np.float64]:
        """`∫₀^min e^{A(first-s)} B Bᵀ e^{Aᵀ(second-s)} ds`, by one matrix exponential (Van Loan, 1978)."""
        n, end = len(self.drift), min(first, second)
        block = np.zeros((2 * n, 2 * n))
        block[:n, :n], block[:n, n:], block[n:, n:] = -self.drift, self.input @ self.input.T, self.drift.T
        power = expm(block * end)
        gramian = power[n:, n:].T @ power[:n, n:]
        return expm(self.drift * (first - end)) @ gramian @ expm(self.drift.T * (second - end))


@dataclass(frozen=True, eq=False)
class Kuramoto:
    """Coupled oscillators, `θᵢ' = ωᵢ + uᵢ K / N Σⱼ Aᵢⱼ sin(θⱼ - θᵢ)`: the control scales each node's coupling.

    Attributes:
        adjacency: A `[N, N]`, symmetric.
        frequencies: ω `[N]`, radians per time unit.
        coupling: K.
    """

    adjacency: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    coupling: float = 1.0

    def __call__(self, t: Array, x: Array, u: Array) -> Array:
        pull = jnp.sum(jnp.asarray(self.adjacency, x.dtype) * jnp.sin(x[None, :] - x[:, None]), axis=1)
        return jnp.asarray(self.frequencies, x.dtype) + u * self.coupling / len(self.adjacency) * pull

    def order(self, x: Array) -> Array:
        """The order parameter `|Σ exp(iθ)| / N` of phases `[..., N]`: 1 is synchrony."""
        return jnp.hypot(jnp.cos(x).mean(-1), jnp.sin(x).mean(-1))


@dataclass(frozen=True, eq=False)
class NetworkSirx:
    """An epidemic on a network with quarantine X; the control is where a limited quarantine effort goes.

    Per node: `S' = -β S Σ A I`, `I' = β S Σ A I - γ I - qᵢ I`, `R' = γ I`, `X' = qᵢ I`, where the efforts q are the
    budget times the softmax of the control, so that any control spends exactly the budget. A state is the
    concatenation of S, I, R, X `[4 N]`, shares of a node's population.

    Attributes:
        adjacency: A `[N, N]`.
        infection: β, per time unit.
        recovery: γ, per time unit.
        budget: sum of the efforts over nodes, per time unit.
    """

    adjacency: NDArray[np.float64]
    infection: float = 0.5
    recovery: float = 0.2
    budget: float = 1.0

    def __call__(self, t: Array, x: Array, u: Array) -> Array:
        s, i, _, _ = jnp.split(x, 4)
        new = self.infection * s * (jnp.asarray(self.adjacency, x.dtype) @ i)
        effort = self.budget * jax.nn.softmax(u)
        return jnp.concatenate([-new, new - self.recovery * i - effort * i, self.recovery * i, effort * i])

    def infected(self, x: Array) -> Array:
        """Mean share infected, of states `[..., 4 N]`."""
        return jnp.split(x, 4, axis=-1)[1].mean(-1)
