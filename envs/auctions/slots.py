"""Time slots of auctions: stretches of a log, or numbers of requests to draw from a market."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions import AuctionLog, Market
from dynrl.envs.auctions.bid_sim import MarketTables, market_tables, request_from
from dynrl.envs.auctions.bidding import Auction

__all__ = ["LogSlots", "MarketSlots", "log_slots", "market_slots", "slot_auctions"]


class LogSlots(NamedTuple):
    """Attributes:
    rows: columns of the log, padded to `[N + width]`.
    start: first row of each slot, episode after episode `[E * T]`.
    count: rows of each slot `[E * T]`.
    lanes: `0 ... width - 1`, with the width of the largest slot.
    """

    rows: Auction
    start: Any
    count: Any
    lanes: Any


class MarketSlots(NamedTuple):
    """Attributes:
    market: cumulative tables to draw from.
    count: requests of each slot `[T]`.
    lanes: `0 ... width - 1`, with the width of the largest slot.
    """

    market: MarketTables
    count: Any
    lanes: Any


def log_slots(log: AuctionLog, horizon: int, auctions_per_slot: int, slots_by: str) -> LogSlots:
    """A log cut into episodes of `horizon` slots.

    Args:
        log: rows with click probabilities.
        horizon: T, slots per episode.
        auctions_per_slot: rows of a slot, with `slots_by="count"`.
        slots_by: `"count"`, or `"time"`: an episode is a day, from midnight on, in T equal stretches.

    Raises:
        ValueError: the log cannot be replayed, or has no timestamps in ascending order to cut by.
    """
    columns = log.episodes(len(log))
    if slots_by == "count":
        slots = -(-len(log) // auctions_per_slot)
        edges = np.minimum(np.arange(-(-slots // horizon) * horizon + 1) * auctions_per_slot, len(log))
    else:
        if log.timestamp is None:
            raise ValueError("the log has no timestamps; cut it with slots_by='count'")
        if (np.diff(log.timestamp) < np.timedelta64(0)).any():
            raise ValueError("the timestamps of the log are not in ascending order; read it with sort=True")
        day = np.timedelta64(86_400_000, "ms")
        first = log.timestamp[0].astype("datetime64[D]").astype("datetime64[ms]")
        days = int((log.timestamp[-1] - first) // day) + 1
        offsets = np.arange(days * horizon + 1) * 86_400_000 // horizon
        edges = np.searchsorted(log.timestamp, first + offsets.astype("timedelta64[ms]"))
    count = np.diff(edges)
    width = max(int(count.max()), 1)
    rows = Auction(*(np.pad(getattr(columns, name)[:, 0], (0, width)) for name in Auction._fields))
    return LogSlots(
        rows, edges[:-1].astype(np.int64), count.astype(np.int64), np.arange(width, dtype=np.int32)
    )


def market_slots(
    market: Market, horizon: int, auctions_per_slot: int, traffic: tuple[float, ...] | None
) -> MarketSlots:
    """Slots whose requests are drawn, `auctions_per_slot` on average, in proportion to the weights `traffic` `[T]`.

    Raises:
        ValueError: another number of weights than slots, or weights that are not positive in sum.
    """
    weights = np.ones(horizon) if traffic is None else np.asarray(traffic, float)
    if weights.shape != (horizon,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(f"traffic must be {horizon} non-negative weights, one per slot, got {traffic}")
    count = np.rint(auctions_per_slot * weights / weights.mean()).astype(np.int64)
    return MarketSlots(market_tables(market), count, np.arange(max(count.max(), 1), dtype=np.int32))


def slot_auctions(
    source: LogSlots | MarketSlots, slot: Any, episode: Any, horizon: int, rng: Any
) -> tuple[Auction, Any]:
    """The auctions of one slot, columns `[width]`, and which of them exist."""
    lanes = jnp.asarray(source.lanes)
    if isinstance(source, MarketSlots):
        uniforms = jax.random.uniform(rng, (len(lanes), 4), float)
        drawn = jax.vmap(request_from, in_axes=(0, None))(uniforms, source.market)
        return drawn, lanes < jnp.asarray(source.count)[slot]
    place = episode * horizon + slot
    start, count = jnp.asarray(source.start)[place], jnp.asarray(source.count)[place]
    columns = [jax.lax.dynamic_slice_in_dim(jnp.asarray(column), start, len(lanes)) for column in source.rows]
    types = (int, int, float, int, int)
    return Auction(*(column.astype(kind) for column, kind in zip(columns, types, strict=True))), lanes < count
