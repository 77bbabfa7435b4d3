"""The L1 set whose budget the actions of a state share; the best policy may have to be randomised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.robust.tabular.rectangular import Game, Outcome, Rectangular
from dynrl.robust.tabular.rows import checked_kernel, checked_radius, freeze

__all__ = ["SL1"]

_EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False)
class SL1(Rectangular):
    """All rows of a state within one L1 budget: `Σ_a Σ|p_a − p0_a| ≤ budget(s)` (Wiesemann, Kuhn & Rustem 2013).

    One linear program per state and backup (HiGHS).

    Attributes:
        nominal: p0, `[S, A, S']`.
        budget: `[S]` or one number, at least 0; above 2 A it is 2 A, the whole simplices.

    Raises:
        ValueError: rows that are no probabilities, a negative budget.
    """

    nominal: Any
    budget: Any

    def __post_init__(self) -> None:
        nominal = checked_kernel(self.nominal, "nominal")
        budget = np.minimum(checked_radius(self.budget, nominal.shape[:1], "budget"), 2.0 * nominal.shape[1])
        freeze(self, nominal=nominal, budget=budget, shape=nominal.shape)

    @property
    def nominal_kernel(self) -> np.ndarray:
        return self.nominal

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        probable = (kernel >= -tolerance).all(axis=-1) & (np.abs(kernel.sum(axis=-1) - 1) <= tolerance)
        spent = np.abs(kernel - self.nominal).sum(axis=(1, 2))
        return probable & (spent <= self.budget + tolerance)[:, None]

    def game(self, outcome: Outcome) -> Game:
        targets = np.broadcast_to(outcome.targets, self.shape)
        step, scale = (outcome.reward, outcome.discount) if outcome.reward.ndim == 2 else (0.0, 1.0)
        step = np.broadcast_to(step, self.shape[:2])
        solved = [
            _state_game(self.nominal[state], self.budget[state], step[state], scale * targets[state])
            for state in range(self.shape[0])
        ]
        value, policy, rows = (np.array(part) for part in zip(*solved, strict=True))
        return Game(value, outcome.expected(rows), policy, rows)

    def worst_rows(self, policy: np.ndarray, outcome: Outcome) -> np.ndarray:
        """Mass moves to the smallest target in the order of what that costs the policy, until the budget is spent."""
        targets = np.broadcast_to(outcome.targets, self.shape)
        lowest = targets.argmin(axis=-1)
        loss = policy[..., None] * (targets - targets.min(axis=-1, keepdims=True))
        states = self.shape[0]
        order = np.argsort(-loss.reshape(states, -1), axis=1, kind="stable")
        mass = np.where(loss > 0, self.nominal, 0.0).reshape(states, -1)
        mass = np.take_along_axis(mass, order, axis=1)
        taken = np.clip(self.budget[:, None] / 2 - (np.cumsum(mass, axis=1) - mass), 0.0, mass)
        taken = np.take_along_axis(taken, np.argsort(order, axis=1), axis=1).reshape(self.shape)
        return self.nominal - taken + np.eye(self.shape[2])[lowest] * taken.sum(axis=-1, keepdims=True)


def _state_game(
    nominal: np.ndarray, budget: float, reward: np.ndarray, targets: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """`min u` subject to `u ≥ reward_a + p_a · targets_a` and the budget: (u, policy `[A]`, rows `[A, S']`).

    Variables: u, the mass added to and the mass taken from every entry. The multipliers of the first block are the
    optimal action probabilities.
    """
    from scipy.optimize import linprog

    actions, successors = nominal.shape
    pairs = actions * successors
    if actions == 1 or budget == 0 or np.ptp(targets) == 0:
        return _alone(nominal, budget, reward, targets)
    # HiGHS works to absolute tolerances: scaled targets make them relative to the spread of values.
    base = reward + (nominal * targets).sum(axis=-1)
    shift, scale = base.max(), max(float(np.ptp(targets, axis=1).max()), 1e-300)
    blocks = np.zeros((actions, actions, successors))
    blocks[np.arange(actions), np.arange(actions)] = targets / scale
    gain = blocks.reshape(actions, pairs)
    each = np.kron(np.eye(actions), np.ones(successors))
    done = linprog(
        np.concatenate([[1.0], np.zeros(2 * pairs)]),
        A_ub=np.vstack(
            [
                np.hstack([-np.ones((actions, 1)), gain, -gain]),
                np.concatenate([[0.0], np.ones(2 * pairs)])[None],
            ]
        ),
        b_ub=np.concatenate([(shift - base) / scale, [budget]]),
        A_eq=np.hstack([np.zeros((actions, 1)), each, -each]),
        b_eq=np.zeros(actions),
        bounds=[(None, None), *[(0.0, 1.0)] * pairs, *((0.0, mass) for mass in nominal.ravel())],
        method="highs",
        options=_EXACT,
    )
    if done.status != 0:
        raise RuntimeError(f"HiGHS could not solve the game of a state: {done.message}")
    policy = np.maximum(-done.ineqlin.marginals[:actions], 0.0)
    added, taken = done.x[1 : 1 + pairs], done.x[1 + pairs :]
    rows = np.maximum(nominal + (added - taken).reshape(actions, successors), 0.0)
    return shift + scale * float(done.x[0]), policy / policy.sum(), rows / rows.sum(axis=-1, keepdims=True)


def _alone(
    nominal: np.ndarray, budget: float, reward: np.ndarray, targets: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The game where nature's rows are plain to see: one action, nothing to spend, or nothing to lose."""
    from dynrl.robust.tabular.inner import l1_rows

    rows = l1_rows(np, nominal, np.full(len(nominal), budget), targets) if len(nominal) == 1 else nominal
    q = reward + (rows * targets).sum(axis=-1)
    return float(q.max()), np.eye(len(nominal))[q.argmax()], rows
