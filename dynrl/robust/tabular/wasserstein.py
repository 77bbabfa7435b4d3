"""The rectangular set of rows that the nominal mass can be carried to at a bounded price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dynrl.robust.tabular import inner
from dynrl.robust.tabular.rectangular import SARectangular
from dynrl.robust.tabular.rows import checked_array, checked_kernel, checked_radius, freeze

__all__ = ["SAWasserstein"]

CHUNK_NUMBERS = 4_000_000
"""Most float64 numbers `[pairs, S', S']` at a time where every pair has targets of its own (32 MB)."""


@dataclass(frozen=True, eq=False)
class SAWasserstein(SARectangular):
    """Rows to which the nominal mass can be moved at an expected price of at most `radius`.

    Attributes:
        nominal: p0, `[S, A, S']`.
        cost: d, price of moving mass from successor x to y, `[S', S']`; 0 on the diagonal, at least 0 elsewhere.
        radius: ρ, `[S, A]` or one number, at least 0.

    Raises:
        ValueError: rows that are no probabilities, a cost or a radius that is wrong; names the place.
    """

    nominal: Any
    cost: Any
    radius: Any
    inner = staticmethod(inner.wasserstein_rows)

    def __post_init__(self) -> None:
        nominal = checked_kernel(self.nominal, "nominal")
        cost = checked_array(self.cost, "cost")
        successors = nominal.shape[2]
        if cost.shape != (successors, successors):
            raise ValueError(f"cost has shape {cost.shape}, expected [{successors}, {successors}].")
        if (cost < 0).any() or np.diagonal(cost).any():
            raise ValueError(
                "cost must be at least 0 everywhere and 0 on the diagonal: staying where one is is free."
            )
        radius = checked_radius(self.radius, nominal.shape[:2], "radius")
        freeze(self, nominal=nominal, cost=cost, radius=radius, shape=nominal.shape)

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.nominal, self.radius

    @property
    def shared(self) -> tuple[np.ndarray, ...]:
        return (self.cost,)

    @property
    def nominal_kernel(self) -> np.ndarray:
        return self.nominal

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        """One transport problem (a linear program) for each pair."""
        return np.array(
            [
                [
                    transport_price(self.nominal[state, action], kernel[state, action], self.cost)
                    <= self.radius[state, action] + tolerance
                    for action in range(self.shape[1])
                ]
                for state in range(self.shape[0])
            ]
        )

    def worst_of(self, per_pair: tuple[np.ndarray, ...], targets: np.ndarray) -> np.ndarray:
        nominal, radius = per_pair[0].reshape(-1, self.shape[2]), per_pair[1].reshape(-1)
        if targets.ndim == 1:
            return _carried(nominal, radius, _steps(self.cost, targets)).reshape(per_pair[0].shape)
        own, size = targets.reshape(nominal.shape), max(1, CHUNK_NUMBERS // self.cost.size)
        parts = [slice(begin, begin + size) for begin in range(0, len(nominal), size)]
        rows = [
            inner.wasserstein_rows(np, nominal[part], radius[part], self.cost, own[part]) for part in parts
        ]
        return np.concatenate(rows).reshape(per_pair[0].shape)


class _Steps(NamedTuple):
    """Moves that lower the target, the best per price first.

    Attributes:
        free: where the mass of each successor goes at no price, `[n]`.
        source, begin, end, price: of each move, `[moves]`: mass that was at `source` goes on from `begin` to `end`.
    """

    free: np.ndarray
    source: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    price: np.ndarray


def _steps(cost: np.ndarray, targets: np.ndarray) -> _Steps:
    """The lower convex hulls of the points (d(x, y), z(y)) of all sources x, walked from the left, in one list."""
    sources = np.arange(len(targets))
    at = free = np.where(cost == 0, targets, np.inf).argmin(axis=1)
    paid, key = np.zeros(len(targets)), np.full(len(targets), -np.inf)
    found = []
    while True:
        further = cost - paid[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(further > 0, (targets - targets[at][:, None]) / further, np.inf)
        steepest = slope.min(axis=1)
        # Among points on one line the farthest, so that slopes grow along the walk.
        to = np.where(slope == steepest[:, None], further, -1.0).argmax(axis=1)
        moving = steepest < 0
        if not moving.any():
            break
        price = np.where(moving, further[sources, to], 0.0)
        # Rounding must not put a later step of a walk before an earlier one.
        key = np.maximum(steepest, key)
        found.append(np.stack([sources, at, to, price, key])[:, moving])
        at, paid = np.where(moving, to, at), np.where(moving, paid + price, np.inf)
    moves = np.concatenate(found, axis=1) if found else np.empty((5, 0))
    moves = moves[:, np.argsort(moves[4], kind="stable")]
    source, begin, end = moves[:3].astype(int)
    return _Steps(free, source, begin, end, moves[3])


def _carried(nominal: np.ndarray, radius: np.ndarray, steps: _Steps) -> np.ndarray:
    """Rows `[pairs, n]` after the steps that the budgets `[pairs]` pay for; the last one in part."""
    columns = np.ascontiguousarray(nominal.T)
    rows = np.zeros_like(columns)
    np.add.at(rows, steps.free, columns)
    left = radius.copy()
    for source, begin, end, price in zip(*steps[1:], strict=True):
        moved = np.minimum(columns[source], left / price)
        left = np.maximum(left - moved * price, 0.0)
        rows[begin] -= moved
        rows[end] += moved
        if not left.any():
            break
    return np.maximum(rows, 0.0).T


def transport_price(source: np.ndarray, target: np.ndarray, cost: np.ndarray) -> float:
    """The cheapest expected price of turning the row `source [n]` into `target [n]`; infinite where there is no way."""
    from scipy.optimize import linprog

    n = len(source)
    leaving, arriving = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    done = linprog(
        cost.ravel(),
        A_eq=np.vstack([leaving, arriving[:-1]]),
        b_eq=np.concatenate([source, target[:-1]]),
        method="highs",
    )
    return float(done.fun) if done.status == 0 else float("inf")
