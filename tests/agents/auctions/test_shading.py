"""First price: the shaded bid against brute force, its inequalities, and a budget that is met."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.shading import Shading, ShadingBidder, win_rate_by_bid
from dynrl.agents.auctions.tuning import match_spend
from dynrl.auctions.bidder import Request
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules

DELTA_MAX = 12


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    theta=st.floats(0, 1),
    value=st.floats(0.1, 60),
    floor=st.integers(0, DELTA_MAX + 3),
    tie=st.sampled_from(["win", "lose"]),
)
def test_the_bid_is_the_brute_force_one_and_never_above_value(
    seed: int, theta: float, value: float, floor: int, tie: Any
) -> None:
    rng = np.random.default_rng(seed)
    pmf = rng.random(DELTA_MAX + 1) * (rng.random(DELTA_MAX + 1) < 0.5) + 1e-3
    market = Market.single(pmf / pmf.sum(), [0.5])
    rules = AuctionRules(10, 100, DELTA_MAX, tie, "first")
    bidder = ShadingBidder(value, win_rate_by_bid(market, rules), DELTA_MAX)
    prices = np.arange(DELTA_MAX + 1)

    def profit(bid: int) -> float:
        beats = prices <= bid if tie == "win" else prices < bid
        return (value * theta - bid) * market.pmf[0][beats].sum() if bid >= floor else 0.0

    best = max(profit(bid) for bid in range(DELTA_MAX + 1))
    bid = bidder.serving().bid(10, 1000, theta, floor)
    assert profit(bid) == pytest.approx(best, abs=1e-9)
    assert bid <= value * theta
    assert best >= profit(min(int(value * theta), DELTA_MAX))  # truthful bidding never earns more
    with jax.enable_x64(True):
        request = Request(np.int64(10), np.int64(1000), np.float64(theta), np.int64(floor), np.int64(0))
        assert int(bidder.bid((), request)[0]) == bid


def test_win_rates_by_hand() -> None:
    market = Market.single([0.1, 0.2, 0.3], [0.5])
    first = AuctionRules(1, 1, 2, pricing="first")
    np.testing.assert_allclose(win_rate_by_bid(market, first), [[0.1, 0.3, 0.6]])
    lose = AuctionRules(1, 1, 4, "lose", "first")
    np.testing.assert_allclose(win_rate_by_bid(market, lose), [[0, 0.1, 0.3, 0.3, 0.3]])
    # a bid of delta_max + 1 would win the last price too, but the market says nothing of bids above delta_max


@pytest.mark.parametrize("ticks", [1.0, 4.0])
def test_under_a_budget_shading_beats_truthful_bidding(
    draw_log: Callable[..., AuctionLog], world: Any, ticks: float
) -> None:
    model = CampaignModel.from_log(draw_log(20_000, 0), delta_max=60)
    rules = AuctionRules(500, int(500 * ticks), 60, pricing="first")
    episodes = draw_log(100_000, 1).episodes(500)
    paced = replay(Shading(world(rules, model)).bidder, episodes, rules)
    assert paced.cost.sum() > 0.95 * paced.budget.sum()
    atoms = model.market.theta
    slope = match_spend(model.market, lambda slope: slope * atoms, rules, 1e-3, 1e6)
    truthful = replay(LinearBidder(slope, 60), episodes, rules)
    worth = model.campaign.cpc
    unconstrained = replay(Shading(world(rules, model), value=worth).bidder, episodes, rules)
    for other in (truthful, unconstrained):
        gain = paced.expected_clicks - other.expected_clicks
        # paired over 200 episodes: more than three standard errors
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_second_price_is_not_for_shading(draw_log: Callable[..., AuctionLog], world: Any) -> None:
    model = CampaignModel.from_log(draw_log(1000, 0), delta_max=60)
    with pytest.raises(ValueError, match="use Fluid or RLB"):
        Shading(world(AuctionRules(10, 100, 60), model))
