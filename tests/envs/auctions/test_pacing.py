"""Pacing: the money inside a slot, the plan, the slots of a log, and learning."""

from functools import partial

import gymnasium
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dynrl
from dynrl.auctions import AuctionLog, Market
from dynrl.auctions.generator import generate_log
from dynrl.auctions.in_order import auctions_in_order
from dynrl.auctions.replay import settle
from dynrl.envs.auctions import Pacing
from dynrl.envs.auctions.even_spend import even_spend_slope, expected_cost
from dynrl.envs.auctions.pacing import RELATIVE_CHANGES
from dynrl.envs.auctions.slots import log_slots

ROWS = 12
held = jax.jit(auctions_in_order, static_argnames=("tie", "pricing"))


def one_by_one(wish, price, floor, mask, budget, tie, pricing):
    """The same auctions by a loop: (won, cost) of each row."""
    won, cost, left = np.zeros(len(wish), bool), np.zeros(len(wish), int), budget
    for row in range(len(wish)):
        if mask[row]:
            won[row], cost[row] = settle(np.minimum(wish[row], left), price[row], floor[row], tie, pricing)
            left -= cost[row]
    return won, cost


ticks = st.lists(st.integers(0, 9), min_size=ROWS, max_size=ROWS)


@settings(max_examples=150, deadline=None)
@given(
    wish=ticks,
    price=ticks,
    floor=ticks,
    mask=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    budget=st.integers(0, 60),
    tie=st.sampled_from(["win", "lose"]),
    pricing=st.sampled_from(["second", "first"]),
)
def test_a_slot_spends_exactly_what_auctions_one_by_one_would(wish, price, floor, mask, budget, tie, pricing):
    rows = [np.array(column) for column in (wish, price, floor, mask)]
    with jax.enable_x64(True):
        won, cost = jax.device_get(held(*rows, budget, tie=tie, pricing=pricing))
    expected = one_by_one(*rows, budget, tie, pricing)
    assert np.array_equal(won, expected[0]) and np.array_equal(cost, expected[1])
    assert cost.sum() <= budget


def play(env, multipliers, seed=0):
    env.reset(seed=seed)
    return [env.step(np.array([multiplier], np.float32)) for multiplier in multipliers]


@pytest.mark.parametrize("pricing", ["second", "first"])
def test_an_episode_from_a_log_is_the_sequential_one(pricing):
    log = generate_log(500, seed=3)
    env = gymnasium.make(
        "dynrl/Pacing-v0",
        log=log,
        horizon=5,
        auctions_per_slot=100,
        budget=2500,
        base_bid=9000.0,
        pricing=pricing,
    )
    multipliers = [0.5, 1.5, 1.0, 3.0, 2.0]
    steps = play(env, multipliers)
    slope = np.repeat(np.float32(multipliers).astype(float) * 9000.0, 100)
    wish = np.minimum(np.floor(slope * log.theta), 300).astype(int)
    won, cost = one_by_one(wish, log.price, log.floor, np.ones(500, bool), 2500, "win", pricing)
    infos = [step[4] for step in steps]
    assert [info["cost"] for info in infos] == cost.reshape(5, 100).sum(1).tolist()
    assert [info["wins"] for info in infos] == won.reshape(5, 100).sum(1).tolist()
    assert [info["clicks"] for info in infos] == (log.click * won).reshape(5, 100).sum(1).tolist()
    np.testing.assert_allclose([step[1] for step in steps], (log.theta * won).reshape(5, 100).sum(1))
    assert infos[-1]["b_left"] == 2500 - cost.sum() and steps[-1][2]
    assert infos[-1]["totals"]["cost"] == cost.sum() > 2400, "the budget binds here"
    assert infos[-1]["totals"]["mean_theta"] == pytest.approx(log.theta.mean())


