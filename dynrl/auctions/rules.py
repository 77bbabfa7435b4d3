"""The rules of an episode of auctions, which environments enforce and bidders are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AuctionRules"]


@dataclass(frozen=True)
class AuctionRules:
    """An episode of `horizon` auctions with `budget` ticks.

    Attributes:
        horizon: T, auctions per episode.
        budget: B, ticks at the start of an episode.
        delta_max: largest bid, in ticks.
        tie: whether a bid equal to the market price wins.
        pricing: a winner pays the market price (`"second"`) or its bid (`"first"`).

    Raises:
        ValueError: names the field.
    """

    horizon: int
    budget: int
    delta_max: int = 300
    tie: Literal["win", "lose"] = "win"
    pricing: Literal["second", "first"] = "second"

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("budget", 1), ("delta_max", 1)):
            value = getattr(self, name)
            if int(value) != value or value < least:
                raise ValueError(f"{name} is {value}, expected a whole number of at least {least}")
            object.__setattr__(self, name, int(value))
        if self.tie not in ("win", "lose"):
            raise ValueError(f"tie is {self.tie!r}, expected 'win' or 'lose'")
        if self.pricing not in ("second", "first"):
            raise ValueError(f"pricing is {self.pricing!r}, expected 'second' or 'first'")
