"""Worst-case searches that stop when a number of environment steps is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dynrl.agents.robust.iwocs_config import SearchConfig
from dynrl.robust.evaluation.returns import Evaluator, Returns, join_models

__all__ = ["Found", "MeteredEvaluator", "search_worst"]


class Found(NamedTuple):
    """What a search found.

    Attributes:
        value: the worst mean return met.
        psi: `[d]`, where.
        models: models evaluated.
        complete: whether the budget allowed the whole search.
    """

    value: float
    psi: np.ndarray
    models: int
    complete: bool


class StepsSpent(Exception):
    """The limit of a `MeteredEvaluator` was reached."""


class MeteredEvaluator:
    """An evaluator that counts steps, remembers every model's mean return, and stops at a limit.

    The limit is overrun by at most one block.

    Attributes:
        spent: environment steps so far.
    """

    def __init__(self, evaluator: Evaluator, block: int) -> None:
        self._evaluator, self._block = evaluator, block
        self.spent = 0
        self._limit = 0
        self._models: list[np.ndarray] = []
        self._means: list[float] = []

    def begin(self, limit: int) -> None:
        """Starts a search of `limit` further steps with an empty memory."""
        self._limit, self._models, self._means = self.spent + limit, [], []

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        """Plays the models in blocks.

        Raises:
            StepsSpent: the limit was reached before a block.
        """
        parts = []
        for start in range(0, len(psi), self._block):
            if self.spent >= self._limit:
                raise StepsSpent
            block = psi[start : start + self._block]
            parts.append(self._evaluator(policy, block, episode_seeds))
            self.spent += parts[-1].env_steps
            self._models += list(block)
            self._means += list(parts[-1].returns.mean(axis=1))
        return join_models(parts)

    def worst(self) -> tuple[float, np.ndarray, int]:
        """The lowest mean return since `begin`, its model, and how many models were played.

        Raises:
            StepsSpent: none was.
        """
        if not self._models:
            raise StepsSpent
        number = int(np.argmin(self._means))
        return float(self._means[number]), np.array(self._models[number]), len(self._models)


def search_worst(
    policy: Any, evaluator: MeteredEvaluator, uset: Any, config: SearchConfig, limit: int, seed: int
) -> Found:
    """Searches the set for the policy's worst model within `limit` environment steps.

    Raises:
        StepsSpent: not even one block could be played.
    """
    from dynrl.robust.search.worst_case import worst_case_search

    evaluator.begin(limit)
    complete = True
    try:
        worst_case_search(
            policy, evaluator, uset, config.method, config.evaluations, episodes=config.episodes, seed=seed
        )
    except StepsSpent:
        complete = False
    return Found(*evaluator.worst(), complete)