def test_the_observation_says_what_the_slot_brought():
    env = gymnasium.make("dynrl/Pacing-v0", horizon=4, auctions_per_slot=50)
    first, _ = env.reset(seed=0)
    assert np.array_equal(first, np.array([1, 1, 0, 0, 0, 0, 1, 0], np.float32))
    shown, _, _, _, info = env.step(np.array([1.5], np.float32))
    params = env.unwrapped.params
    expected = [
        3 / 4,
        info["b_left"] / params.budget,
        info["cost"] / (params.budget / 4),
        info["wins"] / 50,
        info["cost"] / info["wins"] / 300,
        info["mean_theta"] / params.theta_avg,
        1.5,
        1.0,
    ]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_what_actions_mean():
    played = {}
    for action, choice in (
        ("multiplier", np.array([2.0], np.float32)),
        ("log_multiplier", np.array([0.5], np.float32)),
        ("relative", 0),
    ):
        env = gymnasium.make("dynrl/Pacing-v0", action=action, horizon=3, auctions_per_slot=20)
        env.reset(seed=0)
        played[action] = [env.step(choice)[4]["multiplier"] for _ in range(2)]
    assert played["multiplier"] == [2.0, 2.0]
    assert played["log_multiplier"] == pytest.approx([2.0, 2.0]), "the square root of the largest, 4"
    assert played["relative"] == pytest.approx([2.0, 4.0]), "lambda falls by 50 %, so bids double"
    assert RELATIVE_CHANGES[0] == -0.5


def test_the_plan_spends_the_budget_evenly():
    log = generate_log(4000, seed=0)
    market = Market.single(np.bincount(log.price, minlength=301) / 4000, np.unique(log.theta))
    for pricing in ("second", "first"):
        for rate in (0.5, 5.0, 30.0):
            slope = even_spend_slope(market, rate, 300, pricing)
            assert (
                expected_cost(market, slope, 300, pricing)
                <= rate
                < expected_cost(market, slope * (1 + 1e-5), 300, pricing) + 0.1
            )
    # By hand: bids of 2 and 4 ticks for theta 0.1 and 0.2, prices 1 and 3 equally likely.
    pmf = np.array([0, 0.5, 0, 0.5, 0, 0])
    assert expected_cost(Market.single(pmf, [0.1, 0.2]), 20.0, 5) == (0.5 * 1 + (0.5 * 1 + 0.5 * 3)) / 2
    assert expected_cost(Market.single(pmf, [0.1, 0.2]), 20.0, 5, "first") == (0.5 * 2 + 1.0 * 4) / 2


def test_a_rich_budget_bids_the_average_request_to_the_top():
    market = Market.single(np.full(11, 1 / 11), [0.1, 0.3])
    assert even_spend_slope(market, 100.0, 10) == 10 / 0.2


def test_slots_of_days():
    stamps = ["2013-06-06T01:00", "2013-06-06T11:59:59.999", "2013-06-06T12:00", "2013-06-08T23:00"]
    log = AuctionLog(
        np.zeros(4, np.uint8),
        np.arange(4, dtype=np.int32),
        np.full(4, 0.1),
        timestamp=np.array(stamps, "datetime64[ms]"),
    )
    slots = log_slots(log, 2, 1, "time")
    assert slots.count.tolist() == [2, 1, 0, 0, 0, 1] and slots.start.tolist() == [0, 2, 3, 3, 3, 3]
    with pytest.raises(ValueError, match="ascending order"):
        log_slots(log.take(np.array([2, 1, 0, 3])), 2, 1, "time")
    with pytest.raises(ValueError, match="no timestamps"):
        Pacing(AuctionLog(log.click, log.price, log.theta), slots_by="time", budget=5)


