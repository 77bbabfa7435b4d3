"""Problems in batches on JAX have the numbers of NumPy."""

import numpy as np
import pytest

from dynrl.robust.tabular import (
    SAKL,
    SAL1,
    SL1,
    RobustMDP,
    SAChi2,
    SAContamination,
    SAFinite,
    SAInterval,
    SAWasserstein,
    StaticFinite,
    robust_value_iteration,
    solve_batch,
)

STATES, ACTIONS = 4, 2
COST = np.abs(np.subtract.outer(np.arange(STATES), np.arange(STATES))).astype(float)

SETS = {
    "finite": lambda rng, rows: SAFinite(rng.dirichlet(np.ones(STATES), (STATES, ACTIONS, 3))),
    "l1": lambda rng, rows: SAL1(rows, rng.uniform(0, 2.5, rows.shape[:2])),
    "interval": lambda rng, rows: SAInterval(rows * rng.random(), np.minimum(rows + 0.3, 1)),
    "contamination": lambda rng, rows: SAContamination(rows, rng.random()),
    "kl": lambda rng, rows: SAKL(rows, rng.uniform(0, 1, rows.shape[:2]) * (rng.random() < 0.8)),
    "chi2": lambda rng, rows: SAChi2(rows, rng.uniform(0, 2, rows.shape[:2]) * (rng.random() < 0.8)),
    "wasserstein": lambda rng, rows: SAWasserstein(rows, COST, rng.uniform(0, 1, rows.shape[:2])),
}
QUICK = ("finite", "l1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SETS]
)
@pytest.mark.parametrize("successor", [False, True])
def test_batch_equals_one_by_one(name, successor):
    rng = np.random.default_rng(0)
    shape = (STATES, ACTIONS, STATES) if successor else (STATES, ACTIONS)
    problems = []
    for gamma in (0.0, 0.5, 0.9, 0.95, 0.95, 0.97):
        rows = rng.dirichlet(np.full(STATES, 0.4), (STATES, ACTIONS))
        rows[0, 0] = [0, 0.5, 0.5, 0]
        terminal = np.arange(STATES) == (3 if gamma > 0.9 else -1)
        problems.append(RobustMDP(rng.normal(size=shape), gamma, 0, SETS[name](rng, rows), terminal))
    batch = solve_batch(problems)
    assert batch.value.dtype == np.float64
    for number, mdp in enumerate(problems):
        alone = robust_value_iteration(mdp)
        assert batch.iterations[number] == alone.iterations
        for field in ("value", "q", "policy", "residual"):
            np.testing.assert_allclose(
                getattr(batch, field)[number], getattr(alone, field), rtol=0, atol=1e-10
            )
        assert mdp.ambiguity.contains(batch.worst_kernel[number]).all()


def test_lists_of_kernels_are_solved_by_their_hulls():
    rng = np.random.default_rng(0)
    problems = [
        RobustMDP(rng.normal(size=(4, 2)), 0.9, 0, StaticFinite(rng.dirichlet(np.ones(4), (3, 4, 2))))
        for _ in range(3)
    ]
    batch = solve_batch(problems)
    assert batch.bound_kind == "hull"
    for number, mdp in enumerate(problems):
        np.testing.assert_allclose(batch.value[number], robust_value_iteration(mdp).value, atol=1e-10)


def test_what_does_not_go_together_is_refused():
    rows = np.full((4, 2, 4), 0.25)
    l1, kl, s_l1 = (RobustMDP(np.zeros((4, 2)), 0.5, 0, kind(rows, 0.1)) for kind in (SAL1, SAKL, SL1))
    with pytest.raises(ValueError, match="different kinds"):
        solve_batch([l1, kl])
    with pytest.raises(ValueError, match="no batched form"):
        solve_batch([s_l1])
    with pytest.raises(ValueError, match="no problems"):
        solve_batch([])
