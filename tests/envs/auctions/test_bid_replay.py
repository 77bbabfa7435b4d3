"""Bidding against a log: worked by hand, against `replay`, and the Python face against the compiled functions."""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

import dynrl
from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.auctions import AuctionLog, AuctionRules, Campaign, Categories
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay
from dynrl.envs.auctions import BidReplay
from dynrl.envs.auctions.face import BiddingGymnasiumEnv

# click, price, theta, floor
HAND = [(1, 5, 0.50, 0), (0, 3, 0.25, 4), (1, 4, 0.75, 0), (0, 0, 0.10, 0), (1, 2, 0.20, 0)]


def hand_log() -> AuctionLog:
    click, price, theta, floor = (np.array(column) for column in zip(*HAND, strict=True))
    exchange = Categories(np.array([0, 1, -1, 1, 0], np.int32), ("a", "b"))
    return AuctionLog(
        click.astype(np.uint8),
        price.astype(np.int32),
        theta,
        floor.astype(np.int32),
        categories={"exchange": exchange},
    )


def made(**settings) -> BiddingGymnasiumEnv:
    settings = {"horizon": 3, "budget": 10, "obs": "dict", **settings}
    return BiddingGymnasiumEnv(BidReplay(hand_log(), **settings))


def bid(env, *ticks):
    return [env.step(np.array([number], np.float32)) for number in ticks]


def test_an_episode_worked_by_hand():
    env = made()
    observation, info = env.reset(seed=0)
    assert {name: int(np.ravel(value)[0] * 100) for name, value in observation.items()} == {
        "t_left": 300,
        "b_left": 1000,
        "theta": 50,
        "floor": 0,
    }
    assert info == {"t_left": 3, "b_left": 10, "row": 0, "episode_number": 0}
    first, second, third = bid(env, 5, 3.9, 300)
    # 5 meets the price of 5 and pays it; 3.9 is 3 ticks, which reach the price but not the floor of 4; the last bid is
    # cut to the 5 ticks left and pays 4.
    assert first[1:] == (
        1.0,
        False,
        False,
        {
            **{"won": True, "cost": 5, "click": 1, "theta": 0.5, "bid": 5, "clipped": False, "t_left": 2},
            **{"b_left": 5, "row": 0, "episode_number": 0, "market_price": 5},
        },
    )
    assert second[1] == 0.0 and second[4]["won"] is False and second[4]["bid"] == 3
    assert "market_price" not in second[4]
    assert third[1:4] == (1.0, True, False)
    assert third[4]["clipped"] and third[4]["bid"] == 5 and third[4]["cost"] == 4 and third[4]["b_left"] == 1
    assert third[4]["totals"] == {"wins": 2, "clicks": 2, "cost": 9, "expected_clicks": 1.25}
    assert third[0]["theta"] == 0.0, "no request is shown when the episode is over"


def test_the_log_goes_on_breaks_off_and_begins_again():
    env = made()
    env.reset(seed=0)
    bid(env, 0, 0, 0)
    assert env.reset()[1]["row"] == 3
    fourth, fifth = bid(env, 0, 2)
    assert fourth[4]["won"], "a price of 0 is won with a bid of 0"
    assert fifth[2:4] == (False, True) and fifth[4]["totals"]["wins"] == 2
    assert env.reset()[1]["row"] == 0


@pytest.mark.parametrize(
    ("settings", "bids", "won", "cost"),
    [
        ({"tie": "lose"}, (5, 5, 5), [False, True, True], 4 + 4),
        ({"pricing": "first"}, (6, 4, 5), [True, True, False], 6 + 4),
        ({"pricing": "first", "tie": "lose"}, (5, 4, 5), [False, True, True], 4 + 5),
    ],
)
def test_ties_and_first_price(settings, bids, won, cost):
    env = made(**settings)
    env.reset(seed=0)
    steps = bid(env, *bids)
    assert [step[4]["won"] for step in steps] == won and steps[-1][4]["totals"]["cost"] == cost


def test_rewards():
    for objective, expected in (("click", [1, 0]), ("pctr", [0.5, 0.25]), ("profit", [20 - 5, -4])):
        env = made(objective=objective, value=20.0)
        env.reset(seed=0)
        assert [step[1] for step in bid(env, 9, 4)] == expected


def test_what_is_told_after_a_loss():
    for feedback, told in (("win_only", set()), ("full", {"market_price"})):
        env = made(feedback=feedback)
        env.reset(seed=0)
        assert set(bid(env, 2)[0][4]) & {"market_price", "min_bid_to_win"} == told
    env = made(feedback="min_bid_to_win", tie="lose")
    env.reset(seed=0)
    needed = [step[4]["min_bid_to_win"] for step in bid(env, 0, 0, 0)]
    assert needed == [6, 4, 5], "one tick above the price, or the floor"


