"""Training statistics: the published file of campaign 2997, and contradictions by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.auctions import AuctionLog, Campaign
from dynrl.auctions.model import CampaignModel
from dynrl.errors import FileFormatError


def made(**changes: Any) -> dict[str, Any]:
    counts = [0] * 301
    counts[10], counts[300] = 3, 1
    info: dict[str, Any] = {"imp_train": 4, "clk_train": 2, "cost_train": 330, "price_counter_train": counts}
    return info | changes


def read(tmp_path: Path, info: Any, **options: Any) -> Campaign:
    path = tmp_path / "info.json"
    path.write_text(info if isinstance(info, str) else json.dumps(info))
    return Campaign.from_info(path, **options)


def test_the_published_statistics(campaign_file: Callable[[str], Path]) -> None:
    campaign = Campaign.from_info(campaign_file("2997.info.json"), delta_max=300)
    assert (campaign.impressions, campaign.clicks, campaign.cost) == (312437, 1386, 19689072)
    assert round(campaign.cpm, 3) == 63.018
    budgets = [campaign.budget(1000, ratio) for ratio in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)]
    assert budgets == [1969, 3938, 7877, 15754, 31508]
    assert [campaign.budget(T, 0.2) for T in (200, 400, 600, 800, 1000)] == [2520, 5041, 7562, 10082, 12603]


def test_sums_of_a_log_by_hand() -> None:
    log = AuctionLog(
        np.array([1, 0, 1, 0], np.uint8),
        np.array([10, 20, 301, -1], np.int32),
        won=np.array([True, True, True, False]),
    )
    campaign = Campaign.from_log(log)
    assert (campaign.impressions, campaign.clicks, campaign.cost, campaign.above) == (3, 2, 30, 1)
    assert campaign.price_counts[[10, 20]].tolist() == [1, 1]
    assert campaign.cpc == 15 and campaign.theta_avg == 2 / 3


def test_costs_beyond_int32_are_exact() -> None:
    rows = 8_000_000
    log = AuctionLog(np.ones(rows, np.uint8), np.full(rows, 300, np.int32))
    assert Campaign.from_log(log).cost == 2_400_000_000
    assert Campaign.from_log(log).clicks == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imp_train": 5}, "price_counts sum to 4.*expected the number of impressions, 5"),
        ({"cost_train": 331}, "cost of 330, expected the stated cost, 331"),
        ({"clk_train": -1}, "clicks is -1"),
        ({"clk_train": 1.5}, "clk_train is 1.5, expected an integer"),
        ({"imp_train": None}, "imp_train is None, expected an integer"),
        ({"price_counter_train": [0] * 301, "imp_train": 0, "cost_train": 0}, "no impressions"),
        ({"price_counter_train": [0] * 301}, "all zero"),
        ({"price_counter_train": [0, -1]}, "non-negative"),
        ({"price_counter_train": "many"}, "must be a list of integers"),
        ({"price_counter_train": [0, 10**30]}, "info.json"),
    ],
)
def test_contradictions_name_the_entry(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(tmp_path, made(**changes))


def test_a_counter_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"301 entries, expected delta_max \+ 1 = 201"):
        read(tmp_path, made(), delta_max=200)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"imp_train": 1', "[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileFormatError, match=r"info\.json"):
        read(tmp_path, text)


def test_rates_that_are_undefined_say_so(tmp_path: Path) -> None:
    campaign = read(tmp_path, made(clk_train=0))
    for rate in ("cpc", "theta_avg"):
        with pytest.raises(ValueError, match=r"no clicks.*train on a longer period"):
            getattr(campaign, rate)


@pytest.mark.parametrize(
    ("horizon", "ratio", "message"),
    [(1000, 0.0, "c0 is 0.0"), (1000, -1.0, "c0 is -1.0"), (1000, np.nan, "c0 is nan"), (0, 0.5, "horizon T is 0"),
     (1, 1e-6, "budget is 0 ticks")],
)  # fmt: skip
def test_budgets_that_make_no_episode(tmp_path: Path, horizon: int, ratio: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, made()).budget(horizon, ratio)


def test_a_click_model_that_predicts_nothing_is_refused_before_a_bidder_divides_by_it() -> None:
    prices = np.arange(20, dtype=np.int32)
    log = AuctionLog(np.ones(20, np.uint8), prices, np.zeros(20))
    with pytest.raises(ValueError, match=r"every click probability \(theta\) of the training rows is 0"):
        CampaignModel.from_log(log, delta_max=20)
    one = log.with_theta(np.where(prices == 7, 0.1, 0.0))
    assert CampaignModel.from_log(one, delta_max=20).market.theta.max() == pytest.approx(0.1)
