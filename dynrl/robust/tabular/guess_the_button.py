"""One state, two buttons, one of which works: where every notion of a robust value has its own number."""

from __future__ import annotations

import numpy as np

from dynrl.robust.tabular.finite import StaticFinite
from dynrl.robust.tabular.mdp import RobustMDP

__all__ = ["guess_the_button"]


def guess_the_button(gamma: float = 0.9) -> RobustMDP:
    """Pressing the button that works pays 1 and ends; the other pays 0 and nothing changes. Nature picked one before.

    Its values at γ = 0.9: hull 0, deterministic 0, randomised `½ / (1 − ½ γ)` = 0.909..., with memory `½ + ½ γ` = 0.95,
    smallest optimum 1.
    """
    kernels = np.zeros((2, 2, 2, 2))
    kernels[:, 1, :, 1] = 1
    for works in range(2):
        kernels[works, 0, works, 1] = kernels[works, 0, 1 - works, 0] = 1
    reward = np.zeros((2, 2, 2))
    reward[0, :, 1] = 1
    return RobustMDP(reward, gamma, 0, StaticFinite(kernels), terminal=[False, True])
