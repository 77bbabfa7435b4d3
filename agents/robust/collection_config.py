"""Settings that the off-policy robust methods share: how they collect transitions and how often they learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["CollectionConfig", "check_counts", "check_positive"]


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How a method collects and learns; each adds its own settings.

    Attributes:
        num_envs: lanes of the vector environment.
        random_steps: environment steps with random actions of everybody before learning; None for
            `most_random_steps`, or a tenth of the budget where that is less.
        updates_per_step: updates, of each player that learns, per environment step.
        capacity: transitions remembered in each replay.
        record_every: environment steps between two records of the history.
    """

    most_random_steps: ClassVar[int] = 25_000

    num_envs: int = 8
    random_steps: int | None = None
    updates_per_step: float = 1.0
    capacity: int = 1_000_000
    record_every: int = 5000

    def __post_init__(self) -> None:
        check_counts(self, "num_envs", "capacity", "record_every")
        check_positive(self, "updates_per_step")

    def first_steps(self, budget: int) -> int:
        """Environment steps of the random phase."""
        return min(self.most_random_steps, budget // 10) if self.random_steps is None else self.random_steps


def check_counts(config: Any, *names: str) -> None:
    """Raises: ValueError: a setting below 1, by name."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def check_positive(config: Any, *names: str) -> None:
    """Raises: ValueError: a setting that is not positive, by name."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
