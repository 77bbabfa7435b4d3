"""`experiment: bandits`: several bandit agents on one dynamical linear bandit, many seeds each, compared by regret."""

from __future__ import annotations

import json
import time
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dynrl import registry
from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.constant import Constant
from dynrl.agents.bandits.report import AgentSummary, print_report, regret_curves, summarise
from dynrl.agents.bandits.simulation import Simulation, SimulationResult
from dynrl.bandits import FiniteSet
from dynrl.config import from_mapping
from dynrl.errors import ConfigError
from dynrl.plotting import plot_curves
from dynrl.runs.run import Run


@dataclass(frozen=True)
class BanditComparison:
    """Settings of `experiment: bandits`.

    Attributes:
        env: id of a registered dynamical linear bandit; the agents are told its true bounds.
        agents: by label, in the order of the report: `agent`, the name of a bandit agent, and settings of its
            config that differ from what `from_system` would choose.
        env_kwargs: arguments of the environment, such as `sigma`.
        horizon: T, rounds per run.
        seeds: runs per agent.
        first_seed: they use `first_seed`, `first_seed + 1`, ...
        record: points of each regret curve.
        path: `"step"` advances every round, `"epoch"` whole holds; `"auto"` takes the epoch path where it is the
            faster one.
        checkpoints: per agent.
    """

    env: str
    agents: dict[str, dict[str, Any]]
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    horizon: int = 100_000
    seeds: int = 32
    first_seed: int = 0
    record: int = 200
    path: Literal["auto", "step", "epoch"] = "auto"
    checkpoints: int = 20


