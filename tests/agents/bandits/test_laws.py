"""Statistical facts: both compiled paths are one law, confidence sets cover, regret grows as it should."""

import warnings

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dynrl.agents.bandits import (
    BanditAgent,
    Clairvoyant,
    DynLinUCB,
    Exp3Batch,
    LinUCB,
    SimulationResult,
    simulate,
)
from dynrl.bandits import DLBSystem, FiniteSet

pytestmark = pytest.mark.slow

COMMON_CHUNK = 600  # so many records make every chunk 16 holds: one compilation for systems of any speed


def random_system(seed: int, sigma: float = 0.01) -> DLBSystem:
    """ρ(A) in [0.1, 0.9], |J| ≤ 1 on actions of norm at most √1.25."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((3, 3))
    A *= rng.uniform(0.1, 0.9) / np.abs(np.linalg.eigvals(A)).max()
    B, omega, theta = rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal(3)
    scale = np.linalg.norm(DLBSystem(A, B, omega, theta).h) * np.sqrt(1.25)
    return DLBSystem(A, B / np.linalg.norm(B, 2), omega / scale, theta / scale, sigma, sigma)


AGENTS = {
    "DynLin-UCB": lambda s, a, T: DynLinUCB.from_system(s, a, T, radius="tight"),
    "Thompson": lambda s, a, T: DynLinUCB.from_system(s, a, T, radius="tight", index="ts", ts_scale=0.2),
    "Exp3-k": lambda s, a, T: Exp3Batch.from_system(s, a, T),
}


@pytest.mark.parametrize("name", AGENTS)
def test_stepping_and_jumping_are_one_law(name: str, ads: DLBSystem, six: FiniteSet) -> None:
    noisy = DLBSystem(ads.A, ads.B, ads.omega, ads.theta, 0.1, 0.1)
    T, runs = 2000, 1024
    agent: BanditAgent = AGENTS[name](noisy, six, T)
    step, jump = (
        simulate(noisy, agent, T, seeds, record=1, path=path)
        for path, seeds in (("step", np.arange(runs)), ("epoch", np.arange(runs, 2 * runs)))
    )

    def same(left: np.ndarray, right: np.ndarray) -> None:
        spread = np.sqrt((left.var() + right.var()) / runs)
        assert abs(left.mean() - right.mean()) <= 3 * spread + 1e-12
        assert ks_2samp(left, right).pvalue > 1e-3

    for regret in ("pseudo_regret", "reward_regret", "mean_regret"):
        same(getattr(step, regret)[:, -1], getattr(jump, regret)[:, -1])
    learned = "gains" if name == "Exp3-k" else "h_hat"
    for k in range(3):
        same(getattr(step.learned, learned)[:, k], getattr(jump.learned, learned)[:, k])


def test_the_sum_of_rewards_has_the_right_spread(ads: DLBSystem, six: FiniteSet) -> None:
    """Jumps of one round and of many carry the covariance of Σy: its variance is that of the step path."""
    T, runs = 400, 4096
    spreads = []
    for path in ("step", "epoch"):
        agent = DynLinUCB.from_system(ads, FiniteSet(six.actions[-1:]), T, radius="tight")
        spreads.append(
            simulate(ads, agent, T, np.arange(runs), record=1, path=path).reward_regret[:, -1].var()
        )
    assert spreads[1] == pytest.approx(spreads[0], rel=6 * np.sqrt(2 / runs))


def coverage(system: DLBSystem, actions: FiniteSet, radius: str) -> float:
    """Share of 1000 runs in which the true h was in the confidence set at every epoch."""
    agent = DynLinUCB.from_system(system, actions, 3000, radius=radius, delta=0.05)
    result = simulate(system, agent, 3000, np.arange(1000), record=COMMON_CHUNK, path="epoch")
    return float((result.misses == 0).mean())


@pytest.mark.parametrize("radius", ["paper", "tight"])
def test_confidence_sets_cover_on_the_published_systems(
    radius: str, synthetic: DLBSystem, ads: DLBSystem, six: FiniteSet
) -> None:
    for system in (synthetic, ads):
        assert coverage(system, six, radius) >= 0.95
        loud = DLBSystem(system.A, system.B, system.omega, system.theta, 0.3, 0.3)
        assert coverage(loud, six, radius) >= 0.95


@pytest.mark.parametrize("radius", ["paper", "tight"])
def test_confidence_sets_cover_on_random_systems(radius: str, six: FiniteSet) -> None:
    for seed in range(4):
        for sigma in (0.01, 0.5):
            assert coverage(random_system(seed, sigma), six, radius) >= 0.95


def final(result: SimulationResult) -> float:
    return float(result.pseudo_regret[:, -1].mean())


def test_the_tight_radius_on_a_million_rounds(synthetic: DLBSystem, ads: DLBSystem, six: FiniteSet) -> None:
    T = 1_000_000
    for system, bar in ((synthetic, 20.0), (ads, 220.0)):
        agent = DynLinUCB.from_system(system, six, T, radius="tight")
        result = simulate(system, agent, T, np.arange(16), path="epoch")
        assert final(result) <= bar
        assert result.misses.sum() == 0
        assert result.optimal_share() == 1.0


def test_the_published_radius_is_sublinear(synthetic: DLBSystem, six: FiniteSet) -> None:
    T = 1_000_000
    result = simulate(synthetic, DynLinUCB.from_system(synthetic, six, T), T, np.arange(16), path="epoch")
    mean = result.pseudo_regret.mean(0)
    half = np.interp(T / 2, result.times, mean)
    assert (mean[-1] - half) / half < 0.65
    assert result.misses.sum() == 0
    tight = simulate(
        synthetic, DynLinUCB.from_system(synthetic, six, T, radius="tight"), T, np.arange(16), path="epoch"
    )
    assert final(result) > 50 * final(tight)


def test_the_tight_radius_is_ten_times_better_on_random_systems(six: FiniteSet) -> None:
    T, medians = 30_000, {"tight": [], "paper": []}
    for seed in range(10):
        system = random_system(seed)
        for radius, kept in medians.items():
            agent = DynLinUCB.from_system(system, six, T, radius=radius)
            result = simulate(system, agent, T, np.arange(8), record=COMMON_CHUNK, path="epoch")
            kept.append(np.median(result.pseudo_regret[:, -1]))
    assert np.median(medians["paper"]) >= 10 * np.median(medians["tight"])


def test_a_memoryless_learner_stays_linear(ads: DLBSystem, six: FiniteSet) -> None:
    T = 50_000
    result = simulate(ads, LinUCB.from_system(ads, six, T), T, np.arange(16), record=20)
    mean = result.pseudo_regret.mean(0)
    assert (mean[-1] - np.interp(T / 2, result.times, mean)) / np.interp(T / 2, result.times, mean) > 0.8


@pytest.mark.parametrize("rho_bar", [0.0, 0.1, 0.4, 0.8])
def test_a_wrong_stability_bound_costs_but_does_not_break(
    rho_bar: float, synthetic: DLBSystem, six: FiniteSet
) -> None:
    T = 100_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rho_bar is below the spectral radius
        agent = DynLinUCB.from_system(synthetic, six, T, radius="tight", rho_bar=rho_bar, phi_bar=1.0)
    result = simulate(synthetic, agent, T, np.arange(16), path="epoch")
    if rho_bar >= synthetic.rho:
        assert result.misses.sum() == 0 and result.optimal_share() == 1.0
    assert np.isfinite(result.pseudo_regret).all()


def test_the_clairvoyant_is_the_zero_line(ads: DLBSystem, six: FiniteSet) -> None:
    """Its long-run average reward is J* to within Monte-Carlo error."""
    T, runs = 2000, 256
    result = simulate(ads, Clairvoyant.from_system(ads, six, T), T, np.arange(runs), record=1)
    np.testing.assert_allclose(result.pseudo_regret, 0.0, atol=1e-9)
    noise = result.reward_regret[:, -1] - result.mean_regret[:, -1]
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(runs)
