"""The default search: look everywhere, then dig where it looks worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynrl.robust.search.cmaes import EvolutionStrategy
from dynrl.robust.search.designs import Proposals, corner_points, sobol_points


@dataclass(frozen=True)
class Auto:
    """Corners and Sobol points, then CMA-ES from the worst distinct points until the budget is used.

    Several starts run side by side, so that a generation of all of them is one batch; one that has converged makes
    way for the worst point that is far from every start so far.

    Attributes:
        sobol: Sobol points.
        starts: CMA-ES runs side by side.
        population: of each; None for `4 + 3 ln d` (rounded down).
        sigma: first standard deviation, in units of the cube.
        distance: how far apart, in the largest coordinate, two starts must be.
    """

    sobol: int = 256
    starts: int = 4
    population: int | None = None
    sigma: float = 0.05
    distance: float = 0.05

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        points = np.concatenate([corner_points(dim, self.sobol, rng), sobol_points(self.sobol, dim, rng)])
        values = yield points
        chosen: list[np.ndarray] = []
        runs: list[EvolutionStrategy] = []
        while True:
            runs = [run for run in runs if not run.stopped]
            while len(runs) < self.starts:
                start = self._next_start(points, values, chosen, rng)
                chosen.append(start)
                runs.append(EvolutionStrategy(start, self.sigma, self.population, rng))
            batches = [run.ask() for run in runs]
            found = yield np.concatenate(batches)
            ends = np.cumsum([len(batch) for batch in batches])[:-1]
            for run, part in zip(runs, np.split(found, ends), strict=True):
                run.tell(part)

    def _next_start(
        self, points: np.ndarray, values: np.ndarray, chosen: list[np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        for index in np.argsort(values, kind="stable"):
            point = points[index]
            if all(np.abs(point - other).max() >= self.distance for other in chosen):
                return point
        return rng.random((1, points.shape[1]))[0]
