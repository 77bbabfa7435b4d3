"""The regulated metabolic network: a grid of substrate, intermediate, product and two enzymes, fed from outside."""

from dynrl.envs.digital_twins.metabolic.backends import Trajectories, trajectories
from dynrl.envs.digital_twins.metabolic.model import MetabolicGrid, MetabolicState
from dynrl.envs.digital_twins.metabolic.rules import MACRO_NAMES, MetabolicParams
from dynrl.envs.digital_twins.metabolic.tasks import MetBudget, MetTrack, MetYield

__all__ = [
    "MACRO_NAMES",
    "MetBudget",
    "MetTrack",
    "MetYield",
    "MetabolicGrid",
    "MetabolicParams",
    "MetabolicState",
    "Trajectories",
    "trajectories",
]
