"""Rectangular sets around a nominal kernel: distance balls and contamination."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dynrl.robust.tabular import inner
from dynrl.robust.tabular.rectangular import SARectangular
from dynrl.robust.tabular.rows import checked_kernel, checked_radius, freeze

__all__ = ["SAKL", "SAL1", "SAChi2", "SAContamination"]


@dataclass(frozen=True, eq=False)
class SAL1(SARectangular):
    """Rows within an L1 distance of the nominal: `Σ|p − p0| ≤ budget`. A total-variation radius ρ is a budget of 2ρ.

    Attributes:
        nominal: p0, `[S, A, S']`.
        budget: `[S, A]` or one number, at least 0; above 2 it is 2, the whole simplex.

    Raises:
        ValueError: rows that are no probabilities, a negative budget; names the pair.
    """

    nominal: Any
    budget: Any
    inner = staticmethod(inner.l1_rows)

    def __post_init__(self) -> None:
        nominal = checked_kernel(self.nominal, "nominal")
        budget = np.minimum(checked_radius(self.budget, nominal.shape[:2], "budget"), 2.0)
        freeze(self, nominal=nominal, budget=budget, shape=nominal.shape)

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.nominal, self.budget

    @property
    def nominal_kernel(self) -> np.ndarray:
        return self.nominal

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        return _probable(kernel, tolerance) & (
            np.abs(kernel - self.nominal).sum(axis=-1) <= self.budget + tolerance
        )

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.ascontiguousarray(self.nominal.reshape(-1, self.shape[2]).T)

    def minimum(self, targets: np.ndarray) -> np.ndarray:
        if targets.ndim > 1:
            return super().minimum(targets)
        # One column of the transposed kernel after the other, for all pairs at once, until no pair has mass to move:
        # no sorted copy of the kernel, and a small budget looks at a few columns only.
        order = np.argsort(targets, kind="stable")
        lowest = order[0]
        left = np.minimum(self.budget.ravel() / 2, 1 - self._columns[lowest])
        value = targets @ self._columns
        taken = np.empty_like(left)
        for successor in order[:0:-1]:
            np.minimum(left, self._columns[successor], out=taken)
            left -= taken
            taken *= targets[successor] - targets[lowest]
            value -= taken
            if not left.any():
                break
        return value.reshape(self.shape[:2])


@dataclass(frozen=True, eq=False)
class _DivergenceBall(SARectangular):
    """Rows whose divergence from the nominal is at most a radius; the subclass says which divergence."""

    nominal: Any
    radius: Any

    def __post_init__(self) -> None:
        nominal = checked_kernel(self.nominal, "nominal")
        radius = checked_radius(self.radius, nominal.shape[:2], "radius")
        freeze(self, nominal=nominal, radius=radius, shape=nominal.shape)

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.nominal, self.radius

    @property
    def nominal_kernel(self) -> np.ndarray:
        return self.nominal


@dataclass(frozen=True, eq=False)
class SAKL(_DivergenceBall):
    """Rows within a Kullback-Leibler divergence of the nominal: `KL(p‖p0) ≤ radius`, on the support of p0.

    Attributes:
        nominal: p0, `[S, A, S']`.
        radius: β, `[S, A]` or one number, at least 0.

    Raises:
        ValueError: rows that are no probabilities, a negative radius; names the pair.
    """

    inner = staticmethod(inner.kl_rows)

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        inside = (kernel <= tolerance) | (self.nominal > 0)
        ratio = np.where((kernel > 0) & (self.nominal > 0), kernel, 1.0) / np.where(
            (kernel > 0) & (self.nominal > 0), self.nominal, 1.0
        )
        divergence = (kernel * np.log(ratio)).sum(axis=-1)
        return _probable(kernel, tolerance) & inside.all(axis=-1) & (divergence <= self.radius + tolerance)


@dataclass(frozen=True, eq=False)
class SAChi2(_DivergenceBall):
    """Rows within a χ² divergence of the nominal: `Σ (p − p0)² / p0 ≤ radius`, on the support of p0.

    Attributes:
        nominal: p0, `[S, A, S']`.
        radius: β, `[S, A]` or one number, at least 0.

    Raises:
        ValueError: rows that are no probabilities, a negative radius; names the pair.
    """

    inner = staticmethod(inner.chi2_rows)

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        inside = (kernel <= tolerance) | (self.nominal > 0)
        weight = np.where(self.nominal > 0, self.nominal, 1.0)
        divergence = np.where(self.nominal > 0, (kernel - self.nominal) ** 2 / weight, 0.0).sum(axis=-1)
        return _probable(kernel, tolerance) & inside.all(axis=-1) & (divergence <= self.radius + tolerance)


@dataclass(frozen=True, eq=False)
class SAContamination(SARectangular):
    """The nominal row with a share handed to nature: `(1 − share) p0 + share q`, q any row.

    Attributes:
        nominal: p0, `[S, A, S']`.
        share: ε, `[S, A]` or one number in [0, 1].

    Raises:
        ValueError: rows that are no probabilities, a share outside [0, 1]; names the pair.
    """

    nominal: Any
    share: Any
    inner = staticmethod(inner.contamination_rows)

    def __post_init__(self) -> None:
        nominal = checked_kernel(self.nominal, "nominal")
        share = checked_radius(self.share, nominal.shape[:2], "share")
        if share.max() > 1:
            raise ValueError(f"share is {share.max():.6g} somewhere, expected a share of the mass in [0, 1].")
        freeze(self, nominal=nominal, share=share, shape=nominal.shape)

    @property
    def per_pair(self) -> tuple[np.ndarray, ...]:
        return self.nominal, self.share

    @property
    def nominal_kernel(self) -> np.ndarray:
        return self.nominal

    def contains(self, kernel: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        kept = (1 - self.share)[..., None] * self.nominal
        return _probable(kernel, tolerance) & (kernel >= kept - tolerance).all(axis=-1)

    def minimum(self, targets: np.ndarray) -> np.ndarray:
        if targets.ndim > 1:
            return super().minimum(targets)
        return (1 - self.share) * (self.nominal @ targets) + self.share * targets.min()


def _probable(kernel: np.ndarray, tolerance: float) -> np.ndarray:
    return (kernel >= -tolerance).all(axis=-1) & (np.abs(kernel.sum(axis=-1) - 1) <= tolerance)
