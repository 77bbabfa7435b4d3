"""`experiment: digital_twin`: a controller learnt through a metamodel, judged on the agent-based model, and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from dynrl import registry
from dynrl.agents.digital_twins.agent import model_of, set_point
from dynrl.agents.digital_twins.controllers import Constant, Controller, FeedbackNet
from dynrl.agents.digital_twins.data import Trajectories
from dynrl.agents.digital_twins.lifting import Lifted, lift, summarise, wilson_interval
from dynrl.agents.digital_twins.neural_metamodel import StochasticMap
from dynrl.agents.digital_twins.patients import PatientLaw
from dynrl.agents.digital_twins.personal import CohortConfig, CohortReport, treat_cohort
from dynrl.agents.digital_twins.search import best_constant
from dynrl.agents.digital_twins.steering import (
    SteeringConfig,
    blank_controller,
    blank_metamodel,
    fit_metamodel,
    natural_starts,
    record_runs,
    train_controller,
)
from dynrl.agents.digital_twins.training import predicted_cost
from dynrl.errors import ConfigError
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree
from dynrl.runs.run import Run

__all__ = ["DigitalTwin", "DigitalTwinExperiment"]

STAGES = ("runs", "metamodel", "controller", "judgement", "cohort")


@dataclass(frozen=True)
class DigitalTwin:
    """Settings of `experiment: digital_twin`.

    Attributes:
        env: id of an environment around an agent-based model.
        env_kwargs: of its constructor.
        targets: set-point by name of the macrostate's component.
        tail: steps at the end that J1 counts.
        steps: of a run when judging.
        seeds: random runs per controller when judging.
        steering: runs, metamodel and training; with `spread` for a population of patients.
        constants: per channel, the doses of the grid on which the best constant is searched; empty for no search.
        patient: names of the constants that differ between patients.
        cohort: personalised control of a cohort, with `steering.spread`; None for none.
    """

    env: str = "dynrl/WSG-SS-v0"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=lambda: {"sheep": 200.0, "wolves": 50.0})
    tail: int = 200
    steps: int = 600
    seeds: int = 100
    steering: SteeringConfig = field(default_factory=SteeringConfig)
    constants: tuple[tuple[float, ...], ...] = ((0.0, 0.001), (0.008, 0.009, 0.01, 0.011))
    patient: tuple[str, ...] = ("gain_wolf", "gain_sheep", "p_wolf", "p_sheep", "regrowth")
    cohort: CohortConfig | None = None


class DigitalTwinExperiment:
    """Records runs, fits a metamodel, trains a controller on it, and judges it on the agent-based model.

    A run that was stopped goes on with the next stage. Beside its own files it leaves `report.json`,
    `treatment.png` (trajectory bands with and without treatment, the dose, the grid itself) and `treatment.gif`, a film
    of the grid untreated and treated.

    Raises:
        ConfigError: an unknown environment, one without an agent-based model, or settings that make no sense.
    """

    Config: ClassVar[type] = DigitalTwin

    def __init__(self, config: DigitalTwin) -> None:
        self.config = config
        try:
            self.environment = registry.make_functional(config.env, **config.env_kwargs)
            self.model = model_of(self.environment)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"env: {error}") from error
        self.objective = set_point(self.model, config.targets, config.tail)
        if config.seeds < 2 or config.steps < 1:
            raise ConfigError(f"seeds={config.seeds}, steps={config.steps}: expected at least 2 and 1")
        if config.constants and len(config.constants) != len(self.model.control_names):
            raise ConfigError(
                f"constants has {len(config.constants)} channels, the model has {', '.join(self.model.control_names)}"
            )
        if config.cohort is not None and not config.steering.spread:
            raise ConfigError("cohort needs steering.spread > 0: a metamodel that knows patients")
        self.law = PatientLaw(config.patient, config.steering.spread or 0.1)
        if config.steering.spread:
            try:
                self.law.defaults(self.model)
            except ValueError as error:
                raise ConfigError(f"patient: {error}") from error
        self.contexts = len(config.patient) if config.steering.spread else 0

    def train(self, run: Run) -> None:
        """Goes through the stages, on from the last checkpoint, and writes the report and the picture."""
        saved = run.restore()
        arrays = {} if saved is None else dict(saved.arrays)
        done = -1 if saved is None else saved.step
        with run.progress(len(STAGES), "stages", done + 1) as progress:
            for number, stage in enumerate(STAGES):
                if number <= done:
                    continue
                found, headline = getattr(self, f"_{stage}")(arrays)
                arrays |= found
                if stage == "metamodel":  # the runs have served, and are large
                    arrays = {name: leaf for name, leaf in arrays.items() if not name.startswith("runs/")}
                run.log(number, {"stage": stage})
                run.checkpoint(number, arrays)
                progress.advance(1, headline)
        self._report(run, arrays)

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Judges the controller on fresh seeds.

        Returns:
            J1 without control and learnt, their standard errors, and the share of runs with an extinction.
        """
        controller = self.controller(self._saved(run))
        seeds = [seed + 100_000 + number for number in range(episodes)]
        figures: dict[str, float] = {}
        for label, used in (("no control", None), ("learnt", controller)):
            played = self._lift(used, seeds)
            report = summarise(played.cost)
            figures[f"{label}: J1"] = report.mean
            figures[f"{label}: standard error"] = report.standard_error
            figures[f"{label}: share extinct"] = float(played.extinct.mean())
        return figures

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Draws what the treatment does in one run."""
        if len(runs) != 1:
            raise ConfigError("a treatment is a picture by itself: name one run")
        return [self._draw(self._saved(runs[0]), out)]

    def controller(self, arrays: Mapping[str, np.ndarray]) -> FeedbackNet:
        """The trained controller of a checkpoint."""
        blank = blank_controller(self.model, self.objective, self.config.steering, self.contexts)
        return unflatten_tree(blank, arrays, "controller")

    def metamodel(self, arrays: Mapping[str, np.ndarray]) -> StochasticMap:
        """The fitted metamodel of a checkpoint."""
        return unflatten_tree(
            blank_metamodel(self.model, self.config.steering, self.contexts), arrays, "metamodel"
        )

    def _runs(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        data = record_runs(self.model, self.config.steering, self.law)
        return flatten_tree(data, "runs"), f"{len(data.macro)} runs recorded"

    def _metamodel(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        data = Trajectories(*(arrays[f"runs/{name}"] for name in Trajectories._fields))
        fitted = fit_metamodel(self.model, data, self.config.steering)
        return flatten_tree(fitted, "metamodel"), "metamodel fitted"

    def _controller(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        starts = natural_starts(self.model, self.config.steering, self.law)
        trained = train_controller(
            self.model, self.metamodel(arrays), self.objective, starts, self.config.steering
        )
        return flatten_tree(trained, "controller"), "controller trained"

    def _judgement(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        controller, metamodel = self.controller(arrays), self.metamodel(arrays)
        used: dict[str, Controller | None] = {"none": None, "learnt": controller}
        if self.config.constants:
            seeds = [10_000 + number for number in range(min(self.config.seeds, 16))]
            found = best_constant(
                self.model, self.objective, self.config.constants, seeds=seeds, steps=self.config.steps
            )
            used["constant"] = found.controller
        costs: dict[str, np.ndarray] = {}
        for label, law in used.items():
            played = self._lift(law, self.config.seeds)
            costs[f"judgement/{label}"] = played.cost
            costs[f"extinct/{label}"] = played.extinct
            start = played.macro[:, 0].mean(0)
        context = jnp.zeros(self.contexts)
        promised = predicted_cost(
            metamodel, controller, self.objective, start, self.config.steps, context=context
        )
        constant = used.get("constant")
        dose = constant.command if isinstance(constant, Constant) else jnp.zeros(0)
        costs |= {"predicted": np.array(promised), "constant": np.asarray(dose)}
        return costs, f"J1 {costs['judgement/learnt'].mean():.4f}"

    def _cohort(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        if self.config.cohort is None:
            return {}, "no cohort"
        report = treat_cohort(
            self.model,
            self.law,
            self.metamodel(arrays),
            self.controller(arrays),
            self.objective,
            self.config.cohort,
        )
        found = {f"cohort/{name}": np.asarray(part) for name, part in report._asdict().items()}
        return found, f"median J1 of patients {np.median(report.personal):.4f}"

    def _report(self, run: Run, arrays: Mapping[str, np.ndarray]) -> None:
        rows: dict[str, Any] = {}
        for label in ("none", "constant", "learnt"):
            if f"judgement/{label}" not in arrays:
                continue
            extinct = arrays[f"extinct/{label}"]
            low, high = wilson_interval(int(extinct.sum()), len(extinct))
            rows[label] = {**asdict_summary(arrays[f"judgement/{label}"]), "extinct": [low, high]}
            print(
                f"{label:<10} J1 {summarise(arrays[f'judgement/{label}'])}, extinct 95 % in [{low:.3f}, {high:.3f}]"
            )
        rows["learnt"] |= {
            "predicted": float(arrays["predicted"]),
            "agent_steps": self.config.steering.agent_steps,
        }
        if "cohort/personal" in arrays:
            cohort = CohortReport(*(arrays[f"cohort/{name}"] for name in CohortReport._fields))
            rows["cohort"] = {
                "median": float(np.median(cohort.personal)),
                "share_under_0.05": cohort.share_under(0.05),
                "not_personal_median": float(np.median(cohort.nominal)),
                "untreated_median": float(np.median(cohort.untreated)),
                "infeasible": np.flatnonzero(~cohort.feasible).tolist(),
            }
            print(f"cohort     {rows['cohort']}")
        text = json.dumps({"config": asdict(self.config), "J1": rows}, indent=2)
        run.artifact("report.json").write_text(text + "\n", encoding="utf-8")
        print(
            f"picture:     {self._draw(arrays, run.artifact('treatment.png'), run.artifact('treatment.gif'))}"
        )

    def _draw(self, arrays: Mapping[str, np.ndarray], out: Path, film: Path | None = None) -> Path:
        from dynrl.agents.digital_twins.pictures import draw_treatment, films_of, write_film

        controller, shown = self.controller(arrays), min(self.config.seeds, 24)
        free, treated = self._lift(None, shown), self._lift(controller, shown)
        hold = self.config.steering.stride
        films = films_of(self.config.env, self.config.env_kwargs, controller, self.config.steps, hold)
        if film is not None:
            write_film(film, films)
        grids = (films[0][-1], films[1][-1])
        return draw_treatment(self.model, self.objective, free, treated, grids, out)

    def _lift(self, controller: Controller | None, seeds: int | Sequence[int]) -> Lifted:
        return lift(
            self.model,
            controller,
            self.objective,
            seeds=seeds,
            steps=self.config.steps,
            hold=self.config.steering.stride,
        )

    def _saved(self, run: Run) -> Mapping[str, np.ndarray]:
        saved = run.restore()
        if saved is None or saved.step < STAGES.index("controller"):
            raise ConfigError(
                f"{run.path} has no trained controller yet; go on with dynrl train --resume {run.path}"
            )
        return saved.arrays


def asdict_summary(cost: np.ndarray) -> dict[str, float]:
    """A summary by name, for JSON."""
    return {name: float(value) for name, value in summarise(cost)._asdict().items()}
