"""LinUCB (OFUL) and D-LinUCB: optimism for linear rewards without a hidden state, the second with forgetting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.dynlin_bounds import DynLinConstants, DynLinUCBConfig
from dynrl.agents.bandits.linear_algebra import first_best, matvec, spd_inverse
from dynrl.agents.bandits.ridge import RidgeState, ridge_init, ridge_refresh, ridge_update
from dynrl.agents.bandits.validation import (
    check_bound,
    check_count,
    check_in,
    check_positive,
    check_probability,
)
from dynrl.bandits import DLBSystem


@dataclass(frozen=True)
class LinUCBConfig:
    """Settings of LinUCB.

    Attributes:
        h_bar: S ≥ ‖h‖₂ of the linear reward h·u.
        noise_scale: s, sub-Gaussian scale of the reward noise.
        horizon: T, where known; sets the defaults of `delta` and `lambda_`.
        delta: δ; None: 1/T.
        lambda_: λ; None: log T (1 where T is unknown).
        u_bar: Ū ≥ ‖u‖₂; None: that of the action set.
        fixed_horizon: use T in place of the round t in the radius.
    """

    h_bar: float = 1.0
    noise_scale: float = 1.0
    horizon: int | None = None
    delta: float | None = None
    lambda_: float | None = None
    u_bar: float | None = None
    fixed_horizon: bool = False

    def __post_init__(self) -> None:
        check_bound("h_bar", self.h_bar)
        check_bound("noise_scale", self.noise_scale)
        check_bound("u_bar", self.u_bar, optional=True)
        check_count("horizon", self.horizon, optional=True)
        if self.delta is not None:
            check_probability("delta", self.delta)
        if self.lambda_ is not None:
            check_positive("lambda_", self.lambda_)
        if self.horizon is None and (self.delta is None or self.fixed_horizon):
            raise ValueError("delta (and fixed_horizon) need the horizon: give it, or give delta")

    @property
    def regularization(self) -> float:
        """λ with its default resolved."""
        if self.lambda_ is not None:
            return self.lambda_
        return math.log(self.horizon) if self.horizon and self.horizon > 1 else 1.0

    @property
    def failure_probability(self) -> float:
        """δ with its default resolved."""
        return self.delta if self.delta is not None else 1.0 / max(self.horizon or 0, 2)


@dataclass(frozen=True)
class DLinUCBConfig(LinUCBConfig):
    """Settings of D-LinUCB: those of LinUCB, and the discount.

    Attributes:
        discount: γ in (0, 1]; 1 forgets nothing and is LinUCB.
    """

    discount: float = 1.0 - 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.discount <= 1.0:
            raise ValueError(f"discount must be in (0, 1], got {self.discount}")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinUCBAlgorithm(BanditAlgorithm):
    """Pure functions of LinUCB."""

    actions: Array
    h_bar: float
    noise_scale: float
    lambda_: float
    delta: float
    u_bar: float
    discount: float
    fixed_horizon: int | None

    def schedule(self, num_epochs: int) -> Schedule:
        dimension = self.actions.shape[-1]
        t = np.arange(num_epochs, dtype=np.float64)
        if self.fixed_horizon is not None:
            t = np.full_like(t, self.fixed_horizon)
        growth = self.effective_rounds(t) * self.u_bar**2 / (dimension * self.lambda_)
        noise = 2.0 * math.log(1.0 / self.delta) + dimension * np.log1p(growth)
        radius = self.h_bar * math.sqrt(self.lambda_) + self.noise_scale * np.sqrt(noise)
        return Schedule(np.ones(num_epochs, np.int64), {"radius": radius})

    def effective_rounds(self, t: np.ndarray) -> np.ndarray:
        """Total weight that t rounds carry."""
        return t

    def init(self) -> Any:
        return ridge_init(self.actions.shape[-1], self.lambda_)

    def refresh(self, state: RidgeState) -> RidgeState:
        return ridge_refresh(state)

    def choose(self, state: Any, inputs: dict[str, Array], draw: Array) -> tuple[Any, Array]:
        xp = state.b.__array_namespace__()
        width = xp.sqrt(self.squared_widths(self.metric(state)))
        return state, first_best(matvec(self.actions, state.h_hat) + inputs["radius"] * width)

    def metric(self, state: Any) -> Array:
        """Matrix M of the bonus β·sqrt(uᵀMu), `[d, d]`."""
        return state.V_inverse

    def learn(self, state: Any, inputs: dict[str, Array], index: Array, action: Array, sample: Array) -> Any:
        return ridge_update(state, action, sample)

    def recommend(self, state: Any) -> Array:
        return first_best(matvec(self.actions, state.h_hat))


class DiscountedState(NamedTuple):
    """Weighted ridge regression.

    Attributes:
        V: `[d, d]`, Σ γ^age uuᵀ + λI.
        V_square: Ṽ, `[d, d]`, Σ γ^(2·age) uuᵀ + λI.
        V_inverse: V⁻¹.
        b: `[d]`, Σ γ^age u·y.
        h_hat: `[d]`, V⁻¹b.
    """

    V: Array
    V_square: Array
    V_inverse: Array
    b: Array
    h_hat: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DLinUCBAlgorithm(LinUCBAlgorithm):
    """Pure functions of D-LinUCB."""

    def effective_rounds(self, t: np.ndarray) -> np.ndarray:
        log_discount = math.log(self.discount)
        return np.expm1(2.0 * t * log_discount) / math.expm1(2.0 * log_discount) if log_discount else t

    def init(self) -> DiscountedState:
        eye = np.eye(self.actions.shape[-1])
        V, zeros = self.lambda_ * eye, np.zeros(len(eye))
        return DiscountedState(V, V, eye / self.lambda_, zeros, zeros)

    def refresh(self, state: DiscountedState) -> DiscountedState:  # type: ignore[override]
        return state

    def metric(self, state: DiscountedState) -> Array:
        xp = state.b.__array_namespace__()
        if xp is np:
            return state.V_inverse @ state.V_square @ state.V_inverse
        half = (state.V_inverse[:, :, None] * state.V_square[None]).sum(1)
        return (half[:, :, None] * state.V_inverse[None]).sum(1)

    def learn(
        self, state: DiscountedState, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> DiscountedState:
        gamma, lambda_ = self.discount, self.lambda_
        outer, eye = action[:, None] * action[None, :], np.eye(self.actions.shape[-1])
        V = gamma * state.V + outer + (1.0 - gamma) * lambda_ * eye
        V_square = gamma**2 * state.V_square + outer + (1.0 - gamma**2) * lambda_ * eye
        b = gamma * state.b + action * sample
        V_inverse = spd_inverse(V)
        return DiscountedState(V, V_square, V_inverse, b, matvec(V_inverse, b))


class LinUCB(BanditAgent):
    """LinUCB: treats every reward as an independent linear sample of the action just played.

    **When to use it.** Linear rewards without carry-over. On a dynamical bandit it is the natural wrong choice: its
    samples mix the effects of earlier actions, so it may lock on what pays at once or on a runner-up, run by run.

    **Guarantee.** Õ(d√T) regret when rewards are linear and independent; none here.

    **Source.** Y. Abbasi-Yadkori, D. Pál, C. Szepesvári, "Improved Algorithms for Linear Stochastic Bandits",
    NeurIPS 2011.

    **What differs.** Nothing in the update. `from_system(setting="dynlin")` gives it DynLin-UCB's constants without
    the bias term; `"plain"` is λ = 1, S = Θ, s = 1, T in place of t and the budget's norm bound.
    """

    Config: ClassVar[type] = LinUCBConfig
    algorithm_class: ClassVar[type[LinUCBAlgorithm]] = LinUCBAlgorithm

    def make_algorithm(self) -> LinUCBAlgorithm:
        c = self.config
        return self.algorithm_class(
            actions=self.candidates,
            h_bar=c.h_bar,
            noise_scale=c.noise_scale,
            lambda_=c.regularization,
            delta=c.failure_probability,
            u_bar=self.action_set.max_norm() if c.u_bar is None else c.u_bar,
            discount=getattr(c, "discount", 1.0),
            fixed_horizon=c.horizon if c.fixed_horizon else None,
        )

    @classmethod
    def from_system(
        cls,
        system: DLBSystem,
        actions: Any,
        T: int,
        *,
        setting: Literal["dynlin", "plain"] = "dynlin",
        seed: int | None = None,
        **overrides: Any,
    ) -> Self:
        """An agent with one of the two published settings, from the true bounds of a known system."""
        check_in("setting", setting, ("dynlin", "plain"))
        bounds = system.bounds()
        if setting == "plain":
            told = {
                "h_bar": bounds.theta,
                "noise_scale": 1.0,
                "lambda_": 1.0,
                "fixed_horizon": True,
                "u_bar": 1.5,
            }
        else:
            config = DynLinUCBConfig(
                rho_bar=bounds.rho,
                phi_bar=bounds.phi,
                theta_bar=bounds.theta,
                omega_bar=bounds.omega,
                b_bar=bounds.b,
                sigma=max(system.sigma_x, system.sigma_y),
                horizon=T,
            )
            constants = DynLinConstants.of(config, 1.0)
            told = {"h_bar": constants.c2, "noise_scale": math.sqrt(constants.variance)}
        return cls(actions, seed=seed, **{**told, "horizon": T, **overrides})


class DLinUCB(LinUCB):
    """D-LinUCB: LinUCB that forgets, for linear rewards whose coefficients drift.

    **When to use it.** A slowly changing linear reward without carry-over. On a dynamical bandit forgetting does not
    help: what confuses it is not drift but the state.

    **Guarantee.** Õ(d^{7/8} B_T^{1/4} T^{3/4}) for total drift B_T; none here.

    **Source.** Y. Russac, C. Vernade, O. Cappé, "Weighted Linear Bandits for Non-Stationary Environments",
    NeurIPS 2019.

    **What differs.** Nothing; discount 1 is LinUCB.
    """

    Config = DLinUCBConfig
    algorithm_class = DLinUCBAlgorithm
