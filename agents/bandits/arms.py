"""Agents that treat actions as unrelated arms: UCB1 and explore-then-commit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm, Schedule
from dynrl.agents.bandits.linear_algebra import first_best
from dynrl.agents.bandits.validation import check_count, check_in, check_positive
from dynrl.bandits import DLBSystem, identify_gain


class ArmState(NamedTuple):
    """Sample means of the arms.

    Attributes:
        sums: `[K]`.
        counts: `[K]`.
    """

    sums: Array
    counts: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ArmAlgorithm(BanditAlgorithm):
    """What the algorithms of this file share: one mean per arm."""

    actions: Array

    def init(self) -> ArmState:
        return ArmState(np.zeros(len(self.actions)), np.zeros(len(self.actions)))

    def learn(
        self, state: ArmState, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> ArmState:
        played = state.counts.__array_namespace__().arange(len(self.actions)) == index
        return ArmState(state.sums + played * sample, state.counts + played)

    def means(self, state: ArmState) -> Array:
        """Mean of each arm, −∞ where it has none, `[K]`."""
        xp = state.counts.__array_namespace__()
        return xp.where(state.counts > 0, state.sums / xp.maximum(state.counts, 1.0), -math.inf)

    def recommend(self, state: ArmState) -> Array:
        return first_best(self.means(state)) if np.any(state.counts > 0) else np.array(0)


@dataclass(frozen=True)
class UCB1Config:
    """Settings of UCB1.

    Attributes:
        reward_range: width of the interval that rewards lie in.
        exploration: c of the bonus range·sqrt(c·log t / n).
    """

    reward_range: float = 1.0
    exploration: float = 2.0

    def __post_init__(self) -> None:
        check_positive("reward_range", self.reward_range)
        check_positive("exploration", self.exploration)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UCB1Algorithm(ArmAlgorithm):
    """Pure functions of UCB1."""

    scale: float  # range·sqrt(c)

    def schedule(self, num_epochs: int) -> Schedule:
        rounds = np.arange(1, num_epochs + 1)
        return Schedule(np.ones(num_epochs, np.int64), {"log_t": np.log(rounds), "t": rounds - 1})

    def choose(self, state: ArmState, inputs: dict[str, Array], draw: Array) -> tuple[ArmState, Array]:
        xp = state.counts.__array_namespace__()
        counts = xp.maximum(state.counts, 1.0)
        index = first_best(state.sums / counts + self.scale * xp.sqrt(inputs["log_t"] / counts))
        return state, xp.where(inputs["t"] < len(self.actions), inputs["t"], index)


class UCB1(BanditAgent):
    """UCB1 on the actions as independent arms.

    **When to use it.** Few actions, immediate independent rewards, no structure. On a dynamical bandit a single pull
    says little about an arm's long-run worth.

    **Guarantee.** O(Σ log T / gap) for independent bounded rewards; none here.

    **Source.** P. Auer, N. Cesa-Bianchi, P. Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", 2002.
    """

    Config = UCB1Config

    def make_algorithm(self) -> UCB1Algorithm:
        return UCB1Algorithm(self.candidates, self.config.reward_range * math.sqrt(self.config.exploration))

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """The range of steady-state values of a known system, widened by its noise."""
        agent = cls(actions, seed=seed, **overrides)
        if "reward_range" in overrides:
            return agent
        values = system.value(agent.candidates)
        spread = float(np.ptp(values)) + 4.0 * math.sqrt(system.reward_variance())
        return cls(actions, seed=seed, **{"reward_range": spread or 1.0, **overrides})


@dataclass(frozen=True)
class ExploreThenCommitConfig:
    """Settings of explore-then-commit.

    Attributes:
        rounds: N; rounds that each candidate is held (`explore="holds"`), or rounds of random play in all
            (`explore="random"`).
        explore: `"holds"` compares the mean of the last half of each hold; `"random"` plays at random, identifies
            the system's gain from those rounds and plays its best action.
        order: order of the identified model, for `"random"`.
    """

    rounds: int = 100
    explore: Literal["holds", "random"] = "holds"
    order: int = 3

    def __post_init__(self) -> None:
        check_count("rounds", self.rounds, 1)
        check_count("order", self.order, 1)
        check_in("explore", self.explore, ("holds", "random"))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HoldAndCompare(ArmAlgorithm):
    """Pure functions of explore-then-commit by holds."""

    sample: ClassVar[Literal["last", "mean", "tail_mean"]] = "tail_mean"
    rounds: int

    def schedule(self, num_epochs: int) -> Schedule:
        epoch = np.arange(num_epochs)
        exploring = epoch < len(self.actions)
        return Schedule(np.where(exploring, self.rounds, 1), {"epoch": epoch})

    def choose(self, state: ArmState, inputs: dict[str, Array], draw: Array) -> tuple[ArmState, Array]:
        xp = state.counts.__array_namespace__()
        exploring = inputs["epoch"] < len(self.actions)
        return state, xp.where(exploring, inputs["epoch"], first_best(self.means(state)))

    def learn(
        self, state: ArmState, inputs: dict[str, Array], index: Array, action: Array, sample: Array
    ) -> ArmState:
        xp = state.counts.__array_namespace__()
        counts = inputs["epoch"] < len(self.actions)
        learned = super().learn(state, inputs, index, action, sample)
        return ArmState(*(xp.where(counts, new, old) for new, old in zip(learned, state, strict=True)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RandomThenIdentify(ArmAlgorithm):
    """Uniform play; what to commit to is decided by `ExploreThenCommit` from the log of the rounds."""

    compiled: ClassVar[bool] = False

    @property
    def draw(self) -> tuple[Literal["none", "uniform", "normal"], int]:
        return "uniform", 1

    def choose(self, state: ArmState, inputs: dict[str, Array], draw: Array) -> tuple[ArmState, Array]:
        count = len(self.actions)
        return state, np.minimum((draw[0] * count).astype(np.int64), count - 1)


class ExploreThenCommit(BanditAgent):
    """Explores for a fixed time, then plays what looked best for ever.

    **When to use it.** A pilot phase of known length is all that can be afforded to experiment.

    **Guarantee.** O(T^{2/3}) with N of that order and holds long enough to settle.

    **Source.** Folklore; the identification is `dynrl.bandits.identify_gain`.

    `explore="random"` runs in NumPy only (`learn`, `run`), not in `simulate`.
    """

    Config = ExploreThenCommitConfig

    def make_algorithm(self) -> ArmAlgorithm:
        if self.config.explore == "holds":
            return HoldAndCompare(self.candidates, self.config.rounds)
        order, d = self.config.order, self.action_set.dimension
        least = 2 * order + (order + 1) * d + 1  # lags, and one row more than there are coefficients
        if self.config.rounds < least:
            raise ValueError(
                f"rounds must be at least {least} to identify {d} coordinates with order {order}, got "
                f"{self.config.rounds}"
            )
        return RandomThenIdentify(self.candidates)

    def initial_extra(self) -> dict[str, np.ndarray]:
        if self.config.explore == "holds":
            return {}
        rounds, d = self.config.rounds, self.action_set.dimension
        return {"actions": np.zeros((rounds, d)), "rewards": np.zeros(rounds), "committed": np.array(-1)}

    def _choose(self) -> tuple[int, np.ndarray]:
        if not self.extra or self.t < self.config.rounds:
            return super()._choose()
        index = self.recommended()[0]
        return index, self.candidates[index]

    def end_hold(self, reward: float) -> None:
        if not self.extra or self.t > self.config.rounds:
            return
        self.extra["actions"][self.t - 1], self.extra["rewards"][self.t - 1] = self._action, reward
        if self.t == self.config.rounds:
            # candidates that all spend the same tie the lags of the log to each other, but not the gain
            log = self.extra["actions"], self.extra["rewards"]
            gain = identify_gain(*log, self.config.order, allow_unexcited=True).h
            self.extra = {**self.extra, "committed": np.array(int(first_best(self.candidates @ gain)))}

    def recommended(self) -> tuple[int, np.ndarray]:
        if not self.extra or self.extra["committed"] < 0:
            return super().recommended()
        index = int(self.extra["committed"])
        return index, self.candidates[index]

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """Needs nothing of the system but time to settle: a hundred rounds per candidate by default."""
        return cls(actions, seed=seed, **overrides)
