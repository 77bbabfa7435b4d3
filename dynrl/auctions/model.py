"""What a bidder is told of its campaign before the first auction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynrl.auctions.campaign import DELTA_MAX, Campaign
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market, click_atoms

__all__ = ["CampaignModel", "laplace_pmf"]


def laplace_pmf(campaign: Campaign, smoothing: float = 1.0) -> np.ndarray:
    """Price probabilities `[delta_max + 1]`: (count + smoothing) / (sum + smoothing * (delta_max + 1)).

    Prices above `delta_max` count as never won (Cai et al., WSDM 2017, with smoothing 1).
    """
    counts = campaign.price_counts
    return (counts + smoothing) / (counts.sum() + campaign.above + smoothing * len(counts))


@dataclass(frozen=True, eq=False)
class CampaignModel:
    """What the training period says.

    Attributes:
        campaign: counts and averages.
        market: law of price and click probability, for the methods that plan.
        train: training rows, for the methods that are tuned by replay; None where only statistics are known.
    """

    campaign: Campaign
    market: Market
    train: AuctionLog | None = None

    @classmethod
    def from_log(
        cls, train: AuctionLog, *, delta_max: int = DELTA_MAX, smoothing: float = 1.0, atoms: int = 64
    ) -> CampaignModel:
        """Counts prices and clicks of training rows, whose `theta` gives the atoms of the click probability.

        Raises:
            ValueError: no rows, no clicks, or no `theta`.
        """
        campaign = Campaign.from_log(train, delta_max)
        if train.theta is None:
            raise ValueError("the training log has no click probabilities; apply a click model first")
        return cls.from_campaign(campaign, train.theta, smoothing=smoothing, atoms=atoms, train=train)

    @classmethod
    def from_campaign(
        cls,
        campaign: Campaign,
        theta: np.ndarray | None = None,
        *,
        smoothing: float = 1.0,
        atoms: int = 64,
        train: AuctionLog | None = None,
    ) -> CampaignModel:
        """From statistics, and click probabilities `[N]` of training rows where there are any (else the average click
        rate is the only atom)."""
        chosen = np.array([campaign.theta_avg]) if theta is None else click_atoms(theta, atoms)
        return cls(campaign, Market.single(laplace_pmf(campaign, smoothing), chosen), train)
