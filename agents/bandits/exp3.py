"""Exp3 and its mini-batched form: exponential weights over arms, against an adversary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.dynlin_bounds import epoch_holds
from dynrl.agents.bandits.validation import check_count, check_positive
from dynrl.bandits import DLBSystem


@dataclass(frozen=True)
class Exp3Config:
    """Settings of Exp3.

    Attributes:
        horizon: T.
        reward_bound: M̄ ≥ |reward|; rewards are mapped to [0, 1] by (y + 2M̄)/(4M̄) and clipped.
        exploration: γ in (0, 1]; None: sqrt(K ln K / ((e − 1)·2n/3)) for n feedbacks.
    """

    horizon: int
    reward_bound: float = 1.0
    exploration: float | None = None

    def __post_init__(self) -> None:
        check_count("horizon", self.horizon)
        check_positive("reward_bound", self.reward_bound)
        if self.exploration is not None and not 0.0 < self.exploration <= 1.0:
            raise ValueError(f"exploration must be in (0, 1], got {self.exploration}")


@dataclass(frozen=True)
class Exp3BatchConfig(Exp3Config):
    """Settings of mini-batched Exp3.

    Attributes:
        hold: k, rounds that an arm is held.
    """

    hold: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("hold", self.hold, 1)


class Exp3State(NamedTuple):
    """Exponential weights.

    Attributes:
        gains: G, importance-weighted rewards, `[K]`.
        probabilities: p of the running epoch, `[K]`.
        clipped: feedbacks outside [0, 1] after mapping.
    """

    gains: Array
    probabilities: Array
    clipped: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Exp3Algorithm(BanditAlgorithm):
    """Pure functions of Exp3."""

    sample: ClassVar[Literal["last", "mean", "tail_mean"]] = "mean"
    actions: Array
    exploration: float
    reward_bound: float
    hold: int

    @property
    def draw(self) -> tuple[Literal["none", "uniform", "normal"], int]:
        return "uniform", 1

    def schedule(self, num_epochs: int) -> Schedule:
        return Schedule(np.full(num_epochs, self.hold, np.int64), {})

    def init(self) -> Exp3State:
        count = len(self.actions)
        return Exp3State(np.zeros(count), np.full(count, 1.0 / count), np.zeros(()))

    def choose(self, state: Exp3State, inputs: dict[str, Array], draw: Array) -> tuple[Exp3State, Array]:
        xp = state.gains.__array_namespace__()
        count = len(self.actions)
        weights = xp.exp(self.exploration / count * (state.gains - state.gains.max()))
        mixed = (1.0 - self.exploration) * weights / weights.sum() + self.exploration / count
        index = (xp.cumsum(mixed)[:-1] < draw[0] * mixed.sum()).sum()
        return state._replace(probabilities=mixed), index

    def learn(
        self, state: Exp3State, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> Exp3State:
        xp = state.gains.__array_namespace__()
        mapped = (sample + 2.0 * self.reward_bound) / (4.0 * self.reward_bound)
        clipped = xp.clip(mapped, 0.0, 1.0)
        played = xp.arange(len(self.actions)) == index
        gains = state.gains + xp.where(played, clipped / state.probabilities, 0.0)
        return Exp3State(gains, state.probabilities, state.clipped + (clipped != mapped))

    def recommend(self, state: Exp3State) -> Array:
        return state.gains.argmax()


class Exp3(BanditAgent):
    """Exp3: no assumption on rewards but a bound, so it can be run on anything.

    **When to use it.** Rewards chosen by an adversary who does not react. On a dynamical bandit past actions move the
    rewards, so its regret against the best constant action is linear in practice.

    **Guarantee.** O(√(TK log K)) against oblivious rewards.

    **Source.** P. Auer, N. Cesa-Bianchi, Y. Freund, R. Schapire, "The Nonstochastic Multiarmed Bandit Problem",
    SIAM J. Comput. 2002.

    **What differs.** Nothing; rewards outside the stated bound are clipped, counted (`clipped`) and reported once.
    """

    Config: ClassVar[type] = Exp3Config
    algorithm: Exp3Algorithm
    learned: Exp3State

    def make_algorithm(self) -> Exp3Algorithm:
        hold = getattr(self.config, "hold", 1)
        count, feedbacks = len(self.candidates), max(self.config.horizon // hold, 1)
        exploration = self.config.exploration
        if exploration is None:
            optimal = math.sqrt(count * math.log(count) / ((math.e - 1.0) * 2.0 * feedbacks / 3.0))
            exploration = min(1.0, optimal)
        return Exp3Algorithm(self.candidates, exploration, self.config.reward_bound, hold)

    @property
    def clipped(self) -> int:
        """Feedbacks that had to be clipped."""
        return int(self.learned.clipped)

    def _learn(self) -> None:
        before = self.clipped
        super()._learn()
        if before == 0 and self.clipped == 1:
            self.warn_clipped(self._sample)

    def warn_clipped(self, reward: float) -> None:
        """Says once that the bound on rewards does not hold."""
        import warnings

        warnings.warn(
            f"the reward {reward:.4g} lies beyond ±2·reward_bound = ±{2 * self.config.reward_bound:.4g}; it was "
            "clipped, as all further ones will be (counted in `clipped`)",
            stacklevel=4,
        )

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """M̄ = (Θ + ΩB̄/(1−ρ̄))·Ū from the true bounds of a known system."""
        agent = cls(actions, seed=seed, **{"horizon": T, **cls._told(system, T), **overrides})
        if "reward_bound" in overrides:
            return agent
        bounds = system.bounds()
        reach = (bounds.theta + bounds.omega * bounds.b / (1.0 - bounds.rho)) * agent.action_set.max_norm()
        told = {"horizon": T, **cls._told(system, T), "reward_bound": reach or 1.0, **overrides}
        return cls(actions, seed=seed, **told)

    @classmethod
    def _told(cls, system: DLBSystem, T: int) -> dict[str, Any]:
        return {}


class Exp3Batch(Exp3):
    """Mini-batched Exp3: holds each arm for k rounds and feeds the mean reward of those same rounds to Exp3.

    **When to use it.** An adversary with bounded memory: holding lets the effect of the arm show.

    **Guarantee.** O(T^{2/3}) policy regret against bounded memory.

    **Source.** R. Arora, O. Dekel, A. Tewari, "Online Bandit Learning against an Adaptive Adversary", ICML 2012.

    **What differs.** k = ⌈log M / log(1/ρ̄)⌉ with M the number of DynLin-UCB epochs in T, as in the comparison of
    Mussi et al. 2023.
    """

    Config = Exp3BatchConfig

    @classmethod
    def _told(cls, system: DLBSystem, T: int) -> dict[str, Any]:
        rho = system.bounds().rho
        if rho == 0.0 or T < 2:
            return {"hold": 1}
        epochs = int(np.searchsorted(np.cumsum(1 + epoch_holds(T, rho, "floor")), T, side="right"))
        return {"hold": max(1, math.ceil(math.log(max(epochs, 1)) / -math.log(rho)))}
