"""Mcpc and Lin against the published integers, and the search for b0 against a hand-made log."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.constant import Constant, ConstantBidder, Random
from dynrl.agents.auctions.linear import Lin, LinearBidder, Mcpc, tune_lin
from dynrl.agents.auctions.tuning import training_episodes, tune
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import ReplayResult, replay
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

PUBLISHED = {
    # c0: (Mcpc clicks, wins, cost), Lin's b0, (Lin clicks, wins, cost); Cai et al., WSDM 2017, released reference runs
    1 / 32: ((48, 14752, 307751), 10, (71, 32208, 203610)),
    1 / 16: ((82, 29034, 614884), 15, (77, 38978, 270386)),
    1 / 8: ((144, 57564, 1228618), 20, (93, 45924, 363934)),
    1 / 4: ((244, 96292, 2102858), 85, (242, 83979, 2451952)),
    1 / 2: ((254, 98718, 2168396), 130, (377, 121167, 4808009)),
}


@pytest.mark.parametrize("ratio", PUBLISHED)
def test_mcpc_and_lin_repeat_the_published_replays(published: Any, world: Any, ratio: float) -> None:
    model, test = published
    rules = AuctionRules(1000, model.campaign.budget(1000, ratio))
    mcpc, b0, lin = PUBLISHED[ratio]
    episodes = test.episodes(1000)
    assert replay(Mcpc(world(rules, model)).bidder, episodes, rules).totals() == mcpc
    agent = Lin(world(rules, model), b0=b0)
    assert agent.b0 == pytest.approx(b0)
    assert replay(agent.bidder, episodes, rules).totals() == lin


@pytest.mark.parametrize("ratio", [1 / 32, 1 / 16, 1 / 8])
def test_b0_comes_out_as_published_on_the_validation_rows(published: Any, world: Any, ratio: float) -> None:
    # the shipped values for larger budgets were chosen on rows that are not distributed
    model, _ = published
    agent = Lin(world(AuctionRules(1000, model.campaign.budget(1000, ratio)), model))
    assert agent.b0 == pytest.approx(PUBLISHED[ratio][1])


def four_row_log(price: int) -> AuctionLog:
    """Two episodes of two rows, all of theta 0.5 and one price."""
    return AuctionLog(np.ones(4, np.uint8), np.full(4, price, np.int32), np.full(4, 0.5))


def test_of_equally_good_b0_the_largest_is_taken() -> None:
    model = CampaignModel.from_log(four_row_log(7), delta_max=30)
    # theta_avg is 1, so b0 = 15 bids floor(7.5) and wins; so does every larger one, and none improves beyond 30
    bidder = tune_lin(model, AuctionRules(2, 100, 30), step=5)
    assert bidder.slope == 30
    # with 7 ticks one impression is all there is, at any b0 from 15 up
    assert tune_lin(model, AuctionRules(2, 7, 30), step=5).slope == 30


def test_the_search_goes_on_above_delta_max_while_it_improves() -> None:
    # thetas 0.1, 0.2, ..., so that every further 25 ticks of b0 win one more row at price 10
    theta = np.array([0.09, 0.1, 0.14, 0.2, 0.33, 0.5])
    log = AuctionLog(np.ones(6, np.uint8), np.full(6, 10, np.int32), theta)
    model = CampaignModel.from_log(log, delta_max=30)
    bidder = tune_lin(model, AuctionRules(6, 1000, 30), step=10)
    # b0 = 10 / theta: 20, 30.3 -> 40, 50, 71.4 -> 80, 100, 111.1 -> 120; a plateau (60) ends the search at 50
    assert bidder.slope == 50
    bidder = tune_lin(model, AuctionRules(6, 1000, 30), step=25)
    assert bidder.slope == 125  # 25, 50, 75, 100, 125 each win one more


def test_tune_prefers_the_last_or_first_of_equals_and_reports_all() -> None:
    model = CampaignModel.from_log(four_row_log(7), delta_max=30)
    rules = AuctionRules(2, 100, 30)
    episodes = training_episodes(model, rules)
    found = tune(ConstantBidder(0.0, 30), "ticks", [5, 7, 9], episodes, rules)
    assert found.best == {"ticks": 9.0} and found.bidder.ticks == 9.0
    np.testing.assert_array_equal(found.score, [0, 4, 4])
    assert tune(ConstantBidder(0.0, 30), "ticks", [5, 7, 9], episodes, rules, ties="first").best == {
        "ticks": 7
    }

    def thrift(result: ReplayResult) -> np.ndarray:
        return -result.cost.sum(1)

    assert tune(ConstantBidder(0.0, 30), "ticks", [5, 7, 9], episodes, rules, objective=thrift).best == {
        "ticks": 5
    }
    pair = tune(LinearBidder(0.0, 0), ("slope", "delta_max"), [(1, 30), (20, 30)], episodes, rules)
    assert pair.best == {"slope": 20, "delta_max": 30}
    with pytest.raises(ValueError, match="grid for ticks is empty"):
        tune(ConstantBidder(0.0, 30), "ticks", [], episodes, rules)


def test_training_rows_are_cut_like_the_test_and_the_rest_dropped(
    draw_log: Callable[..., AuctionLog],
) -> None:
    model = CampaignModel.from_log(draw_log(103, 0), delta_max=60)
    episodes = training_episodes(model, AuctionRules(25, 10, 60))
    assert episodes.price.shape == (25, 4) and episodes.mask.all()
    with pytest.raises(ValueError, match="103 rows, fewer than one episode of T = 104"):
        training_episodes(model, AuctionRules(104, 10, 60))
    blind = CampaignModel.from_campaign(model.campaign)
    with pytest.raises(ValueError, match="no training rows to replay"):
        training_episodes(blind, AuctionRules(25, 10, 60))


def test_constant_and_random_are_chosen_from_their_grids(
    draw_log: Callable[..., AuctionLog], world: Any
) -> None:
    log = AuctionLog(np.ones(40, np.uint8), np.full(40, 13, np.int32), np.full(40, 0.5))
    model = CampaignModel.from_log(log, delta_max=60)
    rules = AuctionRules(10, 1000, 60)
    # any constant from 13 up wins all: the largest of the grid
    assert Constant(world(rules, model)).bidder.ticks == 60
    assert Constant(world(rules, model), ticks=4).bidder.ticks == 4
    # with a first-price purse for one impression at 14 ticks and two at 7 there is nothing to win above 14
    first = AuctionRules(10, 14, 60, pricing="first")
    assert Constant(world(first, model)).bidder.ticks == 60  # cut to the purse of 14, which wins once
    assert Random(world(rules, model)).bidder.upper == 500


def test_settings_that_make_no_sense_are_refused(world: Any, draw_log: Callable[..., AuctionLog]) -> None:
    model = CampaignModel.from_log(draw_log(100, 0), delta_max=60)
    rules = AuctionRules(10, 100, 60)
    for kind, settings, message in (
        (Mcpc, {"max_cpc": 0.0}, "max_cpc is 0.0, expected a positive number"),
        (Lin, {"b0": -1.0}, "b0 is -1.0"),
        (Constant, {"ticks": -1.0}, "ticks is -1.0, expected at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(world(rules, model), **settings)
    with pytest.raises(ValueError, match="step is 0"):
        tune_lin(model, rules, step=0)


def test_mcpc_takes_an_advertiser_s_own_limit(world: Any, draw_log: Callable[..., AuctionLog]) -> None:
    model = CampaignModel.from_log(draw_log(100, 0), delta_max=60)
    rules = AuctionRules(10, 100, 60)
    assert Mcpc(world(rules, model)).policy.bid(5, 100, 0.5) == min(int(model.campaign.cpc * 0.5), 60)
    assert Mcpc(world(rules, model), max_cpc=80).policy.bid(5, 100, 0.5) == 40
