"""Agent-based models: what they promise to whoever controls, approximates or personalises them, and the kernel they are
written on.

A model is a page of code on these pieces: a `Grid`, a `Population` of fixed capacity, `place` for births, `winners`,
`match`, `claims` and `ranks` for conflicts inside a cell, `subset` for interventions, `diffused` and `evaporated` for
substances. The docstring of `dynrl.abm.conflicts` says when a step in which all agents act at once is exact, and when
it is another model. `simulate` runs cohorts.
"""

from dynrl.abm.arrays import scatter_add, scatter_max
from dynrl.abm.conflicts import Matched, batches, claims, match, ranks, winners
from dynrl.abm.draws import Rounding, bits, integers, priorities, split, uniform, whole
from dynrl.abm.fields import diffused, evaporated, neighbour_sum
from dynrl.abm.limits import DoseHistory, DoseLimits
from dynrl.abm.model import AgentBasedModel, GrowingModel, Intervention, Stepped
from dynrl.abm.population import Placed, Population, died, enlarged, place, scattered, size, subset
from dynrl.abm.simulate import Cohort, simulate
from dynrl.abm.space import Grid, counts

__all__ = [
    "AgentBasedModel",
    "Cohort",
    "DoseHistory",
    "DoseLimits",
    "Grid",
    "GrowingModel",
    "Intervention",
    "Matched",
    "Placed",
    "Population",
    "Rounding",
    "Stepped",
    "batches",
    "bits",
    "claims",
    "counts",
    "died",
    "diffused",
    "enlarged",
    "evaporated",
    "integers",
    "match",
    "neighbour_sum",
    "place",
    "priorities",
    "ranks",
    "scatter_add",
    "scatter_max",
    "scattered",
    "simulate",
    "size",
    "split",
    "subset",
    "uniform",
    "whole",
    "winners",
]
