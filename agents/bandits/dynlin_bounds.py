"""What DynLin-UCB is told about the world, and the constants that follow (Mussi et al., ICML 2023, Theorem 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from dynrl.agents.bandits.validation import (
    check_bound,
    check_count,
    check_in,
    check_positive,
    check_probability,
)


@dataclass(frozen=True)
class DynLinUCBConfig:
    """What the learner is told about the world, and how it uses it.

    All bounds are upper bounds on norms of the unknown system `y = ω·x + θ·u + η`, `x' = Ax + Bu + ε`.

    Attributes:
        rho_bar: ρ̄ ≥ ρ(A), in [0, 1). An interval `(low, high)` stands for its upper end.
        tau: half-life of a transient in rounds, instead of `rho_bar`: ρ̄ = 2^(−1/τ).
        phi_bar: Φ̄ ≥ sup_k ‖A^k‖₂/ρ̄^k, ≥ 1.
        theta_bar: Θ ≥ ‖θ‖₂.
        omega_bar: Ω ≥ ‖ω‖₂.
        b_bar: B̄ ≥ ‖B‖₂ (spectral norm).
        u_bar: Ū ≥ ‖u‖₂ on the action set; None takes the action set's own.
        x_bar: X̄ ≥ ‖x_t‖₂. `"paper"` is Ū/(1−ρ̄), which draws the published curves; `"auto"` is the bound
            Φ̄(‖x₀‖ + B̄Ū/(1−ρ̄)) + `x_noise` that really holds; or a number. None: `"paper"` with the paper radius,
            `"auto"` with the tight one.
        x0_norm: bound on ‖x₀‖₂, for `x_bar="auto"`: carry-over from before the start.
        x_noise: allowance for the noise in the state, for `x_bar="auto"`.
        sigma: σ, sub-Gaussian scale of the noise of state and reward.
        horizon: T, where known; sets the defaults of `delta` and `lambda_`.
        delta: δ, probability that the confidence set may fail. None: 1/T.
        lambda_: λ, ridge regularisation. None: log T (1 where T is unknown) with the paper radius, 0.01·Ū² with
            the tight one.
        radius: `"paper"` is the published β; `"tight"` bounds the bias by Cauchy-Schwarz over the holds played and
            uses the determinant of V: the same guarantee with far less exploration.
        settle: extra rounds in every hold. `"auto"`: as many as make the bias no larger than the noise.
            None: 0 with the paper radius, `"auto"` with the tight one.
        index: `"ucb"`, or `"ts"` for Thompson sampling from N(ĥ, v²V⁻¹), which has no theorem.
        ts_scale: v of Thompson sampling. None: σ̃.
        beta_scale: multiplies β. With λ = log T and a scale ≲ 0.05 the agent can lock on its first action for ever:
            the bonus then no longer covers the ridge's shrinkage.
        epoch_rounding: `"floor"` is the publication's; `"ceil"` bounds the bias of epoch m by 1/m as its proof wants.
        first_action: `"index"`: by the formula (the largest action); `"random"`: uniform over the candidates.
        warmup: rounds that the first action is held before learning starts, to flush what was in the state.
        on_bad_reward: `"raise"` on a reward that is not finite, or `"skip"`: the round counts, its epoch gives no
            sample.
    """

    rho_bar: float | tuple[float, float] | None = None
    tau: float | None = None
    phi_bar: float = 1.0
    theta_bar: float = 1.0
    omega_bar: float = 1.0
    b_bar: float = 1.0
    u_bar: float | None = None
    x_bar: float | Literal["paper", "auto"] | None = None
    x0_norm: float = 0.0
    x_noise: float = 0.0
    sigma: float = 0.1
    horizon: int | None = None
    delta: float | None = None
    lambda_: float | None = None
    radius: Literal["paper", "tight"] = "paper"
    settle: int | Literal["auto"] | None = None
    index: Literal["ucb", "ts"] = "ucb"
    ts_scale: float | None = None
    beta_scale: float = 1.0
    epoch_rounding: Literal["floor", "ceil"] = "floor"
    first_action: Literal["index", "random"] = "index"
    warmup: int = 0
    on_bad_reward: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        if (self.rho_bar is None) == (self.tau is None):
            raise ValueError("give exactly one of rho_bar and tau (the half-life of a transient, in rounds)")
        if self.tau is not None:
            check_positive("tau", self.tau)
        ends = self.rho_bar if isinstance(self.rho_bar, tuple) else (self.stability,)
        for end in ends:
            if not 0.0 <= end < 1.0:
                raise ValueError(
                    f"rho_bar must be in [0, 1), got {end}: only a stable system settles during a hold"
                )
        if ends[0] > ends[-1]:
            raise ValueError(f"rho_bar as an interval must be (low, high), got {self.rho_bar}")
        if not self.phi_bar >= 1.0 or math.isinf(self.phi_bar):
            raise ValueError(
                f"phi_bar must be a finite number ≥ 1 (the power 0 of A has norm 1), got {self.phi_bar}"
            )
        for name in ("theta_bar", "omega_bar", "b_bar", "x0_norm", "x_noise", "sigma", "beta_scale"):
            check_bound(name, getattr(self, name))
        for name in ("u_bar", "ts_scale"):
            check_bound(name, getattr(self, name), optional=True)
        if isinstance(self.x_bar, str):
            check_in("x_bar", self.x_bar, ("paper", "auto"))
        else:
            check_bound("x_bar", self.x_bar, optional=True)
        if self.delta is not None:
            check_probability("delta", self.delta)
        if self.lambda_ is not None:
            check_positive("lambda_", self.lambda_)
        if self.horizon is None and self.delta is None:
            raise ValueError("delta is 1/horizon by default: give delta, or the horizon if it is known")
        check_count("horizon", self.horizon, optional=True)
        check_count("warmup", self.warmup)
        if isinstance(self.settle, str):
            check_in("settle", self.settle, ("auto",))
        else:
            check_count("settle", self.settle, optional=True)
        check_in("radius", self.radius, ("paper", "tight"))
        check_in("index", self.index, ("ucb", "ts"))
        check_in("epoch_rounding", self.epoch_rounding, ("floor", "ceil"))
        check_in("first_action", self.first_action, ("index", "random"))
        check_in("on_bad_reward", self.on_bad_reward, ("raise", "skip"))

    @property
    def stability(self) -> float:
        """ρ̄ as one number."""
        if self.tau is not None:
            return 2.0 ** (-1.0 / self.tau)
        return float(self.rho_bar[-1] if isinstance(self.rho_bar, tuple) else self.rho_bar)  # type: ignore[arg-type]


class DynLinConstants(NamedTuple):
    """The constants of the confidence radius, from the bounds; leaves of the algorithm, so they can be batched.

    Attributes:
        rho_bar: ρ̄.
        u_bar: Ū.
        bias: C = ΩΦ̄(ŪB̄/(1−ρ̄) + X̄); what is left of the transient after H rounds is at most C·ρ̄^H.
        c1: Ū·C, the bias constant of the published radius.
        c2: Θ + ΩB̄Φ̄/(1−ρ̄) ≥ ‖h‖₂.
        variance: σ̃² = σ²(1 + Ω²Φ̄²/(1−ρ̄²)), sub-Gaussian proxy of a sample.
        delta: δ.
        lambda_: λ.
        settle: extra rounds of each hold.
        warmup: extra rounds of the first hold.
        beta_scale: factor on β.
        ts_scale: v of Thompson sampling.
    """

    rho_bar: float
    u_bar: float
    bias: float
    c1: float
    c2: float
    variance: float
    delta: float
    lambda_: float
    settle: int
    warmup: int
    beta_scale: float
    ts_scale: float

    @classmethod
    def of(cls, config: DynLinUCBConfig, max_norm: float) -> DynLinConstants:
        """Resolve every default of `config` for actions of norm at most `max_norm`."""
        rho, tight = config.stability, config.radius == "tight"
        u_bar = max_norm if config.u_bar is None else config.u_bar
        x_bar = config.x_bar if config.x_bar is not None else ("auto" if tight else "paper")
        if x_bar == "paper":
            state_bound = u_bar / (1.0 - rho)
        elif x_bar == "auto":
            state_bound = (
                config.phi_bar * (config.x0_norm + config.b_bar * u_bar / (1.0 - rho)) + config.x_noise
            )
        else:
            state_bound = float(x_bar)
        bias = config.omega_bar * config.phi_bar * (u_bar * config.b_bar / (1.0 - rho) + state_bound)
        c2 = config.theta_bar + config.omega_bar * config.b_bar * config.phi_bar / (1.0 - rho)
        variance = config.sigma**2 * (1.0 + (config.omega_bar * config.phi_bar) ** 2 / (1.0 - rho**2))
        delta = config.delta if config.delta is not None else 1.0 / max(config.horizon or 0, 2)
        if config.lambda_ is not None:
            lambda_ = config.lambda_
        elif tight:
            lambda_ = 0.01 * u_bar**2 or 1.0
        else:
            lambda_ = math.log(config.horizon) if config.horizon and config.horizon > 1 else 1.0
        settle = config.settle if config.settle is not None else ("auto" if tight else 0)
        if settle == "auto":
            tolerated = math.sqrt(2.0 * variance * math.log(1.0 / delta)) or 1e-3 * abs(c2) * u_bar
            settle = _settling_rounds(bias, rho, tolerated)
        return cls(
            rho_bar=rho,
            u_bar=u_bar,
            bias=bias,
            c1=u_bar * bias,
            c2=c2,
            variance=variance,
            delta=delta,
            lambda_=lambda_,
            settle=int(settle),
            warmup=config.warmup,
            beta_scale=config.beta_scale,
            ts_scale=math.sqrt(variance) if config.ts_scale is None else config.ts_scale,
        )


def _settling_rounds(bias: float, rho: float, tolerated: float) -> int:
    """Smallest k with C·ρ̄^k·sqrt(Σ_{l ≤ 2000} ρ̄^{2H_l}) ≤ `tolerated`."""
    total = bias * math.sqrt((rho ** (2.0 * epoch_holds(2000, rho, "floor"))).sum())
    if total <= tolerated:
        return 0
    if rho == 0.0 or tolerated == 0.0:
        return 1
    return math.ceil(math.log(tolerated / total) / math.log(rho) - 1e-9)


def epoch_holds(num_epochs: int, rho_bar: float, rounding: str) -> np.ndarray:
    """H_1..H_M = ⌊log m / log(1/ρ̄)⌋, safe against log(1000)/log(10) = 2.9999999999999996.

    Returns:
        int64 `[num_epochs]`.
    """
    if rho_bar == 0.0:
        return np.zeros(num_epochs, np.int64)
    ratio = np.log(np.arange(1, num_epochs + 1)) / -math.log(rho_bar)
    rounded = np.floor(ratio + 1e-9) if rounding == "floor" else np.ceil(ratio - 1e-9)
    return rounded.astype(np.int64)
