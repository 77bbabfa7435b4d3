"""Pictures of IWOCS: the bracket over its rounds, and a policy on a grid of squares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dynrl.plotting import check_picture, save_figure
from dynrl.robust.tabular.iwocs import IWOCSResult

__all__ = ["plot_grid_policy", "plot_iwocs"]


def plot_iwocs(result: IWOCSResult, out: Path, title: str = "") -> Path:
    """What the candidates hope for and get in each round, and the bracket, drawn into `out`; returns it.

    Raises:
        UserError: the suffix is not a picture format, or the file cannot be written.
    """
    check_picture(out)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rounds = np.arange(len(result.history))
    upper, lower = ([getattr(each, name) for each in result.history] for name in ("upper", "lower"))
    axes.fill_between(rounds, lower, upper, color="C0", alpha=0.15, linewidth=0, label="bracket")
    axes.plot(rounds, upper, "C0--", label="no policy guarantees more")
    axes.plot(rounds, [each.pessimistic for each in result.history], "C1o-", label="candidate hopes for")
    axes.errorbar(
        rounds,
        [each.worst for each in result.history],
        [3 * each.error for each in result.history],
        fmt="C3s-",
        label="candidate's worst case",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("iteration")
    axes.set_ylabel("value at the start")
    axes.set_title(title or f"IWOCS: {result.status}, gap {result.gap:.2g}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return save_figure(figure, out)


def plot_grid_policy(
    actions: np.ndarray,
    value: np.ndarray,
    layout: Sequence[str],
    moves: np.ndarray,
    out: Path,
    title: str = "",
) -> Path:
    """A policy as arrows over the values of a grid world, drawn into `out`; returns it.

    Args:
        actions: `[rows * columns]`.
        value: `[rows * columns]`, the colour.
        layout: a string per row; `#` is a wall, `G` a goal, and neither gets an arrow.
        moves: (row, column) change of each action, `[A, 2]`.

    Raises:
        ValueError: the policy does not fit the layout.
        UserError: the suffix is not a picture format, or the file cannot be written.
    """
    check_picture(out)
    cells = np.array([list(row) for row in layout])
    if np.shape(actions) != (cells.size,) or np.shape(value) != (cells.size,):
        raise ValueError(
            f"actions {np.shape(actions)} and value {np.shape(value)} do not fit a layout of {cells.size} squares."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    wall = cells == "#"
    shown = np.ma.masked_array(np.reshape(value, cells.shape), wall)
    image = axes.imshow(shown, cmap="viridis")
    axes.set_facecolor("0.25")
    figure.colorbar(image, ax=axes, label="value")
    row, column = np.nonzero(~wall & (cells != "G"))
    change = np.asarray(moves)[np.asarray(actions)[row * cells.shape[1] + column]]
    axes.quiver(
        column,
        row,
        change[:, 1],
        change[:, 0],
        angles="xy",
        pivot="middle",
        color="white",
        scale=14,
        width=0.009,
    )
    for mark in np.argwhere((cells != ".") & ~wall):
        axes.text(mark[1] - 0.42, mark[0] - 0.28, cells[tuple(mark)], color="white", fontsize=8)
    axes.set_xticks(range(cells.shape[1]))
    axes.set_yticks(range(cells.shape[0]))
    axes.set_title(title)
    return save_figure(figure, out)
