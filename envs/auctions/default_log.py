"""The campaign that the auction environments play without arguments: small, generated, always the same."""

from __future__ import annotations

from functools import cache

import numpy as np

from dynrl.auctions import AuctionLog
from dynrl.auctions.generator import GeneratedMarket
from dynrl.auctions.model import CampaignModel

__all__ = ["default_log", "default_model"]

_TEST_DAY = np.datetime64("2013-06-13T00:00:00.000", "ms")


@cache
def _market() -> GeneratedMarket:
    return GeneratedMarket.draw(seed=0)


@cache
def default_log() -> AuctionLog:
    """The test period: a day of 10 500 auctions on three exchanges. The last of 11 episodes of 1000 is short."""
    return _market().log(10_500, seed=1, days=1.0, start=_TEST_DAY)


@cache
def default_model() -> CampaignModel:
    """What the week before says."""
    return CampaignModel.from_log(_market().log(30_000, seed=0))
