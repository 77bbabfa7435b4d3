"""First-price RLB as an agent."""

from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.first_price import FirstPriceRLB
from dynrl.agents.auctions.shading import Shading
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import evaluate_bidder, first_price_table
from dynrl.errors import ConfigError

T, B, DELTA_MAX = 60, 300, 40


@pytest.fixture(scope="module")
def model() -> CampaignModel:
    rng = np.random.default_rng(0)
    counts = np.round(
        1000 * rng.gamma(2, size=DELTA_MAX + 1) * np.exp(-np.arange(DELTA_MAX + 1) / 12)
    ).astype(int)
    campaign = Campaign(int(counts.sum()), 200, int(counts @ np.arange(DELTA_MAX + 1)), counts)
    return CampaignModel(campaign, Market.single(counts / counts.sum(), rng.lognormal(-4, 1, 6)))


@pytest.mark.parametrize("tie", ["win", "lose"])
def test_it_is_the_optimum_of_the_model(model: CampaignModel, world: type[Any], tie: Any) -> None:
    agent = FirstPriceRLB(world(AuctionRules(T, B, DELTA_MAX, tie=tie, pricing="first"), model))
    earned = evaluate_bidder(agent.bidder, model.market, T, B, pricing="first", tie=tie).value(T, B)
    optimum = first_price_table(model.market, T, B, tie=tie).value(T, B)
    assert earned == pytest.approx(optimum, rel=1e-12)


def test_it_wins_more_than_shading_on_drawn_auctions(model: CampaignModel, world: type[Any]) -> None:
    """300 episodes; expected clicks, a paired comparison of the same auctions, five standard errors apart."""
    rng, market, rules = (
        np.random.default_rng(1),
        model.market,
        AuctionRules(T, B, DELTA_MAX, pricing="first"),
    )
    rows = 300 * T
    price = rng.choice(DELTA_MAX + 1, rows, p=market.price_pmf).astype(np.int32)
    theta = rng.choice(market.theta[0], rows, p=market.theta_mass[0])
    log = AuctionLog((rng.random(rows) < theta).astype(np.uint8), price, theta)
    plan = replay(FirstPriceRLB(world(rules, model)).bidder, log.episodes(T), rules)
    for value in (300.0, 1000.0, 3000.0):
        shaded = replay(Shading(world(rules, model), value=value).bidder, log.episodes(T), rules)
        gain = plan.expected_clicks - shaded.expected_clicks
        assert gain.mean() > 5 * gain.std() / np.sqrt(300)


def test_long_episodes_by_the_ratio(model: CampaignModel, world: type[Any]) -> None:
    """A plan of a sixth of the episode earns 98 % of the optimum."""
    rules = AuctionRules(T, B, DELTA_MAX, pricing="first")
    agent = FirstPriceRLB(world(rules, model), scale="map_action", plan_horizon=T // 6)
    earned = evaluate_bidder(agent.bidder, model.market, T, B, pricing="first").value(T, B)
    assert earned > 0.98 * first_price_table(model.market, T, B).value(T, B)


def test_second_price_rules_are_refused(model: CampaignModel, world: type[Any]) -> None:
    with pytest.raises(ConfigError, match="use RLB"):
        FirstPriceRLB(world(AuctionRules(T, B), model))
