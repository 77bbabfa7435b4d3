"""What is said about a comparison of bidders: the table, the intervals, the differences from a reference bidder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.auctions.hindsight import Hindsight
from dynrl.auctions.metrics import BidMetrics, Comparison, compare, metrics
from dynrl.auctions.replay import ReplayResult
from dynrl.statistics import stratified_bootstrap

__all__ = ["Row", "print_report", "report_rows", "total_interval"]


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        bidder, c0, budget: who, at which budget ratio, ticks per episode.
        metrics: over all episodes.
        clicks_interval: 95 % bootstrap interval of the clicks, episodes being drawn afresh.
        reference: the bidder compared with.
        clicks_gain, expected_gain: paired comparison with it in clicks and in predicted clicks.
    """

    bidder: str
    c0: float
    budget: int
    metrics: BidMetrics
    clicks_interval: tuple[float, float]
    reference: str
    clicks_gain: Comparison
    expected_gain: Comparison

    def as_json(self) -> dict[str, Any]:
        """Plain values; undefined figures are null."""
        return _without_nan(dataclasses.asdict(self))


def report_rows(
    results: Mapping[tuple[int, str], ReplayResult],
    ratios: Sequence[float],
    optima: Sequence[Hindsight],
    reference: str,
) -> list[Row]:
    """One row per bidder and budget ratio, in the order of `results`.

    Args:
        results: totals `[E]` by (number of the ratio, bidder).
        ratios: c0.
        optima: hindsight optimum at each ratio.
        reference: the bidder that the others are compared with.
    """
    rows = []
    for (number, label), result in results.items():
        other = results[number, reference]
        rows.append(
            Row(
                bidder=label,
                c0=ratios[number],
                budget=int(result.budget[0]),
                metrics=metrics(result, optima[number]),
                clicks_interval=total_interval(result.clicks),
                reference=reference,
                clicks_gain=compare(result, other, "clicks"),
                expected_gain=compare(result, other, "expected_clicks"),
            )
        )
    return rows


def total_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of a sum over episodes `[E]`; NaN for a single episode."""
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = stratified_bootstrap(np.asarray(values, np.float64), np.mean)
    return low * len(values), high * len(values)


def print_report(rows: Sequence[Row], title: str) -> None:
    """Print the table, a line per bidder and budget."""
    from rich.console import Console
    from rich.table import Table

    against = f"against {rows[0].reference}"
    table = Table(title=title, title_justify="left")
    table.add_column("c0")
    table.add_column("bidder")
    columns = (
        "clicks",
        "95 %",
        against,
        "predicted",
        against,
        "wins",
        "CPM",
        "eCPC",
        "spent",
        "of hindsight",
    )
    for name in columns:
        table.add_column(name, justify="right")
    previous = rows[0].c0
    for row in rows:
        if row.c0 != previous:
            table.add_section()
            previous = row.c0
        m = row.metrics
        table.add_row(
            f"{row.c0:.4g}",
            row.bidder,
            str(m.clicks),
            "{:.0f}–{:.0f}".format(*row.clicks_interval),
            _gain(row.clicks_gain, "{:+.0f}"),
            f"{m.expected_clicks:.1f}",
            _gain(row.expected_gain, "{:+.1f}"),
            str(m.wins),
            f"{m.cpm:.1f}",
            f"{m.ecpc:.1f}",
            f"{m.spend_ratio:.1%}",
            f"{m.optimum_ratio:.1%}",
        )
    console = Console()
    # a pipe has no width: let the table be as wide as it is
    if not console.is_terminal:
        console = Console(width=170)
    console.print(table)


def _gain(comparison: Comparison, form: str) -> str:
    low, high = (form.format(value) for value in comparison.difference_interval)
    return f"{form.format(comparison.difference)} ({low} to {high})"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
