"""Two-parameter distributions on positive prices, in JAX: log-normal and gamma."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc, gammaincc, gammaln, log_ndtr, ndtr
from numpy.typing import NDArray

__all__ = ["FAMILIES", "Family"]

_TINY = 1e-250  # below this, differences of tail probabilities are rounding errors


class Family(ABC):
    """A distribution of a positive price with a location and a spread parameter, both on the real line.

    Every method takes parameters and prices of equal shape and works elementwise.
    """

    name: ClassVar[str]

    @abstractmethod
    def start(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Location and spread `[2]` that fit positive prices by their moments."""

    @abstractmethod
    def below(self, location: Any, spread: Any, price: Any) -> Any:
        """P(price' ≤ price)."""

    @abstractmethod
    def above(self, location: Any, spread: Any, price: Any) -> Any:
        """P(price' > price)."""

    @abstractmethod
    def log_above(self, location: Any, spread: Any, price: Any) -> Any:
        """ln P(price' > price), finite far into the tail."""

    @abstractmethod
    def log_density(self, location: Any, spread: Any, price: Any) -> Any:
        """ln of the density."""

    def log_bin(self, location: Any, spread: Any, price: Any) -> Any:
        """ln P(price - ½ < price' ≤ price + ½): an integer price stands for the prices that round to it."""
        low, high = jnp.maximum(price - 0.5, _TINY), price + 0.5
        left = self.below(location, spread, high) - self.below(location, spread, low)
        right = self.above(location, spread, low) - self.above(location, spread, high)
        mass = jnp.where(self.below(location, spread, high) < 0.5, left, right)
        mass = jnp.where(price < 0.5, self.below(location, spread, high), mass)
        # Where the mass drowns in rounding, the density at the price (the bin is one tick wide) still has a slope.
        middle = self.log_density(location, spread, jnp.maximum(price, 0.25))
        return jnp.where(mass > _TINY, jnp.log(jnp.maximum(mass, _TINY)), middle)


class LogNormal(Family):
    """ln price is normal with mean `location` and standard deviation exp(`spread`)."""

    name = "log_normal"

    def start(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        logs = np.log(prices)
        return np.array([logs.mean(), np.log(max(logs.std(), 0.05))])

    def _score(self, location: Any, spread: Any, price: Any) -> Any:
        return (jnp.log(price) - location) * jnp.exp(-spread)

    def below(self, location: Any, spread: Any, price: Any) -> Any:
        return ndtr(self._score(location, spread, price))

    def above(self, location: Any, spread: Any, price: Any) -> Any:
        return ndtr(-self._score(location, spread, price))

    def log_above(self, location: Any, spread: Any, price: Any) -> Any:
        return log_ndtr(-self._score(location, spread, price))

    def log_density(self, location: Any, spread: Any, price: Any) -> Any:
        score = self._score(location, spread, price)
        return -0.5 * score**2 - spread - jnp.log(price) - 0.5 * np.log(2 * np.pi)


class Gamma(Family):
    """Gamma distribution with mean exp(`location`) and shape exp(`spread`)."""

    name = "gamma"

    def start(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, variance = prices.mean(), max(prices.var(), 1e-2)
        return np.array([np.log(mean), np.log(mean**2 / variance)])

    def _shape_and_price(self, location: Any, spread: Any, price: Any) -> tuple[Any, Any]:
        shape = jnp.exp(spread)
        return shape, price * jnp.exp(spread - location)  # price over the scale, mean / shape

    def below(self, location: Any, spread: Any, price: Any) -> Any:
        return gammainc(*self._shape_and_price(location, spread, price))

    def above(self, location: Any, spread: Any, price: Any) -> Any:
        return gammaincc(*self._shape_and_price(location, spread, price))

    def log_above(self, location: Any, spread: Any, price: Any) -> Any:
        shape, scaled = self._shape_and_price(location, spread, price)
        mass = gammaincc(shape, scaled)
        # Γ(k, y) ~ y^{k-1} e^{-y} (Abramowitz & Stegun 6.5.32), where the mass itself underflows.
        far = (shape - 1) * jnp.log(scaled) - scaled - gammaln(shape)
        return jnp.where(mass > _TINY, jnp.log(jnp.maximum(mass, _TINY)), far)

    def log_density(self, location: Any, spread: Any, price: Any) -> Any:
        shape, scaled = self._shape_and_price(location, spread, price)
        return shape * jnp.log(scaled) - scaled - gammaln(shape) - jnp.log(price)


FAMILIES: dict[str, Family] = {family.name: family for family in (LogNormal(), Gamma())}
"""By name."""


def bin_probabilities(family: Family, location: Any, spread: Any, prices: int) -> NDArray[np.float64]:
    """P(price = z) for z = 0..prices-1, `[..., prices]`, parameters `[...]`; float64 whatever the process default."""
    with jax.enable_x64(True):
        edges = jnp.arange(prices) + 0.5
        shape = (*np.shape(location), prices)
        location, spread, edges = (
            jnp.broadcast_to(array, shape)
            for array in (np.asarray(location)[..., None], np.asarray(spread)[..., None], edges)
        )
        cdf = np.asarray(family.below(location, spread, edges))
    return np.maximum(np.diff(cdf, axis=-1, prepend=0.0), 0.0)
