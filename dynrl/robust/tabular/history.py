"""Policies with memory against a list of kernels: they can find out which one holds.

By minimax, the best that a policy with memory (and a coin before the first step) can guarantee is the smallest value,
over prior weights of the kernels, of the Bayesian problem. The beliefs that can be reached form a graph; where it is
cut off, a stationary policy continues (lower bound) or the kernel is revealed (upper bound).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.ordinary import optimal, policy_values
from dynrl.robust.tabular.static import static_kernels

__all__ = ["HistoryBounds", "history_dependent_value"]


@dataclass(frozen=True)
class HistoryBounds:
    """What a policy with memory can guarantee.

    Attributes:
        lower: a mixture of policies with memory guarantees this.
        upper: none guarantees more. Equal to `lower` (to 1e-9) where the belief graph was closed.
        prior: the least favourable weights of the kernels, `[K]`.
        nodes: (state, belief) pairs looked at.
    """

    lower: float
    upper: float
    prior: np.ndarray
    nodes: int


def history_dependent_value(mdp: RobustMDP, max_nodes: int = 500) -> HistoryBounds:
    """Bounds on the static value of policies with memory, at the start distribution.

    Exact where finitely many beliefs can be reached, such as with deterministic kernels.

    Args:
        max_nodes: (state, belief) pairs to expand; beyond, bounds are used.

    Raises:
        TypeError: the ambiguity set is no list of kernels.
    """
    kernels = static_kernels(mdp)
    graph = _BeliefGraph(mdp, kernels, max_nodes)
    optima = [optimal(mdp, kernel) for kernel in kernels]
    revealed = np.array([optimum.value for optimum in optima])
    stationary = np.array([policy_values(mdp, kernels, optimum.policy) for optimum in optima])
    lower = _least_favourable(graph, revealed, stationary)[0]
    _, upper, prior = _least_favourable(graph, revealed, revealed[None])
    return HistoryBounds(min(lower, upper), upper, prior, len(graph.states))


class _BeliefGraph:
    """(state, likelihood of each kernel) pairs that actions and successors lead to.

    Attributes:
        states: `[N]`.
        likelihood: `[N, K]`, the largest is 1.
        expanded: `[N]` bool; False: only one kernel is left, the episode is over, or there was no room.
        follow: `[N, A, S']` number of the next node, 0 where no kernel goes there.
    """

    def __init__(self, mdp: RobustMDP, kernels: np.ndarray, max_nodes: int) -> None:
        self.mdp, self.kernels = mdp, kernels
        numbers: dict[tuple, int] = {}
        states: list[int] = []
        likelihoods: list[np.ndarray] = []

        def number(state: int, likelihood: np.ndarray) -> int:
            likelihood = likelihood / likelihood.max()
            key = (state, tuple(likelihood.round(12)))
            if key not in numbers:
                numbers[key] = len(states)
                states.append(state)
                likelihoods.append(likelihood)
                waiting.append(numbers[key])
            return numbers[key]

        waiting: deque[int] = deque()
        self.roots = [number(int(state), np.ones(len(kernels))) for state in np.flatnonzero(mdp.initial)]
        self.root_weights = mdp.initial[mdp.initial > 0]
        follow: dict[int, np.ndarray] = {}
        while waiting and len(follow) < max_nodes:
            node = waiting.popleft()
            state, likelihood = states[node], likelihoods[node]
            if mdp.terminal[state] or (likelihood > 0).sum() == 1:
                continue
            after = likelihood[:, None, None] * kernels[:, state]
            follow[node] = np.zeros(after.shape[1:], int)
            for action, successor in np.argwhere(after.max(axis=0) > 0):
                follow[node][action, successor] = number(int(successor), after[:, action, successor])
        self.states, self.likelihood = np.array(states), np.array(likelihoods)
        self.expanded = np.isin(np.arange(len(states)), list(follow))
        self.follow = np.zeros((len(states), *kernels.shape[2:]), int)
        for node, table in follow.items():
            self.follow[node] = table

    def solve(self, prior: np.ndarray, revealed: np.ndarray, tails: np.ndarray) -> np.ndarray:
        """What each kernel pays `[K]` when the Bayes-optimal policy for the prior `[K]` is played.

        Args:
            revealed: V*_k, `[K, S]`, where one kernel is left.
            tails: ways to go on where the graph is cut, `[M, K, S]`.
        """
        weight = prior * self.likelihood
        scores = np.einsum("nk,mkn->nm", weight, tails[:, :, self.states])
        ends = np.take_along_axis(
            tails[:, :, self.states].transpose(2, 0, 1), scores.argmax(1)[:, None, None], 1
        )
        alone = (self.likelihood > 0).sum(axis=1) == 1
        fixed = np.where(alone[:, None], revealed[:, self.states].T, ends[:, 0])
        fixed = np.where(self.mdp.terminal[self.states][:, None], 0.0, fixed)
        actions, best = np.zeros(len(self.states), int), -np.inf
        while True:
            worth = self._evaluate(actions, fixed)
            total = float(np.sum(prior * (self.root_weights @ worth[self.roots])))
            q = np.einsum("nk,nak->na", weight, self._ahead(worth))
            now = q[np.arange(len(q)), actions]
            better = q.max(axis=1) > now + 1e-13 * np.maximum(1.0, np.abs(now))
            if not (better & self.expanded).any() or (total <= best and best != -np.inf):
                return self.root_weights @ worth[self.roots]
            best = total
            actions = np.where(better, q.argmax(axis=1), actions)

    def _ahead(self, worth: np.ndarray) -> np.ndarray:
        """`[N, A, K]`: what an action leads to when the nodes are worth `[N, K]`."""
        rows = self.kernels[:, self.states].transpose(1, 2, 0, 3)
        reward = self.mdp.reward[self.states]
        reward = reward[:, :, None] if reward.ndim == 2 else np.einsum("nakt,nat->nak", rows, reward)
        return reward + self.mdp.gamma * np.einsum("nakt,natk->nak", rows, worth[self.follow])

    def _evaluate(self, actions: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        """`[N, K]`: the worth of every node under actions `[N]`, by sparse linear solves."""
        from scipy.sparse import csr_array, eye_array
        from scipy.sparse.linalg import spsolve

        nodes, count = np.flatnonzero(self.expanded), len(self.states)
        worth = np.empty_like(fixed)
        none = np.zeros_like(fixed)
        gain = np.where(self.expanded[:, None], self._ahead(none)[np.arange(count), actions], fixed)
        for kernel in range(fixed.shape[1]):
            rows = self.kernels[kernel, self.states[nodes], actions[nodes]]
            columns = self.follow[nodes, actions[nodes]]
            step = csr_array(
                (rows.ravel(), (np.repeat(nodes, rows.shape[1]), columns.ravel())), shape=(count, count)
            )
            worth[:, kernel] = spsolve((eye_array(count) - self.mdp.gamma * step).tocsc(), gain[:, kernel])
        return worth


def _least_favourable(
    graph: _BeliefGraph, revealed: np.ndarray, tails: np.ndarray, rounds: int = 200
) -> tuple[float, float, np.ndarray]:
    """Cutting planes on the prior: (value of the matrix game of the policies met, smallest Bayes value, its prior)."""
    from scipy.optimize import linprog

    count = len(graph.kernels)
    prior, cuts = np.full(count, 1 / count), np.empty((0, count))
    upper, best = np.inf, prior
    for _ in range(rounds):
        cuts = np.vstack([cuts, graph.solve(prior, revealed, tails)])
        if cuts[-1] @ prior < upper:
            upper, best = float(cuts[-1] @ prior), prior
        game = linprog(
            np.append(np.zeros(count), 1.0),
            A_ub=np.hstack([cuts, -np.ones((len(cuts), 1))]),
            b_ub=np.zeros(len(cuts)),
            A_eq=np.append(np.ones(count), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0.0, 1.0)] * count + [(None, None)],
            method="highs",
        )
        lower, prior = float(game.fun), game.x[:-1]
        if upper - lower <= 1e-11 * max(1.0, abs(upper)):
            break
    return lower, upper, best
