"""Action sets of linear bandits: membership, projection, and exact linear and optimistic oracles."""

from dynrl.bandits.action_sets.ball import BallSet
from dynrl.bandits.action_sets.base import ActionSet, RelaxedAction, first_best, ucb_index
from dynrl.bandits.action_sets.box import BoxSet
from dynrl.bandits.action_sets.budget import BudgetSet, SimplexSet
from dynrl.bandits.action_sets.finite import FiniteSet

__all__ = [
    "ActionSet",
    "BallSet",
    "BoxSet",
    "BudgetSet",
    "FiniteSet",
    "RelaxedAction",
    "SimplexSet",
    "first_best",
    "ucb_index",
]
