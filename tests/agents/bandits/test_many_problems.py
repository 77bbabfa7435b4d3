"""Several problems in one batch are the problems one by one."""

from __future__ import annotations

import numpy as np
import pytest

from dynrl.agents.bandits import DynLinUCB, LinUCB, simulate, simulate_many
from dynrl.agents.bandits.bench import problem, random_system

SEEDS = [5, 9]


def test_a_batch_of_systems_noise_levels_and_rho_bars_is_each_alone() -> None:
    rng = np.random.default_rng(3)
    actions = problem("dynrl/DLBAds-v0")[1]
    systems = [random_system(rng) for _ in range(3)]
    problems = [
        (
            system,
            DynLinUCB.from_system(
                system, actions, 400, radius="tight", lambda_=0.01 * (1 + i), overestimate=1.1
            ),
        )
        for i, system in enumerate(systems)
    ]
    together = simulate_many(problems, 400, SEEDS, record=10)
    for (system, agent), result in zip(problems, together, strict=True):
        alone = simulate(system, agent, 400, SEEDS, record=10)
        np.testing.assert_array_equal(result.plays, alone.plays)
        np.testing.assert_allclose(result.reward_regret, alone.reward_regret, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.learned.h_hat, alone.learned.h_hat, rtol=0, atol=1e-9)


def test_problems_of_different_kinds_are_refused() -> None:
    system, actions = problem("dynrl/DLBAds-v0")
    dynlin, linucb = (kind.from_system(system, actions, 50) for kind in (DynLinUCB, LinUCB))
    with pytest.raises(ValueError, match="problem 1 is not of the same kind"):
        simulate_many([(system, dynlin), (system, linucb)], 50, SEEDS)
    with pytest.raises(ValueError, match="no problems"):
        simulate_many([], 50, SEEDS)
