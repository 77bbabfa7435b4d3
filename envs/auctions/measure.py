"""How fast the auction environments are: what `dynrl bench rtb` calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["best_rate", "single_steps_per_second", "slot_requests_per_second", "vector_auctions_per_second"]


def best_rate(work: Callable[[], int], seconds: float = 1.0, least_repeats: int = 3) -> float:
    """Units per second of the fastest of several calls of `work`, which returns how many units it did.

    The fastest call is the one that other programs disturbed least. One call before them is not counted.
    """
    work()
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < least_repeats or time.perf_counter() < until:
        start = time.perf_counter()
        units = work()
        rates.append(units / (time.perf_counter() - start))
    return max(rates)


def single_steps_per_second(
    name: str = "dynrl/BidReplay-v0", steps: int = 20_000, seconds: float = 1.0
) -> float:
    """Steps per second of `gymnasium.make(name)`, resets included, with a constant bid of 60 ticks."""
    import gymnasium

    import dynrl  # noqa: F401 (registers the environments)

    env = gymnasium.make(name)
    env.reset(seed=0)
    action = np.array([60.0], np.float32)

    def play() -> int:
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps

    return best_rate(play, seconds)


def vector_auctions_per_second(name: str, num_envs: int, seconds: float = 1.0) -> float:
    """Auctions per second of `num_envs` environments in one compiled step (`dynrl.VectorEnv` with NumPy in and out); a
    step of `dynrl/Pacing-v0` is a whole slot of auctions."""
    import dynrl
    from dynrl.registry import make_functional

    world = make_functional(name)
    env = dynrl.VectorEnv(world, num_envs)
    env.reset(seed=0)
    paces = name == "dynrl/Pacing-v0"
    actions = np.full((num_envs, 1), 1.0 if paces else 60.0, np.float32)
    auctions = num_envs * (world.auctions_per_slot if paces else 1)  # type: ignore[attr-defined]

    def play() -> int:
        for _ in range(20):
            env.step(actions)
        return 20 * auctions

    return best_rate(play, seconds)


def slot_requests_per_second(
    advertisers: int = 48, slots: int = 3, requests: int = 24_000, seconds: float = 1.0
) -> dict[str, float]:
    """Requests per second of the multi-slot auction, by part: `kernel` and its twin `numpy` (who wins, what is paid),
    `budgets` (the same in request order with money running out), `episode` (values, conversions and observations of a
    `Competition` too)."""
    import jax
    import jax.numpy as jnp

    from dynrl.auctions.multi_slot import multi_slot, multi_slot_numpy, requests_in_order
    from dynrl.envs.auctions.competition import Competition

    rng = np.random.default_rng(0)
    bids, uniforms = rng.lognormal(-2.3, 0.8, (advertisers, requests)), rng.random((slots, requests))
    exposure, reserve = 0.9 ** np.arange(slots), 0.01
    # About half of the advertisers run out of money on the way.
    budgets = (
        multi_slot_numpy(bids, uniforms, exposure, reserve).paid.sum() / advertisers * np.ones(advertisers)
    )

    def numpy_twin() -> int:
        multi_slot_numpy(bids, uniforms, exposure, reserve)
        return requests

    with jax.enable_x64(True):
        on_device = jax.device_put((bids, uniforms, exposure, reserve, budgets))
        kernel, in_order = jax.jit(multi_slot), jax.jit(requests_in_order)
        world = Competition(advertisers, 48, requests // 48, slots)
        params = jax.device_put(world.default_params)

        @jax.jit
        def episode(key: jax.Array) -> object:
            """The last state and all observations and rewards, so that none of the work can be left out."""
            first, *rest = jax.random.split(key, world.horizon + 1)
            action = jnp.ones(advertisers)

            def step(state: Any, key: jax.Array) -> tuple[Any, Any]:
                after = world.transition(state, action, key, params)
                return after, (
                    world.observation(after, key, params),
                    world.rewards(state, after, params),
                )

            return jax.lax.scan(step, world.initial(first, params), jnp.stack(rest))

        def compiled(call: Callable[[], object]) -> float:
            def work() -> int:
                jax.block_until_ready(call())
                return requests

            return best_rate(work, seconds)

        return {
            "kernel": compiled(lambda: kernel(*on_device[:4])),
            "budgets": compiled(lambda: in_order(on_device[0], on_device[4], *on_device[1:4])),
            "episode": compiled(lambda: episode(jax.random.key(0))),
            "numpy": best_rate(numpy_twin, seconds),
        }
