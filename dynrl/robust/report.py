"""The robustness report of one policy on one uncertainty set: numbers, intervals, and what they cost."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.robust.evaluation.returns import Evaluator, require_evaluator
from dynrl.robust.evaluation.seeds import episode_seeds, generator
from dynrl.robust.measurements import Bracket, Cells, Worst
from dynrl.robust.search.worst_case import WorstCase
from dynrl.robust.sets import UncertaintySet
from dynrl.robust.statistics import (
    Interval,
    coverage_sentence,
    lower_cvar,
    wilson_interval,
    worst_bootstrap,
)

DESIGNS = ("grid", "offset grid", "sobol", "uniform")
CVAR_LEVELS = (0.05, 0.1, 0.25)


@dataclass(frozen=True)
class RobustnessReport:
    """What `robustness_report` measured. Two are equal when everything but the circumstances is.

    Attributes:
        policy, environment: names, for people.
        uncertainty_set: the definition (`UncertaintySet.to_dict`), inertia and friction modes included.
        set_hash: of the definition.
        design: how the models were chosen: `kind` (one of `DESIGNS`), points, and whether the upper end of a grid was
            tested.
        chosen_on: on which models the policy was chosen (threshold, candidate, early stop), in words: others than
            these, or the report flatters it.
        seed, first_seeds, second_seeds: of the report, and the episodes of both stages.
        delta: probability that an interval misses.
        names: of the parameters.
        cells: the models.
        worst: the worst of them and of the search.
        average: mean over models of their mean return.
        cvar: mean over the worst 5, 10 and 25 % of the models, by level.
        best: largest mean.
        nominal: the model at its own parameters; None where the set is not bound.
        searched: the worst model of the search, re-evaluated on fresh episodes; None without a search.
        failure_below: threshold of a failure, None for none asked for.
        failures: share of models with a mean below it, and its Wilson interval.
        coverage: for independent uniform models, what they say about the rest of the set.
        bracket: where one is known.
        search: method, budget used and trace of the search.
        env_steps: environment steps by purpose.
        circumstances: wall time, versions, hardware: no part of equality nor of `to_json(circumstances=False)`.
    """

    policy: str
    environment: str
    uncertainty_set: Mapping[str, Any]
    set_hash: str
    design: Mapping[str, Any]
    chosen_on: str
    seed: int
    first_seeds: tuple[int, ...]
    second_seeds: tuple[int, ...]
    delta: float
    names: tuple[str, ...]
    cells: Cells
    worst: Worst
    average: float
    cvar: Mapping[str, float]
    best: float
    nominal: Cells | None
    searched: Cells | None
    failure_below: float | None
    failures: tuple[float, Interval] | None
    coverage: str | None
    bracket: Bracket | None
    search: Mapping[str, Any] | None
    env_steps: Mapping[str, int]
    circumstances: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RobustnessReport) and self.to_json(False) == other.to_json(False)

    def __hash__(self) -> int:
        return hash(self.to_json(False))

    def to_json(self, circumstances: bool = True) -> str:
        """The report as JSON; numbers that are not finite become null."""
        from dynrl.robust.report_file import report_text

        return report_text(self, circumstances)

    @staticmethod
    def from_json(text: str) -> RobustnessReport:
        """Read what `to_json` wrote.

        Raises:
            FileFormatError: no such JSON, or another version.
        """
        from dynrl.robust.report_file import read_report

        return read_report(text)

    def summary(self) -> str:
        """The report in at most twelve lines."""
        from dynrl.robust.report_text import summary

        return summary(self)


def robustness_report(
    policy: Any,
    evaluator: Evaluator,
    uset: UncertaintySet,
    *,
    design: str = "grid",
    points: int = 10,
    endpoint: bool | None = None,
    episodes: int = 10,
    confirm_episodes: int = 100,
    confirm_share: float = 0.1,
    delta: float = 0.05,
    failure_below: float | None = None,
    search: WorstCase | None = None,
    bracket: Bracket | None = None,
    chosen_on: str = "",
    env_steps: Mapping[str, int] | None = None,
    seed: int = 0,
    policy_name: str = "policy",
    environment: str = "",
) -> RobustnessReport:
    """Measure a policy on an uncertainty set, in two stages.

    A first stage plays a few episodes on every model; a second plays many fresh ones on the worst share of them, and
    only those count there, for the smallest of noisy means is biased low. The episodes are common to all models and
    drawn apart from those of any search.

    Args:
        policy: whatever the evaluator takes.
        evaluator: plays the episodes.
        uset: the set.
        design: `"grid"` of `points` per parameter; `"offset grid"`, the middles of the intervals of such a grid;
            `"sobol"`, `points` spread evenly; or `"uniform"`, `points` independent draws, which allow a statement
            about the rest of the set. Take another than the one that the policy was chosen on.
        points: see `design`.
        endpoint: whether a grid tests the upper ends; None for the set's own convention.
        episodes, confirm_episodes: per model, of the first and the second stage; 0 leaves the second out.
        confirm_share: share of the models in the second stage.
        delta: probability that an interval misses.
        failure_below: mean return below which a model counts as failed.
        search: a worst-case search of this policy, whose worst model is re-evaluated on the second stage's episodes.
        bracket: bounds of the robust value, where known.
        chosen_on: on which models the policy was chosen, in words.
        env_steps: environment steps already spent, by purpose (`"training"`, `"search"`, ...).
        seed: of the episodes and of the design.
        policy_name, environment: for people.

    Raises:
        ValueError: an unknown design, numbers out of range, or a grid of which no point is in the set.
        TypeError: an evaluator that is none.
    """
    require_evaluator(evaluator)
    if design not in DESIGNS:
        raise ValueError(f"design {design!r} is unknown, expected one of {', '.join(DESIGNS)}.")
    if not 0 < confirm_share <= 1 or confirm_episodes < 0 or points < 1:
        raise ValueError(
            f"expected points >= 1, confirm_episodes >= 0 and confirm_share in (0, 1], got {points}, "
            f"{confirm_episodes} and {confirm_share}."
        )
    begun = time.perf_counter()
    steps = dict(env_steps or {})
    first_seeds = episode_seeds(seed, episodes, "report")
    second_seeds = (
        episode_seeds(seed, confirm_episodes, "report, second stage") if confirm_episodes else first_seeds
    )
    psi, about = _models(uset, design, points, endpoint, seed)
    first = evaluator(policy, psi, first_seeds)
    steps["report, first stage"] = first.env_steps
    cells, worst_rows, worst_returns = Cells.of(psi, first), np.arange(len(psi)), first.returns
    if confirm_episodes:
        worst_rows = np.argsort(cells.mean, kind="stable")[: math.ceil(confirm_share * len(psi) - 1e-9)]
        second = evaluator(policy, psi[worst_rows], second_seeds)
        steps["report, second stage"] = second.env_steps
        cells = cells.replaced(worst_rows, Cells.of(psi[worst_rows], second))
        worst_returns = second.returns
    nominal = _measured(policy, evaluator, uset.nominal if uset.is_bound else None, second_seeds, steps)
    searched = _measured(policy, evaluator, None if search is None else search.psi, second_seeds, steps)
    return RobustnessReport(
        policy=policy_name,
        environment=environment,
        uncertainty_set=uset.to_dict(),
        set_hash=uset.hash,
        design=about,
        chosen_on=chosen_on,
        seed=seed,
        first_seeds=tuple(first_seeds.tolist()),
        second_seeds=tuple(second_seeds.tolist()),
        delta=delta,
        names=tuple(uset.names),
        cells=cells,
        worst=_worst(cells, searched, worst_rows, worst_returns, delta),
        average=float(cells.mean.mean()),
        cvar={f"{level:g}": lower_cvar(cells.mean, level) for level in CVAR_LEVELS},
        best=float(cells.mean.max()),
        nominal=nominal,
        searched=searched,
        failure_below=failure_below,
        failures=None if failure_below is None else _failures(cells, failure_below, delta),
        coverage=coverage_sentence(len(psi), delta) if design == "uniform" else None,
        bracket=bracket,
        search=None if search is None else _of_search(search),
        env_steps=steps,
        circumstances=_circumstances(time.perf_counter() - begun),
    )


def write_report(report: RobustnessReport, folder: Path | str) -> list[Path]:
    """Write `report.json`, `summary.txt` and the pictures that suit the set into a folder; returns what was written.

    Raises:
        UserError: the folder cannot be written.
    """
    from dynrl.errors import UserError
    from dynrl.robust.pictures import report_pictures
    from dynrl.runs.array_file import write_atomically

    folder, written = Path(folder), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("report.json", report.to_json()), ("summary.txt", report.summary() + "\n")):
            write_atomically(folder / name, text.encode())
            written.append(folder / name)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    return written + report_pictures(report, folder)


def _models(
    uset: UncertaintySet, design: str, points: int, endpoint: bool | None, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the models `[N, d]` and what the report says about how they were chosen."""
    about: dict[str, Any] = {"kind": design, "points": points}
    if design == "grid":
        ends = uset.grid_endpoint if endpoint is None else endpoint
        grid = uset.grid(points, ends)
        if not len(grid):
            raise ValueError(
                f"no point of a grid with {points} per parameter is in the {type(uset).__name__}; take more points, or "
                "another design."
            )
        return grid, {**about, "endpoint": ends}
    if design == "offset grid":
        middles = (np.arange(points) + 0.5) / points
        free = np.array(list(itertools.product(middles, repeat=len(uset.free))))
        unit = np.full((len(free), uset.dim), 0.5)
        unit[:, uset.free] = free
        models = uset.from_unit(unit)
        # Whole numbers and finite sets have fewer members than the grid has points: each counts once.
        first = np.unique(models, axis=0, return_index=True)[1]
        return models[np.sort(first)], about
    return uset.sample(generator(seed, "report models"), points, design), about


