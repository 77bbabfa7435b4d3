"""The game `robust_probes.TARGET` with its uncertainty set, as robust learners take them.

The best answer to random parameters is their mean 0.4, to the nominal ones -0.2, and to the worst ones 0.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dynrl.robust import Param, UncertaintySet
from dynrl.testing.robust_probes import TARGET, GameVectorEnv

__all__ = ["TARGET_SET", "action_of", "make_target"]

TARGET_SET = UncertaintySet([Param("attr:psi", TARGET.low, TARGET.high, nominal=TARGET.nominal)])


def make_target(
    num_envs: int,
    sampler: Callable[[np.random.Generator, int], np.ndarray] | None = None,
    horizon: int = 10,
    time_limit: bool = False,
) -> GameVectorEnv:
    """A `make_vec` of robust learners."""
    return GameVectorEnv(TARGET, num_envs, sampler, horizon, time_limit)


def action_of(policy: Any) -> float:
    """What a `RobustPolicy` does in the game's only state."""
    action, _ = policy.act(np.ones((1, 1), np.float32), policy.initial_carry(1))
    return float(np.asarray(action)[0, 0])
