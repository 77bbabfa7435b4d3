"""`dynrl bench medical`: the models against their definitions and Mesa, controllers and twins against their bars."""

from __future__ import annotations

from collections.abc import Iterator

from dynrl import registry
from dynrl.bench import Figure
from dynrl.registry import Entry

PARTS = (
    "dynrl.envs.digital_twins.wolf_sheep.measure:figures",
    "dynrl.envs.digital_twins.metabolic.measure:figures",
    "dynrl.envs.digital_twins.sir.measure:figures",
    "dynrl.envs.digital_twins.tumour.measure:figures",
    "dynrl.envs.digital_twins.sepsis.measure:figures",
    "dynrl.agents.digital_twins.measure:figures",
    "dynrl.agents.digital_twins.sepsis_judgement:figures",
)
"""`figures(quick) -> Iterator[Figure]` of every model, by name: the two wings do not import each other."""


def figures(quick: bool) -> Iterator[Figure]:
    """Every figure; `quick` is what fits in about a minute."""
    for part in PARTS:
        yield from registry.load(Entry(part.partition(":")[0], part, ""))(quick)
