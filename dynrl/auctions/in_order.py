"""Many auctions at once under one budget, with the outcome they would have one after the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["auctions_in_order"]


def auctions_in_order(
    wish: Any, price: Any, floor: Any, mask: Any, budget: Any, tie: str = "win", pricing: str = "second"
) -> tuple[Any, Any]:
    """Hold auctions in row order; each bid is cut to the money that the earlier ones left.

    Most rows never meet the budget, so the rows are not stepped through. A cumulative sum settles everything up to the
    first auction that the money left cannot cover as wished; that one is held by itself, everything that has become too
    expensive is dropped, and the sum starts again behind it. Near the end of the money this takes a few rounds.

    Args:
        wish: whole-tick bids `[n]`, already cut to the largest bid.
        price: market prices in ticks `[n]`.
        floor: reserve prices in ticks `[n]`.
        mask: which rows exist `[n]`.
        budget: ticks at hand before the first row `[]`.
        tie: whether a bid equal to the market price wins.
        pricing: `"second"` (the winner pays the market price, at least the floor) or `"first"` (its bid).

    Returns:
        (won `[n]` bool, ticks paid `[n]`), exactly as `dynrl.auctions.replay.settle` gives row by row.
    """
    rows = jnp.arange(len(wish))
    needed = jnp.maximum(price + (1 if tie == "lose" else 0), floor)
    paid = jnp.maximum(price, floor)
    wanted = mask & (wish >= needed)

    def settle_up_to_the_next_shortage(carry: tuple) -> tuple:
        place, left, won, cost = carry
        live = wanted & (needed <= left) & (rows >= place)
        pay = jnp.where(live, jnp.minimum(wish, left) if pricing == "first" else paid, 0)
        hold = pay if pricing == "first" else jnp.where(live, needed, 0)
        before = left - (jnp.cumsum(pay) - pay)
        short = live & (hold > before)
        stop = jnp.where(short.any(), short.argmax(), len(wish))
        settled = live & (rows < stop)
        # The auction at `stop` is lost under second price: what it needs is more than what is left. Under first price
        # the bid is cut to what is left, and may still do.
        if pricing == "first":
            cut = (rows == stop) & (needed <= before)
            settled, pay = settled | cut, jnp.where(cut, before, pay)
        cost = jnp.where(settled, pay, cost)
        return stop + 1, left - jnp.where(settled, pay, 0).sum(), won | settled, cost

    start = (
        jnp.zeros((), rows.dtype),
        jnp.asarray(budget, wish.dtype),
        jnp.zeros_like(mask),
        jnp.zeros_like(wish),
    )
    _, _, won, cost = jax.lax.while_loop(
        lambda carry: carry[0] < len(wish), settle_up_to_the_next_shortage, start
    )
    return won, cost
