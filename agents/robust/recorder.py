"""What a training loop notes down and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dynrl.agents.robust.training import Callback, Collection, Progress

__all__ = ["Recorder"]


class Recorder:
    """An `after_step` of `run_off_policy`: a record and a callback whenever `every` environment steps have passed.

    Args:
        every: environment steps between two records.
        stage: what the callback is told is being done.
        callback: told of each record, or None.
        more: gives further JSON values for the record, or None.
    """

    def __init__(
        self,
        every: int,
        stage: str,
        callback: Callback | None = None,
        more: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.every, self.stage, self.callback, self.more = every, stage, callback, more
        self.history: list[dict[str, Any]] = []
        self._before, self._now = 0, 0

    @property
    def steps(self) -> int:
        """Environment steps of all stages so far."""
        return self._before + self._now

    def __call__(self, collection: Collection, metrics: Mapping[str, float]) -> bool:
        last, self._now = self.steps, collection.steps
        if self.steps // self.every > last // self.every:
            figures = {"return": collection.recent_return(), **metrics}
            further = {} if self.more is None else self.more()
            self.history.append({"env_steps": self.steps, **figures, **further})
            if self.callback is not None:
                self.callback(Progress(self.steps, self.stage, figures))
        return False

    def next_stage(self, collection: Collection) -> None:
        """Counts on from here: the next collection begins at 0."""
        self._before, self._now = self._before + collection.steps, 0
