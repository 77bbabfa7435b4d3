"""What a price landscape is: the law of the market price of a request, given what is known of the request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["GlobalLandscape", "Landscape", "Tie", "checked_pmf"]

Tie = Literal["win", "lose"]


class Landscape(ABC):
    """The distribution m(δ | x) of the market price δ, an integer number of ticks in `0..delta_max`.

    Probabilities need not sum to 1: what is missing is the tail, the mass of prices above `delta_max` or above all that
    was ever observed. A bid never wins against it.

    What `x` is depends on the landscape: nothing (global), codes of segments `[...]`, dense features `[..., d]`, or
    sparse `Features` of N rows. A landscape that ignores `x` returns arrays without the leading axes `[...]`.
    """

    @property
    @abstractmethod
    def delta_max(self) -> int:
        """Largest price considered, in ticks."""

    @abstractmethod
    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        """m(δ | x) `[..., delta_max + 1]`."""

    def cdf(self, x: Any = None) -> NDArray[np.float64]:
        """M(δ | x) = P(price ≤ δ | x) `[..., delta_max + 1]`."""
        return np.cumsum(self.pmf(x), axis=-1)

    def tail(self, x: Any = None) -> NDArray[np.float64]:
        """`[...]`, mass of prices against which no bid wins."""
        return np.maximum(0.0, 1.0 - self.pmf(x).sum(axis=-1))

    def win_rate(self, bid: ArrayLike, x: Any = None, tie: Tie = "win") -> NDArray[np.float64]:
        """Chance that `bid` `[...]` wins: M(bid), or M(bid - 1) where a tie loses.

        Args:
            bid: in ticks, floored to whole ticks; above `delta_max` it wins no more than `delta_max` does. Its axes
                broadcast against those of `x`.

        Raises:
            ValueError: a bid that is NaN.
        """
        bid = np.asarray(bid, np.float64)
        if np.isnan(bid).any():
            raise ValueError("bid is NaN, expected a number of ticks")
        cdf = self.cdf(x)
        highest = np.clip(np.floor(bid), -1, self.delta_max + 1).astype(np.int64) - (tie == "lose")
        return at_price(cdf, highest)


@dataclass(frozen=True, eq=False)
class GlobalLandscape(Landscape):
    """One distribution for all requests.

    Attributes:
        probabilities: `[delta_max + 1]`, of each price; the rest of the mass is the tail.
    """

    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", checked_pmf(self.probabilities, 1))

    @property
    def delta_max(self) -> int:
        return len(self.probabilities) - 1

    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        return self.probabilities


def checked_pmf(pmf: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """A read-only float64 copy of probabilities with `ndim` axes, prices along the last one.

    Raises:
        ValueError: wrong axes, fewer than two prices, negative or non-finite entries, or a sum above 1.
    """
    array = np.array(pmf, np.float64)
    if array.ndim != ndim or array.shape[-1] < 2:
        raise ValueError(
            f"price probabilities have shape {array.shape}, expected {ndim} axes, the last with at least 2 prices"
        )
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("price probabilities must be finite and non-negative")
    if (array.sum(-1) > 1 + 1e-9).any():
        raise ValueError(f"price probabilities sum to {array.sum(-1).max()}, expected at most 1")
    array.flags.writeable = False
    return array


def at_price(cdf: NDArray[np.float64], price: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entries of `cdf` `[..., D + 1]` at prices `[...]`: 0 below price 0, the last entry above D."""
    index = np.clip(price, 0, cdf.shape[-1] - 1)
    if cdf.ndim == 1:
        values = cdf[index]
    else:
        shape = np.broadcast_shapes(index.shape, cdf.shape[:-1])
        cdf = np.broadcast_to(cdf, (*shape, cdf.shape[-1]))
        index = np.broadcast_to(index, shape)
        values = np.take_along_axis(cdf, index[..., None], axis=-1)[..., 0]
    return np.where(price < 0, 0.0, values)
