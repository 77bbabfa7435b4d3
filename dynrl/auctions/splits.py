"""Logs cut into a training and a held-out part, by time and never at random: a bidder must not see the future."""

from __future__ import annotations

import numpy as np

from dynrl.auctions.log import AuctionLog

__all__ = ["split_days", "split_fraction"]


def split_days(log: AuctionLog, held_out: int = 1) -> tuple[AuctionLog, AuctionLog]:
    """(training, held-out): the last `held_out` calendar days are held out, whatever the order of the rows.

    Raises:
        ValueError: no timestamps, or a part would be empty.
    """
    if log.timestamp is None:
        raise ValueError(
            "the log has no timestamps to split by days: use split_fraction(), which goes by row order"
        )
    day = log.timestamp.astype("datetime64[D]")
    days = np.unique(day)
    if not 1 <= held_out < len(days):
        raise ValueError(
            f"held_out is {held_out}, expected 1..{len(days) - 1} of the {len(days)} days of the log"
        )
    late = day >= days[-held_out]
    return log.take(~late), log.take(late)


def split_fraction(log: AuctionLog, held_out: float = 0.3) -> tuple[AuctionLog, AuctionLog]:
    """(training, held-out): the last share `held_out` of the rows, rounded to whole rows, is held out.

    Raises:
        ValueError: a share outside (0, 1), or a part would be empty.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a share in (0, 1)")
    first = len(log) - round(len(log) * held_out)
    if not 0 < first < len(log):
        raise ValueError(f"held_out = {held_out} of {len(log)} rows leaves one part empty")
    return log.take(slice(0, first)), log.take(slice(first, None))
