"""Value tables of second-price auctions: what a purse is worth with t auctions to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.market import Market
from dynrl.auctions.value.kernel import Law, Settings, law_of, padded_cells, solve_rows, solve_rows_of_many

__all__ = ["ValueTable", "check_problem", "value_table", "value_tables"]


@dataclass(frozen=True, eq=False)
class ValueTable:
    """V(t, b): expected value of the auctions to come, before the next request is seen.

    Attributes:
        storage: `[T + 1, cells]`, row t with t auctions to come, column b with b ticks left; columns beyond `budget`
            only fill up the last tile. A float32 table holds `V(t, b) - offset[t]`.
        offset: `[T + 1]`, `V(t, budget)` of a float32 table, else zeros.
        budget: B, the largest purse.
        delta_max: largest bid, in ticks.
        value_per_click, cost_weight, discount: the objective, `v1 clicks - v0 ticks`, discounted per auction.
    """

    storage: Any
    offset: NDArray[np.float64]
    budget: int
    delta_max: int
    value_per_click: float = 1.0
    cost_weight: float = 0.0
    discount: float = 1.0

    @property
    def horizon(self) -> int:
        """T, auctions of a whole episode."""
        return self.storage.shape[0] - 1

    @property
    def rows(self) -> NDArray[np.floating]:
        """`[T + 1, B + 1]`, a view of `storage`: V for float64, `V - offset[:, None]` for float32."""
        return np.asarray(self.storage)[:, : self.budget + 1]

    def value(self, t: int, b: int) -> float:
        """V(t, b).

        Raises:
            ValueError: outside the table.
        """
        self._check(t, b)
        return float(self.rows[t, b]) + float(self.offset[t])

    def marginal(self, t: int) -> NDArray[np.floating]:
        """D(t, b) = V(t, b + 1) - V(t, b), the worth of one tick more, `[B]`."""
        self._check(t, 0)
        return np.diff(self.rows[t])

    def worth(self) -> Any:
        """U `[T + 1, cells]`, for the bid rule `theta + U(t-1, b - δ) - U(t-1, b) >= 0` under every objective.

        U = (discount V + cost_weight b) / value_per_click; `storage` itself, not a copy, where clicks alone count.
        """
        if (self.value_per_click, self.cost_weight, self.discount) == (1.0, 0.0, 1.0):
            return self.storage
        ticks = np.arange(self.storage.shape[1])
        return (self.discount * np.asarray(self.storage) + self.cost_weight * ticks) / self.value_per_click

    def saturation(self) -> NDArray[np.int64]:
        """`[T + 1]`, the smallest purse of each row to which a further tick adds nothing."""
        rows = self.rows
        return np.array([int(np.searchsorted(row, row[-1])) for row in rows])

    def _check(self, t: int, b: int) -> None:
        if not (0 <= t <= self.horizon and 0 <= b <= self.budget):
            raise ValueError(
                f"(t, b) = ({t}, {b}) lies outside the table, which has t = 0..{self.horizon} and b = 0..{self.budget}"
            )


def value_table(
    market: Market,
    horizon: int,
    budget: int,
    *,
    value_per_click: float = 1.0,
    cost_weight: float = 0.0,
    discount: float = 1.0,
    reference_compat: bool = False,
    dtype: Any = np.float64,
) -> ValueTable:
    """The optimal value for a bidder that knows the market, the segment and the click probability of each request.

    With the market as it is this is the CTR-aware optimum V*, `V*(t,b) = V*(t-1,b) + Σ m(δ) H(V*(t-1,b) -
    V*(t-1,b-δ))`, H(y) = E max(0, theta - y); with several segments each has its own m and H. With `market.blind()` it
    is the table of Cai et al. (WSDM 2017, equation 6 and Algorithm 1), in which every request is an average one: the
    optimum of a bidder that must not look at the request, and the table behind RLB and SS-MDP.

    Work: `T (B + 1)` times the prices that are worth bidding on, in float64 about 5·10⁹ a second and core (1 atom).
    Memory: `8 (T + 1) (B + 1)` bytes.

    Args:
        horizon: T, auctions.
        budget: B, ticks.
        value_per_click: v1, worth of a click.
        cost_weight: v0, worth of a tick that is not spent. (v1, v0) = (worth of a click in ticks, 1) maximises profit.
        discount: gamma, per auction.
        reference_compat: force V(t, 0) = 0 as the code released with the paper does, which forgets that prices of 0
            are won with an empty purse. Needed only to reproduce its integers.
        dtype: float32 halves memory and time and holds `V - V(t, B)`; bids then differ by a tick here and there.

    Raises:
        ValueError: names the argument.
    """
    check_problem(horizon, budget, value_per_click, cost_weight, discount)
    number = np.dtype(dtype).type
    if number not in (np.float64, np.float32):
        raise ValueError(f"dtype is {np.dtype(dtype)}, expected float64 or float32")
    with jax.enable_x64(True):
        law = law_of(market, value_per_click, number)
        settings = Settings(number(discount), number(cost_weight), np.int64(budget))
        rows, offset = solve_rows(
            law,
            settings,
            horizon=int(horizon),
            delta_max=market.delta_max,
            cells=padded_cells(budget, len(law.value)),
            plain=discount == 1 and cost_weight == 0,
            empty_purse=reference_compat,
            shifted=number is np.float32,
        )
    return ValueTable(
        rows,
        np.asarray(offset, np.float64),
        int(budget),
        market.delta_max,
        float(value_per_click),
        float(cost_weight),
        float(discount),
    )


def value_tables(
    markets: Sequence[Market],
    horizon: int,
    budgets: int | Sequence[int],
    *,
    value_per_click: float = 1.0,
    cost_weight: float = 0.0,
    discount: float = 1.0,
) -> list[ValueTable]:
    """One `value_table` per market (campaigns, landscapes of the hours, draws from a posterior) in one program.

    Args:
        markets: with equal `delta_max`; fewer atoms than the others are filled up with atoms of no mass.
        budgets: one for all, or one per market; all are solved to the largest.

    Raises:
        ValueError: names the argument.
    """
    if not markets:
        raise ValueError("markets is empty, expected at least one")
    if len({market.delta_max for market in markets}) > 1:
        raise ValueError(f"markets have delta_max {[market.delta_max for market in markets]}, expected one")
    each = [int(budgets)] * len(markets) if isinstance(budgets, int) else [int(b) for b in budgets]
    if len(each) != len(markets):
        raise ValueError(f"budgets has {len(each)} entries, expected {len(markets)}, one per market")
    for budget in each:
        check_problem(horizon, budget, value_per_click, cost_weight, discount)
    with jax.enable_x64(True):
        laws = [law_of(market, value_per_click, np.float64) for market in markets]
        atoms = max(len(law.value) for law in laws)
        filled = [_with_atoms(law, atoms) for law in laws]
        rows = solve_rows_of_many(
            jax.tree.map(lambda *parts: np.stack(parts), *filled),
            Settings(np.float64(discount), np.float64(cost_weight), np.int64(0)),
            horizon=int(horizon),
            delta_max=markets[0].delta_max,
            cells=padded_cells(max(each), atoms),
            plain=discount == 1 and cost_weight == 0,
        )
    stored, zero = np.asarray(rows), np.zeros(horizon + 1)
    return [
        ValueTable(table, zero, budget, markets[0].delta_max, value_per_click, cost_weight, discount)
        for table, budget in zip(stored, each, strict=True)
    ]


def check_problem(
    horizon: int, budget: int, value_per_click: float, cost_weight: float, discount: float
) -> None:
    """Refuses what no table can be made for, naming the argument."""
    if int(horizon) != horizon or horizon < 1:
        raise ValueError(f"horizon T is {horizon}, expected a whole number of at least 1 auction")
    if int(budget) != budget or budget < 0:
        raise ValueError(f"budget B is {budget}, expected a whole number of ticks, at least 0")
    if not (np.isfinite(value_per_click) and value_per_click > 0):
        raise ValueError(f"value_per_click is {value_per_click}, expected a positive number")
    if not (np.isfinite(cost_weight) and cost_weight >= 0):
        raise ValueError(f"cost_weight is {cost_weight}, expected a number of at least 0")
    if not 0 <= discount <= 1:
        raise ValueError(f"discount is {discount}, expected a number in [0, 1]")


def _with_atoms(law: Law, atoms: int) -> Law:
    """The same law with atoms of no mass above the largest; blocks of prices padded alike for any number of atoms."""
    missing = atoms - len(law.value)
    value, weight, mass_above, value_above = (np.asarray(part) for part in law)
    below = ((0, missing), (0, 0))
    return Law(
        np.pad(value, (0, missing), mode="edge"),
        np.pad(weight, below),
        np.pad(mass_above, below),
        np.pad(value_above, below),
    )
