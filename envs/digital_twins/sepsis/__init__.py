"""Sepsis: the innate-immune-response model of An and Cockrell, its sequential reference, and its treatment as an
environment."""

from dynrl.envs.digital_twins.sepsis.cohort import COHORT, Cohort, drawn_patient
from dynrl.envs.digital_twins.sepsis.env import Sepsis, SepsisParams
from dynrl.envs.digital_twins.sepsis.fields import CONTROLLED, DRUGS, MEDIATORS, Patient, multipliers_of
from dynrl.envs.digital_twins.sepsis.model import SepsisModel, SepsisState
from dynrl.envs.digital_twins.sepsis.native import Limits, NativeSepsis
from dynrl.envs.digital_twins.sepsis.reference import SequentialSepsis
from dynrl.envs.digital_twins.sepsis.ward import Course, NativeWard

__all__ = [
    "COHORT",
    "CONTROLLED",
    "DRUGS",
    "MEDIATORS",
    "Cohort",
    "Course",
    "Limits",
    "NativeSepsis",
    "NativeWard",
    "Patient",
    "Sepsis",
    "SepsisModel",
    "SepsisParams",
    "SepsisState",
    "SequentialSepsis",
    "drawn_patient",
    "multipliers_of",
]
