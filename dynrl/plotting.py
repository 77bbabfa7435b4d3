"""Learning curves with confidence bands. matplotlib is imported when something is drawn."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.errors import UserError
from dynrl.runs.array_file import write_atomically
from dynrl.statistics import bootstrap_band, interquartile_mean


@dataclass(frozen=True)
class Curves:
    """Repetitions of one curve.

    Attributes:
        x: `[points]`, increasing.
        y: `[runs, points]`.
    """

    x: np.ndarray
    y: np.ndarray


def align(series: list[tuple[np.ndarray, np.ndarray]], points: int = 200) -> Curves:
    """Brings curves sampled at different places together by linear interpolation.

    Args:
        series: one (x `[n]`, y `[n]`) per run; NaN in y is left out.
        points: at most so many places, within the range that all runs cover.

    Raises:
        ValueError: a run without a finite point, or no common range.
    """
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in series]
    if not kept or any(len(x) == 0 for x, _ in kept):
        raise ValueError("a run has no finite point to draw")
    low, high = max(x[0] for x, _ in kept), min(x[-1] for x, _ in kept)
    if low > high:
        raise ValueError("the runs cover no common range of steps")
    every = np.unique(np.concatenate([x for x, _ in kept]))
    places = every[(every >= low) & (every <= high)]
    if len(places) > points:
        places = places[np.linspace(0, len(places) - 1, points).round().astype(int)]
    return Curves(places, np.stack([np.interp(places, x, y) for x, y in kept]))


def plot_curves(
    curves: Mapping[str, Curves],
    out: Path,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    statistic: Callable[..., np.ndarray] = interquartile_mean,
) -> Path:
    """Draws one line per label with its 95 % bootstrap band over runs into `out`.

    Args:
        curves: by label, in drawing order.
        out: the picture; the suffix says the format (.png, .svg, .pdf).
        x_label, y_label, title: with units.
        log_x, log_y: logarithmic axes.
        statistic: the centre over runs, such as `np.mean`; the interquartile mean unless given.

    Returns:
        `out`.

    Raises:
        UserError: the suffix is not a picture format, or the folder cannot be written.
    """
    check_picture(out)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    crowded = len(curves) > 6
    figure = Figure(figsize=(9 if crowded else 7, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (label, curve) in enumerate(curves.items()):
        color, dashes = f"C{number % 10}", ("-", "--", ":", "-.")[number // 10 % 4]
        (line,) = axes.plot(curve.x, statistic(curve.y, axis=0), dashes, color=color, label=label)
        if len(curve.y) > 1:
            low, high = bootstrap_band(curve.y, statistic)
            axes.fill_between(curve.x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    axes.grid(alpha=0.3)
    if crowded:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    else:
        axes.legend()
    return save_figure(figure, out)


def save_figure(figure: Any, out: Path) -> Path:
    """Writes a Matplotlib figure whole or not at all, in the format that the suffix of `out` names; returns `out`.

    Raises:
        UserError: it cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, format=out.suffix.removeprefix(".").lower())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    return out


def check_picture(out: Path) -> None:
    """Raises UserError unless the name ends in a picture format."""
    if out.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"--out {out}: expected a name ending in .png, .svg or .pdf")
