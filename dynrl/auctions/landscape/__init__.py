"""Price landscapes: how likely each market price is, given what is known of a request."""

from dynrl.auctions.landscape.counting import SurvivalCounts, from_counts, product_limit
from dynrl.auctions.landscape.floors import FlooredLandscape, FlooredRequest, apply_floor
from dynrl.auctions.landscape.hazard import HazardConfig, HazardLandscape, HazardNetwork, fit_hazard
from dynrl.auctions.landscape.landscape import GlobalLandscape, Landscape, Tie
from dynrl.auctions.landscape.markets import equal_mass_atoms, market_from
from dynrl.auctions.landscape.metrics import anlp, censored_log_likelihood, win_rate_calibration
from dynrl.auctions.landscape.observations import PriceObservations
from dynrl.auctions.landscape.parametric import ParametricLandscape, fit_parametric
from dynrl.auctions.landscape.segments import SegmentLandscape, fit_hours, fit_segments, hours_of
from dynrl.auctions.landscape.smoothing import kernel_smooth, monotone_hazard

__all__ = [
    "FlooredLandscape",
    "FlooredRequest",
    "GlobalLandscape",
    "HazardConfig",
    "HazardLandscape",
    "HazardNetwork",
    "Landscape",
    "ParametricLandscape",
    "PriceObservations",
    "SegmentLandscape",
    "SurvivalCounts",
    "Tie",
    "anlp",
    "apply_floor",
    "censored_log_likelihood",
    "equal_mass_atoms",
    "fit_hazard",
    "fit_hours",
    "fit_parametric",
    "fit_segments",
    "from_counts",
    "hours_of",
    "kernel_smooth",
    "market_from",
    "monotone_hazard",
    "product_limit",
    "win_rate_calibration",
]
