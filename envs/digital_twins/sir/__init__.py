"""Epidemics: susceptible, infected, recovered and vaccinated people on a grid, or fully mixed."""

from dynrl.envs.digital_twins.sir.environment import GridSIR
from dynrl.envs.digital_twins.sir.model import SIRModel, SIRParams, SIRState
from dynrl.envs.digital_twins.sir.reed_frost import final_size_distribution

__all__ = ["GridSIR", "SIRModel", "SIRParams", "SIRState", "final_size_distribution"]
