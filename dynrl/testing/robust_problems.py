"""Random rectangular problems small enough for brute force, and the brute force."""

from __future__ import annotations

import itertools

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.polytopes import SAFinite

__all__ = ["brute_force", "random_finite_problem"]

_SIZES = [
    (1, 1, 1),
    (1, 3, 3),
    (2, 2, 3),
    (3, 2, 2),
    (3, 3, 2),
    (3, 2, 3),
    (4, 2, 2),
    (4, 3, 2),
    (5, 2, 2),
    (6, 2, 2),
]
"""(states, actions, candidates) for which there are at most 4096 kernels."""


def random_finite_problem(seed: int) -> RobustMDP:
    """A problem with a list of candidate rows for each pair, at most 6 states.

    Among them: rewards that depend on the successor, terminal states, states that nothing leads to, masked candidates,
    γ = 0 and γ = 0.99, distributions over first states.
    """
    rng = np.random.default_rng(seed)
    states, actions, candidates = _SIZES[seed % len(_SIZES)]
    rows = rng.dirichlet(np.full(states, rng.choice([0.1, 0.5, 2.0])), (states, actions, candidates))
    if states > 2 and rng.random() < 0.3:
        rows[..., -1] = 0.0
        rows += (rows.sum(axis=-1, keepdims=True) == 0) / states
        rows /= rows.sum(axis=-1, keepdims=True)
    mask = rng.random(rows.shape[:-1]) < 0.9
    mask[..., 0] = True
    shape = (states, actions, states) if rng.random() < 0.3 else (states, actions)
    reward = np.round(rng.normal(size=shape), 1) if rng.random() < 0.3 else rng.normal(size=shape)
    terminal = rng.random(states) < 0.2
    terminal[0] = False
    gamma = float(rng.choice([0.0, 0.5, 0.9, 0.99]))
    initial = rng.dirichlet(np.ones(states)) if rng.random() < 0.3 else 0
    return RobustMDP(reward, gamma, initial, SAFinite(rows, mask), terminal)


def brute_force(mdp: RobustMDP) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of the saddle by trying everything: `max_π min_T V^π_T` and `min_T max_π V^π_T`, `[S]` each.

    Args:
        mdp: with `SAFinite`, small.
    """
    assert isinstance(mdp.ambiguity, SAFinite)
    rows, mask = mdp.ambiguity.rows, mdp.ambiguity.mask
    pairs = list(itertools.product(range(mdp.num_states), range(mdp.num_actions)))
    choices = np.array(list(itertools.product(*(np.flatnonzero(mask[pair]) for pair in pairs))))
    state, action = np.array(pairs).T
    kernels = rows[state, action, choices].reshape(-1, *mdp.ambiguity.shape)
    policies = np.array(list(itertools.product(range(mdp.num_actions), repeat=mdp.num_states)))
    best_of_worst = np.full(mdp.num_states, -np.inf)
    optimum = np.full((len(kernels), mdp.num_states), -np.inf)
    for policy in policies:
        value = _values(mdp, kernels, policy)
        worst = value.min(axis=0)
        best_of_worst = np.maximum(best_of_worst, worst)
        optimum = np.maximum(optimum, value)
    return best_of_worst, optimum.min(axis=0)


def _values(mdp: RobustMDP, kernels: np.ndarray, policy: np.ndarray) -> np.ndarray:
    states = np.arange(mdp.num_states)
    transition = kernels[:, states, policy]
    reward = mdp.reward[states, policy]
    if mdp.reward.ndim == 3:
        reward = (transition * reward).sum(axis=-1)
    reward = np.broadcast_to(np.where(mdp.terminal, 0.0, reward), transition.shape[:2])
    transition = np.where(mdp.terminal[:, None], 0.0, transition)
    return np.linalg.solve(np.eye(mdp.num_states) - mdp.gamma * transition, reward[..., None])[..., 0]
