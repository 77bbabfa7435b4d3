"""The act/update protocol: order of calls, odd inputs, bad rewards, saving in the middle of a hold."""

import copy
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynrl.agents.bandits import (
    AR2,
    UCB1,
    BanditAgent,
    DLinUCB,
    DynLinUCB,
    Exp3Batch,
    ExploreThenCommit,
    FixedAllocation,
    LinUCB,
    Uniform,
    single_run,
)
from dynrl.bandits import ActionSet, BallSet, BoxSet, BudgetSet, DLBSystem, FiniteSet
from dynrl.errors import ConfigError, FileFormatError

TOLD = {"rho_bar": 0.6, "horizon": 1000, "radius": "tight", "sigma": 0.05, "theta_bar": 0.5, "omega_bar": 0.5}
MAKERS: dict[str, Callable[[ActionSet], BanditAgent]] = {
    "DynLin-UCB": lambda a: DynLinUCB(a, **TOLD),
    "Thompson": lambda a: DynLinUCB(a, **TOLD, index="ts", seed=3),
    "LinUCB": lambda a: LinUCB(a, horizon=1000),
    "D-LinUCB": lambda a: DLinUCB(a, horizon=1000, discount=0.99),
    "AR2": lambda a: AR2(a, alpha=0.8, sigma=0.1, restart_every=40),
    "Exp3-k": lambda a: Exp3Batch(a, horizon=1000, hold=7, seed=3),
    "UCB1": lambda a: UCB1(a),
    "explore-then-commit": lambda a: ExploreThenCommit(a, rounds=9),
    "random, then commit": lambda a: ExploreThenCommit(a, rounds=60, explore="random", seed=3),
    "uniform": lambda a: Uniform(a, seed=3),
    "expert": lambda a: FixedAllocation(a, shares=(2.0, 1.0, 0.0), total=1.5),
}


