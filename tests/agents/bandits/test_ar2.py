"""AR2 against a reference written from the specification, one round at a time in plain Python."""

import math

import numpy as np
import pytest

from dynrl.agents.bandits import AR2, Uniform, single_run
from dynrl.bandits import DLBSystem, FiniteSet


class Reference:
    """Section 5 of the specification, read line by line."""

    def __init__(self, count: int, alpha: float, width: float, restart: float, among_all: bool) -> None:
        self.count, self.alpha, self.width, self.among_all = count, alpha, width, among_all
        self.restart, self.t = restart, 0
        self.triggers = self.untriggers = 0

    def forget(self) -> None:
        self.t, self.estimates, self.pulled_at = 0, [0.0] * self.count, [0] * self.count
        self.queue: list[int] = []  # triggered arms, the earliest first
        self.pulls: list[int] = []

    def act(self) -> int:
        if self.t == 0 or self.t == self.restart:
            self.forget()
        self.t += 1
        if self.t <= self.count:
            self.arm = self.t - 1
            return self.arm
        if self.among_all:
            superior = max(range(self.count), key=lambda arm: self.estimates[arm])
        else:
            superior, other = self.pulls[-1], self.pulls[-2]
            if self.estimates[other] > self.estimates[superior]:
                superior = other
        for arm in range(self.count):
            if arm == superior or arm in self.queue:
                continue
            elapsed = self.t - self.pulled_at[arm]
            spread = sum(self.alpha ** (2 * j) for j in range(1, elapsed + 1))
            if self.estimates[superior] - self.estimates[arm] <= self.width * math.sqrt(spread):
                self.queue.append(arm)
                self.triggers += 1
        if self.t % 2 == 1 and self.queue:
            self.arm = self.queue.pop(0)
            self.untriggers += 1
        else:
            self.arm = superior
        return self.arm

    def update(self, y: float) -> None:
        self.estimates[self.arm] = y
        self.estimates = [self.alpha * estimate for estimate in self.estimates]
        self.pulled_at[self.arm] = self.t
        self.pulls.append(self.arm)


@pytest.mark.parametrize("superior", ["last_two", "all"])
@pytest.mark.parametrize(
    ("alpha", "sigma", "scale", "restart"),
    [
        (0.9, 0.1, 1.0, None),
        (0.9, 0.1, 0.2, 37),
        (0.5, 0.1, 3.0, 50),
        (0.99, 0.02, 5.0, 4),
        (0.99, 0.02, 5.0, 3),
        (1.0, 0.1, 0.5, 60),
        (0.0, 0.1, 1.0, 60),
        (0.8, 0.0, 1.0, 60),
        (0.7, 0.3, None, None),
    ],
)
def test_every_pull_is_the_reference_s(
    alpha: float, sigma: float, scale: float | None, restart: int | None, superior: str
) -> None:
    count = 4
    agent = AR2(
        FiniteSet(np.eye(count)),
        alpha=alpha,
        sigma=sigma,
        trigger_scale=scale,
        restart_every=restart,
        superior=superior,
    )
    degenerate = alpha == 0.0 or sigma == 0.0
    default = math.inf if degenerate else math.ceil(count / (alpha * sigma) ** 3)
    every = default if restart is None else restart
    if scale is None:
        c0 = math.sqrt(4 * math.log(1 / (alpha * sigma)) + 4 * math.log(every) + 2 * math.log(4 * count))
        scale = 24 * c0
    reference = Reference(count, alpha, scale * sigma, every, superior == "all")
    rng = np.random.default_rng(5)
    level = rng.standard_normal(count) * 0.3
    for _ in range(600):
        level = alpha * level + max(sigma, 0.05) * rng.standard_normal(count)
        arm = agent.act()
        assert arm == reference.act()
        agent.update(level[arm])
        reference.update(level[arm])
        np.testing.assert_allclose(agent.learned.estimates, reference.estimates, rtol=1e-12, atol=1e-300)
    if every > count and not degenerate:
        assert reference.triggers > 3 and reference.untriggers > 3


def test_a_long_wait_at_alpha_one_widens_with_its_square_root() -> None:
    """K = 2, r̂ = (1, 0): arm 1 is triggered as soon as width·sqrt(t − τ) ≥ 1."""
    agent = AR2(
        FiniteSet(np.eye(2)), alpha=1.0, sigma=1.0, trigger_scale=0.2, superior="all", restart_every=10**6
    )
    pulls = []
    for _ in range(60):
        pulls.append(agent.act())
        agent.update(1.0 - pulls[-1])
    second = np.flatnonzero(pulls) + 1  # rounds in which arm 1 was pulled
    assert second[0] == 2
    # triggered in round τ + 25, played in the next odd round
    expected = [2]
    while (following := expected[-1] + 25 + (expected[-1] + 25 + 1) % 2) <= 60:
        expected.append(following)
    np.testing.assert_array_equal(second, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -0.1),
        ("alpha", 1.1),
        ("alpha", math.nan),
        ("sigma", -1.0),
        ("trigger_scale", -1.0),
        ("restart_every", 0),
        ("restart_every", 0.5),
        ("superior", "best"),
    ],
)
def test_bad_settings(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        AR2(FiniteSet(np.eye(2)), **{name: value})


def test_it_follows_independent_autoregressive_arms() -> None:
    """On the world it is made for, it earns more than uniform play."""
    rng, alpha, sigma, T = np.random.default_rng(0), 0.98, 0.1, 4000
    shocks = sigma * rng.standard_normal((T, 3))
    levels, level = np.empty((T, 3)), np.zeros(3)
    for t in range(T):
        level = levels[t] = alpha * level + shocks[t]
    earned = {}
    for name, agent in {
        "AR2": AR2(FiniteSet(np.eye(3)), alpha=alpha, sigma=sigma, trigger_scale=1.0),
        "uniform": Uniform(FiniteSet(np.eye(3)), seed=0),
    }.items():
        total = 0.0
        for t in range(T):
            y = levels[t, agent.act()]
            agent.update(y)
            total += y
        earned[name] = total / T
    assert earned["AR2"] > earned["uniform"] + 0.1


def test_its_settings_from_a_known_system(ads: DLBSystem, six: FiniteSet) -> None:
    agent = AR2.from_system(ads, six, 100)
    assert (agent.config.alpha, agent.config.sigma) == (ads.bounds().rho, 0.01)
    assert agent.algorithm.restart_every == math.ceil(6 / (ads.rho * 0.01) ** 3)
    single_run(ads, agent, 100, seed=0)
    assert agent.t == 100
