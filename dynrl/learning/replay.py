"""A ring buffer of transitions on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Replay", "Transitions"]


class Transitions(NamedTuple):
    """Transitions with any leading shape, as NumPy or JAX arrays.

    Attributes:
        observation: `[..., o]`, float32.
        action: `[..., a]` unit actions, float32.
        reward: `[...]`, float32.
        next_observation: `[..., o]`; the last one of its episode where the episode ended, never the next one's first.
        terminated: `[...]` float32, 1 where the world ended. Where only the time limit was reached it is 0: the value
            of the next state counts (Pardo et al., "Time Limits in Reinforcement Learning", 2018).
        extra: `[..., e]`, a further column such as model parameters; `e` may be 0.
    """

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any
    extra: Any


class Replay:
    """The last `capacity` transitions, drawn uniformly with replacement.

    Memory grows with what is stored, up to the capacity.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int, extra_size: int = 0) -> None:
        """Raises: ValueError: a capacity below 1."""
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._widths = (observation_size, action_size, None, observation_size, None, extra_size)
        self._columns = Transitions(*(self._empty(0, width) for width in self._widths))
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    @property
    def added(self) -> int:
        """Transitions added since the beginning, overwritten ones included."""
        return self._added

    def add(self, transitions: Transitions) -> None:
        """Appends transitions `[n, ...]`, n at most the capacity, overwriting the oldest.

        Raises:
            ValueError: more than fit.
        """
        count = len(transitions.reward)
        if count > self.capacity:
            raise ValueError(f"{count} transitions do not fit into a buffer of {self.capacity}")
        self._grow(min(self._added + count, self.capacity))
        places = np.arange(self._added, self._added + count) % self.capacity
        for column, new in zip(self._columns, transitions, strict=True):
            column[places] = new
        self._added += count

    def sample(self, rng: np.random.Generator, *shape: int) -> Transitions:
        """Transitions drawn uniformly, each column `[*shape, ...]`.

        Raises:
            ValueError: nothing is stored.
        """
        if not len(self):
            raise ValueError("the buffer is empty: add transitions before sampling")
        places = rng.integers(len(self), size=shape)
        return Transitions(*(column[places] for column in self._columns))

    def all(self) -> Transitions:
        """Everything stored, in the order of the ring (views; do not write)."""
        return Transitions(*(column[: len(self)] for column in self._columns))

    def state_dict(self) -> dict[str, np.ndarray]:
        """The content as named arrays; `load_state_dict` reverses it."""
        return {**self.all()._asdict(), "added": np.asarray(self._added)}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ValueError: it holds more than the capacity or columns of other widths.
        """
        stored = Transitions(*(np.asarray(arrays[name]) for name in Transitions._fields))
        count = min(int(arrays["added"]), self.capacity)
        for name, column, width in zip(Transitions._fields, stored, self._widths, strict=True):
            expected = (count,) if width is None else (count, width)
            if column.shape != expected:
                raise ValueError(f"replay column {name!r} has the shape {column.shape}, expected {expected}")
        self._columns = Transitions(*(np.array(column, np.float32) for column in stored))
        self._added = int(arrays["added"])

    def _grow(self, needed: int) -> None:
        held = len(self._columns.reward)
        if needed <= held:
            return
        size = min(self.capacity, max(needed, 2 * held, 4096))
        grown = Transitions(*(self._empty(size, width) for width in self._widths))
        for new, old in zip(grown, self._columns, strict=True):
            new[:held] = old
        self._columns = grown

    @staticmethod
    def _empty(rows: int, width: int | None) -> np.ndarray:
        return np.zeros((rows,) if width is None else (rows, width), np.float32)
