"""Random points, then ever closer around the worst ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynrl.robust.search.designs import Proposals


@dataclass(frozen=True)
class RandomLocal:
    """Uniform points, then clouds around the worst so far whose width halves whenever a cloud finds nothing worse.

    The baseline that a cleverer search has to beat; it has no more assumptions than a box.

    Attributes:
        random: uniform points to begin with, in one batch.
        cloud: points per cloud, one batch.
        width: first standard deviation of a cloud, in units of the cube.
        smallest: width below which a new cloud begins anew at `width`, around the next worst random point.
    """

    random: int = 256
    cloud: int = 32
    width: float = 0.1
    smallest: float = 1e-4

    def proposals(self, dim: int, rng: np.random.Generator) -> Proposals:
        points = rng.random((self.random, dim))
        values = yield points
        for start in np.argsort(values, kind="stable"):
            centre, worst, width = points[start], values[start], self.width
            while width >= self.smallest:
                cloud = np.clip(centre + width * rng.standard_normal((self.cloud, dim)), 0, 1)
                found = yield cloud
                lowest = int(np.argmin(found))
                if found[lowest] < worst:
                    centre, worst = cloud[lowest], found[lowest]
                else:
                    width /= 2
