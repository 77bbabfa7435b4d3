"""Evaluators in closed form: the return of a model is a formula, so that searches and reports are checked exactly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynrl.robust import Param, UncertaintySet
from dynrl.robust.evaluation.returns import Returns, checked_request

SQUARE = UncertaintySet([Param("attr:x", -1.0, 3.0, nominal=0.0), Param("attr:y", 10.0, 20.0, nominal=15.0)])


@dataclass(frozen=True)
class Landscape:
    """Every episode of a model returns `value(policy, psi)` plus noise that depends on the seed alone."""

    value: Callable
    noise: float = 0.0

    def __call__(self, policy, psi, episode_seeds):
        models, seeds = checked_request(psi, episode_seeds)
        shakes = np.array([np.random.default_rng(int(seed)).normal() for seed in seeds])
        returns = self.value(policy, models)[:, None] + self.noise * shakes
        nothing = np.zeros(returns.shape, bool)
        return Returns.of_episodes(len(models), returns, returns, np.ones(returns.shape), nothing, nothing)


def bowl(policy, psi):
    """A minimum of -5 at `policy`, a pair in units of the box."""
    return ((SQUARE.to_unit(psi) - np.asarray(policy)) ** 2).sum(axis=1) - 5.0


def slope(policy, psi):
    """Lowest in the corner (3, 10)."""
    return psi[:, 1] - psi[:, 0]
