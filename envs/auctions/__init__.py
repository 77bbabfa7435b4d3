"""Auctions as environments: replay of a log, a simulated market, pacing by time slots, competing advertisers."""

from dynrl.envs.auctions.bid_replay import BidReplay, ReplayParams
from dynrl.envs.auctions.bid_sim import BidSim, SimParams
from dynrl.envs.auctions.pacing import Pacing, PacingParams

__all__ = ["BidReplay", "BidSim", "Pacing", "PacingParams", "ReplayParams", "SimParams"]
