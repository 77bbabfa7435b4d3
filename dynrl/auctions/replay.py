"""Replay of a log: thousands of episodes side by side in one compiled program, exact to the tick.

Replay assumes that rivals do not react, and knows only the impressions that the logging bidder won.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.bidder import Bidder, Outcome, Request
from dynrl.auctions.log import EpisodeArrays
from dynrl.auctions.rules import AuctionRules
from dynrl.compilation import classes_in

__all__ = ["ReplayResult", "Trace", "replay", "settle", "sweep"]


class Trace(NamedTuple):
    """Every auction of a replay, leaves `[T, E]`: ticks bid (int32), whether won, ticks paid (int32)."""

    bid: Any
    won: Any
    cost: Any


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """Totals of each episode, arrays `[E]` (or `[P, E]` from `sweep`).

    Attributes:
        clicks, wins, cost: int64; `cost` in ticks.
        expected_clicks: sum of theta over the impressions won, a metric with less noise than clicks.
        auctions: rows of the episode.
        budget: ticks at the start of the episode.
        trace: every auction, where asked for.
    """

    clicks: NDArray[np.int64]
    wins: NDArray[np.int64]
    cost: NDArray[np.int64]
    expected_clicks: NDArray[np.float64]
    auctions: NDArray[np.int64]
    budget: NDArray[np.int64]
    trace: Trace | None = None

    def totals(self) -> tuple[int, int, int]:
        """(clicks, wins, cost) over all episodes."""
        return int(self.clicks.sum()), int(self.wins.sum()), int(self.cost.sum())


class _Totals(NamedTuple):
    clicks: Any
    wins: Any
    cost: Any
    expected_clicks: Any


def settle(bid: Any, price: Any, floor: Any, tie: str, pricing: str) -> tuple[Any, Any]:
    """(won, cost in ticks) of whole-tick bids that have been cut to the money left.

    The reserve price takes part like a rival's bid, except that meeting it exactly always suffices.
    """
    beats = bid >= price if tie == "win" else bid > price
    won = beats & (bid >= floor)
    xp = jnp if isinstance(won, jax.Array) else np
    paid = bid if pricing == "first" else xp.maximum(price, floor)
    return won, xp.where(won, paid, 0)


def replay(
    bidder: Bidder,
    episodes: EpisodeArrays,
    rules: AuctionRules,
    *,
    budget: NDArray[np.int64] | int | None = None,
    trace: bool = False,
    seed: int = 0,
) -> ReplayResult:
    """Play one strategy through all episodes.

    Args:
        bidder: the strategy.
        episodes: rows `[T, E]`, see `AuctionLog.episodes`.
        rules: tie, pricing, largest bid; `rules.horizon` must be T.
        budget: ticks per episode, a number or `[E]`; None for `rules.budget`.
        trace: also return every auction.
        seed: for strategies that draw; episode e draws from `fold_in(key(seed), e)`.

    Raises:
        ValueError: episodes of another length than `rules.horizon`, or a negative budget.
    """
    with jax.enable_x64(True):
        budgets = _budgets(episodes, rules, budget)
        arrays, key = _on_device(episodes), jax.random.key(seed)
        totals, steps = _replay(
            bidder,
            classes_in(bidder),
            arrays,
            budgets,
            key,
            rules.delta_max,
            rules.tie,
            rules.pricing,
            trace,
        )
        totals, steps = jax.device_get((totals, steps))
    return _result(totals, episodes, budgets, Trace(*steps) if trace else None)


def sweep(
    bidder: Bidder,
    changes: Mapping[str, Sequence[float] | NDArray[Any]],
    episodes: EpisodeArrays,
    rules: AuctionRules,
    *,
    budget: NDArray[np.int64] | int | None = None,
    seed: int = 0,
) -> ReplayResult:
    """Play variants of one strategy through all episodes, in one compiled program.

    Args:
        bidder: the strategy.
        changes: data fields of it and their values, each of length P; variant p takes the p-th of every list.
        episodes, rules, budget, seed: as in `replay`.

    Returns:
        Totals `[P, E]`.

    Raises:
        ValueError: an unknown field, lists of different lengths, or what `replay` refuses.
    """
    known = {field.name for field in dataclasses.fields(bidder) if not field.metadata.get("static")}  # type: ignore[arg-type]
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ValueError(
            f"{type(bidder).__name__} has no number {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    if len({len(value) for value in changes.values()}) != 1:
        raise ValueError("the lists of values must have one common length")
    with jax.enable_x64(True):
        budgets = _budgets(episodes, rules, budget)
        values = {name: jnp.asarray(value, jnp.float64) for name, value in changes.items()}
        variants = dataclasses.replace(bidder, **values)  # type: ignore[type-var]
        totals = _sweep(
            variants,
            classes_in(variants),
            tuple(sorted(values)),
            _on_device(episodes),
            budgets,
            jax.random.key(seed),
            rules.delta_max,
            rules.tie,
            rules.pricing,
        )
        totals = jax.device_get(totals)
    return _result(totals, episodes, budgets, None)


@partial(jax.jit, static_argnums=(1, 5, 6, 7, 8))
def _replay(
    bidder: Any,
    classes: tuple[type, ...],
    episodes: Any,
    budgets: Any,
    key: Any,
    delta_max: int,
    tie: str,
    pricing: str,
    trace: bool,
) -> Any:
    horizon, count = episodes.price.shape
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    memory = jax.vmap(partial(bidder.start, horizon))(budgets, keys)
    zero = jnp.zeros(count, jnp.int64)
    start = (budgets, memory, _Totals(zero, zero, zero, jnp.zeros(count)))

    def step(carry: Any, rows: Any) -> Any:
        left, memory, totals = carry
        t_left, row = rows
        request = Request(
            jnp.broadcast_to(t_left, left.shape), left, row.theta, row.floor.astype(jnp.int64), row.segment
        )
        wanted, memory = jax.vmap(bidder.bid)(memory, request)
        limit = jnp.minimum(left, delta_max)
        bid = jnp.minimum(jnp.floor(jnp.maximum(wanted, 0)), limit).astype(jnp.int64)
        won, cost = settle(bid, row.price.astype(jnp.int64), request.floor, tie, pricing)
        won = won & row.mask & (cost <= left)
        cost = jnp.where(won, cost, 0)
        click = won & (row.click > 0)
        memory = jax.vmap(bidder.observe)(memory, request, Outcome(bid, won, cost, click))
        totals = _Totals(
            totals.clicks + jnp.where(won, row.click, 0),
            totals.wins + won,
            totals.cost + cost,
            totals.expected_clicks + jnp.where(won, row.theta, 0.0),
        )
        kept = Trace(bid.astype(jnp.int32), won, cost.astype(jnp.int32)) if trace else None
        return (left - cost, memory, totals), kept

    times = jnp.arange(horizon, 0, -1, dtype=jnp.int64)
    (_, _, totals), steps = jax.lax.scan(step, start, (times, episodes))
    return totals, steps


@partial(jax.jit, static_argnums=(1, 2, 6, 7, 8))
def _sweep(
    variants: Any,
    classes: tuple[type, ...],
    names: tuple[str, ...],
    episodes: Any,
    budgets: Any,
    key: Any,
    delta_max: int,
    tie: str,
    pricing: str,
) -> Any:
    axes = dataclasses.replace(
        variants,
        **{
            field.name: 0 if field.name in names else None
            for field in dataclasses.fields(variants)
            if not field.metadata.get("static")
        },
    )

    def play(variant: Any) -> Any:
        return _replay(variant, classes, episodes, budgets, key, delta_max, tie, pricing, False)[0]

    return jax.vmap(play, in_axes=(axes,))(variants)


def _budgets(episodes: EpisodeArrays, rules: AuctionRules, budget: Any) -> Any:
    horizon, count = episodes.price.shape
    if horizon != rules.horizon:
        raise ValueError(f"the episodes have {horizon} auctions each, the rules say T = {rules.horizon}")
    budgets = np.broadcast_to(np.asarray(rules.budget if budget is None else budget, np.int64), (count,))
    if (budgets < 0).any():
        raise ValueError(f"budget {budgets.min()} is negative")
    return jnp.asarray(budgets)


def _on_device(episodes: EpisodeArrays) -> EpisodeArrays:
    return EpisodeArrays(*(jnp.asarray(column) for column in episodes))


def _result(totals: Any, episodes: EpisodeArrays, budgets: Any, trace: Trace | None) -> ReplayResult:
    return ReplayResult(
        clicks=totals.clicks,
        wins=totals.wins,
        cost=totals.cost,
        expected_clicks=totals.expected_clicks,
        auctions=np.asarray(episodes.mask).sum(0),
        budget=np.asarray(budgets),
        trace=trace,
    )
