"""AR2: alternating and restarting arms whose rewards are autoregressive (Chen, Golrezaei, Bouneffouf)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.validation import check_bound, check_count, check_in
from dynrl.bandits import DLBSystem

NEVER = 2**62


@dataclass(frozen=True)
class AR2Config:
    """Settings of AR2.

    Attributes:
        alpha: α in [0, 1], autoregression coefficient of every arm.
        sigma: σ of the innovations.
        trigger_scale: c₁ of the trigger width; None: 24·c₀.
        restart_every: Δ, rounds between restarts; None: ⌈K α⁻³ σ⁻³⌉.
        superior: the better of the `"last_two"` arms played, or of `"all"`.
    """

    alpha: float = 0.9
    sigma: float = 0.1
    trigger_scale: float | None = None
    restart_every: int | None = None
    superior: Literal["last_two", "all"] = "last_two"

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")
        check_bound("sigma", self.sigma)
        check_bound("trigger_scale", self.trigger_scale, optional=True)
        check_count("restart_every", self.restart_every, 1, optional=True)
        check_in("superior", self.superior, ("last_two", "all"))


class AR2State(NamedTuple):
    """What AR2 remembers since the last restart.

    Attributes:
        estimates: r̂, `[K]`.
        last_pull: τ, round of the last pull, `[K]`.
        triggered: round in which an arm was triggered, `[K]`; `NEVER` if it is not.
        latest: the last two arms pulled, the latest first, `[2]`.
    """

    estimates: Array
    last_pull: Array
    triggered: Array
    latest: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AR2Algorithm(BanditAlgorithm):
    """Pure functions of AR2; rounds count from 1 at each restart."""

    actions: Array
    alpha: float
    width: float  # c₁·σ
    restart_every: int
    among_all: bool = field(metadata={"static": True})

    def schedule(self, num_epochs: int) -> Schedule:
        age = np.arange(num_epochs) % self.restart_every + 1
        return Schedule(np.ones(num_epochs, np.int64), {"age": age})

    def init(self) -> AR2State:
        count = len(self.actions)
        return AR2State(
            np.zeros(count), np.zeros(count, np.int64), np.full(count, NEVER), np.zeros(2, np.int64)
        )

    def choose(self, state: AR2State, inputs: dict[str, Array], draw: Array) -> tuple[AR2State, Array]:
        xp = state.estimates.__array_namespace__()
        count, age = len(self.actions), inputs["age"]
        arms = xp.arange(count)
        fresh = age == 1
        estimates = xp.where(fresh, 0.0, state.estimates)
        triggered = xp.where(fresh, NEVER, state.triggered)

        first, second = state.latest[0], state.latest[1]
        better = xp.where(estimates[second] > estimates[first], second, first)
        superior = estimates.argmax() if self.among_all else better
        # Σ_{j=1}^{n} α^{2j}, n rounds after the last pull; written so that α = 1 gives n
        elapsed = xp.maximum(age - state.last_pull, 0)
        squared = self.alpha**2
        ratio = xp.where(squared < 1.0, 1.0 - squared, 1.0)
        drift = xp.where(squared < 1.0, (squared - squared ** (elapsed + 1.0)) / ratio, elapsed * 1.0)
        close = estimates[superior] - estimates <= self.width * xp.sqrt(drift)
        pending = (arms != superior) & (triggered == NEVER) & close & (age > count)
        triggered = xp.where(pending, age, triggered)

        explore = (age % 2 == 1) & (triggered.min() < NEVER)
        settled = xp.where(explore, triggered.argmin(), superior)
        index = xp.where(age <= count, age - 1, settled)
        triggered = xp.where(explore & (age > count) & (arms == index), NEVER, triggered)
        return state._replace(estimates=estimates, triggered=triggered), index

    def learn(
        self, state: AR2State, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> AR2State:
        xp = state.estimates.__array_namespace__()
        played = xp.arange(len(self.actions)) == index
        estimates = self.alpha * xp.where(played, sample, state.estimates)
        last_pull = xp.where(played, inputs["age"], state.last_pull)
        latest = xp.stack([xp.asarray(index), state.latest[0]])
        return AR2State(estimates, last_pull, state.triggered, latest)

    def recommend(self, state: AR2State) -> Array:
        return state.estimates.argmax()


class AR2(BanditAgent):
    """AR2: arms are independent AR(1) chains; pull the better, and go back to others as their estimates age.

    **When to use it.** Each arm's reward wanders by itself, whether pulled or not. On a dynamical linear bandit all
    arms share one state that the pulls themselves move, so its model is wrong; it is part of the published
    comparison.

    **Guarantee.** Near-optimal per-round regret against the best arm of each round, for AR(1) arms; none here.

    **Source.** Q. Chen, N. Golrezaei, D. Bouneffouf, "Non-Stationary Bandits with Auto-Regressive Temporal
    Dependency", NeurIPS 2023 (first version 2021).

    **What differs.** Nothing; α = 0 or σ = 0 makes every trigger width zero and means no restart.
    """

    Config = AR2Config

    def make_algorithm(self) -> AR2Algorithm:
        c, count = self.config, len(self.candidates)
        degenerate = c.alpha == 0.0 or c.sigma == 0.0
        restart = c.restart_every
        if restart is None:
            restart = NEVER if degenerate else math.ceil(count / (c.alpha * c.sigma) ** 3)
        scale = c.trigger_scale
        if scale is None:
            c0_squared = 0.0
            if not degenerate:
                c0_squared = (
                    4 * math.log(1 / (c.alpha * c.sigma)) + 4 * math.log(restart) + 2 * math.log(4 * count)
                )
            scale = 24.0 * math.sqrt(max(c0_squared, 0.0))
        return AR2Algorithm(
            actions=self.candidates,
            alpha=c.alpha,
            width=scale * c.sigma,
            restart_every=min(int(restart), NEVER),
            among_all=c.superior == "all",
        )

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """α = ρ(A) and the true noise of a known system."""
        told = {"alpha": system.bounds().rho, "sigma": max(system.sigma_x, system.sigma_y)}
        return cls(actions, seed=seed, **{**told, **overrides})
