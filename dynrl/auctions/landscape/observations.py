"""What auctions tell about prices: a winner sees the price, a loser learns that it was higher than the bid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.landscape.landscape import Tie
from dynrl.auctions.log import AuctionLog

__all__ = ["PriceObservations"]


@dataclass(frozen=True, eq=False)
class PriceObservations:
    """Bids and outcomes, one row per auction.

    Attributes:
        price: int `[N]`, market price in ticks of the rows where it was seen; ignored elsewhere (logs hold -1).
        won: bool `[N]`, whether the price was seen. Where the exchange shows it after a loss as well, say True.
        bid: int `[N]`, what was bid; None when every price was seen.

    Raises:
        ValueError: different lengths, no rows, a seen price below 0, or a loss without a bid.
    """

    price: NDArray[np.int64]
    won: NDArray[np.bool_]
    bid: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "price", _whole("price", self.price))
        object.__setattr__(self, "won", np.asarray(self.won, bool))
        if self.bid is not None:
            object.__setattr__(self, "bid", _whole("bid", self.bid))
        bids = len(self.price) if self.bid is None else len(self.bid)
        if not len(self.price) == len(self.won) == bids:
            raise ValueError(
                f"price has {len(self.price)} rows, won {len(self.won)} and bid {bids}; expected equal lengths"
            )
        if len(self.price) == 0:
            raise ValueError("there are no auctions to learn prices from")
        wrong = self.won & (self.price < 0)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"row {row} is won at price {self.price[row]}, expected a price of at least 0")
        if self.bid is None and not self.won.all():
            raise ValueError(
                f"{int((~self.won).sum())} rows were lost but there are no bids: a loss only says that the price was "
                "above the bid. Give the bids, or keep the won rows and accept that low prices are over-represented"
            )
        if self.bid is not None and (self.bid < 0).any():
            raise ValueError(f"bid is {self.bid.min()}, expected at least 0")

    @classmethod
    def from_log(cls, log: AuctionLog) -> PriceObservations:
        """The auctions of a log; without a `won` column every row is a won impression."""
        won = np.ones(len(log), bool) if log.won is None else log.won
        return cls(log.price.astype(np.int64), won, None if log.bid is None else log.bid.astype(np.int64))

    def __len__(self) -> int:
        return len(self.price)

    def take(self, rows: slice | NDArray[Any]) -> PriceObservations:
        """Some rows, by slice, mask or numbers."""
        return PriceObservations(
            self.price[rows], self.won[rows], None if self.bid is None else self.bid[rows]
        )

    def known_above(self, tie: Tie) -> NDArray[np.int64]:
        """`[N]`: the price of a lost row was above this; -1 (nothing learnt) is possible when a tie loses.

        A loss says price > bid when ties win and price ≥ bid when they lose. Won rows hold their price.
        """
        if self.bid is None:
            return self.price
        return np.where(self.won, self.price, self.bid - (tie == "lose"))


def _whole(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}, expected integers [N]")
    return array.astype(np.int64)
