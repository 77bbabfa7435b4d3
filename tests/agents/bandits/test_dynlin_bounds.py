"""Holds, radii and defaults of DynLin-UCB against direct computation, and settings that make no sense."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.bandits import (
    DynLinConstants,
    DynLinUCB,
    DynLinUCBConfig,
    epoch_holds,
    simulate,
    single_run,
)
from dynrl.agents.bandits.algorithm import schedule_until
from dynrl.bandits import DLBSystem, FiniteSet
from dynrl.errors import ConfigError


def config(**changes: object) -> DynLinUCBConfig:
    told = {
        "rho_bar": 0.6,
        "phi_bar": 1.5,
        "theta_bar": 0.7,
        "omega_bar": 0.8,
        "b_bar": 0.9,
        "sigma": 0.02,
        "horizon": 1000,
    }
    return DynLinUCBConfig(**{**told, **changes})


def test_log_1000_over_log_10_is_three() -> None:
    assert math.floor(math.log(1000) / math.log(10)) == 2  # what a naive floor gives
    assert epoch_holds(1000, 0.1, "floor")[-1] == 3
    assert epoch_holds(1000, 0.1, "ceil")[-1] == 3


@given(rho=st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9]), m=st.integers(1, 100_000))
@settings(max_examples=60, deadline=None)
def test_holds_are_the_integer_part_of_the_logarithm(rho: float, m: int) -> None:
    base = {0.1: (10, 1), 0.2: (5, 1), 0.25: (4, 1), 0.5: (2, 1), 0.9: (10, 9)}[rho]

    def power_at_most(k: int) -> bool:  # (1/ρ)^k ≤ m in whole numbers
        return base[0] ** k <= m * base[1] ** k

    floor = epoch_holds(m, rho, "floor")[-1]
    assert power_at_most(int(floor)) and not power_at_most(int(floor) + 1)
    exact = base[0] ** int(floor) == m * base[1] ** int(floor)
    assert epoch_holds(m, rho, "ceil")[-1] == floor + (not exact)


def test_no_stability_margin_means_no_hold() -> None:
    np.testing.assert_array_equal(epoch_holds(50, 0.0, "floor"), 0)
    np.testing.assert_array_equal(epoch_holds(50, 0.0, "ceil"), 0)


@pytest.mark.parametrize("horizon", [0, 1, 2, 100, 6932, 6933, 6940])
def test_a_hold_longer_than_the_run_gives_no_sample(
    horizon: int, six: FiniteSet, synthetic: DLBSystem
) -> None:
    agent = DynLinUCB.from_system(synthetic, six, horizon, rho_bar=0.9999, phi_bar=1.0)
    assert epoch_holds(2, 0.9999, "floor")[1] == 6931
    holds = schedule_until(agent.algorithm, horizon).holds
    assert holds.sum() == horizon
    single_run(synthetic, agent, horizon, seed=1)
    assert agent.t == horizon
    assert agent.learned_epochs == (horizon >= 1) + (horizon >= 1 + 6932)


def test_the_published_radius() -> None:
    c = DynLinConstants.of(config(), max_norm=1.2)
    state_bound = 1.2 / 0.4
    c1 = 1.2 * 0.8 * 1.5 * (1.2 * 0.9 / 0.4 + state_bound)
    c2 = 0.7 + 0.8 * 0.9 * 1.5 / 0.4
    variance = 0.02**2 * (1 + (0.8 * 1.5) ** 2 / (1 - 0.6**2))
    np.testing.assert_allclose([c.c1, c.c2, c.variance], [c1, c2, variance], rtol=1e-14)
    assert c.lambda_ == math.log(1000) and c.delta == 1e-3 and c.settle == 0


def test_three_bounds_on_the_state() -> None:
    def state_bound(**changes: object) -> float:
        c = DynLinConstants.of(config(**changes), max_norm=2.0)
        return c.bias / (0.8 * 1.5) - 2.0 * 0.9 / 0.4

    assert state_bound(x_bar="paper") == pytest.approx(2.0 / 0.4)
    assert state_bound(x_bar=3.25) == pytest.approx(3.25)
    automatic = 1.5 * (0.3 + 0.9 * 2.0 / 0.4) + 0.05
    assert state_bound(x_bar="auto", x0_norm=0.3, x_noise=0.05) == pytest.approx(automatic)
    assert state_bound() == state_bound(x_bar="paper")
    assert state_bound(radius="tight") == state_bound(x_bar="auto")


def test_the_automatic_bound_holds_on_every_state_visited(ads: DLBSystem, six: FiniteSet, rng) -> None:
    bounds = ads.bounds()
    start = np.array([0.4, -1.0, 0.2])
    told = dict(rho_bar=bounds.rho, phi_bar=bounds.phi, b_bar=bounds.b, horizon=10, x_bar="auto")
    agent = DynLinUCB(six, x0_norm=np.linalg.norm(start), omega_bar=1.0, **told)
    c = agent.algorithm.constants
    bound = c.bias / bounds.phi - c.u_bar * bounds.b / (1 - bounds.rho)
    for _ in range(20):
        x = start
        for u in six.actions[rng.integers(6, size=50)]:
            x = ads.A @ x + ads.B @ u
            assert np.linalg.norm(x) <= bound


def test_half_life_and_interval_resolve_to_one_number() -> None:
    assert config(rho_bar=None, tau=1.0).stability == 0.5
    assert config(rho_bar=None, tau=3.0).stability ** 3 == pytest.approx(0.5, rel=1e-14)
    assert config(rho_bar=(0.2, 0.45)).stability == 0.45


@pytest.mark.parametrize("rho", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("sigma", [0.0, 1e-3, 0.1])
def test_automatic_settling_is_the_smallest_that_drowns_the_bias(rho: float, sigma: float) -> None:
    c = DynLinConstants.of(config(rho_bar=rho, sigma=sigma, radius="tight"), max_norm=1.1)
    tolerated = math.sqrt(2 * c.variance * math.log(1000)) if sigma else 1e-3 * c.c2 * 1.1
    total = 0.0
    for l in range(1, 2001):  # noqa: E741
        total += rho ** (2 * math.floor(math.log(l) / math.log(1 / rho) + 1e-9))
    k = 0
    while c.bias * rho**k * math.sqrt(total) > tolerated:
        k += 1
    assert c.settle == k > 0


def test_the_tight_radius(six: FiniteSet, ads: DLBSystem) -> None:
    agent = DynLinUCB.from_system(ads, six, 500, radius="tight", settle=3, beta_scale=0.5)
    c = agent.algorithm.constants
    assert c.lambda_ == pytest.approx(0.01 * 1.25)
    run = single_run(ads, agent, 500, seed=3)
    V, squares, t = c.lambda_ * np.eye(3), 0.0, 0
    for m in range(1, agent.learned_epochs + 1):
        settled = 3 + math.floor(math.log(m) / math.log(1 / c.rho_bar) + 1e-9)
        squares += c.rho_bar ** (2 * settled)
        t += 1 + settled
        V += np.outer(run.actions[t - 1], run.actions[t - 1])
    log_det = np.linalg.slogdet(V)[1] - 3 * math.log(c.lambda_)
    noise = math.sqrt(2 * c.variance * (math.log(1 / c.delta) + log_det / 2))
    beta = 0.5 * (c.bias * math.sqrt(squares) + c.c2 * math.sqrt(c.lambda_) + noise)
    if agent.rounds_left == 0:
        assert agent.beta() == pytest.approx(beta, rel=1e-12)
    else:  # the radius of the running hold is that of the data before it
        assert agent.beta() == pytest.approx(beta, rel=1e-12)
    np.testing.assert_allclose(agent.learned.V, V, rtol=1e-12)


def test_memory_of_a_long_schedule_is_bounded_by_the_run() -> None:
    agent = DynLinUCB(FiniteSet([[1.0]]), rho_bar=0.9999, horizon=10**6)
    assert len(schedule_until(agent.algorithm, 10**6).holds) < 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rho_bar", 1.0),
        ("rho_bar", -0.1),
        ("rho_bar", math.nan),
        ("rho_bar", math.inf),
        ("rho_bar", (0.5, 0.2)),
        ("rho_bar", (0.5, 1.0)),
        ("rho_bar", (-0.5, 0.5)),
        ("phi_bar", 0.99),
        ("phi_bar", math.inf),
        ("phi_bar", math.nan),
        ("theta_bar", -1.0),
        ("omega_bar", math.nan),
        ("b_bar", -1e-9),
        ("u_bar", -1.0),
        ("x_bar", -1.0),
        ("x_bar", "exact"),
        ("x0_norm", math.inf),
        ("x_noise", -1.0),
        ("sigma", -0.1),
        ("sigma", math.nan),
        ("horizon", -1),
        ("horizon", 2.5),
        ("horizon", math.nan),
        ("horizon", math.inf),
        ("delta", 0.0),
        ("delta", 1.0),
        ("delta", math.nan),
        ("lambda_", 0.0),
        ("lambda_", -1.0),
        ("lambda_", math.nan),
        ("lambda_", math.inf),
        ("radius", "wide"),
        ("settle", -1),
        ("settle", "always"),
        ("settle", 1.5),
        ("index", "greedy"),
        ("ts_scale", -1.0),
        ("beta_scale", math.nan),
        ("epoch_rounding", "round"),
        ("first_action", "last"),
        ("warmup", -1),
        ("on_bad_reward", "ignore"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: object, six: FiniteSet) -> None:
    with pytest.raises(ValueError, match=name):
        DynLinUCB(six, config(), **{name: value})


def test_settings_that_are_missing_or_doubled() -> None:
    with pytest.raises(ValueError, match="rho_bar and tau"):
        DynLinUCBConfig(horizon=10)
    with pytest.raises(ValueError, match="rho_bar and tau"):
        config(tau=2.0)
    with pytest.raises(ValueError, match="tau"):
        config(rho_bar=None, tau=0.0)
    with pytest.raises(ValueError, match="delta"):
        DynLinUCBConfig(rho_bar=0.5)
    with pytest.raises(ConfigError, match="rho_bar"):
        DynLinUCB(FiniteSet([[1.0]]), rho_bra=0.5, horizon=10)


def test_underestimated_stability_of_a_known_system_warns(ads: DLBSystem, six: FiniteSet) -> None:
    with pytest.warns(UserWarning, match="below the spectral radius"):
        agent = DynLinUCB.from_system(ads, six, 100, rho_bar=0.3, phi_bar=2.0)
    single_run(ads, agent, 100, seed=0)
    assert agent.t == 100


def test_the_true_bounds_and_their_overestimate(ads: DLBSystem, six: FiniteSet) -> None:
    bounds = ads.bounds()
    agent = DynLinUCB.from_system(ads, six, 100, overestimate=1.2)
    assert agent.config.rho_bar == pytest.approx(1.2 * bounds.rho)
    assert DynLinUCB.from_system(ads, six, 100, overestimate=5.0).config.rho_bar < 1.0
    slow = DynLinUCB.from_system(ads, six, 100, tau=10.0)
    assert slow.config.stability == 2 ** (-0.1)


@pytest.mark.parametrize("A", [np.zeros((2, 2)), [[0.0, 1.0], [0.0, 0.0]], [[0.9, 1.0], [0.0, 0.9]]])
def test_zero_nilpotent_and_defective_systems(A: object) -> None:
    system = DLBSystem(A, np.eye(2) * 0.05, [0.1, 0.3], [0.3, 0.1], 0.01, 0.01)
    actions = FiniteSet(np.eye(2))
    agent = DynLinUCB.from_system(system, actions, 2000, radius="tight", delta=0.01)
    single_run(system, agent, 2000, seed=0)
    np.testing.assert_allclose(
        agent.h_hat, system.h, atol=agent.beta() / math.sqrt(agent.learned.V.min() + 1e-3)
    )
    assert np.isfinite(agent.beta())


def test_a_system_without_a_state() -> None:
    system = DLBSystem(np.zeros((0, 0)), np.zeros((0, 2)), [], [0.3, 0.5], 0.0, 0.1)
    agent = DynLinUCB.from_system(system, FiniteSet(np.eye(2)), 400)
    assert agent.algorithm.schedule(400).holds.sum() == 400
    single_run(system, agent, 400, seed=0)
    result = simulate(
        system, DynLinUCB.from_system(system, FiniteSet(np.eye(2)), 400), 400, [0], path="epoch"
    )
    assert agent.recommended()[0] == 1 == result.learned.h_hat[0].argmax()
