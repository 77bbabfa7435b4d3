"""What a run was like: one table, one JSON file, one picture."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.plotting import save_figure
from dynrl.robots.latency import FIELDS, PERCENTILES, LogHistogram, Summary
from dynrl.robots.states import State, Transition
from dynrl.runs.array_file import write_atomically

LABELS = {
    "lateness": "tick started after its deadline",
    "observation_age": "observation: received to used",
    "stamp_age": "observation: stamped to used",
    "policy": "policy (observation, network, target)",
    "filter": "safety filter",
    "publish": "publishing",
    "end_to_end": "observation received to command written",
}
VIRTUAL = 100
"""ns; a median below it says that time was virtual: nothing to draw."""
SHORT = {"end_to_end": "end to end", "policy": "policy", "lateness": "lateness of ticks"}
COLOURS = {
    State.UNCONFIGURED: "#d9d9d9",
    State.INACTIVE: "#bdbdbd",
    State.RAMPING: "#9ecae1",
    State.ACTIVE: "#a1d99b",
    State.HOLDING: "#fdd08a",
    State.ESTOP: "#f4978e",
    State.STOPPING: "#c9b8e0",
    State.FINALIZED: "#969696",
}


@dataclass(frozen=True)
class FaultCount:
    """How often a fault was seen.

    Attributes:
        name: kind and source.
        count: ticks or messages.
        first_s, last_s: seconds since the start of the run.
        detail: of the first one.
    """

    name: str
    count: int
    first_s: float
    last_s: float
    detail: str


@dataclass(frozen=True)
class Report:
    """The end of a run.

    Attributes:
        bundle, robot, transport: names.
        seconds: length of the run.
        ticks, overruns, skipped: of the loop.
        scheduling: what the machine granted.
        latency: by field, ns.
        time_in_state: seconds by name of state.
        transitions: all of them.
        faults: by kind and source.
        commands_sent: messages on the command topic (shadow topic in shadow mode).
        received: messages by channel.
        saturation: share of policy calls in which each element of the action was clipped.
        joints: names of what is commanded.
        tracking: by joint, largest and root-mean-square distance between command and measurement; empty unless
            positions are commanded.
        recording: folder; None without one.
        recorded_drops: messages that the recorder dropped.
        memory_growth: bytes from activation to end.
        notes: lines worth reading.
    """

    bundle: str
    robot: str
    transport: str
    seconds: float
    ticks: int
    overruns: int
    skipped: int
    scheduling: str
    latency: dict[str, Summary]
    time_in_state: dict[str, float]
    transitions: tuple[Transition, ...]
    faults: tuple[FaultCount, ...]
    commands_sent: int
    received: dict[str, int]
    saturation: tuple[float, ...]
    joints: tuple[str, ...]
    tracking: dict[str, tuple[float, float]]
    recording: Path | None
    recorded_drops: int
    memory_growth: int
    notes: tuple[str, ...] = field(default=())

    @property
    def troubled(self) -> bool:
        """Whether the run ended held or e-stopped."""
        ends = [t.before for t in self.transitions if t.after in (State.STOPPING, State.FINALIZED)]
        return bool(ends) and ends[0] in (State.HOLDING, State.ESTOP)

    def text(self) -> str:
        """The table, for a terminal."""
        lines = [
            f"{self.bundle} on {self.robot} over {self.transport}: {self.seconds:.2f} s, {self.ticks} ticks, "
            f"{self.overruns} overruns ({self.skipped} deadlines skipped), {self.commands_sent} commands, "
            f"{self.scheduling}",
            "",
            f"{'µs':<40}" + "".join(f"{f'p{percent:g}':>10}" for percent in PERCENTILES) + f"{'max':>10}",
        ]
        for name in FIELDS:
            summary = self.latency[name]
            if summary.largest:
                cells = (*summary.percentiles, summary.largest)
                lines.append(f"{LABELS[name]:<40}" + "".join(f"{value / 1000:>10.1f}" for value in cells))
        lines += ["", "time in state: " + ", ".join(f"{k} {v:.2f} s" for k, v in self.time_in_state.items())]
        received = ", ".join(f"{ascii(k)[1:-1]} {v}" for k, v in self.received.items())
        lines.append(f"received: {received or 'nothing'}")
        if self.tracking:
            worst = ", ".join(
                f"{ascii(name)[1:-1]} {largest:.4f} ({rms:.4f})"
                for name, (largest, rms) in self.tracking.items()
            )
            lines.append(f"command - measured, largest (rms): {worst}")
        if any(self.saturation):
            shares = ", ".join(f"{share:.0%}" for share in self.saturation)
            lines.append(f"clipped actions per element: {shares}")
        lines.append("faults: " + ("none" if not self.faults else ""))
        lines += [
            f"  {fault.name:<32}{fault.count:>7} ×  {fault.first_s:8.3f} s to {fault.last_s:8.3f} s  {fault.detail}"
            for fault in self.faults
        ]
        if self.recording is not None:
            lines.append(f"recording: {self.recording} ({self.recorded_drops} messages dropped)")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def mapping(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("transitions", "recording", "latency", "faults")
        }
        latency = {
            name: {
                "count": summary.count,
                **{f"p{percent:g}": v for percent, v in zip(PERCENTILES, summary.percentiles, strict=True)},
                "max": summary.largest,
            }
            for name, summary in self.latency.items()
        }
        transitions = [
            {
                "at_ns": t.at_ns,
                "event": t.event.value,
                "from": t.before.value,
                "to": t.after.value,
                "reason": t.reason,
            }
            for t in self.transitions
        ]
        faults = [dataclasses.asdict(fault) for fault in self.faults]
        return {**values, "latency_ns": latency, "transitions": transitions, "faults": faults}

    def write(self, path: Path) -> Path:
        """Writes the JSON file."""
        write_atomically(path, (json.dumps(self.mapping(), indent=2) + "\n").encode())
        return path


def write_picture(
    path: Path,
    report: Report,
    trace: Any,
    bands: list[tuple[float, float, State]],
    limits: tuple[np.ndarray, np.ndarray] | None,
    histograms: dict[str, LogHistogram],
    unit: str,
) -> Path:
    """Draws commands against measurements per joint, limits shaded, states as bands, and the latency histogram.

    Args:
        path: of the picture (.png).
        report: for names and figures.
        trace: a `Trace`.
        bands: (from, to, state) in seconds.
        limits: lower and upper, per joint; None to shade nothing.
        histograms: by field of the latency.
        unit: of the commands.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    joints = report.joints
    columns = 1 if len(joints) <= 3 else 2
    rows = -(-len(joints) // columns)
    figure = Figure(figsize=(6.2 * columns + 4.4, max(5.0, 1.9 * rows + 1.2)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.0] * columns + [0.62])
    first = None
    for number, name in enumerate(joints):
        axes = figure.add_subplot(grid[number % rows, number // rows], sharex=first)
        first = first or axes
        _draw_joint(axes, number, name, trace, bands, limits, unit)
        last = number % rows == rows - 1 or number == len(joints) - 1
        axes.tick_params(labelbottom=last)
        if last:
            axes.set_xlabel("time / s")
    _draw_legend(figure, first, bands)
    side = grid[:, columns].subgridspec(2, 1)
    _draw_latency(figure.add_subplot(side[0]), histograms)
    _draw_table(figure.add_subplot(side[1]), report)
    title = f"{report.bundle} on {report.robot} ({report.transport})"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return save_figure(figure, path)


def _draw_joint(
    axes: Any,
    number: int,
    name: str,
    trace: Any,
    bands: list[tuple[float, float, State]],
    limits: tuple[np.ndarray, np.ndarray] | None,
    unit: str,
) -> None:
    for start, end, state in bands:
        axes.axvspan(start, end, color=COLOURS[state], alpha=0.45, linewidth=0)
    command = trace.command[:, number]
    if trace.measured.shape[1] == trace.command.shape[1]:
        axes.plot(trace.seconds, trace.measured[:, number], color="#222222", linewidth=1.6, label="measured")
    axes.plot(trace.seconds, command, color="#d62728", linewidth=1.0, label="command")
    low, high = axes.get_ylim()
    if limits is not None:
        lower, upper = limits[0][number], limits[1][number]
        margin = 0.06 * (upper - lower)
        near_low, near_high = low < lower + 4 * margin, high > upper - 4 * margin
        low = min(low, lower - margin) if near_low else low
        high = max(high, upper + margin) if near_high else high
        for inner, outer in ((lower, low), (upper, high)):
            if low <= inner <= high and inner != outer:
                axes.axhspan(
                    min(inner, outer),
                    max(inner, outer),
                    facecolor="#8b0000",
                    alpha=0.25,
                    hatch="///",
                    linewidth=0,
                )
                axes.axhline(inner, color="#8b0000", linewidth=0.9)
        if low > lower and high < upper:
            words = f"limits {lower:g} … {upper:g}"
            axes.text(
                0.995,
                0.97,
                words,
                fontsize=7,
                color="#8b0000",
                ha="right",
                va="top",
                transform=axes.transAxes,
            )
    axes.set_ylim(low, high)
    axes.margins(x=0)
    axes.set_ylabel(f"{_plain(name)} / {unit}" if unit else _plain(name), fontsize=9)
    axes.grid(alpha=0.25)


def _draw_legend(figure: Any, axes: Any, bands: list[tuple[float, float, State]]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seen = list(dict.fromkeys(state for _, _, state in bands))
    handles: list[Any] = [
        Line2D([], [], color="#d62728", label="command"),
        Line2D([], [], color="#222222", linewidth=1.6, label="measured"),
        Patch(facecolor="#8b0000", alpha=0.25, hatch="///", label="beyond limits"),
    ]
    handles += [Patch(color=COLOURS[state], alpha=0.6, label=state.value) for state in seen]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8)


def _draw_latency(axes: Any, histograms: dict[str, LogHistogram]) -> None:
    for name, colour in (("end_to_end", "#1f77b4"), ("lateness", "#ff7f0e"), ("policy", "#2ca02c")):
        edges, counts = coarse(histograms[name])
        if histograms[name].percentile(50) >= VIRTUAL:
            axes.stairs(counts, edges, label=SHORT[name], color=colour, fill=True, alpha=0.35)
            axes.stairs(counts, edges, color=colour, linewidth=1.0)
    if axes.patches:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=3)
    axes.set_xlabel("latency / µs")
    axes.set_ylabel("ticks")
    axes.grid(alpha=0.25)


def coarse(histogram: LogHistogram, per_decade: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(edges in µs, counts) of a histogram on `per_decade` bins per factor of ten; empty where nothing was counted."""
    buckets = list(histogram.buckets())
    if not buckets:
        return np.zeros(0), np.zeros(0)
    centres = np.array([max(1.0, (low + high) / 2) for low, high, _ in buckets]) / 1000
    counts = np.array([count for _, _, count in buckets])
    first = np.floor(np.log10(centres.min()) * per_decade)
    last = np.floor(np.log10(centres.max()) * per_decade) + 1
    edges = 10 ** (np.arange(first, last + 1) / per_decade)
    return edges, np.histogram(centres, bins=edges, weights=counts)[0]


def _draw_table(axes: Any, report: Report) -> None:
    axes.axis("off")
    rows = [
        ("length", f"{report.seconds:.1f} s, {report.ticks} ticks"),
        ("overruns", f"{report.overruns} ({report.skipped} skipped)"),
        ("priority", report.scheduling),
        *(
            (label, _figures(report.latency[name]))
            for name, label in SHORT.items()
            if report.latency[name].percentiles[0] >= VIRTUAL
        ),
        *(
            (_plain(fault.name), f"{fault.count} ×, first at {fault.first_s:.2f} s")
            for fault in report.faults[:5]
        ),
    ]
    if not report.faults:
        rows.append(("faults", "none"))
    rows += [(f"in {name}", f"{seconds:.2f} s") for name, seconds in report.time_in_state.items()]
    step = min(0.11, 1.0 / max(1, len(rows)))
    for place, (label, value) in enumerate(rows):
        y = 1.0 - step * place
        axes.text(0.0, y, label, fontsize=7.5, color="#555555", va="top", transform=axes.transAxes)
        axes.text(1.0, y, value, fontsize=7.5, va="top", ha="right", transform=axes.transAxes)


def _figures(summary: Summary) -> str:
    half, most = summary.percentiles[0] / 1000, summary.percentiles[2] / 1000
    return f"p50 {half:.0f}, p99 {most:.0f}, max {summary.largest / 1000:.0f} µs"


def _plain(name: str) -> str:
    """A name from the wire, escaped, and without TeX's dollar."""
    return ascii(name)[1:-1].replace("$", r"\$")
