"""Click models: logistic regression on sparse features, calibration, and how to judge them."""

from dynrl.auctions.clicks.calibration import CALIBRATORS, Calibrator, Isotonic, Platt, undo_down_sampling
from dynrl.auctions.clicks.drift import recalibrate
from dynrl.auctions.clicks.fit import fit_click_model
from dynrl.auctions.clicks.ftrl import FTRL, FTRLState
from dynrl.auctions.clicks.metrics import Reliability, auc, log_loss, relative_log_loss, reliability
from dynrl.auctions.clicks.model import ClickModel
from dynrl.auctions.clicks.sgd import SGD

__all__ = [
    "CALIBRATORS",
    "FTRL",
    "SGD",
    "Calibrator",
    "ClickModel",
    "FTRLState",
    "Isotonic",
    "Platt",
    "Reliability",
    "auc",
    "fit_click_model",
    "log_loss",
    "recalibrate",
    "relative_log_loss",
    "reliability",
    "undo_down_sampling",
]
