"""The market as a bidder models it: the joint law of market price and click probability of the next request."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Market", "click_atoms"]


@dataclass(frozen=True, eq=False)
class Market:
    """Requests are independent: a segment is drawn, then price and click probability independently within it.

    Attributes:
        pmf: `[S, delta_max + 1]`, probability of each market price in ticks per segment; a row sums to 1 minus the
            segment's tail, the mass of prices above `delta_max` (never won).
        theta: `[S, K]`, click probabilities (atoms), ascending within a segment.
        theta_mass: `[S, K]`, their probabilities, rows summing to 1.
        share: `[S]`, probability of each segment.

    Raises:
        ValueError: shapes that do not fit, negative or excessive mass, atoms outside [0, 1] or unsorted.
    """

    pmf: NDArray[np.float64]
    theta: NDArray[np.float64]
    theta_mass: NDArray[np.float64]
    share: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, ndim in (("pmf", 2), ("theta", 2), ("theta_mass", 2), ("share", 1)):
            array = np.array(getattr(self, name), np.float64)
            if array.ndim != ndim or not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(f"{name} must be finite, non-negative and have {ndim} axes")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        segments = len(self.share)
        if (
            len(self.pmf) != segments
            or len(self.theta) != segments
            or self.theta.shape != self.theta_mass.shape
        ):
            raise ValueError(
                f"pmf {self.pmf.shape}, theta {self.theta.shape}, theta_mass {self.theta_mass.shape} and share "
                f"{self.share.shape} do not describe the same segments"
            )
        if (self.pmf.sum(1) > 1 + 1e-9).any():
            raise ValueError("a row of pmf sums to more than 1")
        for name, sums in (("theta_mass", self.theta_mass.sum(1)), ("share", self.share.sum())):
            if abs(sums - 1).max() > 1e-9:
                raise ValueError(f"{name} must sum to 1, got {sums}")
        if (self.theta > 1).any() or (np.diff(self.theta, axis=1) < 0).any():
            raise ValueError("theta must be probabilities in ascending order")

    @classmethod
    def single(cls, pmf: ArrayLike, theta: ArrayLike, theta_mass: ArrayLike | None = None) -> Market:
        """A market without segments: `pmf` `[delta_max + 1]`, atoms `theta` `[K]` with `theta_mass` `[K]` (equal
        mass when None); atoms may come in any order."""
        atoms = np.atleast_1d(np.asarray(theta, np.float64))
        mass = (
            np.full(len(atoms), 1 / len(atoms)) if theta_mass is None else np.asarray(theta_mass, np.float64)
        )
        order = np.argsort(atoms, kind="stable")
        return cls(np.asarray(pmf)[None], atoms[order][None], mass[order][None], np.ones(1))

    @property
    def delta_max(self) -> int:
        """Largest price considered, in ticks."""
        return self.pmf.shape[1] - 1

    @cached_property
    def price_pmf(self) -> NDArray[np.float64]:
        """`[delta_max + 1]`, price probabilities over all segments."""
        return self.share @ self.pmf

    @property
    def theta_avg(self) -> float:
        """Mean click probability of a request."""
        return float(self.share @ (self.theta * self.theta_mass).sum(1))

    def blind(self) -> Market:
        """The same prices with the single atom `theta_avg`: what a bidder knows that ignores features."""
        return Market.single(self.price_pmf, [self.theta_avg])

    def scaled(self, factor: float) -> Market:
        """Every click probability multiplied by `factor`."""
        return dataclasses.replace(self, theta=self.theta * factor)


def click_atoms(theta: ArrayLike, count: int = 64) -> NDArray[np.float64]:
    """`count` atoms of equal mass: means of equal-count slices of the sorted click probabilities `[N]`.

    Fewer than `count` probabilities are their own atoms.
    """
    ordered = np.sort(np.asarray(theta, np.float64))
    if len(ordered) == 0:
        raise ValueError("there are no click probabilities to make atoms of")
    return np.array([part.mean() for part in np.array_split(ordered, min(count, len(ordered)))])
