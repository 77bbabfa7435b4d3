"""One run of a bandit agent on a dynamical linear bandit in plain NumPy: the reference that the compiled paths equal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.bandits import DLBSystem, FiniteSet


class SingleRun(NamedTuple):
    """What happened.

    Attributes:
        rewards: y, `[T]`.
        actions: u, `[T, d]`.
        state: the system's state after the last round, `[n]`.
    """

    rewards: np.ndarray
    actions: np.ndarray
    state: np.ndarray


def single_run(
    system: DLBSystem,
    agent: BanditAgent,
    horizon: int,
    *,
    seed: int | None = None,
    noise: np.ndarray | None = None,
) -> SingleRun:
    """Plays `horizon` rounds; the agent goes on learning from where it stands.

    Args:
        system: the system, started at its `x0`.
        agent: any bandit agent.
        horizon: T.
        seed: seed of the noise.
        noise: standard normals `[T, n + 1]` to use instead, ε first, then η.

    Raises:
        ValueError: `noise` has another shape.
    """
    n = system.n
    if noise is None:
        noise = np.random.default_rng(seed).standard_normal((horizon, n + 1))
    if noise.shape != (horizon, n + 1):
        raise ValueError(f"noise has shape {noise.shape}, expected ({horizon}, {n + 1})")
    A, B, omega, theta, sigma_x, sigma_y, x0 = system.params
    # z = (next state, reward) in one product; the constant push of a hold is added to its noise once
    forward = np.zeros((n + 1, n + 1))
    forward[:n, :n], forward[n, :n] = A, omega
    push = np.concatenate([B, theta[None]])
    disturbance = noise * np.concatenate([np.full(n, sigma_x), [sigma_y]])
    rewards, actions = np.empty(horizon), np.empty((horizon, system.d))
    z = np.concatenate([x0, [0.0]])
    candidates = agent.candidates if isinstance(agent.action_set, FiniteSet) else None
    t = 0
    while t < horizon:
        output = agent.act()
        action = output if candidates is None else candidates[output]
        end = min(t + agent.rounds_left, horizon)
        actions[t:end] = action
        for shock in disturbance[t:end] + push @ action:
            agent.act()
            z = forward @ z
            z += shock
            rewards[t] = reward = z[n]
            agent.update(reward)
            t += 1
    return SingleRun(rewards, actions, z[:n])
