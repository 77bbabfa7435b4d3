"""A kernel picked once from a list: four values, each with its own name, for each answers another question."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dynrl.robust.tabular.dynamic import robust_policy_iteration
from dynrl.robust.tabular.finite import StaticFinite
from dynrl.robust.tabular.mdp import RobustMDP, solve_linear
from dynrl.robust.tabular.ordinary import CHUNK_NUMBERS, chain, optimal, policy_values
from dynrl.robust.tabular.randomised import best_randomised

__all__ = ["StaticSolution", "best_deterministic", "smallest_optimum", "solve_static", "static_kernels"]

ENUMERATED = 1_000_000
"""Most deterministic policies that are tried one by one."""


@dataclass(frozen=True, eq=False)
class DeterministicOptimum:
    """The best deterministic stationary policy against the worst kernel of the list.

    Attributes:
        value: `max_π min_k J^π_k` over the policies looked at.
        policy: `[S, A]`, attains `value`.
        upper: no deterministic stationary policy is worth more; equal to `value` when the search was finished.
        method: `"enumeration"` or `"branch and bound"`.
        examined: policies, or nodes of the tree.
    """

    value: float
    policy: np.ndarray
    upper: float
    method: str
    examined: int


@dataclass(frozen=True, eq=False)
class StaticSolution:
    """Four values of a problem whose kernel is picked once, from the smallest to the largest.

    Attributes:
        hull: robust value of the rectangular hull: what nature leaves when it may mix the kernels row by row.
        deterministic: best deterministic stationary policy.
        randomised: best randomised stationary policy that a local search found (a lower bound on the best).
        randomised_policy: attains it, `[S, A]`.
        smallest_optimum: `min_k J*_k`; no policy of any kind, randomised or with memory, can guarantee more.
    """

    hull: float
    deterministic: DeterministicOptimum
    randomised: float
    randomised_policy: np.ndarray
    smallest_optimum: float

    def __str__(self) -> str:
        kind = "" if self.deterministic.upper <= self.deterministic.value else " (search not finished)"
        return "\n".join(
            (
                f"rectangular hull (dynamic adversary)         {self.hull:.9g}",
                f"best deterministic stationary policy         {self.deterministic.value:.9g}{kind}",
                f"best randomised stationary policy (local)    {self.randomised:.9g}",
                f"min over kernels of the optimal value        {self.smallest_optimum:.9g}",
            )
        )


def solve_static(mdp: RobustMDP, starts: int = 8, seed: int = 0, max_nodes: int = 20_000) -> StaticSolution:
    """All four values of a problem with `StaticFinite` or `StaticParametric`, at its start distribution.

    Args:
        starts: of the local search for a randomised policy.
        seed: of its random starts.
        max_nodes: of branch and bound, where there are too many policies to try one by one.

    Raises:
        TypeError: another ambiguity set.
    """
    deterministic = best_deterministic(mdp, max_nodes)
    randomised, policy = best_randomised(mdp, static_kernels(mdp), deterministic.policy, starts, seed)
    return StaticSolution(
        hull=mdp.start_value(robust_policy_iteration(mdp).value),
        deterministic=deterministic,
        randomised=randomised,
        randomised_policy=policy,
        smallest_optimum=smallest_optimum(mdp),
    )


def smallest_optimum(mdp: RobustMDP) -> float:
    """`min_k J*_k`: an upper bound on what any policy can guarantee.

    Raises:
        TypeError: the ambiguity set is no list of kernels.
    """
    return min(mdp.start_value(optimal(mdp, kernel).value) for kernel in static_kernels(mdp))


def best_deterministic(mdp: RobustMDP, max_nodes: int = 20_000) -> DeterministicOptimum:
    """The best deterministic stationary policy: by enumeration up to a million policies, else by branch and bound.

    States that cannot be reached, and terminal ones, count as having one action.

    Raises:
        TypeError: the ambiguity set is no list of kernels.
    """
    kernels = static_kernels(mdp)
    allowed = np.ones((mdp.num_states, mdp.num_actions), bool)
    allowed[~reachable(mdp, kernels), 1:] = False
    if np.prod(allowed.sum(axis=1), dtype=np.float64) <= ENUMERATED:
        return _enumerate(mdp, kernels, allowed)
    return _branch_and_bound(mdp, kernels, allowed, max_nodes)


def static_kernels(mdp: RobustMDP) -> np.ndarray:
    """The kernels `[K, S, A, S']` of a static set.

    Raises:
        TypeError: another ambiguity set.
    """
    if not isinstance(mdp.ambiguity, StaticFinite):
        raise TypeError(
            f"this needs a list of kernels, StaticFinite or StaticParametric, and got "
            f"{type(mdp.ambiguity).__name__}; robust_value_iteration solves rectangular sets."
        )
    return mdp.ambiguity.kernels


def reachable(mdp: RobustMDP, kernels: np.ndarray) -> np.ndarray:
    """States where an action matters, `[S]` bool: some kernel and actions lead there, and they are not terminal."""
    leads = (kernels > 0).any(axis=(0, 2)) & ~mdp.terminal[:, None]
    found = mdp.initial > 0
    while True:
        more = found | leads[found].any(axis=0)
        if (more == found).all():
            return found & ~mdp.terminal
        found = more


def _enumerate(mdp: RobustMDP, kernels: np.ndarray, allowed: np.ndarray) -> DeterministicOptimum:
    value, actions, examined = -np.inf, None, 0
    size = max(1, CHUNK_NUMBERS // (len(kernels) * mdp.num_states**2))
    every = itertools.product(*(np.flatnonzero(row) for row in allowed))
    for chunk in iter(lambda: list(itertools.islice(every, size)), []):
        policies = np.eye(mdp.num_actions)[np.array(chunk)]
        values = solve_linear(*chain(mdp, kernels, policies[:, None]), mdp.gamma) @ mdp.initial
        worst = values.min(axis=1)
        examined += len(chunk)
        if worst.max() > value:
            value, actions = float(worst.max()), chunk[int(worst.argmax())]
    policy = np.eye(mdp.num_actions)[np.array(actions)]
    return DeterministicOptimum(value, policy, value, "enumeration", examined)


def _branch_and_bound(
    mdp: RobustMDP, kernels: np.ndarray, allowed: np.ndarray, max_nodes: int
) -> DeterministicOptimum:
    """Best first; a node fixes the actions of some states, and `min_k J*_k` under them bounds all below it."""
    number = itertools.count()
    root = _Node(mdp, kernels, allowed)
    value, policy = root.value, root.policy
    heap, examined = [(-root.bound, next(number), root)], 1
    while heap and -heap[0][0] > value + 1e-12 * max(1.0, abs(value)) and examined < max_nodes:
        for part in heapq.heappop(heap)[2].parts():
            node = _Node(mdp, kernels, part)
            examined += 1
            if node.value > value:
                value, policy = node.value, node.policy
            heapq.heappush(heap, (-node.bound, next(number), node))
    upper = max(value, -heap[0][0]) if heap else value
    upper = value if upper <= value + 1e-12 * max(1.0, abs(value)) else upper
    return DeterministicOptimum(value, policy, upper, "branch and bound", examined)


class _Node:
    """The policies within `allowed [S, A]`: a bound on them, and the best of those that are optimal for one kernel."""

    def __init__(self, mdp: RobustMDP, kernels: np.ndarray, allowed: np.ndarray) -> None:
        optima = [optimal(mdp, kernel, allowed) for kernel in kernels]
        worth = [mdp.start_value(optimum.value) for optimum in optima]
        policies = np.array([optimum.policy for optimum in optima])
        guaranteed = [float((policy_values(mdp, kernels, policy) @ mdp.initial).min()) for policy in policies]
        best = int(np.argmax(guaranteed))
        self.allowed, self.bound = allowed, min(worth)
        self.value, self.policy = guaranteed[best], policies[best]
        # The state to branch on: where the kernels want different actions, and often visited.
        hardest = int(np.argmin(worth))
        transition, _ = chain(mdp, kernels[hardest], policies[hardest])
        visits = np.linalg.solve(np.eye(mdp.num_states) - mdp.gamma * transition.T, mdp.initial)
        differ = (policies != policies[0]).any(axis=(0, 2))
        open_states = allowed.sum(axis=1) > 1
        self._branch = (
            int(np.argmax(np.where(open_states, visits + 1e6 * (differ & (visits > 0)), -1.0)))
            if open_states.any()
            else None
        )

    def parts(self) -> Iterator[np.ndarray]:
        if self._branch is None:
            return
        for action in np.flatnonzero(self.allowed[self._branch]):
            part = self.allowed.copy()
            part[self._branch] = np.arange(part.shape[1]) == action
            yield part
