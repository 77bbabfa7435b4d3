"""DynLin-UCB: optimism for linear bandits with a hidden state (Mussi, Metelli, Restelli, ICML 2023, Algorithm 1)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import jax
import numpy as np
from scipy.stats import chi2, norm

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.dynlin_bounds import DynLinConstants, DynLinUCBConfig, epoch_holds
from dynrl.agents.bandits.linear_algebra import first_best, matvec, quadratic_forms
from dynrl.agents.bandits.ridge import RidgeState, ridge_init, ridge_refresh, ridge_update
from dynrl.agents.bandits.validation import check_in, check_probability
from dynrl.bandits import DLBSystem


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DynLinAlgorithm(BanditAlgorithm):
    """Pure functions of DynLin-UCB over finitely many candidate actions."""

    actions: Array
    constants: DynLinConstants
    radius: Literal["paper", "tight"] = field(metadata={"static": True})
    index: Literal["ucb", "ts"] = field(metadata={"static": True})
    epoch_rounding: Literal["floor", "ceil"] = field(metadata={"static": True})
    random_first: bool = field(metadata={"static": True})

    @property
    def draw(self) -> tuple[Literal["none", "uniform", "normal"], int]:
        if self.index == "ts":
            return "normal", self.actions.shape[-1]
        return ("uniform", 1) if self.random_first else ("none", 0)

    def schedule(self, num_epochs: int) -> Schedule:
        c = self.constants
        settling = c.settle + epoch_holds(num_epochs, c.rho_bar, self.epoch_rounding)
        holds = 1 + settling
        holds[:1] += c.warmup
        radius = self.paper_radius(holds) if self.radius == "paper" else self.bias_radius(settling)
        return Schedule(holds, {"radius": radius, "first": np.arange(num_epochs) == 0})

    def paper_radius(self, holds: np.ndarray) -> np.ndarray:
        """β_t at the start of each epoch, t being the rounds completed by then (Theorem 3.1)."""
        c, dimension = self.constants, self.actions.shape[-1]
        t = np.concatenate([[0], np.cumsum(holds)[:-1]]).astype(np.float64)
        growth = math.log(1.0 / c.delta) + dimension / 2 * np.log1p(t * c.u_bar**2 / (dimension * c.lambda_))
        return (
            c.c1 / math.sqrt(c.lambda_) * np.log(math.e * (t + 1.0))
            + c.c2 * math.sqrt(c.lambda_)
            + np.sqrt(2.0 * c.variance * growth)
        )

    def bias_radius(self, settling: np.ndarray) -> np.ndarray:
        """C·sqrt(Σ_{l<m} ρ̄^{2H_l}) + c₂√λ: the part of the tight radius that is known beforehand.

        With Σ(u_l·z)² ≤ zᵀVz, Cauchy-Schwarz gives ‖Σ u_l bias_l‖_{V⁻¹} ≤ sqrt(Σ bias_l²), which stays bounded
        because the holds grow.
        """
        c = self.constants
        squares = np.cumsum(c.rho_bar ** (2.0 * settling))
        return c.bias * np.sqrt(np.concatenate([[0.0], squares[:-1]])) + c.c2 * math.sqrt(c.lambda_)

    def init(self) -> RidgeState:
        return ridge_init(self.actions.shape[-1], self.constants.lambda_)

    def refresh(self, state: RidgeState) -> RidgeState:
        return ridge_refresh(state)

    def beta(self, state: RidgeState, inputs: dict[str, Array]) -> Array:
        """Radius of the confidence ellipsoid ‖ĥ − h‖_V ≤ β at the start of an epoch."""
        c, radius = self.constants, inputs["radius"]
        if self.radius == "tight":
            xp = state.V.__array_namespace__()
            radius = radius + xp.sqrt(2.0 * c.variance * (0.5 * state.log_det - xp.log(c.delta)))
        return c.beta_scale * radius

    def choose(self, state: RidgeState, inputs: dict[str, Array], draw: Array) -> tuple[RidgeState, Array]:
        xp = state.V.__array_namespace__()
        if self.index == "ts":
            noise = matvec(xp.linalg.cholesky(state.V_inverse), draw)
            return state, first_best(matvec(self.actions, state.h_hat + self.constants.ts_scale * noise))
        index = first_best(self.ucb(state, inputs))
        if self.random_first:
            uniform = (draw[0] * self.actions.shape[0]).astype(index.dtype)
            index = xp.where(inputs["first"], uniform, index)
        return state, index

    def ucb(self, state: RidgeState, inputs: dict[str, Array]) -> Array:
        """Index values ĥ·u + β‖u‖_{V⁻¹}, `[K]`."""
        xp = state.V.__array_namespace__()
        width = xp.sqrt(quadratic_forms(self.actions, state.V_inverse))
        return matvec(self.actions, state.h_hat) + self.beta(state, inputs) * width

    def learn(
        self, state: RidgeState, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> RidgeState:
        return ridge_update(state, action, sample)

    def recommend(self, state: RidgeState) -> Array:
        return first_best(matvec(self.actions, state.h_hat))

    def misses(self, state: RidgeState, inputs: dict[str, Array], h: Array) -> Array:
        error = state.h_hat - h
        return ((error * matvec(state.V, error)).sum() > self.beta(state, inputs) ** 2) * 1.0


class SettlingStatistics(NamedTuple):
    """Sums over holds of at least two rounds, for `DynLinUCB.settling_test`.

    `difference` is the last reward of a hold minus the one before it; `change` the action minus the previous hold's.

    Attributes:
        holds: how many.
        squares: Σ difference².
        cross: Σ difference·change, `[d]`.
        moment: Σ change·changeᵀ, `[d, d]`.
        previous_action: action of the previous hold, `[d]`.
    """

    holds: np.ndarray
    squares: np.ndarray
    cross: np.ndarray
    moment: np.ndarray
    previous_action: np.ndarray


class DynLinUCB(BanditAgent):
    """DynLin-UCB for rewards that depend on a hidden, stable, linear state.

    **When to use it.** Actions go on working after they were taken (advertising that builds awareness, doses that
    accumulate), only a scalar reward is seen, and you want the constant action with the best long-run average
    reward. A memoryless bandit drifts to what pays at once; this one holds every action until its effect has
    settled and learns from the last reward of the hold only. Holds grow with the logarithm of their number.

    **Guarantee.** With probability 1 − δ the true cumulative Markov parameter h stays in the ellipsoid
    ‖ĥ − h‖_V ≤ β at all times, and the expected regret is Õ(d√T/(1−ρ̄)^{3/2}) (Theorem 3.2), provided the bounds in
    the config hold.

    **Source.** M. Mussi, A. M. Metelli, M. Restelli, "Dynamical Linear Bandits", ICML 2023 (arXiv 2211.08997),
    Algorithm 1 and Theorem 3.1.

    **What differs.** `radius="paper"` is the publication. `radius="tight"` keeps the guarantee but bounds the bias of
    the samples by Cauchy-Schwarz over the holds really played, so that it neither grows with t nor is divided by
    √λ; with it the noise term uses det V, λ is small, and every hold is lengthened by `settle` rounds until bias
    and noise are of one size. It explores one to two orders of magnitude less. Action sets may be continuous: `act`
    then maximises the index over the whole set with the set's own oracle.

    Args:
        env: a Gymnasium environment or an `ActionSet`.
        config: `DynLinUCBConfig`, or its fields as keywords.
        seed: only Thompson sampling and `first_action="random"` are random.
    """

    Config = DynLinUCBConfig
    needs_candidates = False
    algorithm: DynLinAlgorithm
    learned: RidgeState
    extra: SettlingStatistics

    @classmethod
    def from_system(
        cls,
        system: DLBSystem,
        actions: Any,
        T: int,
        *,
        overestimate: float = 1.0,
        seed: int | None = None,
        **overrides: Any,
    ) -> Self:
        """An agent that is told the true bounds of a known system, as in the published experiments.

        Args:
            system: the system; its growth bound is infinite at ρ(A) when A is defective, then ρ̄ is a little above.
            actions: an `ActionSet`, or an environment.
            T: horizon; δ = 1/T.
            overestimate: factor on ρ̄, which is kept below 1.
            seed: of the agent.
            overrides: any field of the config.
        """
        bounds = system.bounds()
        told = {
            "rho_bar": min(overestimate * bounds.rho, 1.0 - 1e-6),
            "phi_bar": bounds.phi,
            "theta_bar": bounds.theta,
            "omega_bar": bounds.omega,
            "b_bar": bounds.b,
            "x0_norm": float(np.linalg.norm(system.params.x0)),
            "sigma": max(system.sigma_x, system.sigma_y),
            "horizon": T,
        }
        if "tau" in overrides:
            del told["rho_bar"]
        agent = cls(actions, seed=seed, **{**told, **overrides})
        agent.warn_if_too_fast(system)
        return agent

    def warn_if_too_fast(self, system: DLBSystem) -> None:
        """Warns when the given ρ̄ is below the spectral radius of a system that is known."""
        rho_bar = self.config.stability
        if rho_bar < system.rho * (1.0 - 1e-9):
            warnings.warn(
                f"rho_bar = {rho_bar:.4g} is below the spectral radius {system.rho:.4g} of this system: holds are too "
                "short for its transients and the guarantee does not apply",
                stacklevel=3,
            )

    def make_algorithm(self) -> DynLinAlgorithm:
        config = self.config
        if len(self.candidates) == 0 and (config.index == "ts" or config.first_action == "random"):
            raise ValueError(
                f'index="ts" and first_action="random" need finitely many actions, not {self.action_set}'
            )
        return DynLinAlgorithm(
            actions=self.candidates,
            constants=DynLinConstants.of(config, self.action_set.max_norm()),
            radius=config.radius,
            index=config.index,
            epoch_rounding=config.epoch_rounding,
            random_first=config.first_action == "random",
        )

    def initial_extra(self) -> SettlingStatistics:
        d, zero = self.action_set.dimension, np.zeros(())
        return SettlingStatistics(zero, zero, np.zeros(d), np.zeros((d, d)), np.zeros(d))

    def _choose(self) -> tuple[int, np.ndarray]:
        if len(self.candidates):
            return super()._choose()
        beta = float(self.algorithm.beta(self.learned, self._inputs))
        return -1, np.asarray(self.action_set.ucb_argmax(self.learned.h_hat, self.learned.V, beta))

    def end_hold(self, reward: float) -> None:
        sums = self.extra
        if self._hold > 1 and self.epoch > 1:
            difference = reward - self._previous_reward
            sums = sums._replace(holds=sums.holds + 1.0, squares=sums.squares + difference * difference)
            if self._action is not sums.previous_action:
                change = self._action - sums.previous_action
                cross, moment = sums.cross + difference * change, sums.moment + change[:, None] * change
                sums = sums._replace(cross=cross, moment=moment)
        self.extra = sums._replace(previous_action=self._action)

    def recommended(self) -> tuple[int, np.ndarray]:
        if len(self.candidates):
            return super().recommended()
        return -1, np.asarray(self.action_set.linear_argmax(self.learned.h_hat))

    @property
    def h_hat(self) -> np.ndarray:
        """Estimate of the cumulative Markov parameter h, `[d]`."""
        return self.learned.h_hat

    def beta(self) -> float:
        """Radius of the confidence ellipsoid for the data so far."""
        return float(self.algorithm.beta(self.learned, self.current_inputs()))

    def current_inputs(self) -> dict[str, Any]:
        """The schedule's inputs that go with the data so far: those of the next epoch once a hold is learnt."""
        return self.inputs(self.epoch + 1 if self._left == 0 else self.epoch)

    def ellipsoid(self) -> tuple[np.ndarray, np.ndarray, float]:
        """(ĥ `[d]`, V `[d, d]`, β): with probability 1 − δ, ‖ĥ − h‖_V ≤ β at all times."""
        return self.learned.h_hat.copy(), self.learned.V.copy(), self.beta()

    def confidence_interval(
        self, action: Any, method: Literal["uniform", "asymptotic"] = "uniform", level: float = 0.95
    ) -> tuple[float, float]:
        """Interval for the long-run value h·u of one action.

        Args:
            action: `[d]`, or an index into a finite set.
            method: `"uniform"`: ĥ·u ± β‖u‖_{V⁻¹}, which holds at all times together with probability 1 − δ.
                `"asymptotic"`: z·σ̂·‖u‖_{V⁻¹} with σ̂ from the residuals: narrower, for one look at `level`.
        """
        check_in("method", method, ("uniform", "asymptotic"))
        vector = (
            self.candidates[action]
            if isinstance(action, (int, np.integer))
            else np.asarray(action, np.float64)
        )
        if vector.shape != (self.action_set.dimension,):
            raise ValueError(f"action has shape {vector.shape}, expected ({self.action_set.dimension},)")
        value = float(vector @ self.h_hat)
        spread = math.sqrt(max(float(vector @ self.learned.V_inverse @ vector), 0.0))
        if method == "uniform":
            half = self.beta() * spread
        else:
            check_probability("level", level)
            half = float(norm.ppf(0.5 + level / 2)) * self.residual_scale() * spread
        return value - half, value + half

    def residual_scale(self) -> float:
        """σ̂: standard deviation of the samples about ĥ·u.

        Raises:
            ValueError: no more samples than dimensions.
        """
        d, samples = self.action_set.dimension, self.learned_epochs
        if samples <= d:
            raise ValueError(f"{samples} samples cannot tell the noise in {d} dimensions: play more rounds")
        V, _, b, h, _, energy = self.learned
        explained = V @ h - self.algorithm.constants.lambda_ * h
        return math.sqrt(max(float(energy - 2.0 * b @ h + h @ explained), 0.0) / (samples - d))

    def certificate(self) -> float:
        """Largest upper bound of any other action minus the lower bound of the recommended one.

        At most 0: the recommended action is certified best, with probability 1 − δ. On a set without a list of
        candidates the maximum runs over the whole set, so it approaches 0 from above.
        """
        index, best = self.recommended()
        lower = self.confidence_interval(best)[0]
        if len(self.candidates) == 0:
            h_hat, V, beta = self.ellipsoid()
            rival = np.asarray(self.action_set.ucb_argmax(h_hat, V, beta))
            return self.confidence_interval(rival)[1] - lower
        others = (self.candidates != self.candidates[index]).any(-1)
        if not others.any():
            return -math.inf
        uppers = self.algorithm.ucb(self.learned, self.current_inputs())
        return float(uppers[others].max()) - lower

    def settling_test(self, threshold: float = 4.0) -> float:
        """z-score of "the effect of a change of action goes on after its hold".

        Over holds of at least two rounds, the last reward minus the one before is regressed on the change of
        action. With a correct ρ̄ the coefficients are zero up to ρ̄^H; their Wald statistic is χ² and is returned
        as the standard-normal quantile of the same tail probability (NaN with too few holds to tell).

        Warns:
            UserWarning: the score exceeds `threshold`: ρ̄ looks too small.
        """
        count, squares, cross, moment = self.extra[:4]
        rank = int(np.linalg.matrix_rank(moment)) if count else 0
        if rank == 0 or count <= rank + 1:
            return math.nan
        explained = float(cross @ np.linalg.pinv(moment, hermitian=True) @ cross)
        unexplained = max(float(squares) - explained, 1e-300) / (float(count) - rank)
        z = float(norm.isf(chi2.sf(explained / unexplained, rank)))
        if z > threshold:
            warnings.warn(
                f"rho_bar looks too small: rewards still move at the end of holds (z = {z:.1f} over {int(count)} "
                "holds); raise rho_bar, or settle",
                stacklevel=2,
            )
        return z

    def warm_start(self, h0: Any, V0: Any) -> Self:
        """Starts from an estimate made elsewhere: the least-squares `h0` `[d]` of samples with moment `V0` `[d, d]`.

        Raises:
            RuntimeError: the run has begun.
            ValueError: wrong shapes, NaN, or a `V0` that is not symmetric positive semi-definite.
        """
        d = self.action_set.dimension
        h, moment = np.asarray(h0, np.float64), np.asarray(V0, np.float64)
        if self.epoch:
            raise RuntimeError("warm_start() after the first round: call it on a new agent")
        if h.shape != (d,) or moment.shape != (d, d):
            raise ValueError(
                f"h0 and V0 must have shapes ({d},) and ({d}, {d}), got {h.shape} and {moment.shape}"
            )
        if not (np.isfinite(h).all() and np.isfinite(moment).all()):
            raise ValueError("h0 and V0 must be finite")
        if not np.allclose(moment, moment.T) or np.linalg.eigvalsh(moment)[0] < -1e-9 * max(
            1.0, abs(moment).max()
        ):
            raise ValueError("V0 must be symmetric positive semi-definite: it is a sum of uuᵀ over samples")
        V, V_inverse, b, _, _, energy = self.learned
        V, b = V + moment, b + moment @ h
        log_det = np.linalg.slogdet(V)[1] - d * math.log(self.algorithm.constants.lambda_)
        self.learned = ridge_refresh(
            RidgeState(V, V_inverse, b, h, np.float64(log_det), energy + h @ moment @ h)
        )
        return self

    def warm_start_from_log(self, actions: Any, rewards: Any) -> int:
        """Learns from past rounds as if the agent had played them.

        The m-th sample is the last reward of a stretch during which the action did not change for at least the
        m-th hold; shorter stretches are passed over.

        Args:
            actions: `[T, d]`.
            rewards: `[T]`.

        Returns:
            The number of samples used.
        """
        u, y = np.asarray(actions, np.float64), np.asarray(rewards, np.float64)
        d = self.action_set.dimension
        if self.epoch:
            raise RuntimeError("warm_start_from_log() after the first round: call it on a new agent")
        if u.ndim != 2 or u.shape[1] != d or y.shape != u.shape[:1]:
            raise ValueError(
                f"actions and rewards must have shapes (T, {d}) and (T,), got {u.shape} and {y.shape}"
            )
        if not (np.isfinite(u).all() and np.isfinite(y).all()):
            raise ValueError("the log holds NaN or infinite entries")
        changes = np.flatnonzero((u[1:] != u[:-1]).any(-1)) + 1
        stretches = np.split(np.arange(len(u)), changes) if len(u) else []
        for stretch in stretches:
            self._extend_schedule(self.epoch + 1)
            if len(stretch) < self._schedule.holds[self.epoch]:
                continue
            self.epoch, self.learned_epochs = self.epoch + 1, self.learned_epochs + 1
            self._enter(self.epoch)
            action, sample = u[stretch[0]], y[stretch[-1]]
            self.learned = self.algorithm.learn(self.learned, self._inputs, -1, action, sample)
        return self.learned_epochs
