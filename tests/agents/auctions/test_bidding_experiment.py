"""`experiment: bidding` end to end: numbers equal direct replay, resume gives the same, export bids the same."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dynrl.agents.auctions.experiment import BiddingComparison, BiddingExperiment, drawn_episodes
from dynrl.agents.auctions.fluid import Fluid, FluidConfig
from dynrl.agents.auctions.linear import Lin, LinConfig
from dynrl.agents.auctions.pictures import spend_shares, win_rates
from dynrl.agents.auctions.planning import planned_market
from dynrl.agents.auctions.rlb import RLB
from dynrl.agents.auctions.scene import value_surface
from dynrl.auctions.dataset import AuctionData, prepare
from dynrl.auctions.market import Market
from dynrl.auctions.replay import Trace, replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import value_table
from dynrl.cli import main
from dynrl.config import to_mapping
from dynrl.errors import ConfigError
from dynrl.runs.run import Run

DATA = AuctionData(rows=12_000, seed=3)
CONFIG = BiddingComparison(
    bidders={"Fluid": {"agent": "Fluid"}, "Lin": {"agent": "Lin", "step": 20.0}},
    data=DATA,
    horizon=200,
    budget_ratios=(0.125, 0.5),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run."""
    experiment = BiddingExperiment(CONFIG)
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", "bidding", to_mapping(CONFIG))
    experiment.train(run)
    run.finish()
    run.close()
    return experiment, run


def test_the_report_is_what_direct_replay_gives(finished):
    _, run = finished
    rows = {(row["bidder"], row["c0"]): row for row in json.loads((run.path / "report.json").read_text())}
    data = prepare(DATA)
    episodes = data.held_out.episodes(200)
    for ratio in CONFIG.budget_ratios:
        rules = AuctionRules(200, data.model.campaign.budget(200, ratio))
        bidders = {
            "Fluid": Fluid.make_bidder(FluidConfig(), data.model, rules),
            "Lin": Lin.make_bidder(LinConfig(step=20.0), data.model, rules),
        }
        for label, bidder in bidders.items():
            metrics = rows[label, ratio]["metrics"]
            expected = replay(bidder, episodes, rules).totals()
            assert (metrics["clicks"], metrics["wins"], metrics["cost"]) == expected
            assert rows[label, ratio]["budget"] == rules.budget
    low, high = rows["Fluid", 0.5]["clicks_interval"]
    assert low <= rows["Fluid", 0.5]["metrics"]["clicks"] <= high
    assert rows["Lin", 0.5]["clicks_gain"]["difference"] == 0, "the reference against itself"
    assert (run.path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_stopped_ends_with_the_same_numbers(finished, tmp_path):
    _, whole = finished

    class Stop(Exception):
        pass

    def stop_after_two(*_):
        if len(experiment.results) == 2:
            raise Stop

    run = Run.create(tmp_path / "run", "bidding", to_mapping(CONFIG))
    experiment = BiddingExperiment(CONFIG)
    original = experiment.rules
    experiment.rules = lambda *arguments: (stop_after_two(), original(*arguments))[1]
    with pytest.raises(Stop):
        experiment.train(run)
    run.close()
    again = BiddingExperiment(CONFIG)
    run = Run.open(tmp_path / "run", writable=True)
    again.train(run)
    run.finish()
    assert (run.path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()
    assert (run.path / "report.json").read_bytes() == (whole.path / "report.json").read_bytes()


def test_the_exported_policy_bids_the_same_and_needs_numpy_alone(finished, tmp_path):
    experiment, run = finished
    assert main(["export", str(run.path), "--out", str(tmp_path / "policy"), "--name", "Fluid@0.5"]) == 0
    about = json.loads((tmp_path / "policy" / "policy.json").read_text())
    assert (about["bidder"], about["horizon"]) == ("Fluid", 200)
    code = (
        "import sys, json; from bid_policy import load; policy = load('policy.npz')\n"
        "bids = [policy.bid(t, 40 * t, 0.01) for t in range(200, 0, -7)]\n"
        "foreign = {name.split('.')[0] for name in sys.modules} & {'jax', 'dynrl', 'scipy', 'gymnasium', 'torch'}\n"
        "print(json.dumps([bids, sorted(foreign)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "policy", capture_output=True, text=True, check=True
    )
    bids, foreign = json.loads(done.stdout)
    data = prepare(DATA)
    policy = experiment.bidder(data, 1, "Fluid").serving()
    assert bids == [policy.bid(t, 40 * t, 0.01) for t in range(200, 0, -7)]
    assert foreign == []


def test_export_names_what_there_is(finished, tmp_path, capsys):
    _, run = finished
    assert main(["export", str(run.path), "--out", str(tmp_path / "a"), "--name", "Lion"]) == 2
    assert "no bidder is called 'Lion'; there are Fluid, Lin" in capsys.readouterr().err
    assert main(["export", str(run.path), "--out", str(tmp_path / "b"), "--name", "Lin@0.3"]) == 2
    assert "no budget ratio of this run; there are 0.125, 0.5" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["export", str(run.path), "--out", str(tmp_path / "full")]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_evaluate_plays_fresh_auctions(finished):
    _, run = finished
    figures = BiddingExperiment(CONFIG).evaluate(Run.open(run.path), episodes=40, seed=5)
    assert 0.8 < figures["Fluid: share of the budget spent"] <= 1
    assert figures == BiddingExperiment(CONFIG).evaluate(Run.open(run.path), episodes=40, seed=5)


def test_drawn_auctions_follow_the_market():
    market = Market(
        np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.5]]),
        np.array([[0.1, 0.2], [0.3, 0.9]]),
        np.array([[0.5, 0.5], [0.2, 0.8]]),
        np.array([0.25, 0.75]),
    )
    drawn = drawn_episodes(market, 100, 400, seed=1)
    first = drawn.segment == 0
    error = 5 / np.sqrt(first.size)
    assert abs(first.mean() - 0.25) < error
    assert abs((drawn.price[~first] == 3).mean() - 0.25) < error, "the tail is a price that nobody reaches"
    assert abs(drawn.click.mean() - market.theta_avg) < error
    assert set(np.unique(drawn.price[first])) == {0, 1}


