"""DRLB: its slots are the replay's, it resumes to the byte, and it beats the lambda it starts from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.auctions.drlb import CHANGES, DRLB
from dynrl.agents.auctions.drlb_slots import SlotRows, play_slot, slot_rows
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.errors import ConfigError

T = 100
SMALL: dict[str, Any] = {"slots": 10, "parallel": 8, "width": 16, "depth": 2, "batch": 32, "memory": 400}


@pytest.fixture(scope="module")
def model(draw_log: Callable[..., AuctionLog]) -> CampaignModel:
    return CampaignModel.from_log(draw_log(4000, 0), delta_max=60)


def test_changes_are_the_published_ones() -> None:
    assert [round(100 * change) for change in CHANGES] == [-50, -15, -8, -3, -1, 0, 1, 3, 8, 15, 50]


@pytest.mark.parametrize(("slots", "tie", "pricing"), [(7, "win", "second"), (10, "lose", "first")])
def test_slots_played_one_after_the_other_are_the_replay(
    draw_log: Callable[..., AuctionLog], slots: int, tie: Any, pricing: Any
) -> None:
    rules = AuctionRules(T, 400, 60, tie, pricing)
    episodes = draw_log(T * 9 + 30, 3).episodes(T)  # the last one is partial
    rows, t_left = slot_rows(episodes, slots)
    left = jnp.full(10, 400.0)
    multiplier = jnp.full(10, 600.0)
    totals = []
    for slot in range(slots):
        part = SlotRows(*(jnp.asarray(x[slot], jnp.float32 if x.dtype != bool else bool) for x in rows))
        totals.append(play_slot(part, multiplier, left, rules))
        left = left - totals[-1].spent
    # float32, so thetas are rounded as they are in training
    rounded = episodes._replace(theta=episodes.theta.astype(np.float32).astype(np.float64))
    result = replay(LinearBidder(600.0, 60), rounded, rules)
    np.testing.assert_array_equal(sum(one.spent for one in totals), result.cost)
    np.testing.assert_array_equal(sum(one.clicks for one in totals), result.clicks)
    np.testing.assert_allclose(sum(one.value for one in totals), result.expected_clicks, rtol=1e-5)
    assert t_left[0] == T and (np.diff(t_left) < 0).all()
    assert rows.mask.sum() == len(draw_log(T * 9 + 30, 3))


def test_training_is_seeded_and_goes_on_where_it_stopped(
    model: CampaignModel, world: Any, tmp_path: Path
) -> None:
    env = world(AuctionRules(T, 600, 60), model)
    whole = DRLB(env, seed=4, **SMALL).learn(240)
    assert whole.num_timesteps == 240
    half = DRLB(env, seed=4, **SMALL).learn(160)
    half.save(tmp_path / "half")
    resumed = DRLB.load(tmp_path / "half", env)
    np.testing.assert_array_equal(resumed.policy.bid(T, 600, 0.1), half.policy.bid(T, 600, 0.1))
    resumed.learn(80, reset_num_timesteps=False)
    assert resumed.num_timesteps == 240
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, resumed.state_dict()[name], err_msg=name)
    other = DRLB(env, seed=5, **SMALL).learn(240)
    assert not np.array_equal(whole.bidder.layers[0], other.bidder.layers[0])
    # 240 slots are three whole rounds of 80; a callback may stop after one
    stopped = DRLB(env, seed=4, **SMALL).learn(240, callback=lambda *_: False)
    assert stopped.num_timesteps == 80


def test_an_untrained_agent_may_train_as_it_is_made(model: CampaignModel, world: Any) -> None:
    env = world(AuctionRules(T, 600, 60), model)
    made = DRLB(env, seed=4, training_slots=80, **SMALL)
    assert made.num_timesteps == 80 and int(made.state.rounds) == 1
    rules = AuctionRules(T, 600, 60)
    untrained, trained = (
        DRLB.make_bidder(DRLB.Config(training_slots=slots, **SMALL), model, rules) for slots in (0, 80)
    )
    assert not np.array_equal(untrained.layers[0], trained.layers[0])


def test_beats_the_lambda_it_starts_from(draw_log: Callable[..., AuctionLog], world: Any) -> None:
    """A start at a third of the slope on plan leaves two thirds of the money; the agent must learn to spend it."""
    from dynrl.agents.auctions.pacing import slope_by_spend

    model = CampaignModel.from_log(draw_log(20_000, 0), delta_max=60)
    rules = AuctionRules(T, 600, 60)
    start = slope_by_spend(model, rules) / 3
    agent = DRLB(
        world(rules, model),
        seed=0,
        multiplier=start,
        slots=10,
        width=32,
        depth=2,
        batch=64,
        exploration_slots=8000,
    ).learn(16_000)
    episodes = draw_log(20_000, 1).episodes(T)  # rows it has not seen
    kept = replay(LinearBidder(start, 60), episodes, rules)
    learnt = replay(agent.bidder, episodes, rules)
    gain = learnt.expected_clicks - kept.expected_clicks
    # paired over 200 episodes: more than five standard errors, and by a tenth at least
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))
    assert learnt.expected_clicks.sum() > 1.1 * kept.expected_clicks.sum()
    assert (learnt.cost <= rules.budget).all()


@pytest.mark.slow
def test_published_campaign_beats_the_cost_per_click_it_starts_from(published: Any, world: Any) -> None:
    model, test = published
    rules = AuctionRules(1000, model.campaign.budget(1000, 0.5))
    agent = DRLB(
        world(rules, model),
        seed=0,
        multiplier=model.campaign.cpc,
        slots=20,
        exploration_slots=20_000,
    ).learn(40_000)
    episodes = test.episodes(1000)
    kept = replay(LinearBidder(model.campaign.cpc, 300), episodes, rules)
    learnt = replay(agent.bidder, episodes, rules)
    assert learnt.expected_clicks.sum() > 1.1 * kept.expected_clicks.sum()
    assert learnt.clicks.sum() > 1.2 * kept.clicks.sum()


def test_settings_that_make_no_sense_are_refused(model: CampaignModel, world: Any) -> None:
    env = world(AuctionRules(T, 600, 60), model)
    for settings, message in (
        ({"slots": 101}, "at most the number of auctions, T = 100"),
        ({"changes": (0.0, -1.0)}, "above -1"),
        ({"multiplier": 1e-9}, "wins nothing of worth"),
        ({"batch": 0}, "batch is 0"),
        ({"expectile": 0.0}, "expectile is 0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            DRLB(env, **{**SMALL, **settings})
