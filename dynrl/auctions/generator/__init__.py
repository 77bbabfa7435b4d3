"""Logs of a made-up market in the formats of the real ones, so that nothing needs the real data."""

from dynrl.auctions.generator.market import GeneratedMarket, generate_log
from dynrl.auctions.generator.writers import (
    write_auctionnet,
    write_criteo,
    write_info_json,
    write_ipinyou,
    write_theta_text,
    write_yzx,
)

__all__ = [
    "GeneratedMarket",
    "generate_log",
    "write_auctionnet",
    "write_criteo",
    "write_info_json",
    "write_ipinyou",
    "write_theta_text",
    "write_yzx",
]
