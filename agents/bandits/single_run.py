"""One run of a bandit agent on a dynamical linear bandit in plain NumPy; the compiled paths equal it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.bandits import DLBSystem, FiniteSet

BLOCK = 16  # rounds of a hold whose rewards come out of one matrix product


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
    scale = np.concatenate([np.full(n, system.sigma_x), [system.sigma_y]])
    shocks = (noise * scale).reshape(-1)
    responses = [hold_response(system, rounds) for rounds in range(1, min(BLOCK, horizon) + 1)]
    given = np.zeros(n + system.d + BLOCK * (n + 1))
    rewards, actions = np.empty(horizon), np.empty((horizon, system.d))
    x = system.params.x0
    candidates = agent.candidates if isinstance(agent.action_set, FiniteSet) else None
    act, update = agent.act, agent.update
    t = 0
    while t < horizon:
        output = act()
        action = output if candidates is None else candidates[output]
        rounds = min(agent.rounds_left, BLOCK, horizon - t)
        used = n + system.d + rounds * (n + 1)
        given[:n], given[n : n + system.d] = x, action
        given[n + system.d : used] = shocks[t * (n + 1) : (t + rounds) * (n + 1)]
        outcome = responses[rounds - 1].dot(given[:used])
        x, earned = outcome[:n], outcome[n:]
        rewards[t : t + rounds], actions[t : t + rounds] = earned, action
        for reward in earned.tolist():
            act()
            update(reward)
        t += rounds
    return SingleRun(rewards, actions, x)


def hold_response(system: DLBSystem, rounds: int) -> np.ndarray:
    """The linear map of a held action: (x, u, noise of each round) to (state after, reward of each round).

    Returns:
        `[n + rounds, n + d + rounds·(n + 1)]`; the noise is scaled, ε before η in each round.
    """
    n, d = system.n, system.d
    A, B, omega, theta = system.params[:4]
    state = np.zeros((n, n + d + rounds * (n + 1)))
    state[:, :n] = np.eye(n)
    rows = []
    for t in range(rounds):
        offset = n + d + t * (n + 1)
        row = omega @ state
        row[n : n + d] += theta
        row[offset + n] += 1.0
        rows.append(row)
        state = A @ state
        state[:, n : n + d] += B
        state[:, offset : offset + n] += np.eye(n)
    return np.concatenate([state, np.stack(rows)])
