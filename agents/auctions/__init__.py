"""Bidding agents: RLB and its relatives, baselines, pacing controllers."""

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.constant import Constant, ConstantConfig, Random, RandomConfig
from dynrl.agents.auctions.drlb import DRLB, DrlbConfig
from dynrl.agents.auctions.feedback import PID, PIDConfig, WaterLevel, WaterLevelConfig
from dynrl.agents.auctions.first_price import FirstPriceRLB, FirstPriceRlbConfig
from dynrl.agents.auctions.fluid import Fluid, FluidConfig
from dynrl.agents.auctions.linear import Lin, LinConfig, Mcpc, McpcConfig
from dynrl.agents.auctions.ortb import ORTB1, ORTB2, OrtbConfig
from dynrl.agents.auctions.pacing import BSLB, AdaptivePacing, AdaptivePacingConfig, BslbConfig
from dynrl.agents.auctions.rlb import RLB, RlbConfig
from dynrl.agents.auctions.rlb_nn import RLBNN, RlbNnConfig
from dynrl.agents.auctions.shading import Shading, ShadingConfig
from dynrl.agents.auctions.ss_mdp import SSMDP, SsMdpConfig
from dynrl.agents.auctions.target_cpa import TargetCPA, TargetCpaConfig
from dynrl.agents.auctions.throttling import Throttling, ThrottlingConfig

__all__ = [
    "BSLB",
    "DRLB",
    "ORTB1",
    "ORTB2",
    "PID",
    "RLB",
    "RLBNN",
    "SSMDP",
    "AdaptivePacing",
    "AdaptivePacingConfig",
    "BidAgent",
    "BslbConfig",
    "Constant",
    "ConstantConfig",
    "DrlbConfig",
    "FirstPriceRLB",
    "FirstPriceRlbConfig",
    "Fluid",
    "FluidConfig",
    "Lin",
    "LinConfig",
    "Mcpc",
    "McpcConfig",
    "OrtbConfig",
    "PIDConfig",
    "Random",
    "RandomConfig",
    "RlbConfig",
    "RlbNnConfig",
    "Shading",
    "ShadingConfig",
    "SsMdpConfig",
    "TargetCPA",
    "TargetCpaConfig",
    "Throttling",
    "ThrottlingConfig",
    "WaterLevel",
    "WaterLevelConfig",
]
