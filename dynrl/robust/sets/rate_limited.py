"""A box in which the parameters of an episode move slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynrl.robust.parameter import Param
from dynrl.robust.sets.box import UncertaintySet


class RateLimited(UncertaintySet):
    """A box in which nature moves a little at every step: `psi_{t+1} = clip(psi_t + L (high - low) b_t)`, |b_t| <= 1.

    The time-constrained sets of Zouitine et al. 2024 (TC-RMDP), with the rate as a fraction of each range.

    Args:
        uset: the box.
        rate: L, the largest move per step as a fraction of the range, in (0, 1].

    Raises:
        ValueError: a rate outside (0, 1], or a set that is no box.
    """

    def __init__(self, uset: UncertaintySet, rate: float):
        if type(uset) is not UncertaintySet:
            raise ValueError(f"a rate limit needs an UncertaintySet (a box), got {type(uset).__name__}.")
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate}, expected a fraction of the range in (0, 1].")
        super().__init__(uset.params, uset.inertia, uset.grid_endpoint, uset.name)
        self._nominal = uset._nominal
        self.rate = float(rate)

    def step(self, psi: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The next parameters `[..., d]` for directions b `[..., d]`, which are clipped to [-1, 1]."""
        move = self.rate * (self.high - self.low) * np.clip(self._checked_shape(direction), -1, 1)
        return np.clip(self._checked_shape(psi) + move, self.low, self.high)

    def _own_values(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def _with_params(self, params: Sequence[Param]) -> UncertaintySet:
        return RateLimited(super()._with_params(params), self.rate)
