"""One text, two arrays: the NumPy agent and the compiled step path make the same run of the same noise."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from dynrl.agents.bandits import (
    AR2,
    UCB1,
    BanditAgent,
    Clairvoyant,
    DLinUCB,
    DynLinUCB,
    Exp3,
    Exp3Batch,
    ExploreThenCommit,
    FixedAllocation,
    LinUCB,
    Uniform,
    simulate_on_noise,
    single_run,
)
from dynrl.bandits import DLBSystem, FiniteSet
from dynrl.envs.bandits.systems import EXPERT_SPENDS

T, RUNS = 640, 2
EXPERT = {"shares": tuple(EXPERT_SPENDS), "total": 1.5, "upper": 1.0}

Maker = Callable[[DLBSystem, FiniteSet], BanditAgent]
MAKERS: dict[str, Maker] = {
    "DynLin-UCB, paper": lambda s, a: DynLinUCB.from_system(s, a, T, beta_scale=0.01, lambda_=1.0),
    "DynLin-UCB, tight": lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight"),
    "DynLin-UCB, warm-up": lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight", warmup=5, settle=1),
    "DynLin-UCB, random start": lambda s, a: DynLinUCB.from_system(
        s, a, T, radius="tight", first_action="random"
    ),
    "Thompson": lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight", index="ts"),
    "LinUCB": lambda s, a: LinUCB.from_system(s, a, T),
    "LinUCB, plain": lambda s, a: LinUCB.from_system(s, a, T, setting="plain"),
    "D-LinUCB": lambda s, a: DLinUCB.from_system(s, a, T, discount=0.99),
    "AR2": lambda s, a: AR2.from_system(s, a, T),
    "AR2, restarts": lambda s, a: AR2.from_system(s, a, T, restart_every=100, trigger_scale=1.0),
    "AR2, all": lambda s, a: AR2.from_system(s, a, T, alpha=1.0, superior="all", trigger_scale=0.5),
    "Exp3": lambda s, a: Exp3.from_system(s, a, T),
    "Exp3-k": lambda s, a: Exp3Batch.from_system(s, a, T),
    "UCB1": lambda s, a: UCB1.from_system(s, a, T),
    "explore-then-commit": lambda s, a: ExploreThenCommit.from_system(s, a, T, rounds=25),
    "expert": lambda s, a: FixedAllocation.from_system(s, a, T, **EXPERT),
    "uniform": lambda s, a: Uniform.from_system(s, a, T),
    "clairvoyant": lambda s, a: Clairvoyant.from_system(s, a, T),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_noise_gives_the_same_run(name: str, ads: DLBSystem, six: FiniteSet, rng) -> None:
    make = MAKERS[name]
    agent = make(ads, six)
    kind, count = agent.algorithm.draw
    noise = rng.standard_normal((T, RUNS, ads.n + 1))
    draws = rng.standard_normal((T, RUNS, count)) if kind == "normal" else rng.random((T, RUNS, count))
    result, learned = simulate_on_noise(ads, agent, noise, draws)
    for leaf in jax.tree.leaves(learned):
        assert leaf.dtype in (np.float64, np.int64)  # never float32
    for run in range(RUNS):
        alone = make(ads, six)

        def draw(kind: str, count: int, alone=alone, run=run) -> np.ndarray:
            return draws[alone.t, run]

        alone.draw = draw  # the agent's own randomness in round t, as the compiled path uses it
        trajectory = single_run(ads, alone, T, noise=noise[:, run])
        plays = (np.abs(trajectory.actions[:, None] - alone.candidates) < 1e-12).all(-1).sum(0)
        np.testing.assert_array_equal(plays, result.plays[run, -1])
        for ours, theirs in zip(jax.tree.leaves(alone.learned), jax.tree.leaves(learned), strict=True):
            np.testing.assert_allclose(ours, theirs[run], rtol=1e-9, atol=1e-9)
        regret = T * result.optimal_value - trajectory.rewards.sum()
        assert regret == pytest.approx(result.reward_regret[run, -1], abs=1e-9)
        expected = ads.expected_rewards(trajectory.actions).sum()
        assert T * result.optimal_value - expected == pytest.approx(result.mean_regret[run, -1], abs=1e-9)
        values = ads.value(trajectory.actions).sum()
        assert T * result.optimal_value - values == pytest.approx(result.pseudo_regret[run, -1], abs=1e-9)


@pytest.mark.parametrize("name", MAKERS)
def test_a_single_run_is_act_and_update_by_hand(name: str, ads: DLBSystem, six: FiniteSet, rng) -> None:
    rounds = 150
    noise = rng.standard_normal((rounds, ads.n + 1))
    fast, slow = MAKERS[name](ads, six).reset(3), MAKERS[name](ads, six).reset(3)
    run = single_run(ads, fast, rounds, noise=noise)
    x = ads.x0
    for t in range(rounds):
        output = slow.act()
        u = slow.candidates[output]
        y = ads.omega @ x + ads.theta @ u + ads.sigma_y * noise[t, -1]
        x = ads.A @ x + ads.B @ u + ads.sigma_x * noise[t, :-1]
        slow.update(y)
        np.testing.assert_array_equal(run.actions[t], u)
        assert run.rewards[t] == pytest.approx(y, abs=1e-12)
    np.testing.assert_allclose(run.state, x, atol=1e-12)
    for left, right in zip(jax.tree.leaves(fast.learned), jax.tree.leaves(slow.learned), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)
