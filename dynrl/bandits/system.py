"""The dynamical linear bandit: model, derived quantities and value of a constant action.

Source: Mussi, Metelli, Restelli, "Dynamical Linear Bandits", ICML 2023 (arXiv 2211.08997), section 2.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.checks import finite_array, finite_number, non_negative
from dynrl.bandits.growth import spectral_radius, transient_growth

if TYPE_CHECKING:
    from dynrl.bandits.action_sets import ActionSet

__all__ = ["DLBParams", "DLBSystem", "SystemBounds", "UnstableSystemError"]

Array = NDArray[np.float64]


class UnstableSystemError(ValueError):
    """The spectral radius of A is at least 1, so there is no steady state, no h and no optimal value."""


class DLBParams(NamedTuple):
    """The numbers of a system as a pytree (every field is a leaf, NumPy or JAX).

    Attributes:
        A: state transition [n, n].
        B: effect of the action on the next state [n, d].
        omega: reward weight of the state, ω [n].
        theta: reward weight of the action, θ [d].
        sigma_x: standard deviation of each state noise component, ε [].
        sigma_y: standard deviation of the reward noise, η [].
        x0: state before the first action [n].
    """

    A: Array
    B: Array
    omega: Array
    theta: Array
    sigma_x: Array
    sigma_y: Array
    x0: Array


class SystemBounds(NamedTuple):
    """What DynLin-UCB must be told about a system (the paper's Assumptions 1 and 2).

    Attributes:
        theta: Θ ≥ ‖θ‖₂.
        omega: Ω ≥ ‖ω‖₂.
        b: B̄ ≥ ‖B‖₂ (spectral norm).
        phi: Φ̄ ≥ sup ‖A^τ‖₂ / rho^τ.
        rho: ρ̄ ≥ ρ(A).
    """

    theta: float
    omega: float
    b: float
    phi: float
    rho: float


@dataclass(frozen=True, eq=False)
class DLBSystem:
    """A dynamical linear bandit with a hidden linear state.

    In round t the action u_t gives the reward and then moves the state:

        y_t     = ω·x_t + θ·u_t + η_t,        η_t ~ N(0, sigma_y²)
        x_{t+1} = A x_t + B u_t + ε_t,        ε_t ~ N(0, sigma_x² I)

    so an action acts on its own reward only through θ and on later rewards through B. ``n = 0`` is a plain
    linear bandit. All arrays are converted to read-only float64.

    Attributes:
        A: state transition [n, n].
        B: effect of the action on the next state [n, d].
        omega: reward weight of the state [n].
        theta: reward weight of the action [d].
        sigma_x: standard deviation of each state noise component.
        sigma_y: standard deviation of the reward noise.
        x0: state before the first action [n]; zero by default.
        allow_unstable: accept ρ(A) ≥ 1. Such a system can be simulated, but asking it for ``h``, values or
            regrets raises.

    Raises:
        ValueError: wrong shapes (both are named), NaN or infinite entries, a negative noise scale.
        UnstableSystemError: ρ(A) ≥ 1 without ``allow_unstable``.
    """

    A: Array
    B: Array
    omega: Array
    theta: Array
    sigma_x: float = 0.0
    sigma_y: float = 0.0
    x0: Array = None  # type: ignore[assignment]
    allow_unstable: bool = False

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name, ndim in (("A", 2), ("B", 2), ("omega", 1), ("theta", 1)):
            set_(self, name, finite_array(name, getattr(self, name), ndim))
        n, d = self.n, self.d
        if self.A.shape != (n, n):
            raise ValueError(f"A must be square, but has shape {self.A.shape}")
        if self.B.shape != (n, d):
            raise ValueError(
                f"B must have shape (n, d) = ({n}, {d}) to match A {self.A.shape} and theta "
                f"{self.theta.shape}, but has shape {self.B.shape}"
            )
        if self.omega.shape != (n,):
            raise ValueError(
                f"omega must have shape ({n},) to match A {self.A.shape}, but has shape {self.omega.shape}"
            )
        if d == 0:
            raise ValueError("theta has shape (0,): a system needs at least one action coordinate")
        x0 = finite_array("x0", np.zeros(n) if self.x0 is None else self.x0, 1)
        if x0.shape != (n,):
            raise ValueError(f"x0 must have shape ({n},) to match A {self.A.shape}, but has shape {x0.shape}")
        set_(self, "x0", x0)
        set_(self, "sigma_x", non_negative("sigma_x", self.sigma_x))
        set_(self, "sigma_y", non_negative("sigma_y", self.sigma_y))
        if not self.allow_unstable:
            self._require_stable("build the system (pass allow_unstable=True to simulate it anyway)")

    @classmethod
    def from_state_space(
        cls,
        A: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike,
        weights: ArrayLike | None = None,
        sigma_x: float = 0.0,
        sigma_out: float = 0.0,
        x0: Array = None,  # type: ignore[assignment]
        allow_unstable: bool = False,
    ) -> Self:
        """The bandit whose reward is a weighted sum of p outputs z = C x + D u + noise.

        Args:
            A: [n, n], B: [n, d], C: [p, n], D: [p, d]: the state-space matrices.
            weights: [p], one by default; ω = Cᵀ weights, θ = Dᵀ weights.
            sigma_x: standard deviation of the state noise.
            sigma_out: standard deviation of the independent noise of each output; sigma_y = ‖weights‖₂ ·
                sigma_out (√p · sigma_out for unit weights).
            x0, allow_unstable: as in the constructor.
        """
        C, D = finite_array("C", C, 2), finite_array("D", D, 2)
        if len(C) != len(D):
            raise ValueError(
                f"C and D must have the same number of rows, but have shapes {C.shape} and {D.shape}"
            )
        w = finite_array("weights", np.ones(len(C)) if weights is None else weights, 1)
        if w.shape != (len(C),):
            raise ValueError(
                f"weights must have shape ({len(C)},) to match C {C.shape}, but has shape {w.shape}"
            )
        sigma_y = non_negative("sigma_out", sigma_out) * float(np.linalg.norm(w))
        A, B = finite_array("A", A, 2), finite_array("B", B, 2)
        return cls(A, B, C.T @ w, D.T @ w, sigma_x, sigma_y, x0, allow_unstable)

    def __reduce__(self) -> tuple:
        fields = (
            self.A,
            self.B,
            self.omega,
            self.theta,
            self.sigma_x,
            self.sigma_y,
            self.x0,
            self.allow_unstable,
        )
        return type(self), fields

    @property
    def n(self) -> int:
        """Number of state coordinates."""
        return len(self.A)

    @property
    def d(self) -> int:
        """Number of action coordinates."""
        return len(self.theta)

    @cached_property
    def params(self) -> DLBParams:
        """The numbers of the system as a pytree of float64 arrays."""
        sigma_x, sigma_y = np.asarray(self.sigma_x), np.asarray(self.sigma_y)
        return DLBParams(self.A, self.B, self.omega, self.theta, sigma_x, sigma_y, self.x0)

    @cached_property
    def rho(self) -> float:
        """Spectral radius ρ(A), the largest modulus of an eigenvalue; 0 for n = 0."""
        return spectral_radius(self.A)

    def _require_stable(self, purpose: str) -> None:
        if self.rho >= 1:
            raise UnstableSystemError(
                f"cannot {purpose}: the spectral radius of A is {self.rho:.6g}, it must be below 1"
            )

    def markov_parameters(self, count: int) -> Array:
        """[count, d]: effect of an action on the reward s rounds later, h⁰ = θ and h^s = Bᵀ(Aᵀ)^{s-1}ω."""
        if count < 0:
            raise ValueError(f"count must be at least 0, but is {count}")
        out = np.empty((count, self.d))
        out[:1] = self.theta
        weight = self.omega
        for s in range(1, count):
            out[s] = weight @ self.B
            weight = weight @ self.A
        return out

    @cached_property
    def cumulative_markov(self) -> Array:
        """h = Σ_s h^s = θ + Bᵀ(I − A)^{-ᵀ}ω [d], the long-run worth of each action coordinate.

        Raises:
            UnstableSystemError: ρ(A) ≥ 1.
        """
        self._require_stable("compute h")
        h = self.theta + self.B.T @ np.linalg.solve(np.eye(self.n) - self.A.T, self.omega)
        h.flags.writeable = False
        return h

    @property
    def h(self) -> Array:
        """Short for ``cumulative_markov``."""
        return self.cumulative_markov

    def transient_growth(self, level: float | None = None) -> float:
        """Φ_r(A) = sup_τ ‖A^τ‖₂ / r^τ at ``level`` r, by default at ρ(A) (the paper's Φ(A)).

        At least 1; infinite when r < ρ(A), and at r = ρ(A) when an eigenvalue of that modulus is defective or
        A is nilpotent and not zero. Every level above ρ(A) gives a finite value.
        """
        level = self.rho if level is None else non_negative("level", level)
        return transient_growth(self.A, level)

    def bounds(self, rho_bar: float | None = None) -> SystemBounds:
        """The true constants of the system, as DynLin-UCB is given them in the published runs.

        Args:
            rho_bar: the level ρ̄ ≥ ρ(A) to use. By default ρ(A) itself, or ρ(A) + (1 − ρ(A))/10 where the
                growth at ρ(A) is infinite.
        """
        self._require_stable("state its bounds")
        if rho_bar is None:
            rho_bar = self.rho if np.isfinite(self.transient_growth()) else self.rho + 0.1 * (1 - self.rho)
        rho_bar = finite_number("rho_bar", rho_bar)
        if not self.rho * (1 - 1e-12) <= rho_bar < 1:
            raise ValueError(f"rho_bar must lie in [rho, 1) = [{self.rho:.6g}, 1), but is {rho_bar}")
        theta, omega = float(np.linalg.norm(self.theta)), float(np.linalg.norm(self.omega))
        b = float(np.linalg.norm(self.B, 2)) if self.n else 0.0
        return SystemBounds(theta, omega, b, self.transient_growth(rho_bar), rho_bar)

    def steady_state(self, u: ArrayLike) -> Array:
        """State (I − A)^{-1} B u [..., n] that the constant action u [..., d] leads to."""
        self._require_stable("compute a steady state")
        u = self._actions(u)
        gain = np.linalg.solve(np.eye(self.n) - self.A, self.B)
        return u @ gain.T

    def state_covariance(self) -> Array:
        """Stationary covariance of the state [n, n]: Σ = AΣAᵀ + sigma_x² I."""
        self._require_stable("compute a stationary covariance")
        if self.n == 0:
            return np.zeros((0, 0))
        return scipy.linalg.solve_discrete_lyapunov(self.A, self.sigma_x**2 * np.eye(self.n))

    def reward_variance(self) -> float:
        """Stationary variance of the reward under a constant action: ωᵀΣω + sigma_y²."""
        return float(self.omega @ self.state_covariance() @ self.omega + self.sigma_y**2)

    def value(self, u: ArrayLike) -> Array:
        """Long-run average reward J(u) = h·u [...] of the constant actions u [..., d]."""
        return self._actions(u) @ self.cumulative_markov

    def optimal_action(self, action_set: "ActionSet") -> Array:
        """u* = argmax J over the action set [d]; constant u* is optimal among all policies (Theorem 2.1)."""
        self.require_dimension(action_set)
        return action_set.linear_argmax(self.cumulative_markov)

    def optimal_value(self, action_set: "ActionSet") -> float:
        """J* = h·u*."""
        return float(self.cumulative_markov @ self.optimal_action(action_set))

    def expected_rewards(self, actions: ArrayLike, x0: ArrayLike | None = None) -> Array:
        """Noise-free rewards [..., T] under the actions [..., T, d], from ``x0`` [n] (default: its own)."""
        actions = self._actions(actions)
        state = np.broadcast_to(
            self.x0 if x0 is None else np.asarray(x0, float), (*actions.shape[:-2], self.n)
        )
        out = actions @ self.theta
        pushes = actions @ self.B.T
        for t in range(actions.shape[-2]):
            out[..., t] += state @ self.omega
            state = state @ self.A.T + pushes[..., t, :]
        return out

    def require_dimension(self, action_set: "ActionSet") -> None:
        """ValueError unless the actions of the set have ``d`` coordinates."""
        if action_set.dimension != self.d:
            raise ValueError(
                f"the action set has dimension {action_set.dimension}, but the system takes actions of shape "
                f"({self.d},) (B {self.B.shape}, theta {self.theta.shape})"
            )

    def _actions(self, u: ArrayLike) -> Array:
        u = np.asarray(u, dtype=np.float64)
        if u.shape[-1:] != (self.d,):
            raise ValueError(
                f"actions must have shape (..., {self.d}) to match theta {self.theta.shape}, not {u.shape}"
            )
        return u
