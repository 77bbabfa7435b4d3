"""A tumour and the immune system on a lattice, steered by a drug."""

from dynrl.envs.digital_twins.tumour.environment import TumourImmune
from dynrl.envs.digital_twins.tumour.model import TumourImmuneModel, TumourParams, TumourState

__all__ = ["TumourImmune", "TumourImmuneModel", "TumourParams", "TumourState"]