def test_broke_agents_leave_early_when_asked():
    env = made(end_when_broke=True, budget=5)
    env.reset(seed=0)
    assert bid(env, 5)[0][2] is False, "a price of 0 occurs in the log, and needs no money"
    dear = hand_log().take(np.array([0, 1, 2]))
    env = BiddingGymnasiumEnv(BidReplay(dear, horizon=3, budget=7, end_when_broke=True))
    env.reset(seed=0)
    assert bid(env, 5)[0][2] is True, "2 ticks are left and the cheapest impression costs 3"


def test_segments_are_shown_and_missing_ones_are_minus_one():
    env = made(segment="exchange", show_segment=True)
    seen = [env.reset(seed=0)[0]["segment"], *(step[0]["segment"] for step in bid(env, 0, 0))]
    assert seen == [0, 1, -1] and env.observation_space["segment"].contains(seen[-1])
    env = made(segment="exchange", show_segment=True, obs="box")
    seen = [env.reset(seed=0)[0][4:], *(step[0][4:] for step in bid(env, 0, 0))]
    assert np.array_equal(seen, [[1, 0], [0, 1], [0, 0]])


def test_reset_options():
    env = made()
    assert env.reset(options={"episode": 1})[1]["row"] == 3
    assert env.reset(options={"start": 2})[1] == {"t_left": 3, "b_left": 10, "row": 2, "episode_number": 0}
    steps = bid(env, 0, 0, 0)
    assert [step[4]["row"] for step in steps] == [2, 3, 4] and steps[-1][2]
    for options, words in (
        ({"episode": 2}, "0 to 1"),
        ({"start": -1}, "0 to 4"),
        ({"start": 1.5}, "whole number"),
        ({"day": 1}, "'day'"),
        ({"start": 0, "episode": 0}, "exclude"),
    ):
        with pytest.raises(ValueError, match=words):
            env.reset(options=options)


