"""Counting prices, with the correction for auctions that were lost (product-limit estimator)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.landscape.landscape import GlobalLandscape, Tie
from dynrl.auctions.landscape.observations import PriceObservations

__all__ = ["SurvivalCounts", "from_counts", "product_limit"]


@dataclass(frozen=True, eq=False)
class SurvivalCounts:
    """Sufficient statistics of a price distribution under right-censoring, one row per segment or a single one.

    Counts of different periods add, and may be weighted: `0.9 * old + new` forgets.

    Attributes:
        events: `[..., D + 1]`, d(z): prices seen at z.
        at_risk: `[..., D + 1]`, n(z): auctions whose price is known to be at least z.
    """

    events: NDArray[np.float64]
    at_risk: NDArray[np.float64]

    @classmethod
    def from_observations(
        cls,
        observations: PriceObservations,
        delta_max: int = DELTA_MAX,
        tie: Tie = "win",
        segment: NDArray[np.integer] | None = None,
        segments: int = 1,
    ) -> SurvivalCounts:
        """Counts of auctions; with `segment` codes `[N]` in `0..segments-1` one row each, `[segments, D + 1]`.

        A price above `delta_max` counts as known to be above it.
        """
        prices = delta_max + 2  # the last cell stands for "above delta_max", which ends no survival
        row = np.zeros(len(observations), np.int64) if segment is None else np.asarray(segment, np.int64)
        won = observations.won
        seen = row[won] * prices + np.minimum(observations.price[won], delta_max + 1)
        # A loss with price > c is at risk at every z ≤ c; c = -1 falls into the cell before the first price.
        above = np.minimum(observations.known_above(tie)[~won], delta_max) + 1
        events = np.bincount(seen, minlength=segments * prices).reshape(segments, prices)
        losses = np.bincount(row[~won] * prices + above, minlength=segments * prices).reshape(
            segments, prices
        )
        at_risk = _from_here_on(events)[:, :-1] + _from_here_on(losses)[:, 1:]
        counts = events[:, :-1].astype(np.float64), at_risk.astype(np.float64)
        return cls(*counts) if segment is not None else cls(counts[0][0], counts[1][0])

    @classmethod
    def from_counts(cls, counts: ArrayLike, above: ArrayLike = 0) -> SurvivalCounts:
        """Counts `[..., D + 1]` of prices that were all seen, and `above` `[...]` prices above the largest.

        Raises:
            ValueError: negative or all-zero counts, or fewer than two prices.
        """
        events = np.asarray(counts, np.float64)
        beyond = np.asarray(above, np.float64)
        if events.ndim == 0 or events.shape[-1] < 2:
            raise ValueError(f"price counts have shape {events.shape}, expected [..., delta_max + 1]")
        if not np.isfinite(events).all() or (events < 0).any() or (beyond < 0).any():
            raise ValueError("price counts must be finite and non-negative")
        if events.sum() + beyond.sum() == 0:
            raise ValueError("price counts are all zero: there is nothing to learn prices from")
        return cls(events, _from_here_on(events) + beyond[..., None])

    def __add__(self, other: SurvivalCounts) -> SurvivalCounts:
        return SurvivalCounts(self.events + other.events, self.at_risk + other.at_risk)

    def __rmul__(self, weight: float) -> SurvivalCounts:
        return SurvivalCounts(weight * self.events, weight * self.at_risk)

    def pmf(self, prior: ArrayLike | None = None, strength: float = 0.0) -> NDArray[np.float64]:
        """Price probabilities `[..., D + 1]`.

        Without a prior this is the product-limit estimate P(price > z) = Π_{z' ≤ z} (1 - d(z') / n(z')) (Kaplan &
        Meier 1958). Where nothing is at risk any more the curve is undefined; the mass left is the tail.

        A prior m₀ `[..., D + 1]` counts as `strength` κ auctions with all prices seen: the hazard becomes
        (d(z) + κ m₀(z)) / (n(z) + κ P₀(price ≥ z)), the posterior mean under a beta-Stacy process (Walker & Muliere
        1997). When nothing is censored that is (n m̂ + κ m₀) / (n + κ).
        """
        hazard = _ratio(*self._posterior(prior, strength))
        return _from_hazard(hazard)

    def sample(
        self, rng: np.random.Generator, prior: ArrayLike | None = None, strength: float = 0.0
    ) -> NDArray[np.float64]:
        """A draw `[..., D + 1]` of the price probabilities from the posterior, for Thompson sampling.

        Hazards are independent Beta(d + κ m₀, n - d + κ P₀(price > z)) (Walker & Muliere 1997). A hazard that was
        never at risk is 0, one that was certain is 1.
        """
        events, at_risk = self._posterior(prior, strength)
        survivors = np.maximum(at_risk - events, 0.0)
        uncertain = (events > 0) & (survivors > 0)
        hazard = _ratio(events, at_risk)
        hazard[uncertain] = rng.beta(events[uncertain], survivors[uncertain])
        return _from_hazard(hazard)

    def _posterior(
        self, prior: ArrayLike | None, strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if prior is None or strength == 0:
            return self.events, self.at_risk
        if strength < 0:
            raise ValueError(f"strength of the prior is {strength}, expected at least 0 auctions")
        mass = np.asarray(prior, np.float64)
        tail = 1.0 - mass.sum(-1, keepdims=True)
        return self.events + strength * mass, self.at_risk + strength * (_from_here_on(mass) + tail)


def from_counts(counts: ArrayLike, above: int = 0, laplace: float = 1.0) -> GlobalLandscape:
    """Counting with Laplace smoothing: m(δ) = (count[δ] + k) / (Σ count + above + k (D + 1)).

    Args:
        counts: `[D + 1]`, how often each price was seen, e.g. `campaign.price_counts`.
        above: prices above D; their share stays as the tail.
        laplace: k, added to every count; the published experiments use 1. It makes m(0) > 0.

    Raises:
        ValueError: negative or all-zero counts, negative `laplace`.
    """
    table = SurvivalCounts.from_counts(counts, above)
    return GlobalLandscape(table.pmf(*_laplace(laplace, table.events.shape[-1])))


def product_limit(
    observations: PriceObservations, delta_max: int = DELTA_MAX, tie: Tie = "win", laplace: float = 0.0
) -> GlobalLandscape:
    """The product-limit (Kaplan-Meier) landscape of auctions of which some were lost.

    Above the largest price that any row is informative about, nothing is known: that mass is the tail. It is never
    spread over the prices seen.

    Args:
        delta_max: largest price considered.
        tie: whether a bid equal to the price won, in the auctions observed.
        laplace: k pseudo-observations at each price.
    """
    counts = SurvivalCounts.from_observations(observations, delta_max, tie)
    return GlobalLandscape(counts.pmf(*_laplace(laplace, delta_max + 1)))


def _laplace(k: float, prices: int) -> tuple[NDArray[np.float64], float]:
    if not (np.isfinite(k) and k >= 0):
        raise ValueError(f"laplace is {k}, expected a count of at least 0")
    return np.full(prices, 1 / prices), k * prices


def _ratio(events: NDArray[np.float64], at_risk: NDArray[np.float64]) -> NDArray[np.float64]:
    hazard = np.divide(events, at_risk, out=np.zeros_like(events), where=at_risk > 0)
    return np.minimum(hazard, 1.0)  # weights and priors can leave d above n by a rounding error


def _from_hazard(hazard: NDArray[np.float64]) -> NDArray[np.float64]:
    survival = np.cumprod(1.0 - hazard, axis=-1)
    before = np.concatenate([np.ones_like(survival[..., :1]), survival[..., :-1]], axis=-1)
    return before * hazard


def _from_here_on(counts: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
