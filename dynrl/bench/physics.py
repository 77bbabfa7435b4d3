"""`dynrl bench physics`: robots against Gymnasium's own, speed against EnvPool, parameters, MJX and training."""

from __future__ import annotations

from collections.abc import Iterator

from dynrl.bench import Figure
from dynrl.registry import Entry, load

PARTS = (
    "dynrl.bench.physics_throughput:figures",
    "dynrl.bench.physics_parameters:figures",
    "dynrl.bench.physics_training:figures",
)
"""Functions `quick -> Iterator[Figure]`, in the order in which their rows are printed."""


def figures(quick: bool) -> Iterator[Figure]:
    """All rows; `quick` keeps what fits in a minute."""
    for part in PARTS:
        yield from load(Entry("physics", part, ""))(quick)
