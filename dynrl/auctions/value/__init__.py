"""Dynamic programmes over (auctions left, ticks left): value tables, their bidders, and exact policy evaluation."""

from dynrl.auctions.value.bidders import (
    MapActionBidder,
    MapValueBidder,
    Scale,
    SegmentBidder,
    scaled_bidder,
    table_bidder,
)
from dynrl.auctions.value.evaluation import evaluate_bidder, evaluate_policy
from dynrl.auctions.value.first_price import (
    FirstPriceBidder,
    first_price_bidder,
    first_price_table,
    win_rates,
)
from dynrl.auctions.value.marginals import Marginals, TableMarginals
from dynrl.auctions.value.tables import ValueTable, value_table, value_tables

__all__ = [
    "FirstPriceBidder",
    "MapActionBidder",
    "MapValueBidder",
    "Marginals",
    "Scale",
    "SegmentBidder",
    "TableMarginals",
    "ValueTable",
    "evaluate_bidder",
    "evaluate_policy",
    "first_price_bidder",
    "first_price_table",
    "scaled_bidder",
    "table_bidder",
    "value_table",
    "value_tables",
    "win_rates",
]
