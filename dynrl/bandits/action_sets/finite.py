"""A finite list of actions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets.base import ActionSet, array_and_namespace
from dynrl.bandits.checks import finite_array

__all__ = ["FiniteSet"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FiniteSet(ActionSet):
    """K given actions. Duplicates and the zero action are legal; of tied actions the first is chosen.

    Attributes:
        actions: [K, d], finite.

    Raises:
        ValueError: no action, or entries that are not finite.
    """

    actions: Array

    def __post_init__(self) -> None:
        actions = finite_array("actions", self.actions, 2)
        if 0 in actions.shape:
            raise ValueError(
                f"actions must hold at least one action with one coordinate, but has shape {actions.shape}"
            )
        object.__setattr__(self, "actions", actions)

    def __len__(self) -> int:
        return self.actions.shape[0]

    @property
    def dimension(self) -> int:  # type: ignore[override]
        return self.actions.shape[1]

    def linear_argmax(self, w: Any) -> Any:
        w, xp = array_and_namespace(w)
        scores = w @ self.actions.T
        best = scores.max(-1, keepdims=True)
        first = xp.argmax(scores >= best - 1e-12 * xp.maximum(1.0, abs(best)), axis=-1)
        return xp.take(xp.asarray(self.actions), first, axis=0)

    def nearest(self, u: Any) -> Any:
        """Index [...] of the action nearest to each point u [..., d]; of equally near ones the first."""
        u, xp = array_and_namespace(u)
        return xp.argmin(((u[..., None, :] - self.actions) ** 2).sum(-1), axis=-1)

    def project(self, u: Any) -> Any:
        _, xp = array_and_namespace(u)
        return xp.take(xp.asarray(self.actions), self.nearest(u), axis=0)

    def excess(self, u: ArrayLike) -> Any:
        return abs(np.asarray(u, dtype=np.float64)[..., None, :] - self.actions).max(-1).min(-1)

    def violation(self, u: ArrayLike) -> str:
        amount = self.excess(u)
        if amount == 0:
            return ""
        return f"it differs by {amount:.6g} from action {self.nearest(u)}, the nearest of {len(self)}"

    def max_norm(self) -> float:
        return float(np.linalg.norm(self.actions, axis=1).max())

    def sample(self, rng: np.random.Generator) -> Array:
        return self.actions[rng.integers(len(self))]

    def bounding_box(self) -> tuple[Array, Array]:
        return self.actions.min(0), self.actions.max(0)

    def candidates(self) -> Array:
        return self.actions

    def to_gym_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self))
