"""Real-time bidding: logs, market prices, click probabilities, the rules of an episode, replay."""

from dynrl.auctions.campaign import DELTA_MAX, Campaign
from dynrl.auctions.log import AuctionLog, Categories, EpisodeArrays, Features, IngestReport
from dynrl.auctions.market import Market, click_atoms
from dynrl.auctions.rules import AuctionRules

__all__ = [
    "DELTA_MAX",
    "AuctionLog",
    "AuctionRules",
    "Campaign",
    "Categories",
    "EpisodeArrays",
    "Features",
    "IngestReport",
    "Market",
    "click_atoms",
]
