"""LinUCB and D-LinUCB: radii by hand, the recursions written out, and what they coincide with."""

import math

import numpy as np
import pytest

from dynrl.agents.bandits import DLinUCB, DynLinUCB, LinUCB, LinUCBConfig, single_run
from dynrl.bandits import DLBSystem, FiniteSet

T = 400


def radii(agent: LinUCB, rounds: int = T) -> np.ndarray:
    return agent.algorithm.schedule(rounds).inputs["radius"]


def test_the_radius_with_dynlins_constants(ads: DLBSystem, six: FiniteSet) -> None:
    agent, b, t = LinUCB.from_system(ads, six, T), ads.bounds(), np.arange(T)
    S = b.theta + b.omega * b.b * b.phi / (1 - b.rho)
    s = 0.01 * math.sqrt(1 + (b.omega * b.phi) ** 2 / (1 - b.rho**2))
    lambda_ = math.log(T)
    expected = S * math.sqrt(lambda_) + s * np.sqrt(
        2 * math.log(T) + 3 * np.log(1 + t * 1.25 / (3 * lambda_))
    )
    np.testing.assert_allclose(radii(agent), expected, rtol=1e-13)


def test_the_plain_radius(ads: DLBSystem, six: FiniteSet) -> None:
    agent = LinUCB.from_system(ads, six, T, setting="plain")
    expected = np.linalg.norm(ads.theta) + math.sqrt(2 * math.log(T) + 3 * math.log(1 + T * 1.5**2 / 3))
    np.testing.assert_allclose(radii(agent), expected, rtol=1e-13)
    assert agent.algorithm.lambda_ == 1.0


def test_it_learns_from_every_round(ads: DLBSystem, six: FiniteSet) -> None:
    agent = LinUCB.from_system(ads, six, T)
    run = single_run(ads, agent, T, seed=0)
    V = math.log(T) * np.eye(3) + run.actions.T @ run.actions
    np.testing.assert_allclose(
        agent.learned.h_hat, np.linalg.solve(V, run.actions.T @ run.rewards), rtol=1e-9
    )


def test_without_carry_over_it_is_dynlin_ucb(six: FiniteSet) -> None:
    """ρ̄ = 0 makes every hold one round; without a state both radii are the same formula."""
    system = DLBSystem(np.zeros((0, 0)), np.zeros((0, 3)), [], [0.3, 0.4, 0.45], 0.0, 0.3)
    dynlin = DynLinUCB(six, rho_bar=0.0, omega_bar=0.0, theta_bar=0.7, sigma=0.3, horizon=3000)
    linear = LinUCB(six, h_bar=0.7, noise_scale=0.3, horizon=3000)
    ours = single_run(system, dynlin, 3000, seed=1)
    theirs = single_run(system, linear, 3000, seed=1)
    assert len(np.unique(ours.actions, axis=0)) > 2
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    np.testing.assert_allclose(dynlin.h_hat, linear.learned.h_hat, rtol=1e-12)
    every_round = np.ones(3000, np.int64)
    np.testing.assert_allclose(dynlin.algorithm.paper_radius(every_round), radii(linear, 3000), rtol=1e-13)


@pytest.mark.parametrize("discount", [1.0, 1.0 - 1e-12])
def test_without_forgetting_discounting_is_linucb(discount: float, ads: DLBSystem, six: FiniteSet) -> None:
    plain, discounted = LinUCB.from_system(ads, six, T), DLinUCB.from_system(ads, six, T, discount=discount)
    tolerance = 1e-12 if discount == 1.0 else 1e-4  # (1 − γ^2t)/(1 − γ²) loses digits with γ itself
    np.testing.assert_allclose(radii(discounted), radii(plain), rtol=tolerance)
    ours, theirs = single_run(ads, discounted, T, seed=2), single_run(ads, plain, T, seed=2)
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    np.testing.assert_allclose(discounted.learned.h_hat, plain.learned.h_hat, rtol=1e-6)


def test_the_discounted_recursions(ads: DLBSystem, six: FiniteSet) -> None:
    gamma, lambda_, rounds = 0.9, 0.7, 60
    agent = DLinUCB(six, discount=gamma, lambda_=lambda_, h_bar=0.5, noise_scale=0.2, delta=0.1)
    run = single_run(ads, agent, rounds, seed=3)
    age = gamma ** np.arange(rounds - 1, -1, -1)
    V = (run.actions.T * age) @ run.actions + lambda_ * np.eye(3)
    V_square = (run.actions.T * age**2) @ run.actions + lambda_ * np.eye(3)
    h_hat = np.linalg.solve(V, run.actions.T @ (age * run.rewards))
    np.testing.assert_allclose(agent.learned.V, V, rtol=1e-12)
    np.testing.assert_allclose(agent.learned.V_square, V_square, rtol=1e-12)
    np.testing.assert_allclose(agent.learned.h_hat, h_hat, rtol=1e-10)
    rounds_seen = (1 - gamma ** (2 * rounds)) / (1 - gamma**2)
    beta = 0.5 * math.sqrt(lambda_) + 0.2 * math.sqrt(
        2 * math.log(10) + 3 * math.log(1 + 1.25 * rounds_seen / (lambda_ * 3))
    )
    assert radii(agent, rounds + 1)[-1] == pytest.approx(beta, rel=1e-12)
    V_inverse = np.linalg.inv(V)
    width = np.sqrt([u @ V_inverse @ V_square @ V_inverse @ u for u in six.actions])
    assert agent.act() == int(np.argmax(six.actions @ h_hat + beta * width))


def test_forgetting_follows_a_change() -> None:
    actions = FiniteSet(np.eye(2))
    agent = DLinUCB(actions, discount=0.95, noise_scale=0.05, lambda_=0.1, delta=0.01)
    for t in range(600):
        best = 0 if t < 300 else 1
        agent.update(1.0 if agent.act() == best else 0.0)
        if t in (299, 599):
            assert agent.recommended()[0] == best


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("h_bar", -1.0),
        ("noise_scale", math.nan),
        ("horizon", -1),
        ("delta", 1.0),
        ("lambda_", 0.0),
        ("u_bar", math.inf),
        ("discount", 0.0),
        ("discount", 1.1),
        ("discount", math.nan),
    ],
)
def test_bad_settings(name: str, value: float, six: FiniteSet) -> None:
    with pytest.raises(ValueError, match=name):
        DLinUCB(six, **{"horizon": 10, name: value})


def test_a_fixed_horizon_needs_the_horizon() -> None:
    with pytest.raises(ValueError, match="horizon"):
        LinUCBConfig(delta=0.1, fixed_horizon=True)
    with pytest.raises(ValueError, match="delta"):
        LinUCBConfig()
