"""From a finished comparison of bidders to its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.agents.auctions.pictures import (
    Bar,
    Comparison,
    ValueSurface,
    draw_comparison,
    spend_shares,
    win_rates,
)
from dynrl.agents.auctions.report import total_interval
from dynrl.auctions.dataset import Dataset
from dynrl.auctions.replay import replay

if TYPE_CHECKING:
    from dynrl.agents.auctions.experiment import BiddingExperiment

__all__ = ["draw_scene", "value_surface"]

_CELLS = 60


def draw_scene(experiment: BiddingExperiment, data: Dataset, out: Path) -> Path:
    """Draws clicks by bidder and budget, and at the middle budget the spend curves, the win rates, the value surface
    and the bids of the main bidder; returns `out`."""
    ratios, number, episodes = experiment.ratios(data), experiment.middle(data), experiment.episodes(data)
    rules = experiment.rules(data, number)
    bars: dict[str, list[Bar]] = {label: [] for label in experiment.agents}
    for (_, label), result in experiment.results.items():
        bars[label].append(Bar(float(result.clicks.sum()), *total_interval(result.clicks)))
    fitted = {label: experiment.bidder(data, number, label) for label in experiment.agents}
    traces = {}
    for label, bidder in fitted.items():
        played = replay(bidder, episodes, rules, trace=True, seed=experiment.config.seed)
        assert played.trace is not None
        traces[label] = played.trace
    main = experiment.main_label()
    whole = np.asarray(episodes.mask).all(0)  # a partial last episode would bend the mean spend curve
    return draw_comparison(
        Comparison(
            title=data.summary(),
            ratios=ratios,
            bars=bars,
            spends={label: spend_shares(trace, rules.budget)[:, whole] for label, trace in traces.items()},
            shown_ratio=ratios[number],
            win_rates=win_rates(list(traces.values()), np.asarray(episodes.mask)),
            market=data.model.market,
            values=value_surface(fitted[main]),
            policy=fitted[main].serving(),
            policy_name=main,
            horizon=rules.horizon,
            budget=rules.budget,
        ),
        out,
    )


def value_surface(bidder: Any) -> ValueSurface | None:
    """What money is worth to a bidder that plans, thinned to what a picture can show."""
    plan = getattr(bidder, "marginals", None)
    if plan is None:
        return None
    t = np.unique(np.linspace(0, plan.horizon, _CELLS).round().astype(np.int64))
    b = np.unique(np.linspace(0, plan.budget, _CELLS).round().astype(np.int64))
    ticks = np.arange(int(plan.budget))
    worth = [np.append(0.0, np.cumsum(np.asarray(plan.marginal(np.int64(row), ticks))))[b] for row in t]
    return ValueSurface(np.array(worth), t, b)
