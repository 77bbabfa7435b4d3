"""DynLin-UCB: optimism for linear bandits with a hidden state (Mussi, Metelli, Restelli, ICML 2023, Algorithm 1)."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from scipy.stats import chi2, norm

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.dynlin_algorithm import DynLinAlgorithm
from dynrl.agents.bandits.dynlin_bounds import DynLinConstants, DynLinUCBConfig
from dynrl.agents.bandits.log_bounds import bounds_from_gain
from dynrl.agents.bandits.ridge import RidgeState, ridge_refresh
from dynrl.agents.bandits.validation import check_in, check_probability
from dynrl.bandits import ActionSet, DLBSystem, FiniteSet, identify_gain


class SettlingStatistics(NamedTuple):
    """Sums over holds of at least two rounds whose action is not the previous hold's, for `settling_test`.

    Attributes:
        holds: how many.
        moment: Σ rrᵀ over rows r = (change of action, last reward minus the one before), without the `recent` ones,
            `[d + 1, d + 1]`.
        recent: the last `holds % len(recent)` rows, not summed yet.
        previous_action: action of the previous hold, `[d]`; NaN before the first that this agent has seen.
        previous_candidate: its index, −1 on a set without a list of candidates.
    """

    holds: np.ndarray | int
    moment: np.ndarray
    recent: np.ndarray
    previous_action: np.ndarray
    previous_candidate: np.ndarray | int

    def total(self) -> np.ndarray:
        """The moment over all rows."""
        pending = self.recent[: int(self.holds) % len(self.recent)]
        return self.moment + pending.T @ pending


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

    @classmethod
    def from_log(
        cls,
        action_set: ActionSet,
        actions: Any,
        rewards: Any,
        *,
        order: int | None = None,
        rho_bar: float | None = None,
        seed: int | None = None,
        **overrides: Any,
    ) -> Self:
        """An agent whose bounds, ρ̄ among them, are estimated from a log, and which has learnt from it.

        The bounds are those of `bounds_from_gain`; as estimates they weaken the guarantee to "if they hold". Past
        rounds become samples where the action stood still for long enough (`warm_start_from_log`).

        Args:
            action_set: what may be played from now on.
            actions: `[T, d]`, in time order.
            rewards: `[T]`.
            order: of the regression, see `identify_gain`.
            rho_bar: ρ̄ where it is known; None: estimated as min(0.999, ρ̂ + 2 se + 0.02).
            seed: of the agent.
            overrides: any field of the config; `delta` (or `horizon`) must be among them.

        Raises:
            ValueError: shapes, NaN, too few rows, actions that do not vary, an unstable fit.
        """
        u = np.asarray(actions, np.float64)
        told: dict[str, Any] = bounds_from_gain(identify_gain(u, rewards, order), rho_bar)
        told["u_bar"] = max(action_set.max_norm(), float(np.linalg.norm(u, axis=1).max()))
        told["x_bar"] = told["b_bar"] * told["u_bar"] / (1.0 - told["rho_bar"])
        agent = cls(action_set, seed=seed, **{**told, "radius": "tight", **overrides})
        agent.warm_start_from_log(u, rewards)
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

    @property
    def next_hold(self) -> int:
        """Rounds that the hold after the running one will last."""
        self._extend_schedule(self.epoch + 1)
        return self._holds[self.epoch]

    def change_action_set(self, action_set: ActionSet) -> None:
        """From the next hold on, plays in another set of the same dimension; what has been learnt stays.

        Raises:
            RuntimeError: in the middle of a hold, whose action the new set may forbid.
            ValueError: another dimension, or actions larger than the Ū that the radius covers.
        """
        if self._left:
            raise RuntimeError(
                f"the action set can change at the end of a hold: {self._left} rounds of this one are left"
            )
        if action_set.dimension != self.action_set.dimension:
            raise ValueError(
                f"the new action set has dimension {action_set.dimension}, expected {self.action_set.dimension}"
            )
        u_bar = self.algorithm.constants.u_bar
        if action_set.max_norm() > u_bar * (1.0 + 1e-9):
            raise ValueError(
                f"the new action set has actions of norm {action_set.max_norm():.6g}, above u_bar = {u_bar:.6g}: give "
                "the agent a u_bar that covers all sets to come"
            )
        candidates = action_set.candidates()
        none = np.zeros((0, action_set.dimension))
        self.candidates = none if candidates is None else np.asarray(candidates, np.float64)
        self.algorithm = replace(self.algorithm, actions=self.candidates)
        self.action_set, self._rows = action_set, list(self.candidates)
        self._finite = isinstance(action_set, FiniteSet)

    def initial_extra(self) -> SettlingStatistics:
        d = self.action_set.dimension
        moment, recent = np.zeros((d + 1, d + 1)), np.zeros((64, d + 1))
        return SettlingStatistics(np.array(0), moment, recent, np.full(d, np.nan), np.array(-1))

    def _choose(self) -> tuple[int, np.ndarray]:
        if len(self.candidates):
            return super()._choose()
        beta = float(self.algorithm.beta(self.learned, self._inputs))
        return -1, np.asarray(self.action_set.ucb_argmax(self.learned.h_hat, self.learned.V, beta))

    def end_hold(self, reward: float) -> None:
        holds, moment, recent, previous, candidate = self.extra
        if self._index == candidate >= 0:
            return
        known = not math.isnan(previous[0])  # it is not in the first hold, nor in the first after a log
        if known and self._hold > 1 and not self._spoiled:
            row = recent[int(holds) % len(recent)]
            row[:-1], row[-1] = self._action - previous, reward - self._previous_reward
            holds = int(holds) + 1
            if holds % len(recent) == 0:
                moment = moment + recent.T @ recent
        self.extra = SettlingStatistics(holds, moment, recent, self._action, self._index)

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
        given = np.asarray(action)
        indexed = given.shape == () and given.dtype.kind in "iu" and len(self.candidates) > 0
        vector = self.candidates[given] if indexed else given.astype(np.float64)
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

        Over holds of at least two rounds that changed the action, the last reward minus the one before is regressed
        on the change. With a correct ρ̄ the coefficients are zero up to ρ̄^H; their Wald statistic is χ² and is
        returned as the standard-normal quantile of the same tail probability (NaN with too few holds to tell).

        Warns:
            UserWarning: the score exceeds `threshold`: ρ̄ looks too small.
        """
        holds, moment = float(self.extra.holds), self.extra.total()
        changes, cross, squares = moment[:-1, :-1], moment[:-1, -1], float(moment[-1, -1])
        rank = int(np.linalg.matrix_rank(changes)) if holds else 0
        if rank == 0 or holds <= rank + 1:
            return math.nan
        explained = float(cross @ np.linalg.pinv(changes, hermitian=True) @ cross)
        unexplained = max(squares - explained, 1e-300) / (holds - rank)
        z = float(norm.isf(max(chi2.sf(explained / unexplained, rank), 1e-300)))
        if z > threshold:
            warnings.warn(
                f"rho_bar looks too small: rewards still move at the end of holds (z = {z:.1f} over {int(holds)} "
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
            if len(stretch) < self._holds[self.epoch]:
                continue
            self.epoch, self.learned_epochs = self.epoch + 1, self.learned_epochs + 1
            self._enter(self.epoch)
            action, sample = u[stretch[0]], y[stretch[-1]]
            self.learned = self.algorithm.learn(self.learned, self._inputs, -1, action, sample)
        return self.learned_epochs
