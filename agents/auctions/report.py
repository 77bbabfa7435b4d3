"""What is said about a comparison of bidders: the table, the intervals, the differences from a reference bidder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.replay import ReplayResult
from dynrl.statistics import stratified_bootstrap

__all__ = ["BidderResult", "Row", "print_report", "report_rows"]


@dataclass(frozen=True, eq=False)
class BidderResult:
    """Totals of one bidder at one budget, arrays `[E]` over episodes; `budget` `[]` in ticks."""

    clicks: NDArray[np.int64]
    wins: NDArray[np.int64]
    cost: NDArray[np.int64]
    expected_clicks: NDArray[np.float64]
    auctions: NDArray[np.int64]
    budget: NDArray[np.int64]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def of(cls, played: ReplayResult, budget: int) -> BidderResult:
        """The totals of a replay."""
        columns = {name: np.asarray(getattr(played, name)) for name in cls.names() if name != "budget"}
        return cls(**columns, budget=np.array(budget, np.int64))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The totals by name."""
        return {name: np.asarray(getattr(self, name)) for name in self.names()}

    def metrics(self) -> dict[str, float]:
        """The field's figures over all episodes; NaN where a division is undefined."""
        clicks, wins, cost = (float(getattr(self, name).sum()) for name in ("clicks", "wins", "cost"))
        return {
            "clicks": clicks,
            "expected_clicks": float(self.expected_clicks.sum()),
            "wins": wins,
            "cost": cost,
            "win_rate": _share(wins, float(self.auctions.sum())),
            "cpm": _share(cost, wins),
            "ecpc": _share(cost / 1000, clicks),
            "spend_ratio": _share(cost, float(self.budget) * len(self.clicks)),
        }


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        bidder, c0, budget: who, at which budget ratio, ticks per episode.
        metrics: see `BidderResult.metrics`.
        clicks_interval, expected_interval: 95 % bootstrap intervals of the totals, episodes being drawn afresh.
        reference: the bidder compared with.
        clicks_gain, expected_gain: difference of the totals from the reference, with intervals over paired episodes.
    """

    bidder: str
    c0: float
    budget: int
    metrics: Mapping[str, float]
    clicks_interval: tuple[float, float]
    expected_interval: tuple[float, float]
    reference: str
    clicks_gain: tuple[float, float, float]
    expected_gain: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values; undefined figures are null."""
        values = dataclasses.asdict(self)
        values["metrics"] = {name: v if np.isfinite(v) else None for name, v in self.metrics.items()}
        return values


def report_rows(
    results: Mapping[tuple[int, str], BidderResult], ratios: Sequence[float], reference: str
) -> list[Row]:
    """One row per bidder and budget ratio, in the order of `results`."""
    rows = []
    for (number, label), result in results.items():
        other = results[number, reference]
        gain, expected_gain = result.clicks - other.clicks, result.expected_clicks - other.expected_clicks
        rows.append(
            Row(
                bidder=label,
                c0=ratios[number],
                budget=int(result.budget),
                metrics=result.metrics(),
                clicks_interval=_interval(result.clicks),
                expected_interval=_interval(result.expected_clicks),
                reference=reference,
                clicks_gain=(float(gain.sum()), *_interval(gain)),
                expected_gain=(float(expected_gain.sum()), *_interval(expected_gain)),
            )
        )
    return rows


def print_report(rows: Sequence[Row], title: str) -> None:
    """Print the table, a line per bidder and budget."""
    from rich.console import Console
    from rich.table import Table

    reference = rows[0].reference
    table = Table(title=title, title_justify="left")
    table.add_column("c0")
    table.add_column("bidder")
    for name in (
        "clicks",
        "95 %",
        f"against {reference}",
        "expected",
        f"against {reference}",
        "wins",
        "CPM",
        "eCPC",
        "spent",
    ):
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
            f"{m['clicks']:.0f}",
            "{:.0f}–{:.0f}".format(*row.clicks_interval),
            _gain(row.clicks_gain, "{:+.0f}"),
            f"{m['expected_clicks']:.1f}",
            _gain(row.expected_gain, "{:+.1f}"),
            f"{m['wins']:.0f}",
            f"{m['cpm']:.1f}",
            f"{m['ecpc']:.1f}",
            f"{m['spend_ratio']:.1%}",
        )
    console = Console()
    # a pipe has no width: let the table be as wide as it is
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def _gain(gain: tuple[float, float, float], form: str) -> str:
    centre, low, high = (form.format(value) for value in gain)
    return f"{centre} ({low} to {high})"


def _interval(values: NDArray[Any]) -> tuple[float, float]:
    """95 % interval of the total over `[E]` episodes."""
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = stratified_bootstrap(values.astype(np.float64), np.mean)
    return low * len(values), high * len(values)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