def play(agent: BanditAgent, rounds: int, seed: int) -> list[float]:
    """Outputs and rewards of some rounds with rewards that follow a fixed stream of noise."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(rounds):
        output = agent.act()
        y = 0.1 * float(np.sum(output)) + rng.normal(0.0, 0.1)
        agent.update(y)
        seen += [*np.atleast_1d(output), y]
    return seen


@pytest.mark.parametrize("name", MAKERS)
def test_acting_twice_gives_the_same_action_and_changes_nothing(name: str, six: FiniteSet) -> None:
    agent = MAKERS[name](six)
    play(agent, 20, seed=0)
    first = agent.act()
    before = agent.state_dict()
    assert all(agent.act() == first for _ in range(3))
    for key, array in agent.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("name", MAKERS)
def test_rewards_without_an_action_are_refused(name: str, six: FiniteSet) -> None:
    agent = MAKERS[name](six)
    with pytest.raises(RuntimeError, match="act"):
        agent.update(0.1)
    agent.act()
    agent.update(0.1)
    with pytest.raises(RuntimeError, match="act"):
        agent.update(0.1)
    assert agent.t == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("name", MAKERS)
def test_a_reward_that_is_not_finite_changes_nothing(name: str, bad: float, six: FiniteSet) -> None:
    agent, twin = MAKERS[name](six), MAKERS[name](six)
    play(agent, 17, seed=0), play(twin, 17, seed=0)
    agent.act()
    with pytest.raises(ValueError, match="round 18"):
        agent.update(bad)
    assert play(agent, 40, seed=1) == play(twin, 40, seed=1)


def test_skipped_rewards_count_but_their_hold_gives_no_sample(six: FiniteSet) -> None:
    agent = DynLinUCB(six, **{**TOLD, "settle": 2}, on_bad_reward="skip")
    for y in (0.3, 0.2, 0.1):
        agent.act()
        agent.update(y)
    assert (agent.t, agent.learned_epochs, agent.rounds_left) == (3, 1, 0)
    before = agent.learned
    for t, y in enumerate((0.3, math.nan, 0.2, 0.1)[: int(agent.algorithm.schedule(2).holds[1])]):
        agent.act()
        agent.update(y)
        assert agent.t == 4 + t
    assert agent.rounds_left == 0 and agent.learned_epochs == 1 and agent.epoch == 2
    assert agent.learned is before
    assert agent.extra.holds == 0 and not agent.extra.moment.any()  # the settling test does not see it either
    play(agent, 30, seed=0)
    assert agent.learned_epochs > 3 and np.isfinite(agent.h_hat).all()


def test_warm_up_lengthens_the_first_hold_only(six: FiniteSet) -> None:
    plain, warmed = DynLinUCB(six, **TOLD), DynLinUCB(six, **TOLD, warmup=10)
    difference = warmed.algorithm.schedule(30).holds - plain.algorithm.schedule(30).holds
    np.testing.assert_array_equal(difference, [10] + [0] * 29)
    play(warmed, int(plain.algorithm.schedule(1).holds[0]) + 9, seed=0)
    assert warmed.learned_epochs == 0 and warmed.rounds_left == 1


@pytest.mark.parametrize("where", [1, 10, 23, 61])
@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_agent_goes_on_identically(name: str, where: int, six: FiniteSet, tmp_path: Path) -> None:
    agent = MAKERS[name](six)
    play(agent, where, seed=0)
    agent.act()  # in the middle of a hold, and of a round
    copies = {"deep copy": copy.deepcopy(agent), "pickle": pickle.loads(pickle.dumps(agent))}
    copies["state_dict"] = MAKERS[name](six)
    saved = {key: array.copy() for key, array in agent.state_dict().items()}
    copies["state_dict"].load_state_dict(saved)
    agent.save(tmp_path / "agent")
    copies["file"] = type(agent).load(tmp_path / "agent", six)
    assert copies["file"].config == agent.config
    expected = play(agent, 150, seed=1)
    for how, restored in copies.items():
        assert play(restored, 150, seed=1) == expected, how
        for key, array in agent.state_dict().items():
            assert restored.state_dict()[key].tobytes() == array.tobytes(), (how, key)
    again = MAKERS[name](six)
    again.load_state_dict(saved)
    assert play(again, 150, seed=1) == expected  # what was saved did not move along


def test_a_file_of_another_agent_is_refused(six: FiniteSet, tmp_path: Path) -> None:
    LinUCB(six, horizon=10).save(tmp_path / "linucb")
    with pytest.raises(FileFormatError, match="LinUCB"):
        UCB1.load(tmp_path / "linucb", six)
    with pytest.raises(FileFormatError, match="fit"):
        LinUCB.load(tmp_path / "linucb", FiniteSet(np.eye(2)))


@pytest.mark.parametrize("name", MAKERS)
def test_reset_and_the_same_seed_give_the_same_run(name: str, six: FiniteSet) -> None:
    agent = MAKERS[name](six)
    first = play(agent, 80, seed=2)
    assert play(agent.reset(3), 80, seed=2) == first
    assert play(MAKERS[name](six), 80, seed=2) == first


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "expert"])
def test_one_duplicate_zero_and_all_zero_actions(name: str) -> None:
    for actions in ([[0.3, 0.4]], [[1, 0], [1, 0], [0, 1]], [[0, 0], [1, 0]], [[0, 0]], [[0, 0], [0, 0]]):
        agent = MAKERS[name](FiniteSet(actions))
        seen = play(agent, 80, seed=0)
        assert np.isfinite(seen).all() and agent.t == 80
        assert 0 <= agent.recommended()[0] < len(actions)


def test_the_zero_action_has_index_zero() -> None:
    agent = DynLinUCB(FiniteSet([[0.0, 0.0], [0.5, 0.0]]), **TOLD)
    play(agent, 50, seed=0)
    assert agent.algorithm.ucb(agent.learned, agent.current_inputs())[0] == 0.0
    assert agent.confidence_interval(0) == (0.0, 0.0)


def test_the_first_action_is_the_largest_and_ties_go_to_the_lowest_index() -> None:
    assert DynLinUCB(FiniteSet([[1, 0], [0, 1.1], [0.6, 0.65]]), **TOLD).act() == 1
    assert DynLinUCB(FiniteSet([[0.5, 0], [0, 1.0], [1.0, 0], [0.6, 0.8]]), **TOLD).act() == 1


def test_a_random_first_action_is_uniform_and_only_the_first(six: FiniteSet) -> None:
    firsts = [DynLinUCB(six, **TOLD, first_action="random", seed=s).act() for s in range(300)]
    counts = np.bincount(firsts, minlength=6)
    assert ((counts - 50) ** 2 / 50).sum() < 20.5
    left, right = (DynLinUCB(six, **TOLD, first_action="random", seed=s) for s in (0, 0))
    right.rng = np.random.default_rng(99)
    right.state = left.state  # the same first action by force
    left.act()
    right.state = left.state
    assert play(left, 200, seed=5) == play(right, 200, seed=5)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, int, float])
def test_numbers_of_any_type(kind: type) -> None:
    actions = FiniteSet(np.array([[1, 0], [0, 1]], dtype=np.float32 if kind is np.float32 else int))
    agent = DynLinUCB(actions, **TOLD)
    for _ in range(20):
        agent.act()
        agent.update(kind(1))
    assert all(leaf.dtype == np.float64 for leaf in agent.learned)
    listed = DynLinUCB(FiniteSet([[1, 0], [0, 1]]), **TOLD)
    for _ in range(20):
        listed.act()
        listed.update(1)
    np.testing.assert_array_equal(agent.h_hat, listed.h_hat)
    agent.confidence_interval([1, 0])
    with pytest.raises(ValueError, match="shape"):
        agent.confidence_interval([1, 0, 0])


def test_an_index_may_come_from_predict(six: FiniteSet) -> None:
    agent = DynLinUCB(six, **TOLD)
    play(agent, 50, seed=0)
    assert agent.confidence_interval(np.asarray(4)) == agent.confidence_interval(4)
    assert agent.confidence_interval(4) == agent.confidence_interval(six.actions[4])


def test_two_hundred_channels() -> None:
    d = 200
    rng = np.random.default_rng(0)
    h = rng.uniform(-1, 1, d) / d
    agent = DynLinUCB(
        BudgetSet(np.zeros(d), np.ones(d), 40.0), rho_bar=0.1, horizon=10_000, radius="tight", sigma=0.01
    )
    slowest = 0.0
    for _ in range(60):
        started = time.process_time()
        u = agent.act()
        slowest = max(slowest, time.process_time() - started)
        assert agent.action_set.contains(u)
        agent.update(float(h @ u) + rng.normal(0, 0.01))
    assert agent.learned_epochs > 10
    assert np.linalg.eigvalsh(agent.learned.V)[0] >= agent.algorithm.constants.lambda_ * (1 - 1e-9)
    np.testing.assert_allclose(agent.learned.V @ agent.learned.V_inverse, np.eye(d), atol=1e-6)
    assert slowest < 0.5  # the bar of 20 ms per act is measured by the benchmark, on a quiet machine


@pytest.mark.parametrize(
    "action_set",
    [BallSet(1.0, dimension=3), BudgetSet(np.zeros(3), np.ones(3), 1.5), BoxSet(np.zeros(3), np.ones(3))],
)
def test_continuous_sets_settle_on_their_optimum(action_set: ActionSet, ads: DLBSystem) -> None:
    agent = DynLinUCB.from_system(ads, action_set, 4000, radius="tight")
    single_run(ads, agent, 4000, seed=0)
    u = agent.act(deterministic=True)
    best = ads.optimal_value(action_set)
    assert float(ads.value(u)) >= best - 0.02 * abs(best)
    assert agent.rounds_left >= 0 and agent.act() is not agent.act()  # copies: a caller cannot spoil the hold


def test_the_recommendation_does_not_move_the_run(six: FiniteSet) -> None:
    agent, twin = DynLinUCB(six, **TOLD), DynLinUCB(six, **TOLD)
    play(agent, 25, seed=0), play(twin, 25, seed=0)
    assert agent.act(deterministic=True) == agent.recommended()[0]
    assert play(agent, 25, seed=1) == play(twin, 25, seed=1)


def test_what_needs_candidates_and_unknown_settings(six: FiniteSet) -> None:
    with pytest.raises(ValueError, match="FiniteSet"):
        LinUCB(BallSet(1.0, dimension=3), horizon=10)
    with pytest.raises(ValueError, match="finitely many"):
        DynLinUCB(BallSet(1.0, dimension=3), **TOLD, index="ts")
    with pytest.raises(ConfigError, match="horizon"):
        LinUCB(six, horizn=10)


def test_exploration_that_is_too_short_to_identify_anything_is_refused_at_once(six: FiniteSet) -> None:
    with pytest.raises(ValueError, match="rounds"):
        ExploreThenCommit(six, rounds=10, explore="random", order=3)
