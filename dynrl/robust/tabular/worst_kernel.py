"""Nature's part of IWOCS: the first kernel, the worst one for a candidate policy, and the next worst."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynrl.robust.tabular.dynamic import robust_policy_evaluation
from dynrl.robust.tabular.finite import StaticFinite
from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.ordinary import optimal, policy_values
from dynrl.robust.tabular.polytopes import SAFinite
from dynrl.robust.tabular.rectangular import Rectangular
from dynrl.robust.tabular.rows import checked_kernel
from dynrl.robust.tabular.simulation import MonteCarlo, simulate

__all__ = ["Model", "WorstCase", "search_for"]

SAME = 1e-12
"""Kernels that differ by no more than this are the same model."""


@dataclass(frozen=True, eq=False)
class Model:
    """A kernel that was solved.

    Attributes:
        kernel: `[S, A, S']`.
        index: its number in the list of a static set, else None.
    """

    kernel: np.ndarray
    index: int | None = None

    def among(self, models: Sequence[Model]) -> bool:
        """Whether one of `models` is this one."""
        return any(
            self.index == model.index if self.index is not None else _same(self.kernel, model.kernel)
            for model in models
        )


@dataclass(frozen=True, eq=False)
class WorstCase:
    """What the search for a candidate found.

    Attributes:
        value: of the candidate under `model`, at the start distribution.
        error: its standard error, 0 where exact.
        model: the worst.
        evaluations: of a policy, by this search.
        env_steps: simulated.
    """

    value: float
    error: float
    model: Model
    evaluations: int
    env_steps: int = 0


class Search(ABC):
    """Nature, for one problem."""

    @abstractmethod
    def first(self, choice: str | int | np.ndarray) -> Model:
        """The model to begin with."""

    @abstractmethod
    def worst(self, policy: np.ndarray) -> WorstCase:
        """The worst model for a policy `[S, A]`."""

    @abstractmethod
    def next_worst(self, policy: np.ndarray, solved: Sequence[Model]) -> Model | None:
        """The worst model for a policy that is not among `solved`; None where there is none."""

    @property
    @abstractmethod
    def cost(self) -> int:
        """Evaluations that one search takes."""

    def _named(self, choice: object) -> ValueError:
        return ValueError(
            f"first is {choice!r}, expected 'nominal', 'centre', 'worst for nominal', the number of a kernel of a "
            "static set, or a kernel [S, A, S'] of the set."
        )


def search_for(mdp: RobustMDP, monte_carlo: MonteCarlo | None) -> Search:
    """The search that fits the ambiguity set.

    Raises:
        ValueError: simulation was asked for, and the set is no list of kernels.
    """
    if isinstance(mdp.ambiguity, StaticFinite):
        return _ListSearch(mdp, mdp.ambiguity, monte_carlo)
    if monte_carlo is not None:
        raise ValueError(
            f"monte_carlo simulates the kernels of a list, and {type(mdp.ambiguity).__name__} is none; "
            "leave it out: the worst kernel of a rectangular set is found exactly."
        )
    return _RectangularSearch(mdp, mdp.ambiguity)


@dataclass(frozen=True, eq=False)
class _ListSearch(Search):
    mdp: RobustMDP
    models: StaticFinite
    monte_carlo: MonteCarlo | None

    def first(self, choice: str | int | np.ndarray) -> Model:
        kernels = self.models.kernels
        if isinstance(choice, np.ndarray) and choice.ndim == 3:
            found = [number for number, kernel in enumerate(kernels) if _same(kernel, choice)]
            if not found:
                raise ValueError("first is a kernel that is not in the list of the ambiguity set.")
            return Model(kernels[found[0]], found[0])
        if isinstance(choice, (int, np.integer)) and not isinstance(choice, bool):
            if not 0 <= choice < len(kernels):
                raise ValueError(f"first is kernel {choice}, expected one of 0..{len(kernels) - 1}.")
            return Model(kernels[choice], int(choice))
        if isinstance(choice, str) and choice == "nominal":
            return Model(kernels[0], 0)
        if isinstance(choice, str) and choice == "centre":
            away = np.abs(kernels - kernels.mean(axis=0)).sum(axis=(1, 2, 3))
            return Model(kernels[int(away.argmin())], int(away.argmin()))
        if isinstance(choice, str) and choice == "worst for nominal":
            return self.worst(optimal(self.mdp, kernels[0]).policy).model
        raise self._named(choice)

    def worst(self, policy: np.ndarray) -> WorstCase:
        value, error, steps = self._values(policy)
        index = int(value.argmin())
        model = Model(self.models.kernels[index], index)
        return WorstCase(float(value[index]), float(error[index]), model, len(value), steps)

    def next_worst(self, policy: np.ndarray, solved: Sequence[Model]) -> Model | None:
        value, done = self._values(policy)[0], {model.index for model in solved}
        for index in np.argsort(value, kind="stable"):
            if int(index) not in done:
                return Model(self.models.kernels[index], int(index))
        return None

    @property
    def cost(self) -> int:
        return len(self.models)

    def _values(self, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        if self.monte_carlo is not None:
            return simulate(self.mdp, self.models.kernels, policy, self.monte_carlo)
        value = policy_values(self.mdp, self.models.kernels, policy) @ self.mdp.initial
        return value, np.zeros_like(value), 0


@dataclass(frozen=True, eq=False)
class _RectangularSearch(Search):
    mdp: RobustMDP
    rows: Rectangular

    def first(self, choice: str | int | np.ndarray) -> Model:
        if isinstance(choice, np.ndarray) and choice.ndim == 3:
            kernel = checked_kernel(choice, "first")
            if kernel.shape != self.rows.shape or not self.rows.contains(kernel, 1e-8).all():
                raise ValueError("first is a kernel [S, A, S'] that is not in the ambiguity set.")
            return Model(kernel)
        if isinstance(choice, str) and choice == "nominal":
            return Model(self.rows.nominal_kernel)
        if isinstance(choice, str) and choice == "centre":
            return Model(self._centre())
        if isinstance(choice, str) and choice == "worst for nominal":
            return self.worst(optimal(self.mdp, self.rows.nominal_kernel).policy).model
        raise self._named(choice)

    def worst(self, policy: np.ndarray) -> WorstCase:
        value, kernel = robust_policy_evaluation(self.mdp, policy)
        return WorstCase(self.mdp.start_value(value), 0.0, Model(kernel), 1)

    def next_worst(self, policy: np.ndarray, solved: Sequence[Model]) -> Model | None:
        """The runner-up changes one row of the worst kernel (the second-best policy of nature does)."""
        if not isinstance(self.rows, SAFinite):
            raise ValueError(
                f"escape='next_worst' needs finitely many kernels, and {type(self.rows).__name__} has a "
                "continuum; use escape='hull'."
            )
        worst = self.worst(policy).model.kernel
        places = np.argwhere(self.rows.mask)
        changed = np.repeat(worst[None], len(places), axis=0)
        changed[np.arange(len(places)), places[:, 0], places[:, 1]] = self.rows.rows[tuple(places.T)]
        value = policy_values(self.mdp, changed, policy) @ self.mdp.initial
        for number in np.argsort(value, kind="stable"):
            model = Model(changed[number])
            if not model.among(solved):
                return model
        return None

    @property
    def cost(self) -> int:
        return 1

    def _centre(self) -> np.ndarray:
        if isinstance(self.rows, SAFinite):
            weight = self.rows.mask / self.rows.mask.sum(axis=-1, keepdims=True)
            mean = np.einsum("sak,sakt->sat", weight, self.rows.rows)
            away = np.abs(self.rows.rows - mean[:, :, None]).sum(axis=-1)
            nearest = np.where(self.rows.mask, away, np.inf).argmin(axis=-1)
            return np.take_along_axis(self.rows.rows, nearest[..., None, None], axis=2)[:, :, 0]
        return self.rows.nominal_kernel


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and float(np.abs(one - other).max()) <= SAME
