"""The campaign that the auction environments play without arguments: small, generated, always the same."""

from __future__ import annotations

from functools import cache

import numpy as np

from dynrl.auctions import AuctionLog
from dynrl.auctions.model import CampaignModel

__all__ = ["default_log", "default_model"]


def _generate(rows: int, seed: int) -> AuctionLog:
    rng = np.random.default_rng(seed)
    theta = np.clip(rng.lognormal(-6.0, 1.0, rows), 1e-5, 0.2)
    price = np.minimum(rng.gamma(1.6, 40.0, rows).astype(np.int32), 300).astype(np.int32)
    return AuctionLog((rng.random(rows) < theta).astype(np.uint8), price, theta)


@cache
def default_log() -> AuctionLog:
    """The test period."""
    return _generate(10_500, seed=1)


@cache
def default_model() -> CampaignModel:
    """What the training period says."""
    return CampaignModel.from_log(_generate(20_000, seed=0))