def test_shuffled_episodes_are_all_drawn_and_repeat_with_the_seed():
    env = gymnasium.make("dynrl/BidReplay-v0", shuffle_episodes=True, horizon=2000)
    episodes = [env.reset(seed=seed)[1]["episode_number"] for seed in range(40)]
    assert set(episodes) == set(range(6))  # one of 6 is missed with probability 6 (5/6)^40 = 0.004
    assert env.reset(seed=7)[1]["episode_number"] == episodes[7]
    chain = [env.reset(seed=7)[1]["episode_number"], *(env.reset()[1]["episode_number"] for _ in range(9))]
    assert len(set(chain)) > 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"horizon": 6}, "T = 6 must lie in 1..5"),
        ({"budget": 0}, "budget is 0"),
        ({"budget": None, "budget_ratio": -1.0}, "ratio"),
        ({"obs": "text"}, "obs is 'text'"),
        ({"action": "shout"}, "action is 'shout'"),
        ({"objective": "fame"}, "objective is 'fame'"),
        ({"feedback": "none"}, "feedback is 'none'"),
        ({"segment": "city"}, "no categories 'city' to be segments; it has exchange"),
        ({"tie": "draw"}, "tie is 'draw'"),
        ({"value": np.nan}, "value is nan"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        made(**settings)


def test_a_log_that_cannot_be_replayed_is_refused():
    log = hand_log()
    with pytest.raises(ValueError, match="no click probabilities"):
        BidReplay(AuctionLog(log.click, log.price), horizon=3)
    lost = AuctionLog(log.click, log.price, log.theta, won=np.arange(5) > 0)
    with pytest.raises(ValueError, match="1 rows were lost"):
        BidReplay(lost, horizon=3)


def test_a_budget_ratio_takes_the_average_price_of_what_is_known():
    assert BidReplay(hand_log(), horizon=3, budget_ratio=0.5).rules.budget == int(14 / 5 * 3 * 0.5)
    campaign = Campaign(2, 1, 40, np.bincount([10, 30], minlength=301))
    assert BidReplay(hand_log(), horizon=3, budget_ratio=0.5, campaign=campaign).rules.budget == 30


SETTINGS = {
    "plain": {},
    "dictionary": {"obs": "dict", "action": "discrete", "feedback": "full"},
    "multiplier": {"action": "multiplier", "objective": "profit", "pricing": "first", "tie": "lose"},
    "segments": {
        "segment": "exchange",
        "show_segment": True,
        "feedback": "min_bid_to_win",
        "end_when_broke": True,
    },
    "shuffled": {"shuffle_episodes": True, "objective": "pctr"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_python_face_gives_the_compiled_numbers(name, assert_faces_agree):
    world = BidReplay(horizon=60, budget_ratio=0.3, **SETTINGS[name])
    assert_faces_agree(world, 150)


def test_a_refused_action_changes_nothing():
    env = made()
    env.reset(seed=0)
    for action in (np.array([np.nan]), np.array([-1.0]), np.array([301.0]), np.array([1.0, 2.0]), "high"):
        with pytest.raises(ValueError):
            env.step(action)
    assert bid(env, 5)[0][4]["row"] == 0


def test_budgets_may_differ_between_environments():
    world = BidReplay(hand_log(), horizon=3, budget=10)
    params = world.default_params._replace(budget=np.array([3, 10]), first=np.array([-1, 2]))
    env = dynrl.VectorEnv(world, 2, params=params)
    _, infos = env.reset(seed=0)
    assert infos["b_left"].tolist() == [3, 10] and infos["row"].tolist() == [0, 2]
    _, rewards, _, _, infos = env.step(np.full((2, 1), 5, np.float32))
    assert infos["won"].tolist() == [False, True] and rewards.tolist() == [0, 1]
    assert np.isnan(infos["market_price"][0]) and infos["market_price_seen"].tolist() == [False, True]


@dataclass(frozen=True)
class SlopeConfig:
    slope: float = 8000.0


class Slope(BidAgent):
    """Bids `slope` ticks per unit of click probability."""

    Config = SlopeConfig

    @classmethod
    def make_bidder(cls, config, model, rules):
        return LinearBidder(config.slope, rules.delta_max)


def totals_of(agent, env):
    """(clicks, wins, cost) over every episode of the log, through `predict`."""
    sums, episodes = np.zeros(3, int), -(-len(env.unwrapped.func_env.log) // env.unwrapped.rules.horizon)
    for episode in range(episodes):
        observation, _ = env.reset(seed=0) if episode == 0 else env.reset()
        over = False
        while not over:
            action, _ = agent.predict(observation)
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        sums += [info["totals"][name] for name in ("clicks", "wins", "cost")]
    return tuple(sums.tolist())


@pytest.mark.parametrize("settings", [{"obs": "dict"}, {"obs": "dict", "action": "discrete"}, {"obs": "box"}])
def test_an_agent_gets_what_replay_says(settings):
    env = gymnasium.make("dynrl/BidReplay-v0", **settings)
    agent = Slope(env)
    world = env.unwrapped.func_env
    expected = replay(agent.bidder, world.log.episodes(1000), world.rules).totals()
    assert totals_of(agent, env) == expected


def test_all_episodes_at_once_are_the_replay():
    """The functional form in one compiled program: a lane for each episode of the log."""
    world = BidReplay(obs="dict")
    params = world.default_params._replace(first=np.arange(11) * 1000)

    def policy(slope, observation, key):
        ticks = jnp.floor(slope * observation["theta"])
        return jnp.minimum(ticks, 300.0), slope

    def result(step):
        return step.info["totals"], step.mask

    totals, mask = dynrl.rollout(
        world, policy, 0, num_envs=11, params=params, policy_state=np.float64(8000.0), collect=result
    )
    last = np.array(mask).sum(1) - 1
    assert last.tolist() == [999] * 10 + [499]
    expected = replay(LinearBidder(8000.0, 300), world.log.episodes(1000), world.rules)
    for name in ("clicks", "wins", "cost"):
        assert np.array_equal(np.array(totals[name])[np.arange(11), last], getattr(expected, name))


def test_an_agent_needs_a_model_that_is_not_the_log_itself():
    with pytest.raises(ValueError, match="needs to know prices and clicks"):
        Slope(BiddingGymnasiumEnv(BidReplay(hand_log(), horizon=3, budget=5)))


def test_published_totals_of_the_linear_bidder(campaign_file):
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    env = gymnasium.make(
        "dynrl/BidReplay-v0",
        log=Path(campaign_file("2997.test.theta.txt")),
        budget_ratio=1 / 32,
        model=CampaignModel.from_campaign(campaign),
        obs="dict",
    )
    assert env.unwrapped.rules == AuctionRules(1000, 1969)
    slope, sums = 10 / campaign.theta_avg, np.zeros(3, int)
    for episode in range(157):
        observation, _ = env.reset(seed=0) if episode == 0 else env.reset()
        over = False
        while not over:
            ticks = min(np.floor(slope * observation["theta"][0]), 300)
            observation, _, terminated, truncated, info = env.step(np.array([ticks], np.float32))
            over = terminated or truncated
        sums += [info["totals"][name] for name in ("clicks", "wins", "cost")]
    assert sums.tolist() == [71, 32208, 203610]


def test_evaluate_policy_of_sb3():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gymnasium.make("dynrl/BidReplay-v0", obs="dict", horizon=200, objective="pctr")
    agent = Slope(env)
    mean, _ = evaluation.evaluate_policy(agent, env, n_eval_episodes=3, warn=False)
    world = env.unwrapped.func_env
    result = replay(agent.bidder, world.log.episodes(200), world.rules)
    assert mean == pytest.approx(result.expected_clicks[:3].mean())


def test_the_picture_shows_the_spending():
    env = gymnasium.make("dynrl/BidReplay-v0", horizon=50, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for _ in range(40):
        env.step(np.array([100.0], np.float32))
    after = env.render()
    assert before.shape == after.shape and before.dtype == np.uint8 and (before != after).any()
