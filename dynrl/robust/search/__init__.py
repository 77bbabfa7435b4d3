"""Worst-case search: on which model of the set does a policy do worst?"""

from dynrl.robust.search.auto import Auto
from dynrl.robust.search.cmaes import CMAES
from dynrl.robust.search.designs import Corners, Grid, Method, Sobol
from dynrl.robust.search.noise import rank_changes, steady_worst_case
from dynrl.robust.search.random_local import RandomLocal
from dynrl.robust.search.worst_case import Trace, WorstCase, worst_case_search

__all__ = [
    "CMAES",
    "Auto",
    "Corners",
    "Grid",
    "Method",
    "RandomLocal",
    "Sobol",
    "Trace",
    "WorstCase",
    "rank_changes",
    "steady_worst_case",
    "worst_case_search",
]
