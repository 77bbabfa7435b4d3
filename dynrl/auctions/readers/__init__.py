"""Readers of auction logs: text formats with NumPy alone, tables of any data-frame library."""

from dynrl.auctions.readers.cache import default_folder
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.features import FeatureBuilder, FeatureMap, HashedFeatures
from dynrl.auctions.readers.options import ReadOptions
from dynrl.auctions.readers.read import read_log
from dynrl.auctions.readers.table import from_table

__all__ = [
    "FeatureBuilder",
    "FeatureMap",
    "HashedFeatures",
    "LogFormatError",
    "ReadOptions",
    "default_folder",
    "from_table",
    "read_log",
]
