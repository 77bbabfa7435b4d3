"""`experiment: robust`: methods of robust training compared on one uncertainty set at one budget of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dynrl.agents.robust.methods import find_method
from dynrl.agents.robust.policy_file import load_policy, save_policy
from dynrl.agents.robust.training import MakeVec, Progress, Sampler, StagedLearner, TrainResult
from dynrl.config import from_mapping
from dynrl.errors import ConfigError
from dynrl.plotting import align, plot_curves
from dynrl.runs.run import Run
from dynrl.statistics import interquartile_mean, stratified_bootstrap

__all__ = ["RobustComparison", "RobustExperiment"]


@dataclass(frozen=True)
class Report:
    """How the policies are judged.

    Attributes:
        points: of the grid, per parameter; upper ends included.
        episodes: per model.
        confirm_episodes: fresh ones on the worst tenth of the models; only they count there.
    """

    points: int = 10
    episodes: int = 3
    confirm_episodes: int = 20


@dataclass(frozen=True)
class RobustComparison:
    """Settings of `experiment: robust`.

    Attributes:
        env: id of an environment.
        methods: by label, in the order of the report: `method`, a name in `dynrl.agents.robust.methods`, and settings
            of its config.
        uset: name of a benchmark set, such as `hopper`; None with `parameters`.
        dims: of the benchmark set.
        convention: of the benchmark set.
        parameters: instead of a benchmark set: the arguments of each `dynrl.robust.Param`.
        inertia: for `parameters`: whether the inertia scales with the mass.
        env_kwargs: arguments of the environment.
        budget: environment steps of each training, searches included.
        seeds: trainings per method.
        first_seed: they use `first_seed`, `first_seed + 1`, ...
        num_threads: of the C engine; 0 for all processors. Results do not depend on it.
        report: how the policies are judged; these steps do not count.
    """

    env: str
    methods: dict[str, dict[str, Any]]
    uset: str | None = None
    dims: int = 2
    convention: Literal["dynrl", "m2td3", "rrls"] = "dynrl"
    parameters: tuple[dict[str, Any], ...] = ()
    inertia: Literal["scale", "keep"] = "scale"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    budget: int = 100_000
    seeds: int = 2
    first_seed: int = 0
    num_threads: int = 0
    report: Report = field(default_factory=Report)


class RobustExperiment:
    """Trains each method on each seed, and measures every policy on the whole set.

    A run that was killed goes on with the training it was in: from its last stage where the method has stages
    (`training.StagedLearner`), else from the beginning of that training; the numbers are the same. Beside the run's
    own files it leaves, for each method and seed, `policies/LABEL-SEED.safetensors` and a `RobustnessReport` under
    `reports/LABEL-SEED`, and `heat_map.png`.

    Raises:
        ConfigError: an unknown environment, set or method, or settings that make no sense.
    """

    Config: ClassVar[type] = RobustComparison

    def __init__(self, config: RobustComparison) -> None:
        self.config = config
        for name in ("budget", "seeds"):
            if getattr(config, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
        if not config.methods:
            raise ConfigError("methods is empty: name at least one, e.g. methods: {dr: {method: dr}}")
        self.uset = _set_of(config)
        try:
            self.make_vec(1, None).close()
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"env {config.env!r} with the set {config.uset or 'parameters'}: {error}"
            ) from error
        self.methods = {label: _method_of(label, settings) for label, settings in config.methods.items()}

    @property
    def make_vec(self) -> MakeVec:
        """Makes the robust vector environment of the comparison."""
        from dynrl.robust import make_robust_vec

        def make(num_envs: int, sampler: Sampler | None) -> Any:
            c = self.config
            return make_robust_vec(c.env, self.uset, num_envs, sampler, c.num_threads, **c.env_kwargs)

        return make

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """(label, seed) of every training, in order."""
        c = self.config
        return [(label, seed) for label in c.methods for seed in range(c.first_seed, c.first_seed + c.seeds)]

    def train(self, run: Run) -> None:
        """Goes through the trainings, on from the last checkpoint, and writes reports and pictures."""
        state = _State.restored(run)
        budget, trainings = self.config.budget, self.trainings
        with run.progress(budget * len(trainings), "steps", budget * len(state.results)) as progress:
            for number, (label, seed) in enumerate(trainings):
                if number < len(state.results):
                    continue
                base, shown = number * budget, 0

                def tell(update: Progress, base: int = base, label: str = label, seed: int = seed) -> None:
                    nonlocal shown
                    figures = {name: float(update.metrics.get(name, np.nan)) for name in ("return", "worst")}
                    run.log(
                        base + update.env_steps,
                        {"method": label, "seed": seed, "stage": update.stage, **figures},
                    )
                    progress.advance(max(update.env_steps - shown, 0), _headline(label, seed, figures))
                    shown = max(shown, update.env_steps)

                method = self.methods[label]
                if isinstance(method, StagedLearner):
                    stages = _RunStages(run, state, base)
                    result = method.train_in_stages(self.make_vec, self.uset, budget, seed, tell, stages)
                else:
                    result = method.train(self.make_vec, self.uset, budget, seed, tell)
                save_policy(result.policy, _policy_path(run, label, seed))
                state.results.append(_summary(result))
                state.arrays, state.meta = {}, None
                run.checkpoint(base + budget, {}, state.as_meta())
                progress.advance(budget - shown)
        self.report(run)

    def report(self, run: Run) -> None:
        """Measures every policy that has no report yet, prints the table, draws the heat maps."""
        for label, seed in self.trainings:
            folder = _report_folder(run, label, seed)
            if not (folder / "report.json").is_file():
                self._measure(run, label, seed, folder)
        for name, value in self._table(self._reports(run)).items():
            print(f"{name:<34} {value:.4g}")
        for path in self.plot([run], run.artifact("heat_map.png")):
            print(f"picture: {path}")

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Plays every policy on the grid again, with `episodes` fresh episodes per model.

        Returns:
            For each label: interquartile mean over the trainings of worst, average and CVaR (worst tenth), and the
            95 % bootstrap interval of the first.
        """
        from dynrl.robust.report import robustness_report

        reports = {}
        for label, trained in self.trainings:
            policy = load_policy(self._existing_policy(run, label, trained))
            points = self.config.report.points
            reports[label, trained] = robustness_report(
                policy,
                self._evaluator(),
                self.uset,
                points=points,
                episodes=episodes,
                confirm_episodes=0,
                seed=seed,
            )
        return self._table(reports)

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Heat maps of one run, all with one colour scale (first seed of each method), and its training curves."""
        from dynrl.robust.pictures import heat_map

        if len(runs) != 1:
            raise ConfigError("heat maps are a picture by themselves: name one run")
        reports = self._reports(runs[0])
        if not reports:
            raise ConfigError(f"{runs[0].path} has no report yet")
        first = {label: report for (label, seed), report in reports.items() if seed == self.config.first_seed}
        drawn = [heat_map(first, out)]
        curves = self._curves(runs[0])
        if curves:
            path = out.with_name(f"{out.stem}-curves{out.suffix}")
            title = f"{self.config.env}: return while training"
            drawn.append(plot_curves(curves, path, "environment steps", "return", title))
        return drawn

    def _curves(self, run: Run) -> dict[str, Any]:
        metrics = run.metrics()
        if "return" not in metrics:
            return {}
        series: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for number, (label, seed) in enumerate(self.trainings):
            rows = (metrics["method"] == label) & (metrics["seed"].astype(int) == seed)
            steps = metrics["step"][rows].astype(float) - number * self.config.budget
            returns = metrics["return"][rows].astype(float)
            if np.isfinite(returns).any():
                series.setdefault(label, []).append((steps, returns))
        return {label: align(curves) for label, curves in series.items()}

    def _measure(self, run: Run, label: str, seed: int, folder: Path) -> None:
        from dynrl.robust.report import robustness_report, write_report

        c, state = self.config, _State.restored(run)
        spent = state.results[self.trainings.index((label, seed))]["env_steps"]
        report = robustness_report(
            load_policy(self._existing_policy(run, label, seed)),
            self._evaluator(),
            self.uset,
            points=c.report.points,
            episodes=c.report.episodes,
            confirm_episodes=c.report.confirm_episodes,
            env_steps=spent,
            seed=10_000 + seed,
            policy_name=f"{label}, seed {seed}",
            environment=c.env,
        )
        write_report(report, folder)

    def _reports(self, run: Run) -> dict[tuple[str, int], Any]:
        from dynrl.robust.report import RobustnessReport

        found = {}
        for label, seed in self.trainings:
            path = _report_folder(run, label, seed) / "report.json"
            if path.is_file():
                found[label, seed] = RobustnessReport.from_json(path.read_text(encoding="utf-8"))
        return found

    def _table(self, reports: Mapping[tuple[str, int], Any]) -> dict[str, float]:
        figures: dict[str, float] = {}
        for label in self.config.methods:
            own = [report for (name, _), report in reports.items() if name == label]
            if not own:
                continue
            worst = np.array([report.worst.value for report in own])
            figures[f"{label}: worst"] = float(interquartile_mean(worst))
            low, high = stratified_bootstrap(worst)
            figures[f"{label}: worst, low"], figures[f"{label}: worst, high"] = low, high
            average = np.array([report.average for report in own])
            figures[f"{label}: average"] = float(interquartile_mean(average))
            tenth = np.array([_tenth(report.cvar) for report in own])
            figures[f"{label}: CVaR 10 %"] = float(interquartile_mean(tenth))
        return figures

    def _evaluator(self) -> Any:
        from dynrl.registry import make_world
        from dynrl.robust.evaluation import make_evaluator

        c = self.config
        env = make_world(c.env, **c.env_kwargs) if c.env.startswith("dynrl/") else c.env
        return make_evaluator(env, self.uset, num_threads=c.num_threads)

    def _existing_policy(self, run: Run, label: str, seed: int) -> Path:
        path = _policy_path(run, label, seed)
        if not path.is_file():
            raise ConfigError(f"{run.path} has no policy of {label}, seed {seed} yet; go on with --resume")
        return path


@dataclass
class _State:
    """What a checkpoint holds: finished trainings, and the stages of the current one."""

    results: list[dict[str, Any]]
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] | None

    @classmethod
    def restored(cls, run: Run) -> _State:
        saved = run.restore()
        if saved is None:
            return cls([], {}, None)
        return cls(list(saved.meta["results"]), saved.arrays, saved.meta["stage"])

    def as_meta(self) -> dict[str, Any]:
        return {"results": self.results, "stage": self.meta}


class _RunStages:
    """Keeps the stages of the current training in the checkpoint of the run."""

    def __init__(self, run: Run, state: _State, base: int) -> None:
        self._run, self._state, self._base = run, state, base

    def load(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None:
        return None if self._state.meta is None else (self._state.arrays, self._state.meta)

    def save(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        self._state.arrays, self._state.meta = arrays, meta
        self._run.checkpoint(self._base + sum(meta["env_steps"].values()), arrays, self._state.as_meta())


def _set_of(config: RobustComparison) -> Any:
    from dynrl.robust import Param, UncertaintySet, uset

    if (config.uset is None) == (not config.parameters):
        raise ConfigError("give either uset, the name of a benchmark set, or parameters")
    try:
        if config.uset is not None:
            return uset(config.uset, dims=config.dims, convention=config.convention)
        return UncertaintySet([Param(**given) for given in config.parameters], inertia=config.inertia)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the uncertainty set: {error}") from error


def _method_of(label: str, settings: Mapping[str, Any]) -> Any:
    settings = dict(settings)
    name = settings.pop("method", None)
    if name is None:
        raise ConfigError(f"methods.{label} has no key 'method' naming the algorithm, e.g. method: dr")
    try:
        kind = find_method(name)
        return kind(from_mapping(kind.Config, settings, f"methods.{label}"))
    except ValueError as error:
        raise ConfigError(f"methods.{label}: {error}") from error


def _policy_path(run: Run, label: str, seed: int) -> Path:
    return run.artifact(f"policies/{label}-{seed}.safetensors")


def _report_folder(run: Run, label: str, seed: int) -> Path:
    return run.artifact(f"reports/{label}-{seed}/report.json").parent


def _summary(result: TrainResult) -> dict[str, Any]:
    return {"env_steps": result.env_steps, "learned": result.learned}


def _headline(label: str, seed: int, figures: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if np.isfinite(value))
    return f"{label} seed {seed}: {shown}" if shown else f"{label} seed {seed}"


def _tenth(cvar: Mapping[str, float]) -> float:
    return float(
        next(value for level, value in cvar.items() if float(str(level).rstrip(" %")) in (0.1, 10.0))
    )
