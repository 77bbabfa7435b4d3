"""What is said about a comparison of bandit agents: the table, the recommendation, the regret curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.dynlin_ucb import DynLinUCB
from dynrl.agents.bandits.simulation import Simulation, SimulationResult, agent_after
from dynrl.plotting import Curves


@dataclass(frozen=True)
class RegretStatistics:
    """Final regret over runs.

    Attributes:
        mean, median, sd: over runs.
        low, high: 5 % and 95 % quantiles.
    """

    mean: float
    median: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> RegretStatistics:
        """Statistics of `[B]` final regrets."""
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
        return cls(
            float(values.mean()),
            float(median),
            float(values.std(ddof=len(values) > 1)),
            float(low),
            float(high),
        )


@dataclass(frozen=True)
class AgentSummary:
    """One row of the report.

    Attributes:
        label: of the agent.
        runs: how many.
        pseudo: final pseudo-regret.
        reward: final reward regret.
        growth: mean pseudo-regret of the second half over that of the first (1: linear; small: it has learnt).
        optimal_share: share of runs whose most played action of the last tenth is optimal.
        misses: epochs, over all runs, that began with the true h outside the confidence set.
        recommended: action that most runs recommend in the end, `[d]`.
        agreement: share of runs that recommend it.
        recommended_value: its long-run value h·u.
        interval: the agent's own interval for that value (first run), if it has one.
        microseconds: wall time per run and round; None when not measured.
    """

    label: str
    runs: int
    pseudo: RegretStatistics
    reward: RegretStatistics
    growth: float
    optimal_share: float
    misses: int
    recommended: tuple[float, ...]
    agreement: float
    recommended_value: float
    interval: tuple[float, float] | None
    microseconds: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def summarise(label: str, agent: BanditAgent, simulation: Simulation, seconds: float | None) -> AgentSummary:
    """The row of a finished simulation."""
    result = simulation.result()
    runs, rounds = len(simulation.seeds), simulation.rounds_done
    advised = np.array([int(agent.algorithm.recommend(state)) for state in simulation.learned_states()])
    choices, counts = np.unique(advised, return_counts=True)
    choice = int(choices[counts.argmax()])
    interval = None
    if isinstance(agent, DynLinUCB):
        first = agent_after(agent, simulation, int(np.flatnonzero(advised == choice)[0]))
        interval = first.confidence_interval(choice)
    return AgentSummary(
        label=label,
        runs=runs,
        pseudo=RegretStatistics.of(result.pseudo_regret[:, -1]),
        reward=RegretStatistics.of(result.reward_regret[:, -1]),
        growth=growth(result),
        optimal_share=result.optimal_share(),
        misses=int(result.misses.sum()),
        recommended=tuple(agent.candidates[choice].tolist()),
        agreement=float(counts.max() / runs),
        recommended_value=float(result.values[choice]),
        interval=interval,
        microseconds=None if seconds is None else seconds / (runs * rounds) * 1e6,
    )


def growth(result: SimulationResult) -> float:
    """Mean pseudo-regret of the second half of the run over that of the first; 1 for linear regret."""
    mean = result.pseudo_regret.mean(0)
    half = float(np.interp(result.times[-1] / 2, np.append(0, result.times), np.append(0.0, mean)))
    return float((mean[-1] - half) / half) if half > 0.0 else float("nan")


def regret_curves(results: Mapping[str, Sequence[SimulationResult]]) -> dict[str, Curves]:
    """Pseudo-regret curves by label; results of one label are put on the records of the first."""
    curves = {}
    for label, parts in results.items():
        times = parts[0].times
        rows = [np.interp(times, part.times, row) for part in parts for row in part.pseudo_regret]
        curves[label] = Curves(times.astype(np.float64), np.stack(rows))
    return curves


def print_report(rows: Sequence[AgentSummary], horizon: int, runs: int) -> None:
    """The table of a comparison, on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"final regret after {horizon} rounds, {runs} runs each", title_justify="left")
    table.add_column("agent")
    for name in ("mean", "median", "5 %", "95 %", "reward regret", "2nd/1st half", "on optimum", "µs/round"):
        table.add_column(name, justify="right")
    for row in rows:
        p = row.pseudo
        cells = [f"{value:.4g}" for value in (p.mean, p.median, p.low, p.high, row.reward.mean)]
        speed = "-" if row.microseconds is None else f"{row.microseconds:.3f}"
        table.add_row(row.label, *cells, f"{row.growth:.2f}", f"{row.optimal_share:.0%}", speed)
    advice = Table(title="recommended allocation", title_justify="left")
    for name in ("agent", "allocation", "runs that agree", "true long-run value", "agent's interval for it"):
        advice.add_column(name)
    for row in rows:
        interval = "-" if row.interval is None else f"[{row.interval[0]:.4f}, {row.interval[1]:.4f}]"
        allocation = ", ".join(f"{value:.3g}" for value in row.recommended)
        advice.add_row(
            row.label, f"({allocation})", f"{row.agreement:.0%}", f"{row.recommended_value:.4f}", interval
        )
    # a pipe has no width: let the table be as wide as it is
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
    console.print(advice)
