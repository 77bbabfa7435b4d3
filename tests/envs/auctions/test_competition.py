"""Competing advertisers: the world, its markets side by side, and the PettingZoo face."""

import builtins
import importlib
import sys

import jax
import numpy as np
import pytest

import dynrl
from dynrl.auctions.multi_slot import cpa_score
from dynrl.envs.auctions.competition import Competition
from dynrl.faces.gymnasium_env import GymnasiumEnv

SMALL = Competition(advertisers=6, horizon=5, requests=150, slots=2)


def episode(world, multipliers, params=None, seed=0):
    env = GymnasiumEnv(world, params=params)
    env.reset(seed=seed)
    over, steps = False, []
    while not over:
        steps.append(env.step(np.asarray(multipliers, np.float32)))
        over = steps[-1][2] or steps[-1][3]
    return steps


@pytest.mark.parametrize("pricing", ["second", "first"])
def test_money_is_conserved_and_nobody_overspends(pricing):
    world = Competition(
        advertisers=6, horizon=5, requests=150, slots=2, pricing=pricing, budget=np.arange(1, 7) * 2.0
    )
    steps = episode(world, np.full(6, 3.0))
    costs = np.sum([step[4]["cost"] for step in steps], 0)
    budget = world.default_params.budget
    np.testing.assert_allclose(costs, steps[-1][4]["totals"]["cost"])
    np.testing.assert_allclose(costs + steps[-1][4]["left"], budget)
    assert (steps[-1][4]["left"] >= 0).all() and (costs > 0.98 * budget).all(), (
        "everybody runs out at this rate"
    )


def test_rewards_and_scores_add_up():
    steps = episode(SMALL, np.ones(6))
    assert [step[1] for step in steps] == [step[4]["conversions"].sum() for step in steps]
    world = Competition(advertisers=6, horizon=5, requests=150, slots=2, objective="score", target_cpa=50.0)
    params = world.default_params._replace(level=np.full(6, 0.02), budget=np.full(6, 1e4))
    steps = episode(world, np.full(6, 2.0), params)
    totals = steps[-1][4]["totals"]
    final = cpa_score(totals["conversions"], totals["cost"], 50.0)
    assert sum(step[1] for step in steps) == pytest.approx(final.sum()) and final.sum() > 0
    assert final.sum() < totals["conversions"].sum(), "bidding twice the target has its price"


def test_values_have_the_stated_mean():
    world = Competition(advertisers=3, horizon=2, requests=20_000)
    params = world.default_params._replace(season=np.array([1.0, 2.0]))
    with jax.enable_x64(True):
        drawn = np.array(world.probabilities(1, jax.random.key(0), params))
    ratio = drawn / (2.0 * params.level[:, None])
    # The logarithm has variance 0.72, so the mean of 20 000 has a standard error of 0.0072.
    assert (abs(ratio.mean(1) - 1) < 4.5 * 0.0072).all()
    assert np.corrcoef(np.log(drawn))[0, 1] == pytest.approx(0.5, abs=0.03), "half of the variance is shared"


def test_abstaining_costs_nothing_and_helps_the_others():
    bidders = np.ones(6)
    everybody = episode(SMALL, bidders)[-1][4]["totals"]
    bidders[0] = 0.0
    others = episode(SMALL, bidders)[-1][4]["totals"]
    assert others["cost"][0] == others["shown"][0] == 0
    assert (others["shown"][1:] >= everybody["shown"][1:]).all()


def test_markets_side_by_side_are_the_markets_alone():
    params = SMALL.default_params
    budgets = np.stack([params.budget * factor for factor in (0.1, 1.0, 3.0)])
    env = dynrl.VectorEnv(SMALL, 3, params=params._replace(budget=budgets))
    env.reset(seed=4)
    actions = np.full((3, 6), 1.5, np.float32)
    *_, infos = env.step(actions)
    for number, budget in enumerate(budgets):
        alone = episode(SMALL, actions[number], params._replace(budget=budget), seed=4 + number)[0][4]
        np.testing.assert_allclose(infos["left"][number], alone["left"], rtol=1e-12)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"advertisers": 0}, "advertisers is 0"),
        ({"pricing": "third"}, "pricing is 'third'"),
        ({"objective": "fame"}, "objective is 'fame'"),
        ({"budget": [1.0, 2.0]}, "budget has shape"),
        ({"target_cpa": -1.0}, "target_cpa is -1.0"),
        ({"exposure": (0.5, 0.5, 2.0)}, "expected probabilities"),
        ({"reserve": np.nan}, "reserve is nan"),
        ({"max_multiplier": 0.0}, "max_multiplier is 0.0"),
    ],
)
def test_wrong_settings_are_named(choice, words):
    with pytest.raises(ValueError, match=words):
        Competition(**choice)


@pytest.fixture
def parallel():
    pytest.importorskip("pettingzoo")
    from dynrl.envs.auctions.parallel import AuctionParallelEnv

    return AuctionParallelEnv


def test_pettingzoo_accepts_it(parallel):
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(parallel(SMALL), num_cycles=20)
    parallel_seed_test(lambda: parallel(SMALL))


def test_agents_get_their_rows_of_the_world(parallel):
    env = parallel(SMALL)
    env.reset(seed=9)
    multipliers = np.linspace(0.5, 2.0, 6).astype(np.float32)
    expected = episode(SMALL, multipliers, seed=9)
    for rows, total, over, _, info in expected:
        shown = env.step({agent: multipliers[i : i + 1] for i, agent in enumerate(env.possible_agents)})
        for number, agent in enumerate(env.possible_agents):
            assert np.array_equal(shown[0][agent], rows[number])
            assert shown[1][agent] == info["rewards"][number]
            assert shown[2][agent] is over and shown[3][agent] is False
            assert shown[4][agent]["left"] == info["left"][number]
        assert sum(shown[1].values()) == pytest.approx(total)
        assert np.array_equal(env.state(), rows)
    assert env.agents == [] and "totals" in shown[4]["advertiser_0"]
    with pytest.raises(ValueError, match="call reset"):
        env.step({})


def test_wrong_multipliers_are_named_and_change_nothing(parallel):
    env, twin = parallel(SMALL), parallel(SMALL)
    env.reset(seed=1), twin.reset(seed=1)
    fair = {agent: np.ones(1, np.float32) for agent in env.agents}
    for wrong in (np.array([np.nan]), np.array([-1.0]), np.array([99.0]), np.ones(2), 1.0):
        with pytest.raises(ValueError, match="advertiser_3"):
            env.step({**fair, "advertiser_3": wrong})
    with pytest.raises(ValueError, match="advertiser_5 is missing"):
        env.step({agent: fair[agent] for agent in env.agents[:-1]})
    assert env.step(fair)[1] == twin.step(fair)[1]


def test_without_pettingzoo_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("pettingzoo"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "dynrl.envs.auctions.parallel", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install dynrl\[auctions\]"):
        importlib.import_module("dynrl.envs.auctions.parallel")
