"""Auctions as environments: replay of a log, a simulated market, pacing by time slots, competing advertisers.

`dynrl.envs.auctions.parallel.AuctionParallelEnv` is the competition through PettingZoo's parallel API.
"""

from dynrl.envs.auctions.bid_replay import BidReplay, ReplayParams
from dynrl.envs.auctions.bid_sim import BidSim, SimParams
from dynrl.envs.auctions.competition import Competition, CompetitionParams
from dynrl.envs.auctions.pacing import Pacing, PacingParams

__all__ = [
    "BidReplay",
    "BidSim",
    "Competition",
    "CompetitionParams",
    "Pacing",
    "PacingParams",
    "ReplayParams",
    "SimParams",
]
