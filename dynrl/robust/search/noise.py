"""Enough episodes for a search: models must keep their order when they are played again with other episodes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.stats import rankdata

from dynrl.robust.evaluation.returns import Evaluator
from dynrl.robust.evaluation.seeds import episode_seeds
from dynrl.robust.search.designs import Method
from dynrl.robust.search.worst_case import Box, WorstCase, objective_values, worst_case_search


def rank_changes(
    policy: Any, evaluator: Evaluator, found: WorstCase, share: float = 0.1
) -> tuple[float, int]:
    """How much the order of a search's models owes to its episodes.

    A share of the models, spread evenly over the order from worst to best, is played again with as many fresh episodes.

    Returns:
        (mean change of rank, relative to that of an order drawn at random: 0 for the same order, about 1 for an order
        that was luck; environment steps played).
    """
    order = np.argsort(found.trace.values, kind="stable")
    count = max(2, math.ceil(share * len(order)))
    if len(order) < 2:
        return 0.0, 0
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    seeds = episode_seeds(found.seed, len(found.episode_seeds), "search, played again")
    again = evaluator(policy, found.trace.psi[chosen], seeds)
    values = objective_values(again.returns, found.objective, found.alpha)
    moved = np.abs(rankdata(values) - rankdata(found.trace.values[chosen])).mean()
    k = len(chosen)
    return float(moved / ((k**2 - 1) / (3 * k))), again.env_steps


def steady_worst_case(
    policy: Any,
    evaluator: Evaluator,
    uset: Box,
    method: str | Method = "auto",
    budget: int = 2000,
    objective: str = "mean",
    *,
    alpha: float = 0.1,
    episodes: int = 1,
    max_episodes: int = 64,
    tolerance: float = 0.2,
    seed: int = 0,
) -> WorstCase:
    """Search as `worst_case_search` does, with twice the episodes per model until the order of the models is steady.

    Args:
        policy, evaluator, uset, method, budget, objective, alpha, seed: as in `worst_case_search`; the budget is of
            each search.
        episodes, max_episodes: per model, at first and at most.
        tolerance: `rank_changes` up to which an order counts as steady.

    Returns:
        The last search, its `env_steps` being those of all searches and of the repetitions. It used
        `len(result.episode_seeds)` episodes per model.
    """
    if not 1 <= episodes <= max_episodes:
        raise ValueError(f"expected 1 <= episodes <= max_episodes, got {episodes} and {max_episodes}.")
    spent = 0
    while True:
        found = worst_case_search(
            policy, evaluator, uset, method, budget, objective, alpha=alpha, episodes=episodes, seed=seed
        )
        spent += found.env_steps
        if episodes == max_episodes:
            break
        changes, steps = rank_changes(policy, evaluator, found)
        spent += steps
        if changes <= tolerance:
            break
        episodes = min(2 * episodes, max_episodes)
    return dataclasses.replace(found, env_steps=spent)
