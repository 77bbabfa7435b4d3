"""How environments show an auction to an agent, and how the agent answers: one place for both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from dynrl.auctions.bidder import Request
from dynrl.auctions.rules import AuctionRules

__all__ = ["ActionMode", "decode", "encode_bid"]

ActionMode = Literal["bid", "discrete", "multiplier"]


def decode(observation: Any, rules: AuctionRules) -> Request:
    """The request behind one observation of `BidReplay` or `BidSim`.

    Args:
        observation: `[t_left / T, b_left / B, theta, floor / delta_max]` and, optionally, the segment, one-hot (none:
            -1); or a mapping with `t_left`, `b_left`, `theta` and, optionally, `floor` and `segment`.
        rules: of the environment.
    """
    if isinstance(observation, Mapping):
        whole = {name: int(np.asarray(observation[name]).reshape(-1)[0]) for name in ("t_left", "b_left")}
        floor, segment = (
            int(np.asarray(observation.get(name, 0)).reshape(-1)[0]) for name in ("floor", "segment")
        )
        theta = float(np.asarray(observation["theta"]).reshape(-1)[0])
        return Request(whole["t_left"], whole["b_left"], theta, floor, segment)
    t, b, theta, height = (float(value) for value in observation[:4])
    marks = np.asarray(observation[4:])
    segment = (int(marks.argmax()) if marks.any() else -1) if len(marks) else 0
    # float32 holds whole numbers exactly up to 2^24, so rounding recovers T and B up to about 8 million.
    return Request(
        round(t * rules.horizon), round(b * rules.budget), theta, round(height * rules.delta_max), segment
    )


def encode_bid(bid: int, theta: float, mode: ActionMode) -> Any:
    """The action that makes an environment bid `bid` ticks."""
    if mode == "discrete":
        return int(bid)
    if mode == "bid":
        return np.array([bid], np.float32)
    # half a tick more keeps the floor of multiplier * theta at `bid` in spite of rounding
    return np.array([(bid + 0.5) / theta if theta > 0 else 0.0], np.float32)
