"""Agents that do not learn: the expert's fixed allocation, a uniformly random action, and the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import jax
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm
from dynrl.agents.bandits.validation import check_bound, check_positive
from dynrl.bandits import DLBSystem, FiniteSet


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConstantAlgorithm(BanditAlgorithm):
    """Plays candidate `index` for ever."""

    actions: Array
    index: Array

    def init(self) -> tuple[()]:
        return ()

    def choose(self, state: Any, inputs: dict[str, Array], draw: Array) -> tuple[Any, Array]:
        return state, self.index

    def learn(self, state: Any, inputs: dict[str, Array], index: Array, action: Array, sample: Array) -> Any:
        return state

    def recommend(self, state: Any) -> Array:
        return self.index


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UniformAlgorithm(ConstantAlgorithm):
    """Plays a candidate drawn uniformly in every round; recommends candidate `index`."""

    @property
    def draw(self) -> tuple[Literal["none", "uniform", "normal"], int]:
        return "uniform", 1

    def choose(self, state: Any, inputs: dict[str, Array], draw: Array) -> tuple[Any, Array]:
        xp = draw.__array_namespace__()
        return state, xp.minimum((draw[0] * len(self.actions)).astype(np.int64), len(self.actions) - 1)


@dataclass(frozen=True)
class FixedAllocationConfig:
    """What the expert would spend.

    Attributes:
        shares: relative spend per channel, any positive scale, `[d]`.
        total: what is spent per round.
        lower: least spend per channel.
        upper: most spend per channel.
    """

    shares: tuple[float, ...]
    total: float = 1.0
    lower: float = 0.0
    upper: float = float("inf")

    def __post_init__(self) -> None:
        shares = np.asarray(self.shares, np.float64)
        if shares.ndim != 1 or len(shares) == 0 or not np.isfinite(shares).all() or (shares < 0).any():
            raise ValueError(f"shares must be finite numbers ≥ 0, one per channel, got {self.shares}")
        if shares.sum() <= 0.0:
            raise ValueError("shares are all zero: at least one channel must get something")
        check_positive("total", self.total)
        check_bound("lower", self.lower)
        count = len(shares)
        slack = 1e-12 * self.total  # so that bounds of total / count each are feasible
        if not count * self.lower - slack <= self.total <= count * self.upper + slack:
            raise ValueError(
                f"{count} channels between {self.lower} and {self.upper} each cannot spend a total of {self.total}"
            )


def clipped_allocation(config: FixedAllocationConfig) -> np.ndarray:
    """Shares normalised, clipped to [lower/total, upper/total], the others rescaled so that all is spent, `[d]`."""
    low, high = config.lower / config.total, config.upper / config.total
    shares = np.asarray(config.shares, np.float64)
    shares = shares / shares.sum()
    fixed = np.zeros(len(shares), bool)
    result = shares.copy()
    while True:
        free = ~fixed
        rest, mass = 1.0 - result[fixed].sum(), shares[free].sum()
        result[free] = rest * (shares[free] / mass) if mass > 0.0 else rest / max(free.sum(), 1)
        over, under = (result > high + 1e-15) & free, (result < low - 1e-15) & free
        if not (over | under).any():
            return config.total * result
        # fix the side whose excess is larger, so that the rest still sums to what is left
        excess, lack = (result[over] - high).sum(), (low - result[under]).sum()
        side, bound = (over, high) if excess >= lack else (under, low)
        result[side], fixed[side] = bound, True


class FixedAllocation(BanditAgent):
    """The expert: one allocation by given shares, played for ever.

    **When to use it.** As the reference that a learner must beat.

    **Source.** The expert of the ad-platform experiment of Mussi et al., ICML 2023.

    In an environment with indexed actions its allocation must be one of them. `from_system` lets the expert play its
    own allocation whatever the learners may choose from.
    """

    Config = FixedAllocationConfig
    needs_candidates = False

    def make_algorithm(self) -> ConstantAlgorithm:
        allocation = clipped_allocation(self.config)
        if len(allocation) != self.action_set.dimension:
            raise ValueError(
                f"{len(allocation)} shares for actions with {self.action_set.dimension} coordinates"
            )
        if isinstance(self.action_set, FiniteSet):
            matches = np.abs(self.candidates - allocation).max(-1) <= 1e-9
            if not matches.any():
                raise ValueError(
                    f"the allocation {allocation} is not one of the environment's actions: use an environment with a "
                    "continuous action set, such as a BudgetSet"
                )
            return ConstantAlgorithm(self.candidates, np.array(int(matches.argmax())))
        if not self.action_set.contains(allocation):
            raise ValueError(
                f"the allocation {allocation} is not feasible: {self.action_set.violation(allocation)}"
            )
        self.candidates = allocation[None]
        return ConstantAlgorithm(self.candidates, np.array(0))

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """The expert needs nothing of the system; over a finite set, its own allocation becomes the only action."""
        if isinstance(actions, FiniteSet):
            actions = FiniteSet(clipped_allocation(FixedAllocationConfig(**overrides))[None])
        return cls(actions, seed=seed, **overrides)


class Constant(BanditAgent):
    """Plays the first candidate of its action set for ever."""

    def make_algorithm(self) -> ConstantAlgorithm:
        return ConstantAlgorithm(self.candidates, np.array(0))


class Uniform(BanditAgent):
    """A uniformly random action in every round: pure exploration, and the floor of every comparison."""

    def make_algorithm(self) -> UniformAlgorithm:
        return UniformAlgorithm(self.candidates, np.array(0))

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """Uniform play needs nothing of the system."""
        return cls(actions, seed=seed, **overrides)


@dataclass(frozen=True)
class ClairvoyantConfig:
    """What only an oracle knows.

    Attributes:
        h: cumulative Markov parameter, `[d]`.
    """

    h: tuple[float, ...]

    def __post_init__(self) -> None:
        if not np.isfinite(self.h).all():
            raise ValueError(f"h must be finite numbers, got {self.h}")


class Clairvoyant(BanditAgent):
    """Plays u* = argmax h·u, which no learner knows: the zero line of regret."""

    Config = ClairvoyantConfig

    def make_algorithm(self) -> ConstantAlgorithm:
        h = np.asarray(self.config.h, np.float64)
        if h.shape != (self.action_set.dimension,):
            raise ValueError(f"h has shape {h.shape}, expected ({self.action_set.dimension},)")
        return ConstantAlgorithm(self.candidates, np.array(int((self.candidates @ h).argmax())))

    @classmethod
    def from_system(
        cls, system: DLBSystem, actions: Any, T: int, *, seed: int | None = None, **overrides: Any
    ) -> Self:
        """Reads h off a known system."""
        return cls(actions, seed=seed, **{"h": tuple(system.h.tolist()), **overrides})
