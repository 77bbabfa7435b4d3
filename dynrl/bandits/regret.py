"""The three regrets of a dynamical linear bandit. They differ, so each has its own name."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets import ActionSet
from dynrl.bandits.system import DLBSystem

__all__ = ["mean_regret", "pseudo_regret", "reward_regret"]


def reward_regret(system: DLBSystem, action_set: ActionSet, rewards: ArrayLike) -> NDArray[np.float64]:
    """Cumulative t·J* − Σ y of the rewards [..., T]: the paper's definition before the expectation."""
    rewards = np.asarray(rewards, dtype=np.float64)
    return np.cumsum(system.optimal_value(action_set) - rewards, axis=-1)


def mean_regret(
    system: DLBSystem, action_set: ActionSet, actions: ArrayLike, x0: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Cumulative t·J* − Σ E[y] [..., T] of the noise-free recursion under the played actions [..., T, d]."""
    return reward_regret(system, action_set, system.expected_rewards(actions, x0))


def pseudo_regret(system: DLBSystem, action_set: ActionSet, actions: ArrayLike) -> NDArray[np.float64]:
    """Cumulative Σ (J* − h·u) [..., T] of the played actions [..., T, d]: what the published curves show.

    It differs from ``mean_regret`` by a bounded transient per change of action, which adds up for a policy
    that changes often.
    """
    return reward_regret(system, action_set, system.value(actions))
