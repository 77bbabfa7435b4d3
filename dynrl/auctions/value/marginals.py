"""What a tick is worth: the worth of money as a small-scale plan knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.serving import ScaledPolicy, TablePolicy
from dynrl.auctions.value.tables import ValueTable

__all__ = ["Marginals", "TableMarginals"]


class Marginals:
    """D(t, b), the worth of one tick more, for t = 0..horizon and b < budget. Subclasses are registered dataclasses.

    Attributes:
        horizon, budget: T0 and B0, the largest t and b that are known.
        delta_max: largest bid, in ticks.
    """

    horizon: Any
    budget: Any
    delta_max: int

    def marginal(self, t: Any, b: Any) -> Any:
        """D(t, b)."""
        raise NotImplementedError

    def best_price(self, t: Any, b: Any, theta: Any) -> Any:
        """The largest price worth paying with `t` auctions to come, the present one included, and `b` ticks.

        That is the largest δ in `0..min(b, delta_max)` with `Σ_{j=1..δ} D(t-1, b-j) <= theta` (Cai et al., WSDM 2017,
        section 3.2), for `1 <= t <= horizon + 1`, `b <= budget`.
        """
        prices = jnp.arange(1, self.delta_max + 1)
        spent = jnp.cumsum(self.marginal(t - 1, jnp.maximum(b - prices, 0)))
        return jnp.sum((prices <= b) & (spent <= theta))

    def serving(self, scale: str, tie_ticks: int) -> ScaledPolicy:
        """The NumPy twin of a bidder that reads these values."""
        raise NotImplementedError(f"{type(self).__name__} has no NumPy form to serve from")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TableMarginals(Marginals):
    """All values in a table.

    Attributes:
        worth: `[T0 + 1, cells]`, U of `ValueTable.worth`, of which columns up to `budget` count.
    """

    worth: Any
    budget: Any
    delta_max: int = field(default=300, metadata={"static": True})

    @classmethod
    def of(cls, table: ValueTable, delta_max: int | None = None) -> TableMarginals:
        """Those of a solved table, with bids up to `delta_max`."""
        return cls(table.worth(), table.budget, table.delta_max if delta_max is None else delta_max)

    @property
    def horizon(self) -> int:
        return self.worth.shape[0] - 1

    def marginal(self, t: Any, b: Any) -> Any:
        return self._at(t, b + 1) - self._at(t, b)

    def best_price(self, t: Any, b: Any, theta: Any) -> Any:
        """By binary search: `theta + U(t-1, b-δ) - U(t-1, b)` falls with δ since U rises with b, rounded or not."""
        here, limit = self._at(t - 1, b), jnp.minimum(b, self.delta_max)
        best, reach = jnp.zeros_like(b), 1 << (self.delta_max.bit_length() - 1)
        while reach:
            price = best + reach
            left = self._at(t - 1, b - jnp.minimum(price, limit))
            best = jnp.where((price <= limit) & (theta + left - here >= 0), price, best)
            reach //= 2
        return best

    def serving(self, scale: str, tie_ticks: int) -> TablePolicy:
        return TablePolicy(np.asarray(self.worth), int(self.budget), self.delta_max, scale, int(tie_ticks))

    def _at(self, t: Any, b: Any) -> Any:
        cells = self.worth.shape[1]
        return self.worth.reshape(-1).at[t * cells + b].get(mode="promise_in_bounds")
