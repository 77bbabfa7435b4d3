"""What DynLin-UCB says about its own knowledge: ellipsoid, intervals, certificate, settling test, warm starts."""

import math
import warnings

import numpy as np
import pytest

from dynrl.agents.bandits import DynLinUCB, Simulation, agent_after, single_run
from dynrl.bandits import BallSet, DLBSystem, FiniteSet

T = 2000


class Runs:
    """200 finished runs of the tight agent on the ad platforms."""

    def __init__(self, system: DLBSystem, actions: FiniteSet) -> None:
        self.agent = DynLinUCB.from_system(system, actions, T, radius="tight", delta=0.05)
        self.simulation = Simulation(system, self.agent, T, np.arange(200), record=1, path="epoch")
        self.simulation.advance(self.simulation.num_chunks)
        self.values = system.value(actions.actions)

    def __getitem__(self, run: int) -> DynLinUCB:
        return agent_after(self.agent, self.simulation, run)


@pytest.fixture(scope="module")
def runs(ads: DLBSystem, six: FiniteSet) -> Runs:
    return Runs(ads, six)


def test_the_intervals_cover_the_long_run_values(runs: Runs) -> None:
    inside = {"uniform": 0, "asymptotic": 0}
    widths = {"uniform": 0.0, "asymptotic": 0.0}
    optimal = 5  # played most, so its estimate is nearly free of the ridge
    for run in range(200):
        agent = runs[run]
        for method in inside:
            low, high = agent.confidence_interval(optimal, method=method, level=0.9)
            inside[method] += low <= runs.values[optimal] <= high
            widths[method] += (high - low) / 200
    assert inside["uniform"] == 200
    assert abs(inside["asymptotic"] / 200 - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 200)
    assert widths["asymptotic"] < widths["uniform"] / 3


def test_the_uniform_interval_is_the_ellipsoid_s_shadow(runs: Runs, rng) -> None:
    agent = runs[0]
    h_hat, V, beta = agent.ellipsoid()
    u = np.array([0.3, -0.2, 0.9])
    low, high = agent.confidence_interval(u)
    directions = rng.standard_normal((20_000, 3))
    boundary = h_hat + beta * (directions / np.linalg.norm(directions, axis=1)[:, None]) @ np.linalg.inv(
        np.linalg.cholesky(V)
    )
    values = boundary @ u
    assert low <= values.min() and values.max() <= high
    assert values.max() - values.min() == pytest.approx(high - low, rel=0.01)


def test_a_certificate_is_true(runs: Runs, ads: DLBSystem, six: FiniteSet) -> None:
    for run in range(50):
        agent = runs[run]
        best, gap = agent.recommended()[0], agent.certificate()
        others = [agent.confidence_interval(k)[1] for k in range(6) if k != best]
        assert gap == pytest.approx(max(others) - agent.confidence_interval(best)[0], rel=1e-9)
        if gap <= 0:
            assert best == runs.values.argmax()
    untrained = DynLinUCB.from_system(ads, six, T, radius="tight")
    assert untrained.certificate() > 0


