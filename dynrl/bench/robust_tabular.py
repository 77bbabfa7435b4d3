"""Figures of the tabular robust solvers: worked examples, brute force, certificates, speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dynrl.bench import Figure

PROBLEMS, QUICK_PROBLEMS = 200, 30
STATES, ACTIONS, DISCOUNT, BUDGET, TOLERANCE = 500, 10, 0.95, 0.2, 1e-6
SECONDS_BAR = 30.0


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure of the tabular part of `dynrl bench robust`."""
    yield _button()
    yield from _windy_walk()
    yield from _brute_force(QUICK_PROBLEMS if quick else PROBLEMS)
    yield _batch()
    yield _speed()


def _button() -> Figure:
    from dynrl.robust.tabular import guess_the_button, history_dependent_value, solve_static

    mdp = guess_the_button(0.9)
    static, history = solve_static(mdp), history_dependent_value(mdp)
    found = np.array(
        [static.hull, static.deterministic.value, static.randomised, history.lower, static.smallest_optimum]
    )
    error = float(np.abs(found - [0, 0, 0.5 / (1 - 0.9 * 0.5), 0.95, 1]).max())
    return Figure(
        "guess the button: hull, deterministic, randomised, with memory, min J*",
        "0, 0, 0.909.., 0.95, 1 to 1e-9",
        f"{', '.join(f'{value:.9g}' for value in found)} (error {error:.1e})",
        error <= 1e-9,
    )


def _windy_walk() -> Iterator[Figure]:
    from dynrl.registry import Entry, load
    from dynrl.robust.tabular import MonteCarlo, iwocs, optimal, policy_values, robust_value_iteration

    walk = load(Entry("windy walk", "dynrl.envs.grid_worlds:windy_walk_problem", ""))()
    kernels = walk.ambiguity.kernels
    found = [
        *(optimal(walk, kernels[number]).value[0] for number in (0, 10, 24)),
        policy_values(walk, kernels[24:], optimal(walk, kernels[0]).policy)[0, 0],
        robust_value_iteration(walk).value[0],
    ]
    error = float(np.abs(np.array(found) - [-4.52438, -5.84003, -7.95215, -10.29441, -7.95215]).max())
    yield Figure(
        "windy walk: V* at alpha 0, 5/24, 1/2; calm policy at 1/2; robust value",
        "spec 4.4 to 1e-5",
        f"{', '.join(f'{value:.5f}' for value in found)}",
        error <= 1e-5,
    )
    exact, simulated = iwocs(walk), iwocs(walk, monte_carlo=MonteCarlo())
    away = max(
        abs(one.worst - other.worst) / one.error
        for one, other in zip(simulated.history, exact.history, strict=True)
    )
    yield Figure(
        "windy walk: IWOCS, and its Monte-Carlo mode",
        "certified in 2 iterations; within 3 standard errors",
        f"{exact.status} in {len(exact.history)}, gap {exact.gap:.1e}; {away:.1f} standard errors",
        exact.status == "certified" and len(exact.history) == 2 and away <= 3,
    )


def _brute_force(problems: int) -> Iterator[Figure]:
    from dynrl.robust.tabular import iwocs, robust_policy_iteration, robust_value_iteration
    from dynrl.testing.robust_problems import brute_force, random_finite_problem

    worst, gap, certified, false = 0.0, 0.0, 0, 0
    for seed in range(problems):
        mdp = random_finite_problem(seed)
        exact = robust_policy_iteration(mdp).value
        for value in (*brute_force(mdp), robust_value_iteration(mdp).value):
            worst = max(worst, float(np.abs(value - exact).max()))
        robust = mdp.start_value(exact)
        for escape in ("hull", "stop"):
            result = iwocs(mdp, tolerance=1e-8, escape=escape)
            true = result.gap <= 1e-8 and abs(result.lower - robust) <= 2e-8
            false += result.status == "certified" and not true
            if escape == "hull":
                certified += result.status == "certified"
                gap = max(gap, result.gap)
    yield Figure(
        f"{problems} random rectangular problems: robust VI, PI, both sides of the saddle by brute force",
        "differ by <= 1e-8",
        f"{worst:.1e}",
        worst <= 1e-8,
    )
    yield Figure(
        f"{problems} random rectangular problems: IWOCS(hull) certified; false certificates",
        f"{problems}; 0",
        f"{certified} (largest gap {gap:.1e}); {false}",
        certified == problems and false == 0,
    )


def _batch() -> Figure:
    from dynrl.robust.tabular import SAL1, RobustMDP, robust_value_iteration, solve_batch

    rng = np.random.default_rng(0)
    problems = [
        RobustMDP(
            rng.normal(size=(20, 4)), 0.9, 0, SAL1(rng.dirichlet(np.ones(20), (20, 4)), rng.uniform(0, 1))
        )
        for _ in range(256)
    ]
    solve_batch(problems)
    batch, seconds = _timed(lambda: solve_batch(problems))
    alone, seconds_alone = _timed(lambda: [robust_value_iteration(mdp).value for mdp in problems])
    error = float(np.abs(batch.value - np.array(alone)).max())
    return Figure(
        "256 L1 problems (20 states, 4 actions) in one JAX batch against NumPy",
        "differ by <= 1e-10",
        f"{error:.1e}; {256 / seconds:,.0f} problems/s",
        error <= 1e-10,
        f"NumPy one by one: {256 / seconds_alone:,.0f} problems/s",
    )


def _speed() -> Figure:
    from dynrl.robust.tabular import SAL1, RobustMDP, robust_value_iteration

    rng = np.random.default_rng(0)
    nominal = rng.dirichlet(np.ones(STATES), (STATES, ACTIONS))
    mdp = RobustMDP(rng.normal(size=(STATES, ACTIONS)), DISCOUNT, 0, SAL1(nominal, BUDGET))
    solution, seconds = _timed(lambda: robust_value_iteration(mdp, TOLERANCE))
    sweeps = 5
    value, peer = _timed(lambda: _plain_sweeps(mdp.reward, nominal, sweeps))
    ours = np.zeros(STATES)
    for _ in range(sweeps):
        ours = mdp.rectangular.game_value(mdp.outcome(ours))
    same = float(np.abs(ours - value).max()) <= 1e-10
    return Figure(
        f"L1 robust value iteration, S={STATES}, A={ACTIONS}, gamma={DISCOUNT}, to {TOLERANCE:g}",
        f"<= {SECONDS_BAR:.0f} s",
        f"{seconds:.1f} s ({solution.iterations} sweeps)",
        seconds <= SECONDS_BAR and same,
        f"plain vectorised NumPy: {peer / sweeps * solution.iterations:.0f} s (from {sweeps} sweeps)",
    )


def _plain_sweeps(reward: np.ndarray, nominal: np.ndarray, sweeps: int) -> np.ndarray:
    """The textbook pass: gather every row in the order of the values, cumulate, cut off, add up."""
    value = np.zeros(len(reward))
    for _ in range(sweeps):
        order = np.argsort(value, kind="stable")
        ordered, low = nominal[..., order[::-1]], nominal[..., order[0]]
        moved = np.minimum(BUDGET / 2, 1 - low)[..., None]
        taken = np.clip(moved - (np.cumsum(ordered, axis=-1) - ordered), 0.0, ordered)
        minimum = (ordered - taken) @ value[order[::-1]] + moved[..., 0] * value[order[0]]
        value = (reward + DISCOUNT * minimum).max(axis=1)
    return value


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin
