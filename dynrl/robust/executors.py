"""Spreading an evaluation over threads or processes, with the same bytes as without.

The unit of work is (candidate id, block of psi, block of episode seeds) -> returns: stateless, repeatable, and keyed
by where its block stands, so that neither the order of arrival nor a repetition matters.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.robust.evaluation.returns import (
    Evaluator,
    Returns,
    checked_request,
    join_episodes,
    join_models,
)

KINDS = ("serial", "threads", "process", "ray")


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        candidate: identifies the policy.
        block: (which models, which episodes): the key of its result.
        psi: `[n, d]`.
        episode_seeds: `[k]`.
    """

    candidate: str
    block: tuple[int, int]
    psi: np.ndarray
    episode_seeds: np.ndarray


class ParallelEvaluator:
    """An evaluator that cuts its request into units and has them played side by side.

    Use it as a context manager, or call `close`: threads and processes stay for the next call. A policy goes to each
    process once. The evaluator, and the policy for processes, must be of importable modules; a process starts afresh
    (spawn), so a script needs its `if __name__ == "__main__":`.

    Args:
        evaluator: what plays a unit.
        executor: `"serial"`, `"threads"` or `"process"`. `"ray"`, for clusters, is to come.
        workers: threads or processes; None for one per core that this process may use.
        models: psi per unit.
        episodes: episode seeds per unit; None for all of them.

    Raises:
        ValueError: an unknown executor, or sizes below 1.
        ImportError: `"ray"` without the extra that brings it.
        NotImplementedError: `"ray"`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        executor: str = "serial",
        *,
        workers: int | None = None,
        models: int = 64,
        episodes: int | None = None,
    ) -> None:
        if executor not in KINDS:
            raise ValueError(f"executor {executor!r} is unknown, expected one of {', '.join(KINDS)}.")
        if executor == "ray":
            _refuse_ray()
        count = workers or len(os.sched_getaffinity(0))
        if count < 1 or models < 1 or (episodes is not None and episodes < 1):
            raise ValueError("workers, models and episodes must be at least 1.")
        self.evaluator, self.kind, self.workers = evaluator, executor, count
        self._models, self._episodes = models, episodes
        self._pool: Executor | None = None

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        models, seeds = checked_request(psi, episode_seeds)
        results = dict(self._results(policy, models, seeds))
        rows = sorted({row for row, _ in results})
        columns = sorted({column for _, column in results})
        return join_models([join_episodes([results[row, column] for column in columns]) for row in rows])

    def __enter__(self) -> ParallelEvaluator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let threads and processes go; a later call starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _results(
        self, policy: Any, models: np.ndarray, seeds: np.ndarray
    ) -> Iterator[tuple[tuple[int, int], Returns]]:
        if self.kind == "serial":
            for unit in self._units("", models, seeds):
                yield unit.block, self.evaluator(policy, unit.psi, unit.episode_seeds)
        elif self.kind == "threads":
            self._pool = self._pool or ThreadPoolExecutor(self.workers)
            units = list(self._units("", models, seeds))
            futures = [
                self._pool.submit(self.evaluator, policy, unit.psi, unit.episode_seeds) for unit in units
            ]
            yield from ((unit.block, future.result()) for unit, future in zip(units, futures, strict=True))
        else:
            # Between our own processes only; nothing of it is ever stored.
            sent = _packed(policy)
            candidate = hashlib.sha256(sent).hexdigest()
            self._pool = self._pool or ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _take_up, (self.evaluator,)
            )
            submitted = [
                self._pool.submit(_play, unit, sent) for unit in self._units(candidate, models, seeds)
            ]
            yield from (future.result() for future in submitted)

    def _units(self, candidate: str, models: np.ndarray, seeds: np.ndarray) -> Iterator[Unit]:
        width = self._episodes or len(seeds)
        for row in range(0, len(models), self._models):
            for column in range(0, len(seeds), width):
                yield Unit(
                    candidate,
                    (row, column),
                    models[row : row + self._models],
                    seeds[column : column + width],
                )


_evaluator: Evaluator | None = None
_candidate: tuple[str, Any] = ("", None)


def _take_up(evaluator: Evaluator) -> None:
    """Begin a process: the evaluator stays in it, with whatever it has compiled."""
    global _evaluator
    _evaluator = evaluator


def _play(unit: Unit, sent: bytes) -> tuple[tuple[int, int], Returns]:
    global _candidate
    if _candidate[0] != unit.candidate:
        _candidate = (unit.candidate, pickle.loads(sent))
    if _evaluator is None:
        raise RuntimeError("this process was not started by a ParallelEvaluator.")
    return unit.block, _evaluator(_candidate[1], unit.psi, unit.episode_seeds)


class _Pickler(pickle.Pickler):
    """Refers to JAX's activation functions by their public names: they do not know where they are found."""

    def reducer_override(self, obj: Any) -> Any:
        name = getattr(obj, "__name__", None)
        if callable(obj) and isinstance(name, str) and not isinstance(obj, type):
            import jax

            for home in (jax.nn, jax.numpy):
                if vars(home).get(name) is obj:
                    return _named, (home.__name__, name)
        return NotImplemented


def _named(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _packed(policy: Any) -> bytes:
    content = io.BytesIO()
    try:
        _Pickler(content).dump(policy)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"the policy {type(policy).__name__} cannot be sent to another process ({error}): use functions of "
            "importable modules, or executor='threads'."
        ) from error
    return content.getvalue()


def _refuse_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise ImportError(
            "executor='ray' needs Ray: pip install 'dynrl[cluster]'. On one machine use 'threads' or 'process'."
        )
    raise NotImplementedError(
        "executor='ray' comes with the cluster executor; on one machine use 'threads' or 'process'."
    )
