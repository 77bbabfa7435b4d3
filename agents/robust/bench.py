"""`dynrl bench robust`: tabular solvers, worst-case search, reports and robust training against their bars."""

from __future__ import annotations

from collections.abc import Iterator

from dynrl.agents.robust import bench_training
from dynrl.bench import Figure, robust_import, robust_search, robust_tabular


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure; `quick` leaves out the trainings and what else takes minutes."""
    yield from robust_import.figures(quick)
    yield from robust_tabular.figures(quick)
    yield from robust_search.figures(quick)
    yield from bench_training.figures(quick)
