"""What a controller is judged by: distance to a set-point, and product obtained for what was spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

__all__ = ["SetPoint", "Yield"]

Array = Any


@dataclass(frozen=True)
class SetPoint:
    """J1: the mean over the last `tail` steps of `q = Σ ((x - x*) / x*)²`; lower is better.

    Attributes:
        targets: x* per component of the macrostate; None where it does not matter, 0 for an absolute error.
        tail: steps at the end that count.
    """

    targets: tuple[float | None, ...]
    tail: int = 200

    def __post_init__(self) -> None:
        if all(target is None for target in self.targets):
            raise ValueError(f"targets are {self.targets}, expected at least one number")
        if self.tail < 1:
            raise ValueError(f"tail is {self.tail}, expected at least 1 step")

    def instant(self, macro: Array) -> Array:
        """q of macrostates `[..., n]`, `[...]`."""
        return jnp.sum(self.errors(macro) ** 2, axis=-1)

    def errors(self, macro: Array) -> Array:
        """Relative errors `[..., n]`, 0 where there is no target."""
        target = jnp.asarray([target or 0.0 for target in self.targets])
        scale = jnp.asarray([target or 1.0 for target in self.targets])
        wanted = jnp.asarray([target is not None for target in self.targets])
        return jnp.where(wanted, (macro - target) / scale, 0.0)

    def cost(self, macro: Array, stride: int = 1) -> Array:
        """J1 of runs `[..., K + 1, n]` seen every `stride` steps, `[...]`."""
        strides = max(round(self.tail / stride), 1)
        return self.instant(macro[..., 1:, :])[..., -strides:].mean(-1)

    def full_cost(self, macro: Array) -> Array:
        """Mean of q over all steps, of runs `[..., K + 1, n]`, `[...]`."""
        return self.instant(macro[..., 1:, :]).mean(-1)


@dataclass(frozen=True)
class Yield:
    """J2: product harvested per substrate supplied; 0 where nothing was supplied. Higher is better.

    The harvest is what the macrostate says to expect: each free product is harvested with probability `rate` per step.

    Attributes:
        product: index of the product in the macrostate.
        rate: harvested share per step.
    """

    product: int = 2
    rate: float = 0.02

    def harvest(self, macro: Array, stride: int = 1) -> Array:
        """Expected harvest of runs `[..., K + 1, n]` seen every `stride` steps, `[...]`."""
        level = macro[..., self.product]
        return self.rate * stride * 0.5 * (level[..., 1:] + level[..., :-1]).sum(-1)

    def value(self, harvested: Array, supplied: Array) -> Array:
        """`harvested / supplied`, element by element."""
        return jnp.where(supplied > 0, harvested / jnp.where(supplied > 0, supplied, 1.0), 0.0)