def test_spend_and_win_rates_by_hand():
    bid = np.array([[1, 10], [2, 10], [3, 10], [4, 20]])
    won = bid >= 3
    trace = Trace(bid, won, np.where(won, 2, 0))
    shares = spend_shares(trace, budget=8, points=2)
    assert shares.tolist() == [[0, 0], [0, 0.5], [0.5, 1.0]]
    mean_bid, rate, count = win_rates([trace], np.ones_like(won), bins=3)
    assert (mean_bid.tolist(), rate.tolist(), count.tolist()) == (
        [2.5, 10.0, 20.0],
        [0.5, 1.0, 1.0],
        [4, 3, 1],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bidders": {}}, "bidders is empty"),
        ({"bidders": {"x": {}}}, "bidders.x has no key 'agent'"),
        ({"bidders": {"x": {"agent": "Flud"}}}, "did you mean 'Fluid'"),
        ({"bidders": {"x": {"agent": "DynLinUCB"}}}, "not a bidding agent"),
        ({"bidders": {"x": {"agent": "Lin", "stepp": 3}}}, "stepp"),
        ({"budget_ratios": ()}, "budget_ratios is empty"),
        ({"budget_ratios": (0.0,)}, "must be positive"),
        ({"budget": 0}, "at least 1 tick"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"reference": "y"}, "no bidder is called 'y'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    import dataclasses

    with pytest.raises(ConfigError, match=message):
        BiddingExperiment(dataclasses.replace(CONFIG, **change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AuctionData(log="$NO_SUCH_VARIABLE/x"), "environment variable that is not set"),
        (AuctionData(log="nowhere.txt"), "there is no file"),
        (AuctionData(test_log="x"), "give the training log too"),
        (AuctionData(rows=1000, held_out=1.5), "share in"),
    ],
)
def test_data_that_cannot_be_had_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        prepare(settings)


def test_the_value_panel_shows_what_the_plan_knows():
    model, rules = prepare(DATA).model, AuctionRules(20, 300)
    config = RLB.Config()
    shown = value_surface(RLB.make_bidder(config, model, rules))
    market = planned_market(model, config.ctr_aware, config.segments)
    table = value_table(market, rules.horizon, rules.budget)
    worth = table.rows[np.ix_(shown.t, shown.b)]
    np.testing.assert_allclose(shown.values, worth - worth[:, :1], rtol=1e-5, atol=1e-7)
    assert value_surface(Lin.make_bidder(LinConfig(step=20.0), model, rules)) is None
