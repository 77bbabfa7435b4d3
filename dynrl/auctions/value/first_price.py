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
from dynrl.auctions.value.kernel import FAR_BELOW
from dynrl.auctions.value.tables import ValueTable, check_problem

__all__ = ["FirstPriceBidder", "first_price_bidder", "first_price_table", "win_rates"]

TILE, BLOCK = 256, 4


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
        cells = -(-(budget + 1) // TILE) * TILE
        rows = _solve(
            wins,
            value_per_click * market.theta,
            market.share[:, None] * market.theta_mass,
            (float(discount), float(cost_weight)),
            int(horizon),
            cells,
            market.delta_max,
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
        budget: B, the largest purse. Episodes must fit into the table.
    """

    worth: Any
    win: Any
    budget: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        bids = jnp.arange(self.win.shape[1])
        row = self.worth[request.t_left - 1]
        left = row[jnp.maximum(request.b_left - bids, 0)]
        gain = self.win[request.segment] * (request.theta + left - left[0])
        return jnp.argmax(jnp.where(bids <= request.b_left, gain, -jnp.inf)), memory

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
    static_argnames=("horizon", "cells", "delta_max"),
    compiler_options={"xla_cpu_prefer_vector_width": "512"},
)
def _solve(wins: Any, value: Any, mass: Any, numbers: Any, horizon: int, cells: int, delta_max: int) -> Any:
    discount, cost_weight = numbers
    pad = wins.shape[1]
    largest = value.max()
    ticks = jnp.arange(cells, dtype=jnp.float64)
    atoms = value.shape[1]

    def tile_gain(row: Any, low: Any) -> Any:
        here = jax.lax.dynamic_slice(row, (low,), (TILE,))

        def worthwhile(carry: Any) -> Any:
            index, _ = carry
            left = jax.lax.dynamic_slice(row, (low - index * BLOCK,), (TILE,))
            return (index * BLOCK < pad) & ((left - here).max() + largest > 0)

        def add_block(carry: Any) -> Any:
            index, best = carry
            window = jax.lax.dynamic_slice(row, (low - index * BLOCK - BLOCK + 1,), (TILE + BLOCK - 1,))
            chance = jax.lax.dynamic_slice(wins, (0, index * BLOCK), (len(wins), BLOCK))
            for bid in range(BLOCK):
                at = BLOCK - 1 - bid
                change = jax.lax.slice_in_dim(window, at, at + TILE) - here
                best = jnp.maximum(best, chance[:, bid, None, None] * (value[..., None] + change))
            return index + 1, best

        # A bid of 0 costs nothing, so the maximum is never below 0.
        best = jnp.zeros((len(value), atoms, TILE))
        best = jax.lax.while_loop(worthwhile, add_block, (0, best))[1]
        return jnp.sum(mass[..., None] * best, axis=(0, 1))

    def step(row: Any, _: Any) -> Any:
        kept = discount * row[pad:]
        spendable = row.at[pad:].set(kept + cost_weight * ticks)
        lows = pad + jnp.arange(0, cells, TILE)
        gains = jax.lax.map(partial(tile_gain, spendable), lows).reshape(-1)
        return row.at[pad:].set(kept + gains), row[pad:]

    first = jnp.concatenate([jnp.full(pad, FAR_BELOW), jnp.zeros(cells)])
    return jax.lax.scan(step, first, None, length=horizon + 1)[1]
