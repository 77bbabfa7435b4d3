"""Pictures of robustness reports. matplotlib is imported when something is drawn; no display is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.plotting import check_picture, save_figure
from dynrl.robust.measurements import Cells
from dynrl.robust.report import RobustnessReport

GRIDS = ("grid", "offset grid")
OTHERS = ("worst", "minimum")


def heat_map(
    reports: Mapping[str, RobustnessReport],
    out: Path,
    x: str | None = None,
    y: str | None = None,
    others: str = "worst",
) -> Path:
    """Draw the mean return over two parameters, one panel per policy, all with one colour scale.

    Args:
        reports: label -> report, all of the same set and grid.
        out: a picture's name.
        x, y: names of the parameters; None for the first two that vary.
        others: what happens to further parameters: `"worst"` fixes them at the values of each report's worst cell,
            `"minimum"` shows the lowest mean over them.

    Raises:
        ValueError: no reports, reports that are no grids, other sets, or an unknown parameter.
        UserError: `out` is no picture or cannot be written.
    """
    check_picture(out)
    labels, first = list(reports), _first(reports)
    if others not in OTHERS:
        raise ValueError(f"others is {others!r}, expected one of {', '.join(OTHERS)}.")
    _check_grids(reports)
    columns = _columns(first, x, y)
    tables = [_table(reports[label].cells, columns, others) for label in labels]
    low, high = min(t.min() for _, _, t in tables), max(t.max() for _, _, t in tables)
    figure = _figure(4.2 * len(labels) + 1.2, 3.8)
    axes = figure.subplots(1, len(labels), squeeze=False)[0]
    for axis, label, (xs, ys, table) in zip(axes, labels, tables, strict=True):
        mesh = axis.pcolormesh(xs, ys, table.T, shading="nearest", vmin=low, vmax=high, cmap="viridis")
        _mark(axis, reports[label], columns)
        axis.set_title(f"{label}: worst {reports[label].worst.value:.4g}")
        axis.set_xlabel(first.names[columns[0]])
        axis.set_ylabel(first.names[columns[1]])
    figure.colorbar(mesh, ax=list(axes), label="mean return")
    axes[0].legend(loc="best", fontsize="small")
    return save_figure(figure, out)


def profiles(reports: Mapping[str, RobustnessReport], out: Path) -> Path:
    """Draw, for each parameter that varies, the lowest (line) and the average (dashed) mean return over the others."""
    check_picture(out)
    first = _first(reports)
    free = _free(first)
    figure = _figure(4 * len(free) + 1, 3.6)
    axes = figure.subplots(1, len(free), squeeze=False)[0]
    for axis, column in zip(axes, free, strict=True):
        for number, (label, report) in enumerate(reports.items()):
            values, group = np.unique(report.cells.psi[:, column], return_inverse=True)
            lowest = np.array([report.cells.mean[group == k].min() for k in range(len(values))])
            average = np.array([report.cells.mean[group == k].mean() for k in range(len(values))])
            axis.plot(values, lowest, color=f"C{number}", label=label)
            axis.plot(values, average, "--", color=f"C{number}")
        axis.set_xlabel(first.names[column])
        axis.set_ylabel("mean return: lowest (line), average (dashed)")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    return save_figure(figure, out)


def worst_path(psi: np.ndarray, values: Sequence[float], names: Sequence[str], out: Path) -> Path:
    """Draw how the worst model and its value moved from iteration to iteration.

    Args:
        psi: `[I, d]`, the worst model of each iteration.
        values: `[I]`, its value.
        names: `[d]`.
        out: a picture's name.
    """
    check_picture(out)
    psi = np.atleast_2d(psi)
    figure = _figure(8, 2 + 1.2 * len(names))
    axes = figure.subplots(1 + len(names), 1, sharex=True)
    for axis, series, label in zip(axes, [np.asarray(values), *psi.T], ["worst value", *names], strict=True):
        axis.plot(np.arange(len(series)), series, "o-", markersize=4)
        axis.set_ylabel(label, fontsize="small")
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return save_figure(figure, out)


def validity_shares(shares: np.ndarray, out: Path, iterations: Sequence[int] | None = None) -> Path:
    """Draw how often each expert, and the default policy, acted.

    Args:
        shares: `[I, experts + 1]`, per iteration (or model) the share of steps of every expert, the default's last.
        out: a picture's name.
        iterations: `[I]`; None for 1, 2, ...
    """
    check_picture(out)
    table = np.atleast_2d(np.asarray(shares, float))
    if (table < 0).any() or not np.allclose(table.sum(axis=1), 1):
        raise ValueError("the shares of every row must be non-negative and add up to 1.")
    places = np.arange(1, len(table) + 1) if iterations is None else np.asarray(iterations)
    figure = _figure(6, 3.6)
    axis = figure.add_subplot()
    bottom = np.zeros(len(table))
    for number, column in enumerate(table.T):
        default = number == table.shape[1] - 1
        label, color = ("default", "0.7") if default else (f"expert {number + 1}", f"C{number}")
        axis.bar(places, column, bottom=bottom, label=label, color=color)
        bottom += column
    axis.set_xlabel("iteration")
    axis.set_ylabel("share of steps")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return save_figure(figure, out)


def slices(report: RobustnessReport, out: Path) -> Path:
    """Draw two-dimensional slices of a grid through its worst cell, one for each pair of parameters that vary."""
    check_picture(out)
    _check_grids({"": report})
    free = _free(report)
    pairs = [(a, b) for k, a in enumerate(free) for b in free[k + 1 :]]
    figure = _figure(4 * len(pairs) + 1.2, 3.6)
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    low, high = report.cells.mean.min(), report.cells.mean.max()
    for axis, pair in zip(axes, pairs, strict=True):
        xs, ys, table = _table(report.cells, pair, "worst")
        mesh = axis.pcolormesh(xs, ys, table.T, shading="nearest", vmin=low, vmax=high, cmap="viridis")
        _mark(axis, report, pair)
        axis.set_xlabel(report.names[pair[0]])
        axis.set_ylabel(report.names[pair[1]])
    figure.colorbar(mesh, ax=list(axes), label="mean return")
    axes[0].legend(loc="best", fontsize="small")
    return save_figure(figure, out)


def parallel_coordinates(report: RobustnessReport, out: Path, share: float = 0.05) -> Path:
    """Draw the worst models as lines over their parameters, each scaled to its range; the rest in grey."""
    check_picture(out)
    free = _free(report)
    psi, mean = report.cells.psi[:, free], report.cells.mean
    low, high = psi.min(axis=0), psi.max(axis=0)
    unit = (psi - low) / np.where(high > low, high - low, 1)
    order = np.argsort(mean, kind="stable")
    worst = order[: max(1, round(share * len(order)))]
    figure = _figure(2 * len(free) + 3, 3.6)
    axis = figure.add_subplot()
    axis.plot(unit[order[:: max(1, len(order) // 200)]].T, color="0.85", linewidth=0.5)
    axis.plot(unit[worst].T, color="C3", alpha=0.7)
    labels = [f"{report.names[k]}\n[{low[i]:.3g}, {high[i]:.3g}]" for i, k in enumerate(free)]
    axis.set_xticks(np.arange(len(free)), labels, fontsize="small")
    axis.set_ylabel("share of the range")
    axis.set_title(f"the worst {len(worst)} of {len(mean)} models")
    return save_figure(figure, out)


def report_pictures(report: RobustnessReport, folder: Path) -> list[Path]:
    """Draw everything that suits the report's set into a folder; returns what was written."""
    free, grid = len(_free(report)), report.design["kind"] in GRIDS
    one = {report.policy: report}
    written = [profiles(one, folder / "profiles.png")] if free and grid else []
    if grid and free == 2:
        written.append(heat_map(one, folder / "heat_map.png"))
    if grid and free > 2:
        written.append(slices(report, folder / "slices.png"))
    if free > 2 or (free > 1 and not grid):
        written.append(parallel_coordinates(report, folder / "parallel_coordinates.png"))
    return written


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _first(reports: Mapping[str, RobustnessReport]) -> RobustnessReport:
    if not reports:
        raise ValueError("there is no report to draw.")
    return next(iter(reports.values()))


