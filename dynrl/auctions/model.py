"""What a bidder is told of its campaign before the first auction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dynrl.auctions.campaign import DELTA_MAX, Campaign
from dynrl.auctions.landscape.markets import market_from
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market

__all__ = ["CampaignModel"]


@dataclass(frozen=True, eq=False)
class CampaignModel:
    """What the training period says.

    Attributes:
        campaign: counts and averages.
        market: law of price and click probability, for the methods that plan.
        train: training rows, for the methods that are tuned by replay; None where only statistics are known.

    Raises:
        ValueError: every click probability of the market is 0.
    """

    campaign: Campaign
    market: Market
    train: AuctionLog | None = None

    def __post_init__(self) -> None:
        if not np.asarray(self.market.theta).any():
            raise ValueError(
                "every click probability (theta) of the training rows is 0, so that no impression is worth a bid; "
                "check the click model that predicted them"
            )

    @classmethod
    def from_log(
        cls,
        train: AuctionLog,
        *,
        delta_max: int = DELTA_MAX,
        smoothing: float = 1.0,
        atoms: int = 64,
        segments: str | None = None,
    ) -> CampaignModel:
        """Counts prices and clicks of training rows, whose `theta` gives the atoms of the click probability.

        Args:
            train: training rows with `theta`.
            delta_max: largest price considered.
            smoothing: pseudo-observations at each price (Laplace).
            atoms: click probabilities that stand for all, see `click_atoms`.
            segments: name of the categories with prices and click probabilities of their own.

        Raises:
            ValueError: no rows, or no `theta`.
        """
        campaign = Campaign.from_log(train, delta_max)
        market = market_from(train, atoms=atoms, laplace=smoothing, delta_max=delta_max, segments=segments)
        return cls(campaign, market, train)

    @classmethod
    def from_campaign(
        cls,
        campaign: Campaign,
        theta: ArrayLike | None = None,
        *,
        smoothing: float = 1.0,
        atoms: int = 64,
        train: AuctionLog | None = None,
    ) -> CampaignModel:
        """From statistics, and click probabilities `[N]` of training rows where there are any (else the average click
        rate is the only atom)."""
        return cls(campaign, market_from(campaign, theta, atoms=atoms, laplace=smoothing), train)
