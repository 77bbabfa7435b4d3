"""What a bidder is worth in a market model: exact expected values by policy evaluation, without any simulation."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.market import Market
from dynrl.auctions.value.bidders import table_bidder
from dynrl.auctions.value.kernel import FAR_BELOW
from dynrl.auctions.value.tables import ValueTable, check_problem
from dynrl.compilation import classes_in

__all__ = ["evaluate_bidder", "evaluate_policy"]

TILE = 128


def evaluate_bidder(
    bidder: Bidder,
    market: Market,
    horizon: int,
    budget: int,
    *,
    pricing: Literal["second", "first"] = "second",
    tie: Literal["win", "lose"] = "win",
    value_per_click: float = 1.0,
    cost_weight: float = 0.0,
    discount: float = 1.0,
) -> ValueTable:
    """W(t, b): what a bidder without memory earns in expectation from t auctions with b ticks, exactly.

    W(t, b) = discount W(t-1, b) + Σ_i share_i Σ_k mass_ik Σ_{δ <= a} m_i(δ) (v1 theta_ik - cost_weight pay + discount
    (W(t-1, b - pay) - W(t-1, b))), a being the bid at (t, b, theta_ik) in segment i, floored and cut to
    `min(b, delta_max)`; `pay` is δ, or a in a first-price auction. (For the RLB bid rule and one segment this is the
    recursion W of Cai et al.'s policy with S0(y) = P(theta >= y) and S1(y) = E[theta; theta >= y].)

    Args:
        bidder: any strategy without memory; it sees requests with `floor` 0.
        market, horizon, budget, value_per_click, cost_weight, discount: as for `value_table`.
        pricing, tie: as in `AuctionRules`.

    Raises:
        ValueError: the bidder keeps a memory, or a bad argument.
    """
    check_problem(horizon, budget, value_per_click, cost_weight, discount)
    with jax.enable_x64(True):
        if jax.tree.leaves(bidder.start(horizon, budget, jax.random.key(0))):
            raise ValueError(
                f"{type(bidder).__name__} keeps a memory of the episode, so its value is no function of (t, b); "
                "estimate it with replay() or a simulator"
            )
        objective = (float(value_per_click), float(cost_weight), float(discount))
        arrays = tuple(jnp.asarray(part) for part in (market.pmf, market.theta, market.theta_mass))
        share = jnp.asarray(market.share)
        cells = -(-(budget + 1) // TILE) * TILE
        rows = _evaluate(
            bidder, classes_in(bidder), *arrays, share, objective, int(horizon), cells, pricing, tie
        )
    return ValueTable(rows, np.zeros(horizon + 1), int(budget), market.delta_max, *objective)


def evaluate_policy(table: ValueTable, market: Market) -> ValueTable:
    """The value in `market` of bidding by the rule of section 5 from a (second-price) table, e.g. RLB's from
    `value_table(market.blind(), ...)`.

    Where click probabilities do not depend on prices (one segment) the policy is one step of improvement on the blind
    one, so `V_blind <= W <= V*` at every (t, b). With several segments only `W <= V*` holds.
    """
    return evaluate_bidder(
        table_bidder(table),
        market,
        table.horizon,
        table.budget,
        value_per_click=table.value_per_click,
        cost_weight=table.cost_weight,
        discount=table.discount,
    )


@partial(jax.jit, static_argnames=("classes", "horizon", "cells", "pricing", "tie"))
def _evaluate(
    bidder: Any,
    classes: tuple[type, ...],
    pmf: Any,
    theta: Any,
    theta_mass: Any,
    share: Any,
    objective: Any,
    horizon: int,
    cells: int,
    pricing: str,
    tie: str,
) -> Any:
    per_click, per_tick, discount = objective
    delta_max = pmf.shape[1] - 1
    prices = jnp.arange(delta_max + 1)
    win_rate = jnp.cumsum(pmf, axis=1)
    lost_tie = 1 if tie == "lose" else 0

    def gain(t_left: Any, row: Any, b: Any, segment: Any) -> Any:
        here = row[delta_max + b]
        change = (
            discount * (row[delta_max + b - prices] - here) - per_tick * prices
        )  # [P], of paying each price

        def of_atom(value: Any) -> Any:
            request = Request(t_left, b, value, jnp.zeros_like(b), segment)
            wanted, _ = bidder.bid((), request)
            limit = jnp.minimum(b, delta_max)
            bid = jnp.minimum(jnp.floor(jnp.maximum(wanted, 0)), limit).astype(b.dtype)
            best = bid - lost_tie  # the highest price that this bid beats
            won = jnp.where(best >= 0, win_rate[segment, jnp.maximum(best, 0)], 0.0)
            if pricing == "first":
                return won * (per_click * value + change[bid])
            return won * per_click * value + jnp.where(best >= 0, paid[jnp.maximum(best, 0)], 0.0)

        paid = jnp.cumsum(pmf[segment] * change)
        return jnp.sum(theta_mass[segment] * jax.vmap(of_atom)(theta[segment]))

    def cell(t_left: Any, row: Any, b: Any) -> Any:
        segments = jnp.arange(len(share))
        gains = jax.vmap(partial(gain, t_left, row, b))(segments)
        return discount * row[delta_max + b] + jnp.sum(share * gains)

    def step(row: Any, t_left: Any) -> Any:
        ticks = jnp.arange(cells).reshape(-1, TILE)
        new = jax.lax.map(jax.vmap(partial(cell, t_left, row)), ticks).reshape(-1)
        return row.at[delta_max:].set(new), row[delta_max:]

    first = jnp.concatenate([jnp.full(delta_max, FAR_BELOW), jnp.zeros(cells)])
    _, rows = jax.lax.scan(step, first, jnp.arange(1, horizon + 2))
    return rows