def _check_grids(reports: Mapping[str, RobustnessReport]) -> None:
    first = _first(reports)
    for label, report in reports.items():
        if report.design["kind"] not in GRIDS:
            raise ValueError(f"report {label!r} is of {report.design['kind']} models, expected a grid.")
        if not np.array_equal(report.cells.psi, first.cells.psi):
            raise ValueError(f"report {label!r} is of other models than the first one.")


def _free(report: RobustnessReport) -> list[int]:
    spread = report.cells.psi.max(axis=0) - report.cells.psi.min(axis=0)
    return np.flatnonzero(spread > 0).tolist()


def _columns(report: RobustnessReport, x: str | None, y: str | None) -> tuple[int, int]:
    free = _free(report)
    for name in (x, y):
        if name is not None and name not in report.names:
            raise ValueError(f"no parameter is called {name!r}; the report has {list(report.names)}.")
    chosen = [report.names.index(name) for name in (x, y) if name is not None]
    chosen += [k for k in free if k not in chosen][: 2 - len(chosen)]
    if len(chosen) < 2 or chosen[0] == chosen[1]:
        raise ValueError(f"a heat map needs two parameters that vary; the report has {len(free)}.")
    return chosen[0], chosen[1]


def _table(cells: Cells, columns: tuple[int, int], others: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(x [X], y [Y], means [X, Y])`."""
    worst = cells.psi[int(np.argmin(cells.mean))]
    rest = [k for k in range(cells.psi.shape[1]) if k not in columns]
    kept = np.ones(len(cells.psi), bool)
    if others == "worst":
        kept = (cells.psi[:, rest] == worst[rest]).all(axis=1)
    xs, column = np.unique(cells.psi[kept, columns[0]], return_inverse=True)
    ys, row = np.unique(cells.psi[kept, columns[1]], return_inverse=True)
    table = np.full((len(xs), len(ys)), np.inf)
    np.minimum.at(table, (column, row), cells.mean[kept])
    return xs, ys, table


def _mark(axis: Any, report: RobustnessReport, columns: tuple[int, int]) -> None:
    a, b = columns
    axis.autoscale_view()
    axis.autoscale(False)  # a nominal model outside the set must not stretch the picture
    if report.nominal is not None:
        x, y = report.nominal.psi[0][[a, b]]
        low, high = report.cells.psi[:, [a, b]].min(axis=0), report.cells.psi[:, [a, b]].max(axis=0)
        inside = low[0] <= x <= high[0] and low[1] <= y <= high[1]
        label = "nominal" if inside else "nominal (outside)"
        axis.plot(x, y, "w+", markersize=10, markeredgewidth=2, label=label)
    axis.plot(report.worst.psi[a], report.worst.psi[b], "rx", markersize=9, markeredgewidth=2, label="worst")
