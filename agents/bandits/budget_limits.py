"""What may be spent, in money, and the set of scaled actions that it leaves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dynrl.agents.bandits.channels import amounts_by_name
from dynrl.bandits import BudgetSet
from dynrl.bandits.checks import non_negative


@dataclass(frozen=True)
class BudgetLimits:
    """Limits per period, in money.

    Attributes:
        channels: d names.
        total: shared by all channels.
        lower: least money per channel, in the order of `channels`.
        upper: most money per channel; None: no limit but the total.
        equality: whether all of the total must be spent.
    """

    channels: tuple[str, ...]
    total: float
    lower: tuple[float, ...]
    upper: tuple[float, ...] | None
    equality: bool

    @classmethod
    def read(cls, channels: Sequence[str], total: float, lower: Any, upper: Any, equality: bool) -> Self:
        """Limits given by channel name (or one number for all), checked.

        Raises:
            TypeError, ValueError: see `amounts_by_name`; a negative amount; limits that no allocation meets.
        """
        floors = amounts_by_name("lower", lower, channels, scalar=True)
        for name, floor in zip(channels, floors, strict=True):
            non_negative(f"lower[{name!r}]", floor)
        caps = None if upper is None else amounts_by_name("upper", upper, channels, scalar=True)
        limits = cls(
            tuple(channels),
            non_negative("total", total),
            tuple(floors.tolist()),
            None if caps is None else tuple(caps.tolist()),
            bool(equality),
        )
        limits.action_set(1.0)
        return limits

    def changed(self, **changes: Any) -> Self:
        """These limits with those that are not None replaced, checked like `read`."""
        given = {name: value for name, value in changes.items() if value is not None}
        lower = dict(zip(self.channels, self.lower, strict=True))
        upper = None if self.upper is None else dict(zip(self.channels, self.upper, strict=True))
        kept = {"total": self.total, "lower": lower, "upper": upper, "equality": self.equality}
        return self.read(self.channels, **{**kept, **given})

    def action_set(self, scale: float) -> BudgetSet:
        """The spends that the limits leave, divided by `scale`."""
        lower = np.array(self.lower)
        upper = np.maximum(self.total, lower) if self.upper is None else np.array(self.upper)
        return BudgetSet(lower / scale, upper / scale, self.total / scale, self.equality)

    def largest(self) -> float:
        """The most that one channel can get."""
        return float(self.action_set(1.0).bounding_box()[1].max())

    def as_json(self) -> dict[str, Any]:
        """Plain values, from which `BudgetLimits(**values)` is made again."""
        return dataclasses.asdict(self)


def power_of_two(amount: float) -> float:
    """The least power of two ≥ `amount`, 1 for 0; dividing by it and multiplying again is exact."""
    if amount == 0.0:
        return 1.0
    mantissa, exponent = math.frexp(amount)
    return math.ldexp(1.0, exponent - (mantissa == 0.5))
