"""The pure functions of DynLin-UCB: schedule of holds, confidence radius, optimistic index, ridge update."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import jax
import numpy as np

from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.dynlin_bounds import DynLinConstants, epoch_holds
from dynrl.agents.bandits.linear_algebra import first_best, matvec
from dynrl.agents.bandits.ridge import RidgeState, ridge_init, ridge_refresh, ridge_update


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
            uniform = (draw[0] * self.actions.shape[0]).astype(np.int64)
            index = xp.where(inputs["first"], uniform, index)
        return state, index

    def ucb(self, state: RidgeState, inputs: dict[str, Array]) -> Array:
        """Index values ĥ·u + β‖u‖_{V⁻¹}, `[K]`."""
        xp = state.V.__array_namespace__()
        width = xp.sqrt(self.squared_widths(state.V_inverse))
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
