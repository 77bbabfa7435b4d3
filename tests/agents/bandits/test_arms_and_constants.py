"""UCB1, explore-then-commit, the expert's allocation, uniform play and the clairvoyant."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.bandits import (
    UCB1,
    Clairvoyant,
    Constant,
    ExploreThenCommit,
    FixedAllocation,
    FixedAllocationConfig,
    Uniform,
    single_run,
)
from dynrl.agents.bandits.constant import clipped_allocation
from dynrl.bandits import BallSet, BoxSet, BudgetSet, DLBSystem, FiniteSet, SimplexSet
from dynrl.envs.bandits.systems import EXPERT_SPENDS


def test_ucb1_by_hand() -> None:
    agent, rng = UCB1(FiniteSet(np.eye(3)), reward_range=0.5), np.random.default_rng(0)
    sums, counts = np.zeros(3), np.zeros(3)
    for t in range(1, 201):
        arm = agent.act()
        if t <= 3:
            assert arm == t - 1
        else:
            assert arm == np.argmax(sums / counts + 0.5 * np.sqrt(2 * math.log(t) / counts))
        y = rng.normal(0.1 * arm, 0.1)
        agent.update(y)
        sums[arm] += y
        counts[arm] += 1
    assert agent.recommended()[0] == (sums / counts).argmax()


def test_ucb1_finds_the_best_of_independent_arms() -> None:
    system = DLBSystem(np.zeros((0, 0)), np.zeros((0, 3)), [], [0.2, 0.5, 0.4], 0.0, 0.1)
    agent = UCB1.from_system(system, FiniteSet(np.eye(3)), 3000)
    run = single_run(system, agent, 3000, seed=0)
    assert agent.recommended()[0] == 1
    assert run.actions[-500:, 1].mean() > 0.8


def test_explore_then_commit_compares_settled_halves(ads: DLBSystem, six: FiniteSet) -> None:
    agent = ExploreThenCommit(six, rounds=7)
    run = single_run(ads, agent, 6 * 7 + 30, seed=0)
    np.testing.assert_array_equal(run.actions[:42], np.repeat(six.actions, 7, axis=0))
    means = run.rewards[:42].reshape(6, 7)[:, 3:].mean(1)  # the last ceil(7/2) of each hold
    np.testing.assert_allclose(agent.learned.sums, means, rtol=1e-12)
    np.testing.assert_array_equal(run.actions[42:], np.tile(six.actions[means.argmax()], (30, 1)))
    assert agent.recommended()[0] == means.argmax()


def test_random_exploration_identifies_the_optimum(ads: DLBSystem, six: FiniteSet) -> None:
    agent = ExploreThenCommit(six, rounds=300, explore="random", seed=0)
    run = single_run(ads, agent, 400, seed=1)
    assert len(np.unique(run.actions[:300], axis=0)) == 6
    np.testing.assert_array_equal(run.actions[300:], np.tile(ads.optimal_action(six), (100, 1)))
    np.testing.assert_array_equal(agent.recommended()[1], ads.optimal_action(six))


def test_saved_states_of_random_exploration_do_not_move_along(ads: DLBSystem, six: FiniteSet) -> None:
    agent = ExploreThenCommit(six, rounds=40, explore="random", seed=0)
    single_run(ads, agent, 10, seed=1)
    saved, state = agent.state_dict(), agent.state
    copied = {name: array.copy() for name, array in saved.items()}
    single_run(ads, agent, 10, seed=2)
    for name, array in saved.items():
        np.testing.assert_array_equal(array, copied[name])
    assert (state.extra["rewards"] != 0).sum() == 10


@given(
    shares=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6).filter(lambda s: sum(s) > 1e-3),
    total=st.floats(0.1, 10.0),
    fractions=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
@settings(max_examples=150, deadline=None)
def test_an_allocation_spends_everything_within_its_bounds(
    shares: list[float], total: float, fractions: tuple[float, float]
) -> None:
    count = len(shares)
    lower = fractions[0] * total / count
    upper = total / count + fractions[1] * total
    allocation = clipped_allocation(FixedAllocationConfig(tuple(shares), total, lower, upper))
    assert allocation.sum() == pytest.approx(total, rel=1e-12)
    assert (allocation >= lower - 1e-12 * total).all() and (allocation <= upper + 1e-12 * total).all()
    # where no bound binds, proportions are the expert's
    free = (allocation > lower * (1 + 1e-9)) & (allocation < upper * (1 - 1e-9))
    given_shares = np.array(shares)[free]
    if free.sum() > 1 and given_shares.sum() > 1e-6:
        np.testing.assert_allclose(
            allocation[free] * given_shares.sum(), given_shares * allocation[free].sum(), atol=1e-9 * total
        )


def test_the_expert_of_the_ad_platforms() -> None:
    settings_ = FixedAllocationConfig(tuple(EXPERT_SPENDS), total=1.5, upper=1.0)
    # the third share would be 1.1 of 1.5: it is cut to 1, and the first two share 0.5
    rest = EXPERT_SPENDS[:2] / EXPERT_SPENDS[:2].sum() * 0.5
    np.testing.assert_allclose(clipped_allocation(settings_), [*rest, 1.0], rtol=1e-12)


def test_the_expert_within_and_outside_an_action_set(six: FiniteSet) -> None:
    budget = BudgetSet(np.zeros(3), np.ones(3), 1.5)
    agent = FixedAllocation(budget, shares=(2.0, 1.0, 0.0), total=1.5)
    np.testing.assert_allclose(agent.act(), [1.0, 0.5, 0.0])
    indexed = FixedAllocation(six, shares=(2.0, 1.0, 0.0), total=1.5)
    np.testing.assert_array_equal(six.actions[indexed.act()], [1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="not one of"):
        FixedAllocation(six, shares=(1.0, 1.0, 1.0), total=1.5)
    with pytest.raises(ValueError, match="not feasible"):
        FixedAllocation(budget, shares=(1.0, 1.0, 1.0), total=2.0)
    with pytest.raises(ValueError, match="2 shares"):
        FixedAllocation(budget, shares=(1.0, 1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": ()}, "shares"),
        ({"shares": (1.0, -1.0)}, "shares"),
        ({"shares": (0.0, 0.0)}, "shares"),
        ({"shares": (1.0, math.nan)}, "shares"),
        ({"total": 0.0}, "total"),
        ({"total": math.nan}, "total"),
        ({"total": math.inf}, "total"),
        ({"lower": -0.5}, "lower"),
        ({"lower": math.nan}, "lower"),
        ({"upper": 0.4}, "total of 1"),
        ({"lower": 0.6}, "total of 1"),
    ],
)
def test_bad_allocations(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FixedAllocationConfig(**{"shares": (1.0, 2.0), "total": 1.0, **changes})


def test_uniform_play_is_uniform(six: FiniteSet) -> None:
    agent, counts = Uniform(six, seed=0), np.zeros(6)
    for _ in range(6000):
        counts[agent.act()] += 1
        agent.update(0.0)
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # χ²₅ exceeds it once in a thousand


def test_the_clairvoyant_has_no_regret(ads: DLBSystem, six: FiniteSet) -> None:
    agent = Clairvoyant.from_system(ads, six, 10)
    run = single_run(ads, agent, 50, seed=0)
    np.testing.assert_array_equal(run.actions, np.tile(ads.optimal_action(six), (50, 1)))
    for bad in ((1.0, 2.0), (1.0, math.nan, 0.0)):
        with pytest.raises(ValueError, match="h "):
            Clairvoyant(six, h=bad)


@pytest.mark.parametrize(
    "action_set",
    [BoxSet([0, 0], [1, 2]), SimplexSet(2, 1.5), BudgetSet([0, 0], [1, 1], 1.2), FiniteSet([[1.0, 2.0]])],
)
def test_arms_of_a_polytope_are_its_vertices(action_set) -> None:
    for agent in (UCB1(action_set), Uniform(action_set, seed=0), Constant(action_set)):
        for _ in range(6):
            output = agent.act()
            assert action_set.contains(agent.candidates[output] if isinstance(output, int) else output)
            agent.update(0.1)


def test_agents_of_arms_refuse_a_ball() -> None:
    for kind in (UCB1, Uniform, ExploreThenCommit):
        with pytest.raises(ValueError, match="FiniteSet"):
            kind(BallSet(1.0, dimension=2))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (UCB1, "reward_range", 0.0),
        (UCB1, "exploration", math.nan),
        (ExploreThenCommit, "rounds", 0),
        (ExploreThenCommit, "rounds", math.nan),
        (ExploreThenCommit, "order", 0),
        (ExploreThenCommit, "explore", "greedily"),
    ],
)
def test_bad_settings(kind: type, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        kind(FiniteSet(np.eye(2)), **{name: value})
