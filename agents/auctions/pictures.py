"""Pictures of a comparison of bidders: clicks, spend against plan, win rate by bid, value surface, bid map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.market import Market
from dynrl.auctions.replay import Trace
from dynrl.auctions.serving import BidPolicy
from dynrl.plotting import check_picture, save_figure
from dynrl.statistics import bootstrap_band

__all__ = ["Bar", "Comparison", "ValueSurface", "draw_comparison", "spend_shares", "win_rates"]


@dataclass(frozen=True)
class Bar:
    """Clicks of one bidder at one budget: total, and the ends of its interval."""

    clicks: float
    low: float
    high: float


@dataclass(frozen=True)
class ValueSurface:
    """V `[rows, columns]` in clicks, of `t` `[rows]` auctions left and `b` `[columns]` ticks left."""

    values: NDArray[np.float64]
    t: NDArray[np.int64]
    b: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """What is drawn.

    Attributes:
        title: of the figure.
        ratios: budget ratios c0, ascending.
        bars: by bidder, one `Bar` per ratio.
        spends: by bidder, `[points, E]` share of the budget spent after equal shares of the episode, at `shown_ratio`.
        shown_ratio: c0 of the other panels.
        win_rates: realised win rate by bid (bid `[K]`, rate `[K]`, auctions `[K]`) of the shown bidders together.
        market: the model of prices.
        values: what money is worth to the main bidder; None where it does not plan.
        policy, policy_name: whose bids are mapped.
        horizon, budget: of the shown episodes.
    """

    title: str
    ratios: Sequence[float]
    bars: Mapping[str, Sequence[Bar]]
    spends: Mapping[str, NDArray[np.float64]]
    shown_ratio: float
    win_rates: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
    market: Market
    values: ValueSurface | None
    policy: BidPolicy
    policy_name: str
    horizon: int
    budget: int


def spend_shares(trace: Trace, budget: int, points: int = 50) -> NDArray[np.float64]:
    """Share of the budget spent after equal shares of the episode, `[points + 1, E]`, from 0."""
    spent = np.cumsum(trace.cost, axis=0, dtype=np.int64) / budget
    rows = np.linspace(0, len(spent), points + 1).round().astype(int)
    return np.concatenate([np.zeros((1, spent.shape[1])), spent])[rows]


def win_rates(
    traces: Sequence[Trace], mask: NDArray[np.bool_], bins: int = 30
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean bid, share won and number of auctions per bin of bids (bins of equal width, empty ones left out)."""
    bid = np.concatenate([trace.bid[mask] for trace in traces])
    won = np.concatenate([trace.won[mask] for trace in traces])
    where = np.minimum(bid * bins // max(int(bid.max()) + 1, 1), bins - 1)
    count = np.bincount(where, minlength=bins)
    kept = count > 0
    mean_bid = np.bincount(where, bid, bins)[kept] / count[kept]
    return mean_bid, np.bincount(where, won, bins)[kept] / count[kept], count[kept]


def draw_comparison(comparison: Comparison, out: Path) -> Path:
    """Draw all panels into `out` (.png, .svg or .pdf) and return it.

    Raises:
        UserError: the suffix is not a picture format, or the folder cannot be written.
    """
    check_picture(out)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic([["clicks", "clicks", "spend"], ["wins", "value", "bids"]])
    colors = {label: f"C{number % 10}" for number, label in enumerate(comparison.bars)}
    _draw_clicks(panels["clicks"], comparison, colors)
    _draw_spend(panels["spend"], comparison, colors)
    _draw_win_rates(panels["wins"], comparison)
    _draw_values(figure, panels["value"], comparison)
    _draw_bids(figure, panels["bids"], comparison)
    figure.suptitle(comparison.title)
    return save_figure(figure, out)


def _draw_clicks(axes: Any, comparison: Comparison, colors: Mapping[str, str]) -> None:
    count = len(comparison.bars)
    places = np.arange(len(comparison.ratios))
    for number, (label, bars) in enumerate(comparison.bars.items()):
        clicks = np.array([bar.clicks for bar in bars])
        errors = np.array([[bar.clicks - bar.low, bar.high - bar.clicks] for bar in bars]).T
        offset = (number - (count - 1) / 2) * 0.85 / count
        axes.bar(
            places + offset,
            clicks,
            0.85 / count,
            yerr=np.maximum(errors, 0),
            color=colors[label],
            hatch="//" if number >= 10 else None,
            label=label,
            error_kw={"elinewidth": 0.7, "alpha": 0.7},
        )
    axes.set_xticks(places, [_ratio(ratio) for ratio in comparison.ratios])
    axes.set_xlabel("budget ratio c0 (1: enough to win everything)")
    axes.set_ylabel("clicks on held-out auctions")
    axes.set_title("clicks by bidder (95 % bootstrap interval over episodes)")
    axes.legend(fontsize="small", ncols=2)
    axes.grid(axis="y", alpha=0.3)


def _draw_spend(axes: Any, comparison: Comparison, colors: Mapping[str, str]) -> None:
    for number, (label, shares) in enumerate(comparison.spends.items()):
        x = np.linspace(0, 1, len(shares))
        axes.plot(x, shares.mean(1), "--" if number >= 10 else "-", color=colors[label], label=label)
        if shares.shape[1] > 1:
            low, high = bootstrap_band(shares.T, np.mean, resamples=200)
            axes.fill_between(x, low, high, color=colors[label], alpha=0.15, linewidth=0)
    axes.plot([0, 1], [0, 1], "k:", label="even plan")
    axes.set_xlabel("share of the episode")
    axes.set_ylabel("share of the budget spent")
    axes.set_title(f"spend against plan, c0 = {_ratio(comparison.shown_ratio)}")
    axes.legend(fontsize="xx-small", ncols=2, framealpha=0.6)
    axes.grid(alpha=0.3)


def _draw_win_rates(axes: Any, comparison: Comparison) -> None:
    bid, rate, count = comparison.win_rates
    axes.plot(np.cumsum(comparison.market.price_pmf), color="k", label="model M(bid)")
    axes.scatter(
        bid, rate, 6 + 60 * count / count.max(), color="C0", alpha=0.6, label="realised (area: auctions)"
    )
    axes.set_xlabel("bid [ticks]")
    axes.set_ylabel("win rate")
    axes.set_ylim(0, 1.02)
    axes.set_title("win rate by bid")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _draw_values(figure: Any, axes: Any, comparison: Comparison) -> None:
    axes.set_title("what b ticks are worth with t auctions left [clicks]")
    axes.set_xlabel("ticks left b")
    axes.set_ylabel("auctions left t")
    surface = comparison.values
    if surface is None:
        axes.text(0.5, 0.5, "the main bidder does not plan", ha="center", transform=axes.transAxes)
        return
    mesh = axes.pcolormesh(surface.b, surface.t, surface.values, shading="nearest")
    axes.contour(surface.b, surface.t, surface.values, 8, colors="w", linewidths=0.6)
    figure.colorbar(mesh, ax=axes)


def _draw_bids(figure: Any, axes: Any, comparison: Comparison) -> None:
    axes.set_title(f"bid of {comparison.policy_name} half-way [ticks]")
    axes.set_xlabel("ticks left b")
    axes.set_ylabel("predicted click probability")
    t = max(comparison.horizon // 2, 1)
    theta = np.linspace(0, min(1.0, 1.5 * float(np.quantile(comparison.market.theta, 0.95))), 60)
    left = np.linspace(0, comparison.budget, 60).astype(int)
    bids = np.array([[comparison.policy.bid(t, int(b), float(p)) for b in left] for p in theta])
    mesh = axes.pcolormesh(left, theta, bids, shading="nearest", cmap="magma")
    figure.colorbar(mesh, ax=axes)


def _ratio(ratio: float) -> str:
    inverse = 1 / ratio
    return f"1/{round(inverse)}" if ratio < 1 and abs(inverse - round(inverse)) < 1e-9 else f"{ratio:g}"
