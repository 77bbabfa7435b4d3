"""Reserve prices known before bidding: below the floor no bid wins, and a winner pays at least the floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.landscape.landscape import Landscape

__all__ = ["FlooredLandscape", "FlooredRequest", "apply_floor"]


class FlooredRequest(NamedTuple):
    """`x` of a `FlooredLandscape`: what the landscape below takes, and the floor `[...]` in ticks."""

    x: Any
    floor: Any


@dataclass(frozen=True, eq=False)
class FlooredLandscape(Landscape):
    """Another landscape with the mass below the request's floor moved to the floor; `x` is a `FlooredRequest`."""

    rivals: Landscape

    @property
    def delta_max(self) -> int:
        return self.rivals.delta_max

    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        if x is None:
            return self.rivals.pmf()
        return apply_floor(self.rivals.pmf(x.x), x.floor)


def apply_floor(pmf: ArrayLike, floor: ArrayLike) -> NDArray[np.float64]:
    """Price probabilities `[..., D + 1]` under a floor f `[...]`: none below f, all mass of prices ≤ f at f.

    A floor above D makes every price unreachable: all mass is then in the tail.

    Raises:
        ValueError: a negative floor.
    """
    pmf = np.asarray(pmf, np.float64)
    floor = np.asarray(floor, np.int64)
    if (floor < 0).any():
        raise ValueError(f"floor is {floor.min()}, expected at least 0 ticks")
    price = np.arange(pmf.shape[-1])
    at, above = price == floor[..., None], price > floor[..., None]
    return np.where(at, np.cumsum(pmf, axis=-1), np.where(above, pmf, 0.0))
