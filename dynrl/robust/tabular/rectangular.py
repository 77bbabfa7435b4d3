"""What every rectangular ambiguity set can do: the one-step game between controller and nature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

__all__ = ["Game", "Outcome", "Rectangular", "SARectangular", "greedy"]

TIE = 1e-12
"""Actions within this of the best, relative to its size, count as equal; the lowest index is played."""


@dataclass(frozen=True)
class Outcome:
    """What a step is worth: `r + γ V(s')`.

    Attributes:
        reward: `[S, A]`, or `[S, A, S']` where it depends on the successor.
        discount: γ, may be 0.
        value: V, `[S']`.
    """

    reward: np.ndarray
    discount: float
    value: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """What nature minimises in expectation: `[S']`, or `[S, A, S']` where rewards depend on the successor."""
        return self.value if self.reward.ndim == 2 else self.reward + self.discount * self.value

    def worth(self, minimum: np.ndarray) -> np.ndarray:
        """`q [S, A]`, from the smallest expectation of `targets`, `[S, A]`."""
        return self.reward + self.discount * minimum if self.reward.ndim == 2 else minimum

    def expected(self, rows: np.ndarray) -> np.ndarray:
        """`q [S, A]` under the rows `[S, A, S']`."""
        return self.worth(rows @ self.value if self.reward.ndim == 2 else (rows * self.targets).sum(axis=-1))


class Game(NamedTuple):
    """The solution of the one-step game in every state.

    Attributes:
        value: `[S]`.
        q: worth of each action under `rows`, `[S, A]`.
        policy: the controller's action probabilities, `[S, A]`.
        rows: nature's, `[S, A, S']`, a member of the set.
    """

    value: np.ndarray
    q: np.ndarray
    policy: np.ndarray
    rows: np.ndarray


class Rectangular(ABC):
    """A set of kernels in which the rows of one state are chosen without regard to other states.

    Attributes:
        shape: `(S, A, S')`.
    """

    shape: tuple[int, int, int]

    @property
    @abstractmethod
    def nominal_kernel(self) -> np.ndarray:
        """A member to begin with, `[S, A, S']`."""

    @abstractmethod
    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        """Whether the rows of each state-action pair are in the set, `[S, A]` bool."""

    @abstractmethod
    def game(self, outcome: Outcome) -> Game:
        """Solve `max over actions, min over rows` in every state."""

    def game_value(self, outcome: Outcome) -> np.ndarray:
        """The value of `game`, `[S]`; cheaper where the rows need not be written down."""
        return self.game(outcome).value

    @abstractmethod
    def worst_rows(self, policy: np.ndarray, outcome: Outcome) -> np.ndarray:
        """Nature's best kernel `[S, A, S']` against a policy `[S, A]`; pairs it never plays are completed too."""

    def response(self, policy: np.ndarray, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Nature's answer to a policy `[S, A]` as transition matrix `[S, S']` and expected reward `[S]`."""
        rows = self.worst_rows(policy, outcome)
        reward = outcome.reward if outcome.reward.ndim == 2 else (rows * outcome.reward).sum(axis=-1)
        return np.einsum("sa,sat->st", policy, rows), (policy * reward).sum(axis=-1)


class SARectangular(Rectangular):
    """A set in which the row of every state-action pair is chosen by itself."""

    inner: ClassVar[Callable[..., Any]]
    """The inner problem, `(xp, *per_pair, *shared, targets) -> rows`, a function of `inner.py`."""

    @property
    @abstractmethod
    def per_pair(self) -> tuple[np.ndarray, ...]:
        """The data of the set, arrays `[S, A, ...]`."""

    @property
    def shared(self) -> tuple[np.ndarray, ...]:
        """Data that all pairs share."""
        return ()

    def worst_of(self, per_pair: tuple[np.ndarray, ...], targets: np.ndarray) -> np.ndarray:
        """Minimising rows `[..., S']` for the pairs whose data are given, arrays `[..., *]` of the order of `per_pair`.

        Args:
            targets: `[S']`, or `[..., S']`.
        """
        return type(self).inner(np, *per_pair, *self.shared, targets)

    def minimise(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The smallest expectation of `targets` over the set, and a minimiser.

        Args:
            targets: `[S']`, or `[S, A, S']` for a target of each pair.

        Returns:
            Minima `[S, A]` and rows `[S, A, S']`; among equals, mass goes to the lowest index.
        """
        rows = self.worst_of(self.per_pair, targets)
        return rows @ targets if targets.ndim == 1 else (rows * targets).sum(axis=-1), rows

    def minimum(self, targets: np.ndarray) -> np.ndarray:
        """The minima of `minimise` alone, `[S, A]`."""
        return self.minimise(targets)[0]

    def game(self, outcome: Outcome) -> Game:
        minimum, rows = self.minimise(outcome.targets)
        q = outcome.worth(minimum)
        return Game(q.max(axis=1), q, greedy(q), rows)

    def game_value(self, outcome: Outcome) -> np.ndarray:
        return outcome.worth(self.minimum(outcome.targets)).max(axis=1)

    def worst_rows(self, policy: np.ndarray, outcome: Outcome) -> np.ndarray:
        return self.minimise(outcome.targets)[1]

    def response(self, policy: np.ndarray, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
        if not (policy.max(axis=1) == 1.0).all():
            return super().response(policy, outcome)
        played = np.arange(len(policy)), policy.argmax(axis=1)
        targets = outcome.targets if outcome.reward.ndim == 2 else outcome.targets[played]
        rows = self.worst_of(tuple(data[played] for data in self.per_pair), targets)
        reward = outcome.reward[played]
        return rows, reward if reward.ndim == 1 else (rows * reward).sum(axis=-1)


def greedy(q: np.ndarray) -> np.ndarray:
    """The policy `[S, A]` that plays the best action of `q [S, A]`; the lowest index among those that tie."""
    best = q.max(axis=1, keepdims=True)
    return np.eye(q.shape[1])[(q >= best - TIE * np.maximum(1.0, np.abs(best))).argmax(axis=1)]
