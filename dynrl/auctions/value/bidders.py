"""Bidders that plan on a small scale (T0 auctions, B0 ticks) and bid at any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.serving import ScaledPolicy
from dynrl.auctions.value.marginals import Marginals, TableMarginals
from dynrl.auctions.value.scaling import quotient, to_plan, whole
from dynrl.auctions.value.tables import ValueTable

__all__ = ["MapActionBidder", "MapValueBidder", "Scale", "SegmentBidder", "SegmentMemory", "table_bidder"]

Scale = Literal["map_action", "map_value", "segment"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MapActionBidder(Bidder):
    """Inside the plan its own bids; outside, the bid at the point of the plan that has the same ratio b / t.

    `t > T0` becomes `(T0, floor(b T0 / t))`, and `b > B0` becomes `(floor(t B0 / b), B0)`. The second is needed because
    a bidder that has spent little would otherwise be held at B0, and its bids capped for the rest of the episode (Cai
    et al., WSDM 2017, RLB-NN-MapA, whose text has the first map only).

    Attributes:
        marginals: the plan.
        tie_ticks: ticks bid above the price worth paying: 1 where ties lose, else 0.
    """

    marginals: Marginals
    tie_ticks: Any = 0

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return self.marginals.best_price(
            *to_plan(*whole(request), self.marginals), request.theta
        ) + self.tie_ticks, memory

    def serving(self) -> ScaledPolicy:
        return self.marginals.serving("map_action", self.tie_ticks)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MapValueBidder(Bidder):
    """Outside the plan, adds up the worth of single ticks at points of the same ratio (RLB-NN-MapD).

    `D(t, b) = D(T0, floor(b T0 / t))`, or `D(floor(t B0 / b), B0)` where the purse is what the plan does not reach. The
    bid is the largest δ with `Σ_{j=1..δ} D(t-1, b-j) <= theta`. Looks at `delta_max` values for each bid.

    Attributes:
        marginals: the plan.
        tie_ticks: as in `MapActionBidder`.
    """

    marginals: Marginals
    tie_ticks: Any = 0

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        plan, (t, b) = self.marginals, whole(request)
        after = t - 1
        inside = (after <= plan.horizon) & (b <= plan.budget)
        inner = plan.best_price(jnp.where(inside, t, 1), jnp.where(inside, b, 0), request.theta)
        long = plan.horizon * b <= plan.budget * after
        up, down = jnp.where(long, plan.horizon, plan.budget), jnp.maximum(jnp.where(long, after, b), 1)
        prices = jnp.arange(1, plan.delta_max + 1)
        cells = quotient(jnp.maximum(b - prices, 0) * up, down)
        row = jnp.clip(quotient(after * up, down), 0, plan.horizon)
        spent = jnp.cumsum(plan.marginal(row, jnp.clip(cells, 0, plan.budget - 1)))
        outer = jnp.sum((prices <= b) & (spent <= request.theta))
        return jnp.where(inside, inner, outer) + self.tie_ticks, memory

    def serving(self) -> ScaledPolicy:
        return self.marginals.serving("map_value", self.tie_ticks)


class SegmentMemory(NamedTuple):
    """Where a long episode stands, every leaf `[]`.

    Attributes:
        segments: small episodes left, the present one included.
        reserve: ticks kept back for the later ones.
    """

    segments: Any
    reserve: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SegmentBidder(Bidder):
    """Cuts a long episode into small ones of T0 auctions, each with an equal share of the money left (RLB-NN-Seg).

    The shares are drawn anew as each small episode begins, so what one leaves goes to the later ones. If T is no
    multiple of T0, the first is the shorter one.

    Attributes:
        marginals: the plan.
        tie_ticks: as in `MapActionBidder`.
    """

    marginals: Marginals
    tie_ticks: Any = 0

    def start(self, horizon: Any, budget: Any, key: Any) -> SegmentMemory:
        zero = jnp.zeros((), jnp.int64)
        return SegmentMemory(zero, zero)

    def bid(self, memory: SegmentMemory, request: Request) -> tuple[Any, SegmentMemory]:
        t, b = whole(request)
        horizon = self.marginals.horizon
        segments = -quotient(-t, horizon)
        begins = segments != memory.segments
        reserve = jnp.where(begins, b - quotient(b, segments), memory.reserve)
        left = jnp.maximum(b - reserve, 0)
        t, left = to_plan(t - (segments - 1) * horizon, left, self.marginals)
        bid = self.marginals.best_price(t, left, request.theta)
        return bid + self.tie_ticks, SegmentMemory(segments, reserve)

    def serving(self) -> ScaledPolicy:
        return self.marginals.serving("segment", self.tie_ticks)


_BIDDERS = {"map_action": MapActionBidder, "map_value": MapValueBidder, "segment": SegmentBidder}


def table_bidder(
    table: ValueTable, scale: Scale = "map_action", *, tie: str = "win", delta_max: int | None = None
) -> Bidder:
    """The bidder of a second-price table; for episodes inside the table every `scale` bids the same.

    Args:
        scale: what to do outside the table.
        tie: whether a bid equal to the price wins. Where it loses, one tick more is bid.
        delta_max: largest bid in ticks; None for the table's.

    Raises:
        ValueError: unknown `scale`.
    """
    return scaled_bidder(TableMarginals.of(table, delta_max), scale, tie)


def scaled_bidder(marginals: Marginals, scale: str, tie: str) -> Bidder:
    """The bidder of any plan; arguments as in `table_bidder`."""
    if scale not in _BIDDERS:
        raise ValueError(f"scale is {scale!r}, expected one of {', '.join(sorted(_BIDDERS))}")
    return _BIDDERS[scale](marginals, 1 if tie == "lose" else 0)
