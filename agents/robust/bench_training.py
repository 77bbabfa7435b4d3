"""Rows of `dynrl bench robust` about training: the inverted pendulum end to end, and updates per second of SAC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dynrl.bench import Figure
from dynrl.bench.one_core import alone_on_one_core

__all__ = ["figures"]

BUDGET, SEEDS = 200_000, (0, 1, 2)
OBSERVATIONS, ACTIONS, BATCH, UPDATES = 11, 3, 256, 32


def figures(quick: bool) -> Iterator[Figure]:
    """The rows; quick: one seed of the pendulum, and fewer repetitions."""
    yield inverted_pendulum(SEEDS[:1] if quick else SEEDS)
    yield updates_per_second(3 if quick else 9)


def inverted_pendulum(seeds: tuple[int, ...]) -> Figure:
    """Worst cell of the inclusive 10 x 10 grid over pole and cart mass, three episodes per cell."""
    from dynrl.agents.robust.policy_search import PolicySearchConfig, WorstCasePolicySearch
    from dynrl.robust import make_robust_vec, uset
    from dynrl.robust.evaluation import make_evaluator

    env, masses = "dynrl/InvertedPendulum-v0", uset("inverted_pendulum", dims=2)

    def make_vec(num_envs: int, sampler: Any) -> Any:
        return make_robust_vec(env, masses, num_envs, sampler)

    worst, full, steps = [], [], []
    for seed in seeds:
        method = WorstCasePolicySearch(PolicySearchConfig(target=1000.0))
        found = method.train(make_vec, masses, BUDGET, seed)
        # the grid and these episodes had no part in the training
        played = make_evaluator(env, masses)(found.policy, masses.grid(10, endpoint=True), [70, 71, 72])
        lowest = played.returns.min(axis=1)
        worst.append(lowest.min())
        full.append(int((lowest == 1000.0).sum()))
        steps.append(found.total_steps)
    return Figure(
        f"InvertedPendulum 2-D, policy search, {len(seeds)} seeds: worst cell",
        f"1000 in 100 of 100 cells, <= {BUDGET} steps with search, every seed",
        f"{min(worst):g}; cells at 1000: {full}; steps: {steps}",
        min(worst) == 1000.0 and max(steps) <= BUDGET,
        "published worst cells after 4e6 steps: M2TD3 356, IWOCS 1000",
    )


def updates_per_second(repetitions: int) -> Figure:
    """SAC's updates on 2 x 256 networks and batches of 256, in turns with SBX in one process on one core."""
    ours, peer = alone_on_one_core(measure_updates, repetitions)
    return Figure(
        "SAC updates/s, 2x256 networks, batch 256, one core",
        ">= 0.95 x SBX (noise of a shared machine)",
        f"{ours:.0f}",
        ours >= 0.95 * peer,
        f"SBX {peer:.0f}",
    )


def measure_updates(repetitions: int) -> tuple[float, float]:
    """Median updates per second of ours and of SBX, measured in turns."""
    ours, peer = _ours(), _sbx()
    rates: tuple[list[float], list[float]] = ([], [])
    for update in (ours, peer):
        update()
    for _ in range(repetitions):
        for rate, update in zip(rates, (ours, peer), strict=True):
            begun = time.perf_counter()
            update()
            rate.append(UPDATES / (time.perf_counter() - begun))
    return float(np.median(rates[0])), float(np.median(rates[1]))


def _ours() -> Callable[[], None]:
    import jax

    from dynrl.learning.replay import Replay, Transitions
    from dynrl.learning.sac import SAC, SACConfig

    rng, count = np.random.default_rng(0), 20_000
    replay = Replay(count, OBSERVATIONS, ACTIONS)
    observation, following = rng.normal(size=(2, count, OBSERVATIONS))
    action = rng.uniform(-1, 1, (count, ACTIONS))
    none = np.zeros(count)
    replay.add(
        Transitions(observation, action, rng.normal(size=count), following, none, np.zeros((count, 0)))
    )
    learner = SAC(SACConfig(), OBSERVATIONS, ACTIONS, jax.random.key(0))

    def update() -> None:
        learner.learn(replay.sample(rng, UPDATES, BATCH))
        jax.block_until_ready(learner.state.actor.network.weights[0])

    return update


def _sbx() -> Callable[[], None]:
    try:
        from sbx import SAC
    except ImportError as error:
        raise ImportError("the peer of this figure is SBX: install dynrl with its extra [sb3]") from error
    import gymnasium
    import jax

    class Noise(gymnasium.Env):
        """Observations of noise, only to fill the buffer."""

        observation_space = gymnasium.spaces.Box(-1, 1, (OBSERVATIONS,))
        action_space = gymnasium.spaces.Box(-1, 1, (ACTIONS,))

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> Any:
            return self.observation_space.sample(), 1.0, False, False, {}

    model = SAC("MlpPolicy", Noise(), learning_starts=1000, batch_size=BATCH, seed=0)
    model.learn(1000)

    def update() -> None:
        model.train(UPDATES, BATCH)
        jax.block_until_ready(model.policy.actor_state.params)

    return update
