"""What every bandit algorithm here is: hold an action, reduce the rewards of the hold to one sample, learn from it.

The text of an algorithm is written once, on arrays of either NumPy (one run, in `BanditAgent`) or JAX (thousands of
runs, in `simulate`). It never loops over rounds: who drives it does.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from dynrl.agents.bandits.linear_algebra import quadratic_forms

Array = Any  # numpy.ndarray or jax.Array; the functions below take either


class Schedule(NamedTuple):
    """The deterministic part of a run, epoch by epoch.

    Attributes:
        holds: int64 `[M]`, rounds that each epoch lasts (≥ 1).
        inputs: what `choose`, `learn` and `misses` are given in each epoch, arrays `[M, ...]` by name.
    """

    holds: np.ndarray
    inputs: dict[str, np.ndarray]


class BanditAlgorithm:
    """Pure functions of one algorithm, and its numeric constants as the leaves of a pytree.

    Subclasses are frozen dataclasses registered with `jax.tree_util.register_dataclass`.

    `sample` says which rewards of a hold of `L` rounds make the sample: `"last"` the last one, `"mean"` their mean,
    `"tail_mean"` the mean of the last `ceil(L/2)`. `draw` is the randomness that `choose` asks for: a distribution
    and how many numbers. An algorithm that is not `compiled` is more than these functions say and has no `simulate`.
    """

    sample: ClassVar[Literal["last", "mean", "tail_mean"]] = "last"
    compiled: ClassVar[bool] = True

    actions: Array  # [K, d] candidate actions

    def squared_widths(self, matrix: Array) -> Array:
        """`uᵀMu` for every candidate u, `[K]`; M `[d, d]` is symmetric."""
        if (
            isinstance(matrix, np.ndarray)
            and isinstance(self.actions, np.ndarray)
            and self.actions.size <= 4096
        ):
            return self._outer_products.dot(matrix.reshape(-1))
        return quadratic_forms(self.actions, matrix)

    @functools.cached_property
    def _outer_products(self) -> Array:
        """`uuᵀ` of every candidate as a row, `[K, d²]`."""
        return (self.actions[:, :, None] * self.actions[:, None, :]).reshape(len(self.actions), -1)

    @property
    def draw(self) -> tuple[Literal["none", "uniform", "normal"], int]:
        return "none", 0

    def schedule(self, num_epochs: int) -> Schedule:
        """Holds and inputs of epochs `1..num_epochs` (computed on the host)."""
        return Schedule(np.ones(num_epochs, np.int64), {})

    def init(self) -> Any:
        """State before the first round, a pytree of NumPy arrays."""
        raise NotImplementedError

    def choose(self, state: Any, inputs: dict[str, Array], draw: Array) -> tuple[Any, Array]:
        """New state and the index into `actions` to hold for this epoch."""
        raise NotImplementedError

    def learn(self, state: Any, inputs: dict[str, Array], index: Array, action: Array, sample: Array) -> Any:
        """State after a completed epoch that held `action` and gave `sample`."""
        raise NotImplementedError

    def refresh(self, state: Any) -> Any:
        """`state` with quantities that are kept by updates recomputed from their master copies."""
        return state

    def recommend(self, state: Any) -> Array:
        """Index of the action that the data so far speaks for, without exploration."""
        raise NotImplementedError

    def misses(self, state: Any, inputs: dict[str, Array], h: Array) -> Array:
        """1 where the algorithm's confidence set does not hold the true `h`, else 0 (also without such a set)."""
        return h.sum() * 0


def schedule_until(algorithm: BanditAlgorithm, horizon: int) -> Schedule:
    """The shortest schedule whose epochs cover `horizon` rounds, the last hold cut at the horizon."""
    num_epochs = 64
    schedule = algorithm.schedule(num_epochs)
    while schedule.holds.sum() < horizon:
        num_epochs = min(2 * num_epochs, max(horizon, 1))
        schedule = algorithm.schedule(num_epochs)
    ends = np.cumsum(schedule.holds)
    count = int(np.searchsorted(ends, horizon)) + 1 if horizon > 0 else 0
    holds = schedule.holds[:count].copy()
    if count:
        holds[-1] -= ends[count - 1] - horizon
    return Schedule(holds, {name: table[:count] for name, table in schedule.inputs.items()})


def counted_rounds(kind: str, holds: Array) -> Array:
    """How many rounds at the end of a hold of length `holds` (an integer or an array of them) make its sample."""
    if kind == "last":
        return holds // holds
    return holds if kind == "mean" else -(-holds // 2)