class BanditExperiment:
    """Trains each agent of a `BanditComparison` in one compiled simulation, and reports regrets.

    Beside the run's own files it leaves `report.json`, `regret.png` and, for every agent, the recommended action.

    Raises:
        ConfigError: an unknown environment or agent, or settings that make no sense.
    """

    Config: ClassVar[type] = BanditComparison

    def __init__(self, config: BanditComparison) -> None:
        self.config = config
        for name, least in (("horizon", 1), ("seeds", 1), ("record", 2), ("checkpoints", 1)):
            if getattr(config, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(config, name)}")
        if not config.agents:
            raise ConfigError("agents is empty: name at least one, e.g. agents: {mine: {agent: DynLinUCB}}")
        try:
            env = registry.make_functional(config.env, **config.env_kwargs)
            self.system, self.action_set = env.system, env.action_set  # type: ignore[attr-defined]
        except AttributeError:
            raise ConfigError(
                f"env {config.env!r} is not a dynamical linear bandit: it has no linear system"
            ) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"env {config.env!r}: {error}") from None
        self.agents = {label: self._make_agent(label, settings) for label, settings in config.agents.items()}
        self.simulations = {label: self._simulation(label, agent) for label, agent in self.agents.items()}

    def _make_agent(self, label: str, settings: Mapping[str, Any]) -> BanditAgent:
        settings = dict(settings)
        name = settings.pop("agent", None)
        if name is None:
            raise ConfigError(
                f"agents.{label} has no key 'agent' naming the algorithm, e.g. agent: DynLinUCB"
            )
        try:
            kind = registry.find_agent(name)
        except ValueError as error:
            raise ConfigError(f"agents.{label}: {error}") from None
        if not (isinstance(kind, type) and issubclass(kind, BanditAgent) and hasattr(kind, "from_system")):
            raise ConfigError(f"agents.{label}: {name} is not a bandit agent with from_system()")
        settings = typed_settings(kind.Config, settings, f"agents.{label}")
        try:
            return kind.from_system(self.system, self.action_set, self.config.horizon, **settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"agents.{label}: {error}") from None

    def _simulation(self, label: str, agent: BanditAgent) -> Simulation:
        c = self.config
        path = c.path
        if path == "auto":
            path = "epoch" if agent.algorithm.schedule(64).holds.mean() > 1.5 else "step"
            path = "step" if agent.algorithm.sample == "tail_mean" else path
        seeds = np.arange(c.first_seed, c.first_seed + c.seeds)
        try:
            return Simulation(
                self.system, agent, c.horizon, seeds, record=c.record, path=path, comparator=self.action_set
            )
        except ValueError as error:
            raise ConfigError(f"agents.{label}: {error}") from None

    def train(self, run: Run) -> None:
        """Runs the agents one after the other, on from the last checkpoint, and writes the report."""
        labels, horizon = list(self.agents), self.config.horizon
        seconds = dict.fromkeys(labels, 0.0)
        saved = run.restore()
        if saved is not None:
            self.load(saved.arrays)
            seconds |= saved.meta["seconds"]
        done = sum(simulation.rounds_done for simulation in self.simulations.values())
        with run.progress(horizon * len(labels), "rounds", done) as progress:
            for number, (label, simulation) in enumerate(self.simulations.items()):
                piece = -(-simulation.num_chunks // self.config.checkpoints)
                while not simulation.done:
                    started, before = time.perf_counter(), simulation.rounds_done
                    logged = len(simulation.result().times)
                    simulation.advance(piece)
                    result = simulation.result()
                    seconds[label] += time.perf_counter() - started
                    for record in range(logged, len(result.times)):
                        run.log(number * horizon + int(result.times[record]), _row(label, result, record))
                    run.checkpoint(
                        number * horizon + simulation.rounds_done, self.state(), {"seconds": seconds}
                    )
                    headline = f"{label}: regret {result.pseudo_regret[:, -1].mean():.4g}"
                    progress.advance(simulation.rounds_done - before, headline)
        self.report(run, seconds)

    def state(self) -> dict[str, np.ndarray]:
        """All simulations as named arrays."""
        return {
            f"{number}/{name}": array
            for number, simulation in enumerate(self.simulations.values())
            for name, array in simulation.state_dict().items()
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state` gave."""
        for number, simulation in enumerate(self.simulations.values()):
            prefix = f"{number}/"
            own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
            simulation.load_state_dict(own)

    def summaries(self, seconds: Mapping[str, float] | None = None) -> list[AgentSummary]:
        """One row of the report per agent."""
        return [
            summarise(label, agent, self.simulations[label], (seconds or {}).get(label))
            for label, agent in self.agents.items()
        ]

    def report(self, run: Run, seconds: Mapping[str, float]) -> None:
        """Prints the table; writes report.json and regret.png into the run."""
        rows = self.summaries(seconds)
        print_report(rows, self.config.horizon, self.config.seeds)
        text = json.dumps([row.as_json() for row in rows], indent=2)
        run.artifact("report.json").write_text(text + "\n", encoding="utf-8")
        for path in self.plot([run], run.artifact("regret.png")):
            print(f"regret curves: {path}")
        print(f"TensorBoard:   tensorboard --logdir {run.path}")

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Plays what each agent recommends for `episodes` fresh runs of up to 1000 rounds.

        Returns:
            For each label: long-run value of the recommendation (mean over the trained runs), and the mean reward
            of the most recommended action.
        """
        self._restore(run)
        rounds = min(self.config.horizon, 1000)
        figures: dict[str, float] = {}
        for row in self.summaries():
            player = Constant(FiniteSet(np.asarray([row.recommended])))
            fresh = Simulation(
                self.system,
                player,
                rounds,
                np.arange(seed, seed + episodes),
                record=2,
                comparator=self.action_set,
            )
            fresh.advance(fresh.num_chunks)
            regret = fresh.result().reward_regret[:, -1]
            figures[f"{row.label}: long-run value"] = row.recommended_value
            figures[f"{row.label}: mean reward"] = float(fresh.world.optimal_value - regret.mean() / rounds)
        return figures

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Mean pseudo-regret over rounds with bootstrap bands, one line per agent, seeds of all runs together."""
        collected: dict[str, list[SimulationResult]] = {}
        for run in runs:
            experiment = BanditExperiment(
                from_mapping(BanditComparison, _config_of(run), str(run.config_path))
            )
            experiment._restore(run)
            for label, simulation in experiment.simulations.items():
                result = simulation.result()
                if len(result.times):
                    collected.setdefault(label, []).append(result)
        if not collected:
            raise ConfigError("nothing to plot yet: the runs have no records")
        title = f"{self.config.env}: pseudo-regret, mean and 95 % band over runs"
        curves = regret_curves(collected)
        return [plot_curves(curves, out, "round", "pseudo-regret", title, True, True, statistic=np.mean)]

    def _restore(self, run: Run) -> None:
        saved = run.restore()
        if saved is None:
            raise ConfigError(f"{run.path} has no checkpoint yet")
        self.load(saved.arrays)


def typed_settings(config_class: type, settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Some fields of a config with the types that the config declares; names it does not know are left alone.

    Raises:
        ConfigError: a value of another type; names the field.
    """
    hints = typing.get_type_hints(config_class)
    known = {name: value for name, value in settings.items() if name in hints}
    partial = make_dataclass("Settings", [(name, hints[name]) for name in known], frozen=True)
    typed: Any = from_mapping(partial, known, source)
    return {**settings, **{name: getattr(typed, name) for name in known}}


def _config_of(run: Run) -> dict[str, Any]:
    import yaml

    values = yaml.safe_load(run.config_path.read_text(encoding="utf-8"))
    del values["experiment"]
    return values


def _row(label: str, result: SimulationResult, record: int) -> dict[str, float | str]:
    def mean_and_error(values: np.ndarray) -> tuple[float, float]:
        column = values[:, record]
        return float(column.mean()), float(column.std(ddof=1) / np.sqrt(len(column))) if len(
            column
        ) > 1 else 0.0

    pseudo, error = mean_and_error(result.pseudo_regret)
    return {
        "agent": label,
        "round": int(result.times[record]),
        "pseudo_regret": pseudo,
        "pseudo_regret_standard_error": error,
        "reward_regret": mean_and_error(result.reward_regret)[0],
        "mean_regret": mean_and_error(result.mean_regret)[0],
    }
