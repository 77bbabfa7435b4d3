"""Dynamical linear bandits as environments."""

from dynrl.envs.bandits.dlb import BanditParams, BanditState, DynamicalLinearBandit
from dynrl.envs.bandits.faces import BanditGymnasiumEnv, DLBEnv, DLBVectorEnv
from dynrl.envs.bandits.systems import (
    EXPERT_SPENDS,
    ads_system,
    named_action_set,
    named_system,
    synthetic_system,
)

__all__ = [
    "EXPERT_SPENDS",
    "BanditGymnasiumEnv",
    "BanditParams",
    "BanditState",
    "DLBEnv",
    "DLBVectorEnv",
    "DynamicalLinearBandit",
    "ads_system",
    "named_action_set",
    "named_system",
    "synthetic_system",
]
