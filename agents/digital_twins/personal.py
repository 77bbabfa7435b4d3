"""Personalised control of a cohort: observe, fit a twin, make the controller personal, foresee who cannot be helped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.abm.model import AgentBasedModel
from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.controllers import Controller
from dynrl.agents.digital_twins.enkf import EnkfConfig, fit_twin
from dynrl.agents.digital_twins.lifting import lift
from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.objectives import SetPoint
from dynrl.agents.digital_twins.patients import PatientLaw
from dynrl.agents.digital_twins.training import TrainConfig, predicted_cost, train_on_metamodel
from dynrl.agents.digital_twins.twin import MetamodelTwin, Twin

__all__ = ["CohortConfig", "CohortReport", "personal_controller", "treat_cohort"]

Array = Any


@dataclass(frozen=True)
class CohortConfig:
    """A cohort of synthetic patients.

    Attributes:
        patients: how many.
        observed_steps: untreated steps that each is observed for.
        noise: of the observed counts (log-normal).
        seeds: random futures per patient under treatment.
        steps, hold: of the treatment.
        feasible: a patient whose twin promises a larger cost is reported as not to be helped by removal.
        retune: gradient steps on the fitted twin's metamodel after the population controller has been told the
            patient.
        enkf: of the filter.
        seed: of the patients and their histories.
    """

    patients: int = 60
    observed_steps: int = 1000
    noise: float = 0.0
    seeds: int = 4
    steps: int = 600
    hold: int = 1
    feasible: float = 0.1
    retune: int = 0
    enkf: EnkfConfig = field(default_factory=EnkfConfig)
    seed: int = 1000

    def __post_init__(self) -> None:
        if self.patients < 1 or self.seeds < 1:
            raise ValueError("patients and seeds must be at least 1")
        if self.observed_steps < self.enkf.every or self.observed_steps % self.enkf.every:
            raise ValueError(f"observed_steps must be a multiple of the filter's every={self.enkf.every}")


class CohortReport(NamedTuple):
    """One row per patient.

    Attributes:
        truth, estimate: log constants over defaults `[P, c]`.
        personal: J1 on the patient's agent-based model under the personal controller, mean over seeds `[P]`.
        nominal: the same under the controller that takes everybody for the default patient `[P]`.
        untreated: without control `[P]`.
        predicted: what the fitted twin promises `[P]`.
        feasible: `predicted` within the limit `[P]` bool.
    """

    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    personal: NDArray[np.float64]
    nominal: NDArray[np.float64]
    untreated: NDArray[np.float64]
    predicted: NDArray[np.float64]
    feasible: NDArray[np.bool_]

    def share_under(self, cost: float) -> float:
        """Share of all patients, infeasible ones included, whose personal cost is below `cost`."""
        return float((self.personal < cost).mean())

    def parameter_error(self) -> tuple[float, float]:
        """Root-mean-square error of the log constants: of the default patient, and of the twin."""
        before, after = np.sqrt((self.truth**2).mean()), np.sqrt(((self.estimate - self.truth) ** 2).mean())
        return float(before), float(after)


def personal_controller(
    metamodel: Metamodel,
    population: Controller,
    context: Array,
    objective: SetPoint,
    starts: Array,
    retune: int = 0,
) -> Controller:
    """The population's controller told the fitted constants, then trained on for `retune` steps on this patient's
    metamodel, from macrostates `starts` `[R, n]`."""
    controller = population.for_patient(jnp.asarray(context, jnp.float32))
    if retune:
        config = TrainConfig(strides=100, skip=40, updates=retune, batch=32, learning_rate=1e-3, noise=0.0)
        controller = train_on_metamodel(metamodel, controller, objective, starts, context, config).controller
    return controller


def treat_cohort(
    model: AgentBasedModel,
    law: PatientLaw,
    metamodel: Metamodel,
    population: Controller,
    objective: SetPoint,
    config: CohortConfig | None = None,
    twin: Twin | None = None,
    report: Callable[[int, float], None] | None = None,
) -> CohortReport:
    """Observes every patient untreated, fits a twin to the counts, and treats the patient's own agent-based model.

    Controllers see the patient's counts alone, never the true constants.

    Args:
        model: of which patients have other constants.
        law: of the patients.
        metamodel: fitted with contexts.
        population: a controller trained over patients, such as a `FeedbackNet` with contexts.
        objective: the set-point.
        config: of the cohort.
        twin: what is fitted; a `MetamodelTwin` of the metamodel by default, `AgentTwin` for the agent-based model.
        report: called with each patient's number and cost.
    """
    config = CohortConfig() if config is None else config
    patients = law.draw(model, config.patients, config.seed)
    truth = np.asarray(patients.context, np.float64)
    history = simulate(model, patients.params, steps=config.observed_steps, seeds=np.array([config.seed]))
    macro = np.asarray(history.macro[:, 0], np.float64)
    rng = np.random.default_rng(config.seed)
    seen = macro[:, config.enkf.every :: config.enkf.every]
    seen = seen * np.exp(config.noise * rng.standard_normal(seen.shape))
    idle = np.zeros((config.observed_steps, len(model.control_names)), np.float32)
    first = macro[:, 0].mean(0)
    copies = MetamodelTwin(metamodel, first) if twin is None else twin
    rows = []
    for number in range(config.patients):
        fitted = fit_twin(copies, seen[number], idle, truth.shape[1], config.enkf)
        estimate = fitted.estimate(truth.shape[1])
        starts = np.concatenate([macro[number, :: config.enkf.every], first[None]])
        own = personal_controller(metamodel, population, estimate, objective, starts, config.retune)
        promised = predicted_cost(metamodel, own, objective, first, config.steps, context=estimate)
        params = law.one(patients, number)
        costs = [
            lift(
                model,
                controller,
                objective,
                seeds=config.seeds,
                steps=config.steps,
                hold=config.hold,
                params=params,
            ).cost.mean()
            for controller in (own, population.for_patient(jnp.zeros(truth.shape[1])))
        ]
        rows.append((estimate, *costs, promised))
        if report is not None:
            report(number, float(costs[0]))
    estimate, personal, nominal, predicted = (np.array(column) for column in zip(*rows, strict=True))
    untreated = simulate(model, patients.params, steps=config.steps, seeds=config.seeds)
    costs = np.asarray(objective.cost(untreated.macro), np.float64).mean(1)
    return CohortReport(truth, estimate, personal, nominal, costs, predicted, predicted <= config.feasible)
