"""Exp3 and its batches: probabilities by hand, rewards booked to the arm that earned them, clipping."""

import math
import warnings

import numpy as np
import pytest

from dynrl.agents.bandits import DynLinUCB, Exp3, Exp3Batch, simulate
from dynrl.agents.bandits.algorithm import schedule_until
from dynrl.bandits import DLBSystem, FiniteSet

ARMS = FiniteSet(np.eye(4))


def test_probabilities_by_hand() -> None:
    agent = Exp3(ARMS, horizon=50, reward_bound=0.5, exploration=0.2, seed=0)
    gains, rewards = np.zeros(4), np.random.default_rng(1).uniform(-1, 1, 50)
    for y in rewards:
        arm = agent.act()
        weights = np.exp(0.2 / 4 * gains)
        p = 0.8 * weights / weights.sum() + 0.2 / 4
        np.testing.assert_allclose(agent.learned.probabilities, p, rtol=1e-12)
        agent.update(y)
        gains[arm] += (y + 1.0) / 2.0 / p[arm]
        np.testing.assert_allclose(agent.learned.gains, gains, rtol=1e-12)


def test_arms_come_with_their_probabilities() -> None:
    agent = Exp3(ARMS, horizon=10, exploration=0.4, seed=3)
    learned = agent.learned._replace(gains=np.array([0.0, 5.0, 10.0, 20.0]))
    weights = np.exp(0.1 * learned.gains)
    p = 0.6 * weights / weights.sum() + 0.1
    draws = (np.arange(10_000) + 0.5) / 10_000
    chosen = [int(agent.algorithm.choose(learned, {}, np.array([draw]))[1]) for draw in draws]
    np.testing.assert_allclose(np.bincount(chosen) / 10_000, p, atol=2e-4)


def test_the_default_exploration() -> None:
    agent = Exp3(ARMS, horizon=3000)
    assert agent.algorithm.exploration == math.sqrt(4 * math.log(4) / ((math.e - 1) * 2000))
    batched = Exp3Batch(ARMS, horizon=3000, hold=10)
    assert batched.algorithm.exploration == math.sqrt(4 * math.log(4) / ((math.e - 1) * 200))
    assert Exp3(ARMS, horizon=1).algorithm.exploration == 1.0


def test_gains_in_the_thousands_do_not_overflow() -> None:
    agent = Exp3(ARMS, horizon=10, exploration=1.0, seed=0)
    learned = agent.learned._replace(gains=np.array([1e6, 0.0, -1e6, 5e5]))
    chosen, _ = agent.algorithm.choose(learned, {}, np.array([0.5]))
    np.testing.assert_allclose(chosen.probabilities, 0.25)
    certain = Exp3(ARMS, horizon=10, exploration=0.5)
    chosen, _ = certain.algorithm.choose(learned, {}, np.array([0.5]))
    np.testing.assert_allclose(chosen.probabilities, [0.625, 0.125, 0.125, 0.125])


def test_the_reward_of_a_batch_belongs_to_the_arm_held_in_it() -> None:
    agent = Exp3Batch(ARMS, horizon=200, hold=5, reward_bound=1.0, exploration=0.3, seed=4)
    rng, gains = np.random.default_rng(0), np.zeros(4)
    switches, held = 0, -1
    for _ in range(40):
        arm = agent.act()
        p = agent.learned.probabilities[arm]
        rewards = rng.uniform(-1, 1, 5) + 0.2 * arm
        for y in rewards:
            assert agent.act() == arm
            agent.update(y)
        before = gains.copy()
        gains[arm] += (rewards.mean() + 2.0) / 4.0 / p
        np.testing.assert_allclose(agent.learned.gains, gains, rtol=1e-12)
        assert np.flatnonzero(gains != before).tolist() == [arm]
        switches += arm != held
        held = arm
    assert switches > 5


@pytest.mark.parametrize("name", ["synthetic", "ads"])
def test_the_published_batch_length_and_reward_bound(name: str, request, six: FiniteSet) -> None:
    system: DLBSystem = request.getfixturevalue(name)
    b, T = system.bounds(), 100_000
    batched = Exp3Batch.from_system(system, six, T)
    # epochs of DynLin-UCB that fit in T, counted one after the other
    rounds, epochs = 0, 0
    while True:
        rounds += 1 + math.floor(math.log(epochs + 1) / math.log(1 / b.rho) + 1e-9)
        if rounds > T:
            break
        epochs += 1
    assert batched.config.hold == math.ceil(math.log(epochs) / math.log(1 / b.rho))
    bound = (b.theta + b.omega * b.b / (1 - b.rho)) * math.sqrt(1.25)
    assert batched.config.reward_bound == pytest.approx(bound, rel=1e-12)
    dynlin = schedule_until(DynLinUCB.from_system(system, six, T).algorithm, T)
    assert abs(len(dynlin.holds) - epochs) <= 1


def test_rewards_beyond_the_bound_are_clipped_counted_and_reported_once() -> None:
    agent = Exp3(ARMS, horizon=10, reward_bound=0.5, exploration=1.0, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for y in (0.9, 1.5, -7.0, 1.0):
            arm = agent.act()
            before = agent.learned.gains[arm]
            agent.update(y)
            gain = (agent.learned.gains[arm] - before) * 0.25
            assert gain == pytest.approx(min(max((y + 1.0) / 2.0, 0.0), 1.0))
    assert agent.clipped == 2
    assert ["reward_bound" in str(w.message) for w in caught] == [True]


def test_clipping_is_counted_in_simulations_too(ads: DLBSystem, six: FiniteSet) -> None:
    tight = Exp3.from_system(ads, six, 1000, reward_bound=1e-3)
    assert (simulate(ads, tight, 1000, [0, 1], record=4).learned.clipped > 0).all()


def test_one_arm() -> None:
    agent = Exp3(FiniteSet([[1.0]]), horizon=10, seed=0)
    for _ in range(10):
        assert agent.act() == 0
        agent.update(0.3)


def test_it_finds_the_better_arm() -> None:
    agent = Exp3(FiniteSet(np.eye(2)), horizon=4000, seed=1)
    played = []
    for _ in range(4000):
        played.append(agent.act())
        agent.update(0.8 if played[-1] else -0.8)
    assert np.mean(played[-1000:]) > 0.9 and agent.recommended()[0] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("horizon", -1),
        ("reward_bound", 0.0),
        ("reward_bound", math.nan),
        ("exploration", 0.0),
        ("exploration", 1.5),
        ("hold", 0),
        ("hold", 1.5),
    ],
)
def test_bad_settings(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Exp3Batch(ARMS, **{"horizon": 10, name: value})
