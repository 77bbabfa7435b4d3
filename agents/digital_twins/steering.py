"""From an agent-based model to a controller: runs, metamodel, noise, training. Each stage is a pure function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.model import AgentBasedModel
from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.controllers import FeedbackNet
from dynrl.agents.digital_twins.data import Trajectories, record, split_runs
from dynrl.agents.digital_twins.fitting import FitConfig, fit, fit_noise
from dynrl.agents.digital_twins.neural_metamodel import ResidualMap, StochasticMap
from dynrl.agents.digital_twins.objectives import SetPoint
from dynrl.agents.digital_twins.patients import PatientLaw
from dynrl.agents.digital_twins.training import TrainConfig, train_on_metamodel

__all__ = [
    "Starts",
    "SteeringConfig",
    "blank_controller",
    "blank_metamodel",
    "fit_metamodel",
    "natural_starts",
    "record_runs",
    "train_controller",
]

Array = Any


@dataclass(frozen=True)
class SteeringConfig:
    """How a feedback controller is made for an agent-based model.

    Attributes:
        runs, steps: of the agent-based model that the metamodel learns from.
        stride: steps of the model per step of the metamodel, and per decision. Counts that fluctuate from step to step
            need decisions as often; 1 is best for wolves and sheep.
        spread: of the patients' constants (log): 0 for one patient; above, metamodel and controller are told the
            patient.
        fit: of the metamodel.
        noise_iterations: gradient steps of its noise head.
        train: of the controller on the metamodel.
        width: of the controller's hidden layer.
        integral: whether it sees the sum of the errors.
        start_runs, start_steps: uncontrolled runs whose states training roll-outs begin at.
        seed: of the runs and first weights.
    """

    runs: int = 256
    steps: int = 600
    stride: int = 1
    spread: float = 0.0
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            horizons=(30, 60), iterations=600, batch=64, learning_rate=(5e-3, 5e-4)
        )
    )
    noise_iterations: int = 1500
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(strides=100, skip=40, updates=600, batch=32, noise=0.0)
    )
    width: int = 16
    integral: bool = False
    start_runs: int = 16
    start_steps: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if self.runs < 2 or self.start_runs < 1:
            raise ValueError(f"runs={self.runs}, start_runs={self.start_runs}: expected at least 2 and 1")
        if self.stride < 1 or self.steps % self.stride:
            raise ValueError(f"steps={self.steps} must be a multiple of stride={self.stride}")
        if not self.spread >= 0:
            raise ValueError(f"spread is {self.spread}, expected a number of at least 0")

    @property
    def agent_steps(self) -> int:
        """Steps of the agent-based model that a controller costs."""
        return self.runs * self.steps + self.start_runs * self.start_steps


class Starts(NamedTuple):
    """Where roll-outs begin.

    Attributes:
        macro: `[R, n]`.
        context: of the patient `[R, c]`.
    """

    macro: Array
    context: Array


def record_runs(
    model: AgentBasedModel, config: SteeringConfig, law: PatientLaw | None = None
) -> Trajectories:
    """Runs under random interventions; with `config.spread`, of patients a little more different than the law's."""
    params, context = None, None
    if config.spread:
        wider = PatientLaw((law or PatientLaw()).names, 1.3 * config.spread, (law or PatientLaw()).most)
        params, context = wider.draw(model, config.runs, config.seed)
        params = _per_run(model, params, config.runs)
    key = jax.random.key(config.seed)
    return record(
        model,
        key,
        config.runs,
        steps=config.steps,
        stride=config.stride,
        params=params,
        context=context,
    )


def blank_metamodel(model: AgentBasedModel, config: SteeringConfig, contexts: int = 0) -> StochasticMap:
    """The metamodel before it is fitted."""
    removes = tuple(
        model.macro_names.index(name) if name in model.macro_names else None for name in model.control_names
    )
    mean = ResidualMap(
        tuple(model.macro_scale),
        tuple(model.control_high),
        config.stride,
        key=jax.random.key(config.seed),
        contexts=contexts,
        removes=removes,
    )
    return StochasticMap(mean, key=jax.random.key(config.seed + 1))


def fit_metamodel(model: AgentBasedModel, data: Trajectories, config: SteeringConfig) -> StochasticMap:
    """The metamodel of the runs, with its noise."""
    blank = blank_metamodel(model, config, np.shape(data.context)[1])
    train, valid = split_runs(data)
    mean = fit(blank.mean, train, valid, config.fit).metamodel
    noisy = StochasticMap(mean, key=jax.random.key(config.seed + 1))
    once = FitConfig(horizons=(1,), iterations=config.noise_iterations, seed=config.fit.seed)
    return fit_noise(noisy, train, once)


def natural_starts(model: AgentBasedModel, config: SteeringConfig, law: PatientLaw | None = None) -> Starts:
    """States along uncontrolled runs, every tenth of their length."""
    every = max(config.start_steps // 10, 1)
    if not config.spread:
        cohort = simulate(model, steps=config.start_steps, seeds=config.start_runs)
        macro = np.asarray(cohort.macro[0, :, ::every])
        context = np.zeros((config.start_runs, 0), np.float32)
    else:
        drawn = PatientLaw((law or PatientLaw()).names, config.spread, (law or PatientLaw()).most)
        patients = drawn.draw(model, 6 * config.start_runs, config.seed + 1)
        cohort = simulate(model, patients.params, steps=config.start_steps, seeds=1)
        macro, context = np.asarray(cohort.macro[:, 0, ::every]), patients.context
    times = macro.shape[1]
    return Starts(macro.reshape(-1, macro.shape[-1]), np.repeat(context, times, axis=0))


def blank_controller(
    model: AgentBasedModel, objective: SetPoint, config: SteeringConfig, contexts: int = 0
) -> FeedbackNet:
    """The controller before it is trained."""
    return FeedbackNet(
        tuple(model.macro_scale),
        tuple(model.control_high),
        key=jax.random.key(config.seed + 2),
        width=config.width,
        objective=objective,
        integral=config.integral,
        contexts=contexts,
    )


def train_controller(
    model: AgentBasedModel,
    metamodel: StochasticMap,
    objective: SetPoint,
    starts: Starts,
    config: SteeringConfig,
) -> FeedbackNet:
    """The feedback controller of the metamodel."""
    contexts = np.shape(starts.context)[1]
    controller = blank_controller(model, objective, config, contexts)
    return train_on_metamodel(
        metamodel, controller, objective, starts.macro, starts.context, config.train
    ).controller


def _per_run(model: AgentBasedModel, params: Any, runs: int) -> Any:
    def widened(leaf: Any, like: Any) -> Any:
        leaf, like = np.asarray(leaf), np.asarray(like)
        return leaf if leaf.ndim > like.ndim else np.broadcast_to(leaf, (runs, *leaf.shape))

    return jax.tree.map(widened, jax.tree.map(jnp.asarray, params), model.default_params())
