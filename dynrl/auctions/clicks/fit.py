"""From a training log to a calibrated click model, with rows held out for the calibration."""

from __future__ import annotations

from typing import Literal

from dynrl.auctions.clicks.ftrl import FTRL
from dynrl.auctions.clicks.model import ClickModel
from dynrl.auctions.clicks.sgd import SGD
from dynrl.auctions.log import AuctionLog

__all__ = ["fit_click_model"]


def fit_click_model(
    log: AuctionLog,
    learner: FTRL | SGD = FTRL(),  # noqa: B008 (frozen)
    calibration: Literal["isotonic", "platt"] | None = "platt",
    held_out: float = 0.2,
    progress_bar: bool = False,
) -> ClickModel:
    """Trains on the earlier rows of a log and calibrates on the later ones, which training never sees.

    Lost rows tell nothing about clicks and are left out.

    Args:
        log: rows in time order, with features.
        calibration: None trains on all rows and leaves the probabilities as they are.
        held_out: share of the (won) rows, at the end, that calibrates.

    Raises:
        ValueError: no features, no clicks in either part, or `held_out` outside (0, 1).
    """
    if log.features is None:
        raise ValueError("the log has no features to learn clicks from; read it with a feature map")
    if log.won is not None:
        log = log.take(log.won)
    if calibration is None:
        assert log.features is not None
        return learner.fit(log.features, log.click, progress_bar)
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a share of the rows between 0 and 1")
    cut = round(len(log) * (1 - held_out))
    earlier, later = log.take(slice(0, cut)), log.take(slice(cut, None))
    assert earlier.features is not None and later.features is not None
    model = learner.fit(earlier.features, earlier.click, progress_bar)
    return model.calibrated(later.features, later.click, calibration)
