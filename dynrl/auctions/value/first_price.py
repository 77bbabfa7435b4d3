"""First-price auctions with a budget: the value table, and the bidder that shades by it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.market import Market
from dynrl.auctions.serving import FirstPricePolicy
from dynrl.auctions.value.kernel import FAR_BELOW, folded, padded_cells, tile_size
from dynrl.auctions.value.scaling import to_plan, whole
from dynrl.auctions.value.tables import ValueTable, check_problem

__all__ = ["FirstPriceBidder", "first_price_bidder", "first_price_table", "win_rates"]

BLOCK = 16


def win_rates(market: Market, tie: str = "win") -> np.ndarray:
    """M `[S, delta_max + 1]`: the chance that each bid wins, per segment."""
    wins = np.cumsum(market.pmf, axis=1)
    return wins if tie == "win" else np.pad(wins, ((0, 0), (1, 0)))[:, :-1]


def first_price_table(
    market: Market,
    horizon: int,
    budget: int,
    *,
    tie: Literal["win", "lose"] = "win",
    value_per_click: float = 1.0,
    cost_weight: float = 0.0,
    discount: float = 1.0,
) -> ValueTable:
    """The optimal value where a winner pays its bid.

    V(t, b) = discount V(t-1, b) + Σ_i share_i Σ_k mass_ik max_a M_i(a) (v1 theta_ik - v0 a + discount (V(t-1, b-a) -
    V(t-1, b))), the maximum over all a in `0..min(b, delta_max)`. The bracket falls with a but M(a) rises, and their
    product has many local maxima, so no bid can be left out below the largest with a positive bracket.

    Work: `T (B + 1)` times bids times atoms; keep the atoms few (16 to 64).

    Args and errors: as for `value_table`; `tie` as in `AuctionRules`.
    """
    check_problem(horizon, budget, value_per_click, cost_weight, discount)
    with jax.enable_x64(True):
        wins = win_rates(market, tie)
        wins = np.pad(wins, ((0, 0), (0, -wins.shape[1] % BLOCK)))
        rows = _solve(
            wins,
            value_per_click * market.theta,
            market.share[:, None] * market.theta_mass,
            (float(discount), float(cost_weight)),
            int(horizon),
            padded_cells(budget, 1),
        )
    return ValueTable(
        rows,
        np.zeros(horizon + 1),
        int(budget),
        market.delta_max,
        float(value_per_click),
        float(cost_weight),
        float(discount),
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FirstPriceBidder(Bidder):
    """The bid a that maximises `M_i(a) (theta + U(t-1, b-a) - U(t-1, b))`, the smallest of several.

    Attributes:
        worth: `[T + 1, cells]`, U of `ValueTable.worth`.
        win: `[S, delta_max + 1]`, the chance M that each bid wins, per segment.
        budget: B, the largest purse. Outside the table the bid is that of the point with the same ratio b / t.
    """

    worth: Any
    win: Any
    budget: Any

    @property
    def horizon(self) -> int:
        """T, the longest episode in the table."""
        return self.worth.shape[0] - 1

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        bids = jnp.arange(self.win.shape[1])
        t, b = to_plan(*whole(request), self)
        left = jnp.asarray(self.worth)[t - 1, jnp.maximum(b - bids, 0)]
        gain = jnp.asarray(self.win)[request.segment] * (request.theta + left - left[0])
        return jnp.argmax(jnp.where(bids <= b, gain, -jnp.inf)), memory

    def serving(self) -> FirstPricePolicy:
        return FirstPricePolicy(np.asarray(self.worth)[:-1], np.asarray(self.win), int(self.budget))


def first_price_bidder(
    table: ValueTable, market: Market, *, tie: str = "win", delta_max: int | None = None
) -> FirstPriceBidder:
    """The optimal bidder of a `first_price_table` in its market, with bids up to `delta_max`."""
    most = market.delta_max if delta_max is None else min(delta_max, market.delta_max)
    return FirstPriceBidder(table.worth(), win_rates(market, tie)[:, : most + 1], table.budget)


@partial(
    jax.jit,
    static_argnames=("horizon", "cells"),
    compiler_options={"xla_cpu_prefer_vector_width": "512"},
)
def _solve(wins: Any, value: Any, mass: Any, numbers: Any, horizon: int, cells: int) -> Any:
    """Rows `[horizon + 1, cells]`; `wins` `[S, P]` with P in whole blocks, `value` and `mass` `[S, K]`."""
    discount, cost_weight = numbers
    segments, pad = wins.shape
    atoms = value.shape[1]
    tile = tile_size(cells, 1)
    ticks = jnp.arange(cells, dtype=jnp.float64)

    def best_gain(row: Any, low: Any, value: Any, chances: Any) -> Any:
        """Of one atom in the cells from position `low` on, `[tile]`."""

        def worthwhile(carry: Any) -> Any:
            block, _ = carry
            here, left = _read(row, low, tile), _read(row, low - block * BLOCK, tile)
            return (block * BLOCK < pad) & (folded(left - here, jnp.maximum).max() + value > 0)

        def add_block(carry: Any) -> Any:
            block, best = carry
            window = _read(row, low - block * BLOCK - BLOCK + 1, tile + BLOCK - 1)
            chance = _read(chances, block * BLOCK, BLOCK)
            base = value - _read(row, low, tile)
            for bid in range(BLOCK):
                left = jax.lax.slice_in_dim(window, BLOCK - 1 - bid, BLOCK - 1 - bid + tile)
                best = jnp.maximum(best, chance[bid] * (base + left))
            return block + 1, best

        # A bid of 0 costs nothing, so the maximum is never below 0.
        return jax.lax.while_loop(worthwhile, add_block, (0, jnp.zeros(tile)))[1]

    def tile_gain(row: Any, low: Any) -> Any:
        def add_atom(pair: Any, total: Any) -> Any:
            segment, atom = pair // atoms, pair % atoms
            gain = best_gain(row, low, value[segment, atom], wins[segment])
            return total + mass[segment, atom] * gain

        return jax.lax.fori_loop(0, segments * atoms, add_atom, jnp.zeros(tile))

    def step(row: Any, _: Any) -> Any:
        kept = discount * row[pad:]
        spendable = row.at[pad:].set(kept + cost_weight * ticks)
        gains = jax.lax.map(partial(tile_gain, spendable), pad + jnp.arange(0, cells, tile))
        return row.at[pad:].set(kept + gains.reshape(-1)), row[pad:]

    first = jnp.concatenate([jnp.full(pad, FAR_BELOW), jnp.zeros(cells)])
    return jax.lax.scan(step, first, None, length=horizon + 1)[1]


def _read(array: Any, start: Any, size: int) -> Any:
    return jax.lax.dynamic_slice(array, (start,), (size,))
