"""Episodes in time slots as arrays: the world in which DRLB learns."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.log import EpisodeArrays
from dynrl.auctions.replay import settle
from dynrl.auctions.rules import AuctionRules

__all__ = ["FEATURES", "SlotRows", "SlotTotals", "features", "play_slot", "slot_rows"]

FEATURES = 7
"""Time left, money left, slots left, share of the money spent in the last slot, its CPM, win rate and clicks."""


class SlotRows(NamedTuple):
    """Auctions of E episodes in K slots of at most L auctions, every leaf `[K, L, E]`.

    Attributes:
        click, price, theta, floor: as in `EpisodeArrays`.
        mask: False where a slot has fewer than L auctions.
    """

    click: Any
    price: Any
    theta: Any
    floor: Any
    mask: Any


class SlotTotals(NamedTuple):
    """What a slot brought, every leaf `[N]`.

    Attributes:
        spent: ticks.
        paid_wins, paid_value: impressions that cost money, and their predicted clicks: what the money left tells.
        value, clicks: predicted and logged clicks of all impressions won.
    """

    spent: Any
    paid_wins: Any
    paid_value: Any
    value: Any
    clicks: Any


def slot_rows(episodes: EpisodeArrays, slots: int) -> tuple[SlotRows, np.ndarray]:
    """(rows by slot, auctions left `[K]` as each slot begins); row i of T is in slot `i * slots // T`."""
    horizon = episodes.price.shape[0]
    slot = np.arange(horizon) * slots // horizon
    first = np.searchsorted(slot, np.arange(slots + 1))
    rows = first[:-1, None] + np.arange(np.diff(first).max())
    mask = rows < first[1:, None]
    rows = np.minimum(rows, horizon - 1)
    cut = SlotRows(
        click=np.asarray(episodes.click)[rows],
        price=np.asarray(episodes.price)[rows],
        theta=np.asarray(episodes.theta)[rows],
        floor=np.asarray(episodes.floor)[rows],
        mask=mask[..., None] & np.asarray(episodes.mask)[rows],
    )
    return cut, horizon - first[:-1]


def play_slot(rows: SlotRows, multiplier: Any, left: Any, rules: AuctionRules) -> SlotTotals:
    """Bids `floor(theta * multiplier)` through one slot, auction by auction, while the money lasts.

    Args:
        rows: of the slot, leaves `[L, N]`.
        multiplier: `[N]`, ticks per unit of click probability.
        left: `[N]`, ticks left.
        rules: tie, pricing, largest bid.
    """

    def auction(carry: Any, row: SlotRows) -> Any:
        left, totals = carry
        limit = jnp.minimum(left, rules.delta_max)
        bid = jnp.minimum(jnp.floor(row.theta * multiplier), limit)
        won, cost = settle(bid, row.price, row.floor, rules.tie, rules.pricing)
        won = won & row.mask & (cost <= left)
        cost = jnp.where(won, cost, 0)
        totals = SlotTotals(
            totals.spent + cost,
            totals.paid_wins + (cost > 0),
            totals.paid_value + jnp.where(cost > 0, row.theta, 0),
            totals.value + jnp.where(won, row.theta, 0),
            totals.clicks + jnp.where(won, row.click, 0),
        )
        return (left - cost, totals), None

    zero = jnp.zeros_like(left)
    (_, totals), _ = jax.lax.scan(auction, (left, SlotTotals(zero, zero, zero, zero, zero)), rows)
    return totals


def features(
    t_share: Any,
    b_left: Any,
    budget: Any,
    slots_share: Any,
    first_left: Any,
    wins: Any,
    auctions: Any,
    clicks: Any,
    delta_max: Any,
    clicks_per_slot: Any,
) -> Any:
    """The state of DRLB `[..., 7]` as a slot begins, in the order of `FEATURES`; the last four are of the slot before.

    Args:
        t_share, slots_share: shares of the auctions and slots left.
        b_left, budget: ticks left, and at the start.
        first_left: ticks left as the last slot began.
        wins, auctions, clicks: of the last slot (predicted clicks of the impressions paid for).
        delta_max: unit of CPM.
        clicks_per_slot: unit of clicks.
    """
    spent = first_left - b_left
    parts = (
        t_share,
        b_left / jnp.maximum(budget, 1),
        slots_share,
        spent / jnp.maximum(first_left, 1),
        spent / jnp.maximum(wins, 1) / delta_max,
        wins / jnp.maximum(auctions, 1),
        clicks / clicks_per_slot,
    )
    return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(part, b_left.dtype) for part in parts)), axis=-1)
