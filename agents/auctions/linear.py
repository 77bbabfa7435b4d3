"""Bids proportional to the predicted click probability: Mcpc and Lin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.serving import LinearPolicy

__all__ = ["LinearBidder"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearBidder(Bidder):
    """`floor(slope * theta)`.

    Attributes:
        slope: ticks per unit of click probability.
        delta_max: largest bid, in ticks.
    """

    slope: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.floor(self.slope * request.theta), memory

    def serving(self) -> LinearPolicy:
        return LinearPolicy(float(self.slope), int(self.delta_max))