def test_long_runs_earn_their_certificate(ads: DLBSystem) -> None:
    actions = FiniteSet([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    agent = DynLinUCB.from_system(ads, actions, 30_000, radius="tight", delta=0.05)
    single_run(ads, agent, 30_000, seed=0)
    gap = agent.certificate()
    values = ads.value(actions.actions)
    assert agent.recommended()[0] == values.argmax()
    assert gap < 1.0
    same = DynLinUCB(FiniteSet([[1.0], [1.0]]), rho_bar=0.5, horizon=10)
    assert same.certificate() == -math.inf  # nothing else to play


def test_the_certificate_of_a_ball_comes_down_to_zero(ads: DLBSystem) -> None:
    agent = DynLinUCB.from_system(ads, BallSet(1.0, dimension=3), 4000, radius="tight")
    gaps = []
    for _ in range(3):
        single_run(ads, agent, 1000, seed=0)
        gaps.append(agent.certificate())
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_residuals_give_the_noise(runs: Runs, ads: DLBSystem, six: FiniteSet) -> None:
    scales = [runs[run].residual_scale() for run in range(50)]
    # the variance of y given u: the settled state's noise, and the reward's own
    assert np.mean(scales) == pytest.approx(math.sqrt(ads.reward_variance()), rel=0.03)
    with pytest.raises(ValueError, match="samples"):
        DynLinUCB.from_system(ads, six, T).residual_scale()


SLOW = DLBSystem([[0.9]], [[0.1, 0.0]], [1.0], [0.1, 0.3], 0.005, 0.02)
TWO = FiniteSet([[1.0, 0.0], [0.0, 1.0]])


def test_the_settling_score_is_standard_normal_under_a_correct_bound(ads: DLBSystem, six: FiniteSet) -> None:
    scores = []
    for seed in range(40):
        agent = DynLinUCB.from_system(ads, six, 1500, radius="tight", index="ts", seed=seed, ts_scale=1.0)
        single_run(ads, agent, 1500, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores.append(agent.settling_test())
    assert abs(np.mean(scores)) < 4 / math.sqrt(40)
    assert max(np.abs(scores)) < 4


def test_a_far_too_small_bound_is_noticed() -> None:
    told = dict(rho_bar=0.2, theta_bar=0.4, omega_bar=1.0, b_bar=0.1, sigma=0.02, horizon=2000)
    for seed in range(5):
        agent = DynLinUCB(TWO, **told, radius="tight", index="ts", ts_scale=1.0, seed=seed)
        single_run(SLOW, agent, 2000, seed=seed)
        with pytest.warns(UserWarning, match="rho_bar looks too small"):
            assert agent.settling_test() > 4
    assert math.isnan(DynLinUCB(TWO, **told).settling_test())


def test_the_settling_test_counts_only_changes_that_the_agent_has_seen(runs: Runs, ads: DLBSystem) -> None:
    agent = runs[0]  # it knows no action of the simulated run
    for _ in range(agent.algorithm.schedule(400).holds[agent.epoch]):
        agent.act()
        agent.update(0.1)
    assert agent.rounds_left == 0 and agent.extra.holds == 0
    logged = DynLinUCB(TWO, rho_bar=0.5, horizon=100)
    assert logged.warm_start_from_log(np.tile([1.0, 0.0], (5, 1)), np.ones(5)) == 1
    for _ in range(logged.algorithm.schedule(2).holds[1]):
        logged.act()
        logged.update(0.1)
    assert logged.epoch == 2 and logged.extra.holds == 0


def test_starting_from_samples_is_having_made_them(six: FiniteSet, rng) -> None:
    u, h = six.actions[rng.integers(6, size=40)], np.array([0.2, 0.5, 0.1])
    y = u @ h + 0.1 * rng.standard_normal(40)
    told = dict(rho_bar=0.0, horizon=100, lambda_=0.3, radius="tight", settle=0)
    warm, taught = DynLinUCB(six, **told), DynLinUCB(six, **told)
    moment = u.T @ u
    warm.warm_start(np.linalg.solve(moment, u.T @ y), moment)
    for action, sample in zip(u, y, strict=True):
        taught.learned = taught.algorithm.learn(taught.learned, {}, -1, action, sample)
    for name in ("V", "V_inverse", "b", "h_hat", "log_det"):
        np.testing.assert_allclose(getattr(warm.learned, name), getattr(taught.learned, name), rtol=1e-9)
    np.testing.assert_allclose(warm.h_hat, np.linalg.solve(moment + 0.3 * np.eye(3), u.T @ y), rtol=1e-9)


def test_a_warm_start_needs_a_new_agent_and_a_moment_matrix(six: FiniteSet) -> None:
    agent = DynLinUCB(six, rho_bar=0.5, horizon=100)
    for h0, V0, message in (
        ([1, 2], np.eye(3), "shapes"),
        ([1, 2, 3], np.eye(2), "shapes"),
        ([1, 2, math.nan], np.eye(3), "finite"),
        ([1, 2, 3], np.diag([1.0, 1.0, -1.0]), "semi-definite"),
        ([1, 2, 3], np.eye(3) + np.eye(3, k=1), "symmetric"),
    ):
        with pytest.raises(ValueError, match=message):
            agent.warm_start(h0, V0)
    agent.act()
    with pytest.raises(RuntimeError, match="new agent"):
        agent.warm_start([1, 2, 3], np.eye(3))
    with pytest.raises(RuntimeError, match="new agent"):
        agent.warm_start_from_log(np.zeros((2, 3)), np.zeros(2))


def test_only_stretches_as_long_as_the_hold_become_samples() -> None:
    actions = FiniteSet([[1.0, 0.0], [0.0, 1.0]])
    told = dict(rho_bar=0.5, horizon=100, settle=1, lambda_=1.0)  # holds 2, 3, 3, 4, ...
    log = np.repeat([0, 1, 0, 1, 0, 1], [2, 2, 5, 3, 3, 4])
    rewards = np.arange(len(log), dtype=float)
    agent = DynLinUCB(actions, **told)
    assert agent.warm_start_from_log(actions.actions[log], rewards) == 4
    # last rounds of the stretches of 2, 5, 3 and 4 rounds (too short: 2 < 3 and 3 < 4)
    np.testing.assert_allclose(agent.learned.b, [1.0 + 8.0, 11.0 + 18.0])
    np.testing.assert_allclose(agent.learned.V, np.diag([3.0, 3.0]))
    assert (agent.t, agent.learned_epochs) == (0, 4)
    agent.act()
    assert agent.rounds_left == agent.algorithm.schedule(5).holds[4]
    empty = DynLinUCB(actions, **told)
    assert empty.warm_start_from_log(np.zeros((0, 2)), np.zeros(0)) == 0
    with pytest.raises(ValueError, match="NaN"):
        empty.warm_start_from_log([[1.0, math.nan]], [1.0])
    with pytest.raises(ValueError, match="shapes"):
        empty.warm_start_from_log(np.zeros((3, 2)), np.zeros(2))


def test_logs_shorten_exploration(ads: DLBSystem, six: FiniteSet) -> None:
    told = dict(radius="tight", horizon=3000)
    cold = DynLinUCB.from_system(ads, six, 3000, **told)
    log = single_run(
        ads, DynLinUCB.from_system(ads, six, 3000, **told, index="ts", ts_scale=1.0), 3000, seed=1
    )
    warm = DynLinUCB.from_system(ads, six, 3000, **told)
    assert warm.warm_start_from_log(log.actions, log.rewards) > 50
    values = ads.optimal_value(six) - ads.value(six.actions)
    regret = [
        (values @ (run.actions[:, None] == six.actions).all(-1).sum(0))
        for run in (single_run(ads, cold, 3000, seed=2), single_run(ads, warm, 3000, seed=2))
    ]
    assert regret[1] < regret[0]


def test_thompson_sampling_learns(ads: DLBSystem, six: FiniteSet) -> None:
    finals = []
    for seed in range(8):
        agent = DynLinUCB.from_system(ads, six, 3000, radius="tight", index="ts", seed=seed)
        run = single_run(ads, agent, 3000, seed=seed)
        finals.append((run.actions[-300:] == ads.optimal_action(six)).all())
    assert np.mean(finals) >= 0.75


def test_beta_scale_multiplies_everything(six: FiniteSet) -> None:
    for radius in ("paper", "tight"):
        one, third = (
            DynLinUCB(six, rho_bar=0.5, horizon=100, radius=radius, beta_scale=scale)
            for scale in (1.0, 1 / 3)
        )
        assert third.beta() == pytest.approx(one.beta() / 3, rel=1e-14)
