"""CMA-ES (Hansen) through the package `cma`, with draws of our own generator: no global state is touched."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.robust.search.designs import Proposals


@dataclass(frozen=True)
class CMAES:
    """CMA-ES from the centre of the cube, restarted from random points with a doubled population.

    Attributes:
        population: points per generation; None for `4 + 3 ln d` (rounded down), small populations with many
            generations being better on rugged landscapes than large ones with few (spec 9.1).
        sigma: first standard deviation, in units of the cube.
        generations: per start; None for until it has converged.
        restarts: how often it begins anew after convergence; None for as long as the budget lasts.
    """

    population: int | None = None
    sigma: float = 0.3
    generations: int | None = None
    restarts: int | None = None

    def __post_init__(self) -> None:
        if self.population is not None and self.population < 2:
            raise ValueError(f"CMAES.population is {self.population}, expected at least 2.")
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"CMAES.sigma is {self.sigma}, expected a positive number.")

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        start, population = np.full(dim, 0.5), self.population
        begun = 0
        while self.restarts is None or begun <= self.restarts:
            run = EvolutionStrategy(start, self.sigma, population, rng)
            generation = 0
            while not run.stopped and (self.generations is None or generation < self.generations):
                run.tell((yield run.ask()))
                generation += 1
            start, population, begun = rng.random(dim), 2 * run.population, begun + 1


class EvolutionStrategy:
    """One start of CMA-ES in the unit cube, ask and tell."""

    def __init__(
        self, start: np.ndarray, sigma: float, population: int | None, rng: np.random.Generator
    ) -> None:
        import cma

        # The package refuses one dimension: a second one that has no effect is added and hidden.
        self._dim = len(start)
        centre = np.append(start, 0.5) if self._dim == 1 else np.array(start)
        self.population = population or 4 + int(3 * math.log(max(self._dim, 1)))
        options: dict[str, Any] = {
            "bounds": [0, 1],
            "popsize": self.population,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
            "tolx": 1e-8,
            "tolfun": 0,
            "tolfunhist": 0,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own choices, such as a start on the border
            self._strategy = cma.CMAEvolutionStrategy(centre, sigma, options)
        self._asked: Sequence[np.ndarray] = []

    @property
    def stopped(self) -> bool:
        return bool(self._strategy.stop())

    def ask(self) -> np.ndarray:
        """Return the next generation `[population, dim]`."""
        self._asked = self._strategy.ask()
        return np.clip(np.array(self._asked)[:, : self._dim], 0, 1)

    def tell(self, values: np.ndarray) -> None:
        self._strategy.tell(self._asked, [float(value) for value in values])
