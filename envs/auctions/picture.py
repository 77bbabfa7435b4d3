"""Pictures of an episode of auctions, drawn with matplotlib into an array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["EpisodeCurve", "episode_picture", "figure_array", "pacing_picture"]


@dataclass
class EpisodeCurve:
    """What has been seen of an episode so far.

    Attributes:
        budget: ticks at the start.
        horizon: auctions (or slots) of the episode.
        time: auctions held, at each point of the curve.
        spent: ticks paid by then.
        wins, clicks: places in time.
        bids: `(bid, market price or None, won)` of each auction.
    """

    budget: int
    horizon: int
    time: list[int] = field(default_factory=lambda: [0])
    spent: list[int] = field(default_factory=lambda: [0])
    wins: list[int] = field(default_factory=list)
    clicks: list[int] = field(default_factory=list)
    bids: list[tuple[int, float | None, bool]] = field(default_factory=list)

    def add(self, time: int, spent: int, won: bool, clicked: bool) -> None:
        """One more point of the curve."""
        self.time.append(time)
        self.spent.append(spent)
        if won:
            self.wins.append(time)
        if clicked:
            self.clicks.append(time)


def episode_picture(curve: EpisodeCurve, totals: Mapping[str, Any]) -> np.ndarray:
    """Money spent against an even plan, with ticks for wins and clicks, beside the bids against market prices;
    `[H, W, 3]` uint8."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.plot([0, curve.horizon], [0, curve.budget], color="0.6", ls="--", label="plan")
    left.step(curve.time, curve.spent, where="post", label="spent")
    for places, height, colour, label in (
        (curve.wins, -0.03, "tab:green", "won"),
        (curve.clicks, -0.07, "tab:red", "clicked"),
    ):
        left.plot(places, np.full(len(places), height * curve.budget), "|", color=colour, ms=5, label=label)
    left.set(
        xlim=(0, curve.horizon),
        ylim=(-0.1 * curve.budget, 1.05 * curve.budget),
        xlabel="auctions",
        ylabel="ticks",
    )
    left.legend(loc="upper left", fontsize=7)
    left.set_title(
        f"{int(totals['wins'])} won, {int(totals['clicks'])} clicks, {totals['expected_clicks']:.2f} expected",
        fontsize=9,
    )
    seen = [(bid, price, won) for bid, price, won in curve.bids if price is not None]
    for won, colour, label in ((True, "tab:green", "won"), (False, "0.6", "lost")):
        points = np.array([(bid, price) for bid, price, outcome in seen if outcome is won]).reshape(-1, 2)
        right.plot(points[:, 0], points[:, 1], ".", color=colour, ms=3, label=label)
    right.axline((0, 0), slope=1, color="0.8", lw=1)
    right.set(xlabel="bid (ticks)", ylabel="market price seen (ticks)")
    right.legend(loc="upper left", fontsize=7)
    return figure_array(figure)


def pacing_picture(
    spent: np.ndarray, multipliers: np.ndarray, budget: int, horizon: int, totals: Mapping[str, Any]
) -> np.ndarray:
    """Money spent by slot against an even plan, over the multipliers played; `[H, W, 3]` uint8."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.6), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.plot([0, horizon], [0, budget], color="0.6", ls="--", label="plan")
    above.plot(np.arange(len(spent) + 1), np.concatenate([[0], np.cumsum(spent)]), label="spent")
    above.set(xlim=(0, horizon), ylim=(0, 1.05 * budget), ylabel="ticks")
    above.legend(loc="upper left", fontsize=7)
    above.set_title(
        f"{int(totals['wins'])} won, {int(totals['clicks'])} clicks, {totals['expected_clicks']:.2f} expected",
        fontsize=9,
    )
    below.step(np.arange(len(multipliers)), multipliers, where="post")
    below.axhline(1.0, color="0.6", ls="--")
    below.set(xlabel="slot", ylabel="multiplier")
    return figure_array(figure)


def figure_array(figure: Any) -> np.ndarray:
    """A matplotlib figure as an image `[H, W, 3]` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(np.asarray(canvas.buffer_rgba())[..., :3])