def _measured(
    policy: Any, evaluator: Evaluator, psi: np.ndarray | None, seeds: np.ndarray, steps: dict[str, int]
) -> Cells | None:
    if psi is None:
        return None
    played = evaluator(policy, np.asarray(psi)[None], seeds)
    steps["report, single models"] = steps.get("report, single models", 0) + played.env_steps
    return Cells.of(np.asarray(psi, float)[None], played)


def _worst(
    cells: Cells, searched: Cells | None, rows: np.ndarray, returns: np.ndarray, delta: float
) -> Worst:
    everything = cells if searched is None else cells.followed_by(searched)
    low, high = everything.intervals(delta)
    # Of models that were not played again only the few, optimistic episodes are known: they do not compete for worst.
    row = int(rows[np.argmin(cells.mean[rows])])
    value, psi, found_by = float(cells.mean[row]), cells.psi[row], "cells"
    if searched is not None and searched.mean[0] < value:
        value, psi, found_by = float(searched.mean[0]), searched.psi[0], "search"
    return Worst(
        psi, value, Interval(float(low.min()), float(high.min())), worst_bootstrap(returns, delta), found_by
    )


def _failures(cells: Cells, below: float, delta: float) -> tuple[float, Interval]:
    failed = int((cells.mean < below).sum())
    return failed / len(cells.mean), wilson_interval(failed, len(cells.mean), delta)


def _of_search(search: WorstCase) -> dict[str, Any]:
    plain = {
        item.name: getattr(search, item.name) for item in dataclasses.fields(search) if item.name != "trace"
    }
    return dict(plain) | {"trace": {"psi": search.trace.psi, "values": search.trace.values}}


def _circumstances(wall_s: float) -> dict[str, Any]:
    from dynrl.runs.versions import versions

    return {
        "wall_s": wall_s,
        "versions": {**versions(), "mujoco": metadata.version("mujoco")},
        "hardware": {"machine": platform.machine(), "cores": len(os.sched_getaffinity(0))},
    }
