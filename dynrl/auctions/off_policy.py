"""What other bids would have earned, from a log whose bids were randomised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.replay import settle

__all__ = ["OffPolicyEstimate", "off_policy"]


@dataclass(frozen=True)
class OffPolicyEstimate:
    """Per-request estimates with standard errors.

    Attributes:
        clicks, clicks_error: clicks per request.
        cost, cost_error: ticks per request.
        effective_rows: rows of equal weight that would tell as much, (sum w)^2 / sum w^2.
    """

    clicks: float
    clicks_error: float
    cost: float
    cost_error: float
    effective_rows: float


def off_policy(
    log: AuctionLog,
    bids: ArrayLike,
    propensity: ArrayLike,
    *,
    method: Literal["ips", "snips", "dr"] = "ips",
    predicted_clicks: ArrayLike | None = None,
    predicted_cost: ArrayLike | None = None,
    tie: Literal["win", "lose"] = "win",
    pricing: Literal["second", "first"] = "second",
) -> OffPolicyEstimate:
    """Values a bidder whose bid depends on the request alone (or on a state that the log fixes), without a budget.

    An auction shows more than the outcome of the logged bid: whoever won at bid b knows the price, and so what every
    bid up to b would have met; whoever lost at b knows that every lower bid would have lost. A row therefore counts for
    the new bid a whenever `b >= a`, with weight `1 / P(B >= a)`, which keeps many more rows than waiting for `b = a`.

    Args:
        log: rows with `bid` and `won`; `price` and `click` are used where won.
        bids: `[N]` new whole-tick bids.
        propensity: `[N]`, chance that the logging bidder bid at least the new bid on this request.
        method: `"ips"` (Horvitz-Thompson, unbiased), `"snips"` (self-normalised: less variance, a bias of order
            1 / N), or `"dr"` (doubly robust: unbiased, and precise where the predictions are good).
        predicted_clicks, predicted_cost: `[N]` for the new bids, e.g. `theta * M(a)` (`"dr"` only).
        tie, pricing: of the auctions.

    Raises:
        ValueError: missing columns or predictions, other lengths, a propensity outside (0, 1], or no row that counts.
    """
    if log.bid is None or log.won is None:
        raise ValueError("off-policy estimates need a log with `bid` and `won`, lost rows included")
    new = _column("bids", bids, len(log))
    chance = _column("propensity", propensity, len(log))
    if not ((chance > 0) & (chance <= 1)).all():
        raise ValueError(
            "propensity must lie in (0, 1]: a bid that the logging bidder never reached cannot be valued"
        )
    counts = log.bid >= new
    if not counts.any():
        raise ValueError("no logged bid is as high as the new one, so the log says nothing about it")
    floor = np.zeros(len(log)) if log.floor is None else log.floor
    known_price = np.where(log.won, log.price, np.inf)
    won, cost = settle(new, known_price, floor, tie, pricing)
    weight = counts / chance
    clicks = np.where(won & counts, log.click, 0).astype(np.float64)
    cost = np.where(won & counts, cost, 0.0)
    if method == "dr":
        if predicted_clicks is None or predicted_cost is None:
            raise ValueError('method="dr" needs predicted_clicks and predicted_cost')
        columns = [
            guess + weight * (seen - guess)
            for seen, guess in (
                (clicks, _column("predicted_clicks", predicted_clicks, len(log))),
                (cost, _column("predicted_cost", predicted_cost, len(log))),
            )
        ]
    else:
        columns = [weight * clicks, weight * cost]
    scale = weight.mean() if method == "snips" else 1.0
    means, errors = [], []
    for column in columns:
        mean = column.mean() / scale
        spread = column - mean * weight if method == "snips" else column - mean
        means.append(float(mean))
        errors.append(float(np.sqrt((spread**2).mean() / len(log)) / scale))
    return OffPolicyEstimate(
        means[0], errors[0], means[1], errors[1], float(weight.sum() ** 2 / (weight**2).sum())
    )


def _column(name: str, values: ArrayLike, length: int) -> NDArray[np.float64]:
    column = np.asarray(values, np.float64)
    if column.shape != (length,):
        raise ValueError(f"{name} has shape {column.shape}, expected ({length},)")
    return column