def test_days_follow_each_other_and_a_short_log_breaks_off():
    env = gymnasium.make(
        "dynrl/Pacing-v0", log=generate_log(70, seed=1), horizon=3, auctions_per_slot=10, budget=500
    )
    flags = []
    for _ in range(4):
        _, info = env.reset(seed=0) if not flags else env.reset()
        over, slots = False, 0
        while not over:
            _, _, terminated, truncated, _ = env.step(np.array([1.0], np.float32))
            over, slots = terminated or truncated, slots + 1
        flags.append((info["episode_number"], slots, terminated, truncated))
    assert flags == [(0, 3, True, False), (1, 3, True, False), (2, 1, False, True), (0, 3, True, False)]
    assert env.reset(options={"episode": 2})[1]["episode_number"] == 2
    with pytest.raises(ValueError, match="from 0 to 2"):
        env.reset(options={"episode": 3})


def test_traffic_shapes_the_slots():
    env = gymnasium.make("dynrl/Pacing-v0", horizon=3, auctions_per_slot=20, traffic=(1.0, 0.0, 2.0))
    assert [step[4]["auctions"] for step in play(env, [1, 1, 1])] == [20, 0, 40]
    with pytest.raises(ValueError, match="traffic must be 3"):
        Pacing(horizon=3, traffic=(1.0,))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"action": "shout"}, "action"),
        ({"objective": "fame"}, "objective"),
        ({"slots_by": "mood"}, "slots_by"),
        ({"max_multiplier": 1.0}, "max_multiplier"),
        ({"horizon": 0}, "horizon is 0"),
        ({"auctions_per_slot": 0.5}, "auctions_per_slot is 0.5"),
        ({"base_bid": 0.0}, "base_bid"),
        ({"budget": 0}, "budget is 0"),
    ],
)
def test_wrong_settings_are_named(choice, words):
    with pytest.raises(ValueError, match=words):
        Pacing(**choice)


def average_return(act, episodes=32):
    """Mean return of a batch policy over fixed episodes of the default world."""
    env = dynrl.SB3VecEnv("dynrl/Pacing-v0", 8)
    env.seed(1000)
    observation, running, returns = env.reset(), np.zeros(8), []
    while len(returns) < episodes:
        observation, reward, over, _ = env.step(act(observation))
        running += reward
        returns += running[over].tolist()
        running[over] = 0
    return np.mean(returns[:episodes])


@pytest.fixture(scope="module")
def reference():
    """Mean returns of (the best constant multiplier, random multipliers)."""

    def constant(multiplier, observation):
        return np.full((8, 1), multiplier, np.float32)

    rng = np.random.default_rng(0)
    best = max(average_return(partial(constant, multiplier)) for multiplier in (0.8, 0.9, 1.0, 1.1, 1.2))
    return best, average_return(lambda observation: rng.uniform(0, 4, (8, 1)).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sb3 PPO", "sb3 SAC", "sbx PPO", "sbx SAC"])
def test_sb3_and_sbx_learn_to_pace(name, reference):
    library, algorithm = name.split()
    module = pytest.importorskip({"sb3": "stable_baselines3", "sbx": "sbx"}[library])
    env = dynrl.SB3VecEnv("dynrl/Pacing-v0", 8)
    env.seed(0)
    if algorithm == "PPO":
        model = module.PPO(
            "MlpPolicy", env, n_steps=96, batch_size=192, gamma=1.0, learning_rate=1e-3, seed=0, device="cpu"
        )
        model.learn(30_000)
    else:
        model = module.SAC(
            "MlpPolicy",
            env,
            learning_rate=3e-3,
            batch_size=128,
            learning_starts=1000,
            gradient_steps=4,
            policy_kwargs={"net_arch": [64, 64]},
            seed=0,
            device="cpu",
        )
        model.learn(18_000)
    best, random = reference
    learned = average_return(lambda observation: model.predict(observation, deterministic=True)[0])
    assert learned > random + 0.8 * (best - random)


def test_sb3_trains_on_the_registered_name():
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("dynrl/Pacing-v0", horizon=6, auctions_per_slot=20)
    model = sb3.PPO("MlpPolicy", env, n_steps=24, batch_size=24, seed=0, device="cpu").learn(72)
    assert len(model.ep_info_buffer) == 12 and all(episode["l"] == 6 for episode in model.ep_info_buffer)
