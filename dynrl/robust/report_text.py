"""A robustness report for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dynrl.robust.measurements import Cells
    from dynrl.robust.report import RobustnessReport
    from dynrl.robust.statistics import Interval


def summary(report: RobustnessReport) -> str:
    """The report in at most twelve lines."""
    cells, design = report.cells, report.design
    confidence = f"{100 * (1 - report.delta):g} %"
    ends = "" if design["kind"] != "grid" else ", upper ends " + ("in" if design["endpoint"] else "out")
    second = int((cells.episodes != cells.episodes.min()).sum())
    again = f", {cells.episodes.max()} fresh ones on the worst {second}" if second else ""
    lines = [
        f"{report.policy} on {report.environment or 'the environment'}: {len(cells.mean)} models ({design['kind']}"
        f"{ends}), {cells.episodes.min()} episodes each{again}",
        f"set {report.set_hash}, inertia {report.uncertainty_set['inertia']!r}"
        + (f", policy chosen on {report.chosen_on}" if report.chosen_on else ""),
        f"worst    {report.worst.value:.6g}  {confidence} interval {_ends(report.worst.interval)}, found by "
        f"{report.worst.found_by}",
        f"         at {_model(report.names, report.worst.psi)}",
        "CVaR     " + "  ".join(f"{100 * float(a):g} %: {value:.6g}" for a, value in report.cvar.items()),
        f"average  {report.average:.6g}   best {report.best:.6g}",
    ]
    if report.nominal is not None:
        lines.append(
            f"nominal  {report.nominal.mean[0]:.6g} at {_model(report.names, report.nominal.psi[0])}"
        )
    if report.failures is not None:
        share, interval = report.failures
        lines.append(
            f"failures {100 * share:.3g} % of the models below {report.failure_below:g}, {confidence} interval "
            f"[{100 * interval.low:.3g} %, {100 * interval.high:.3g} %]"
        )
    if report.bracket is not None:
        lines.append(
            f"bracket  [{report.bracket.lower:.6g}, {report.bracket.upper:.6g}] {report.bracket.kind}"
        )
    if report.coverage is not None:
        lines.append(report.coverage)
    diverged = _diverged(cells)
    if diverged:
        lines.append(f"diverged {diverged} episodes")
    lines.append(
        "steps    " + ", ".join(f"{purpose} {count:,}" for purpose, count in report.env_steps.items())
    )
    return "\n".join(lines)


def _diverged(cells: Cells) -> int:
    return round(float((cells.diverged * cells.episodes).sum()))


def _ends(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return "(one episode tells nothing)"
    return f"[{interval.low:.6g}, {interval.high:.6g}]"


def _model(names: tuple[str, ...], psi: np.ndarray) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in zip(names, psi, strict=True))
