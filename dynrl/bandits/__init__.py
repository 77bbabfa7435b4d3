"""Dynamical linear bandits: model, derived quantities, action sets, regrets, identification from logs."""

from dynrl.bandits.action_sets import (
    ActionSet,
    BallSet,
    BoxSet,
    BudgetSet,
    FiniteSet,
    RelaxedAction,
    SimplexSet,
)
from dynrl.bandits.identification import (
    GainEstimate,
    StateSpaceEstimate,
    UnexcitedInputError,
    identify_gain,
    identify_state_space,
)
from dynrl.bandits.regret import mean_regret, pseudo_regret, reward_regret
from dynrl.bandits.system import DLBParams, DLBSystem, SystemBounds, UnstableSystemError

__all__ = [
    "ActionSet",
    "BallSet",
    "BoxSet",
    "BudgetSet",
    "DLBParams",
    "DLBSystem",
    "FiniteSet",
    "GainEstimate",
    "RelaxedAction",
    "SimplexSet",
    "StateSpaceEstimate",
    "SystemBounds",
    "UnexcitedInputError",
    "UnstableSystemError",
    "identify_gain",
    "identify_state_space",
    "mean_regret",
    "pseudo_regret",
    "reward_regret",
]
