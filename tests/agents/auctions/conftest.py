"""Worlds for the bidders: a made campaign, and the published one where its data are at hand."""

from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dynrl.auctions.campaign import Campaign
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules


class World(gymnasium.Env):
    """An environment as far as a bidding agent needs one to be made."""

    def __init__(self, rules: AuctionRules, model: CampaignModel) -> None:
        self.rules, self.model = rules, model
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (4,), np.float32)
        self.action_space = gymnasium.spaces.Box(0, np.inf, (1,), np.float32)


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def draw_log() -> Callable[..., AuctionLog]:
    """A function (rows, seed, delta_max, scale) -> log: prices of two humps, theta log-normal times `scale`."""

    def draw(rows: int, seed: int, delta_max: int = 60, scale: float = 1.0) -> AuctionLog:
        rng = np.random.default_rng(seed)
        hump = np.where(rng.random(rows) < 0.6, rng.normal(15, 4, rows), rng.normal(40, 8, rows))
        price = np.clip(np.round(hump), 0, delta_max).astype(np.int32)
        theta = np.clip(np.exp(rng.normal(-3.5, 0.8, rows)) * scale, 0, 1)
        return AuctionLog((rng.random(rows) < theta).astype(np.uint8), price, theta)

    return draw


@pytest.fixture(scope="session")
def published(campaign_file: Callable[[str], Path]) -> tuple[CampaignModel, AuctionLog]:
    """(model with the validation rows as training rows, test log) of iPinYou campaign 2997."""

    def read(name: str) -> AuctionLog:
        table = np.loadtxt(campaign_file(name))
        return AuctionLog(table[:, 0].astype(np.uint8), table[:, 1].astype(np.int32), table[:, 2])

    train = read("2997.validation.theta.txt")
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    return CampaignModel.from_campaign(campaign, train.theta, train=train), read("2997.test.theta.txt")
