"""Designs fixed in advance: corners, grids and Sobol points, each evaluated as one batch."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Proposals = Generator[np.ndarray, np.ndarray, None]


class Method(Protocol):
    """How a search proposes models.

    `proposals(dim, rng)` is a generator: it yields batches of points `[K, dim]` of the unit cube and is sent their
    values `[K]`, smaller being worse for the policy. It ends when it has nothing left to propose; whoever runs it may
    stop earlier. All draws come from `rng`.
    """

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals: ...


@dataclass(frozen=True)
class Corners:
    """The corners of the box: where worst cases often are (spec 7.3).

    Attributes:
        limit: where there are more corners than this, so many drawn without replacement.
    """

    limit: int = 256

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        yield corner_points(dim, self.limit, rng)


@dataclass(frozen=True)
class Grid:
    """A regular grid, the first parameter varying slowest.

    Attributes:
        n: points per parameter.
        endpoint: whether the upper end is tested (`linspace(low, high, n)`, as M2TD3 evaluates) or not
            (`low + k (high - low) / n`, as RRLS does).
    """

    n: int = 10
    endpoint: bool = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Grid.n is {self.n}, expected at least 1 point per parameter.")

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        axis = np.linspace(0, 1, self.n, endpoint=self.endpoint)
        yield np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)


@dataclass(frozen=True)
class Sobol:
    """Scrambled Sobol points (Owen): evenly spread, different for every seed.

    Attributes:
        n: how many; powers of two are spread best.
    """

    n: int = 256

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Sobol.n is {self.n}, expected at least 1 point.")

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        yield sobol_points(self.n, dim, rng)


def sobol_points(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` scrambled Sobol points `[n, dim]`, in [0, 1)."""
    from scipy.stats import qmc

    # Drawing a power of two and cutting keeps SciPy from warning and the first points the same for every n.
    return qmc.Sobol(dim, rng=rng).random_base2(max(n - 1, 1).bit_length())[:n]


def corner_points(dim: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return the `2**dim` corners `[K, dim]`, or `limit` of them drawn without replacement."""
    if 2**dim <= limit:
        return np.array(list(itertools.product((0.0, 1.0), repeat=dim)))
    drawn: dict[tuple[float, ...], None] = {}
    while len(drawn) < limit:
        drawn[tuple(rng.integers(0, 2, dim).astype(float))] = None
    return np.array(list(drawn))
