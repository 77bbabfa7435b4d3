"""The search for a therapy of sepsis: CMA-ES on simulated patients, for feedback and for constants alike."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.agents.digital_twins.sepsis_policy import (
    constant_weights,
    first_guess,
    gated_weights,
    policy_action,
)
from dynrl.errors import ConfigError
from dynrl.registry import make_functional

__all__ = ["SepsisSearchConfig", "improve", "relaxed", "search", "ward_for"]

OBJECTIVES = ("public", "shaped", "outcome", "burden")


@dataclass(frozen=True)
class SepsisSearchConfig:
    """Settings of the search.

    Attributes:
        env: name of the environment, made with `cohort=True` so that every seed is another patient.
        env_kwargs: its settings.
        objective: `"public"`, `"shaped"`, `"outcome"`: the mean return under that reward; `"burden"`: less of it.
        patients: per candidate; all candidates of a generation meet the same ones.
        admitted: patients of whom those with the greatest burden under the first guess are taken: on the others the
            therapies hardly differ.
        pools: sets of patients that the generations go through in turn.
        population: candidates per generation.
        generations: of constants.
        sigma: first standard deviation.
        seed: of the search and of the training patients.
    """

    env: str = "dynrl/Sepsis-v0"
    env_kwargs: Mapping[str, Any] = field(
        default_factory=lambda: {"grid": 51, "drugs": 11, "antibiotic": True, "horizon": 20}
    )
    objective: str = "public"
    patients: int = 12
    admitted: int = 30
    pools: int = 6
    population: int = 12
    generations: int = 3
    sigma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("patients", "pools", "generations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.admitted < self.patients:
            raise ConfigError(f"admitted must be at least patients ({self.patients}), got {self.admitted}")
        if self.population < 4:
            raise ConfigError(f"population must be at least 4, got {self.population}")
        if not self.sigma > 0:
            raise ConfigError(f"sigma must be positive, got {self.sigma}")
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")


WELL = -1.0
"""Level of PAF below which a patient counts as well: about 3 % of the oxygen are missing then."""


def search(
    config: SepsisSearchConfig, folder: Path | None = None, verbose: bool = True
) -> dict[str, np.ndarray]:
    """Find the best constant, and the feedback that is made of it without any further search, so that both have had the
    same effort.

    Args:
        config: settings.
        folder: where the search is recorded, generation by generation; one that was interrupted goes on from its
            record, exactly.
        verbose: print a line per generation.
    """
    env = make_functional(config.env, cohort=True, **config.env_kwargs)
    record = None if folder is None else folder / "constant.jsonl"
    constant = improve(first_guess(env), config, config.generations, record, verbose)
    return {"feedback": relaxed(constant, env), "best constant": constant}


def relaxed(constant: np.ndarray, env: Any) -> np.ndarray:
    """Feedback that plays `constant` to the ill and, to those who are well, antibiotics and what it gives against IL1:
    what is still inflamed must not attract neutrophils that burst."""
    well = constant_weights(env, {"antibiotic": 0.8})
    il1 = env.drug_names.index("IL1")
    well[il1] = constant[il1]
    return gated_weights(constant, well, WELL)


def improve(
    weights: np.ndarray,
    config: SepsisSearchConfig,
    generations: int,
    record: Path | None = None,
    verbose: bool = False,
) -> np.ndarray:
    """Search better weights for `policy_action` by CMA-ES (Hansen 2016), beginning with `weights`.

    Args:
        weights: of a constant.
        config: settings.
        generations: how many.
        record: file of the search's record, one line per generation.
        verbose: print a line per generation.

    Returns:
        The final mean of the search, which averages over the noise of generations.

    Raises:
        ImportError: `cma` or Numba is missing.
        ConfigError: a record of another search.
    """
    try:
        import cma
    except ImportError as error:
        raise ImportError("searching a sepsis policy needs cma: pip install 'dynrl[medical]'") from error
    done = _recorded(record, weights, config)
    options = {"popsize": config.population, "seed": config.seed + 1, "verbose": -9, "bounds": [-8, 8]}
    evolution = cma.CMAEvolutionStrategy(weights, config.sigma, options)
    wards: dict[int, Any] = {}
    for generation in range(generations):
        begun = time.perf_counter()
        drawn = evolution.ask()
        if generation < len(done):
            evolution.tell(drawn, done[generation])
            continue
        pool = generation % config.pools
        if pool not in wards:
            wards[pool] = ward_for(config, pool)
        courses = [wards[pool].courses(partial(policy_action, row, size=len(weights))) for row in drawn]
        values = [float(np.mean([_cost(course, config) for course in row])) for row in courses]
        evolution.tell(drawn, values)
        if record is not None:
            with record.open("a") as file:
                file.write(json.dumps(values) + "\n")
        if verbose:
            died = np.mean([[course.died for course in row] for row in courses])
            print(
                f"generation {generation}: {config.objective} {-np.mean(values):.4g}, best {-min(values):.4g}, "
                f"died {died:.3f}, {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
    return np.asarray(evolution.result.xfavorite)


def ward_for(config: SepsisSearchConfig, pool: int) -> Any:
    """The training patients of one pool, a `NativeWard` of the environment."""
    env: Any = make_functional(config.env, cohort=True, **config.env_kwargs)
    seeds = 10_000 * (config.seed + 1) + config.admitted * pool + np.arange(config.admitted)
    guess = first_guess(env)
    courses = env.ward(seeds).courses(partial(policy_action, guess, size=len(guess)))
    burdens = [course.burden(int(config.env_kwargs["horizon"])) for course in courses]
    return env.ward(np.sort(seeds[np.argsort(burdens)[-config.patients :]]))


def _cost(course: Any, config: SepsisSearchConfig) -> float:
    if config.objective == "burden":
        return course.burden(int(config.env_kwargs["horizon"]))
    return -course.returns[config.objective]


def _recorded(record: Path | None, weights: np.ndarray, config: SepsisSearchConfig) -> list[list[float]]:
    """What earlier runs of the same search have found, by generation; a new record begins with what identifies it."""
    if record is None:
        return []
    settings = {name: value for name, value in asdict(config).items() if name != "generations"}
    heading = json.dumps({"begin": np.asarray(weights).tolist(), **settings})
    if not record.exists():
        record.write_text(heading + "\n")
        return []
    first, *lines = record.read_text().splitlines()
    if first != heading:
        raise ConfigError(f"{record} is the record of another search; name another folder or remove it")
    return [json.loads(line) for line in lines]
