"""Feedback learnt through a metamodel, as an agent of an environment: `learn`, `predict`, `save`, `load`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.model import AgentBasedModel
from dynrl.agent import Agent, Callbacks, Transition, batch_size
from dynrl.agents.digital_twins.controllers import FeedbackNet
from dynrl.agents.digital_twins.neural_metamodel import StochasticMap
from dynrl.agents.digital_twins.objectives import SetPoint
from dynrl.agents.digital_twins.steering import (
    SteeringConfig,
    blank_controller,
    blank_metamodel,
    fit_metamodel,
    natural_starts,
    record_runs,
    train_controller,
)
from dynrl.errors import ConfigError

__all__ = ["MetamodelFeedback", "MetamodelFeedbackConfig", "model_of", "set_point"]


@dataclass(frozen=True)
class MetamodelFeedbackConfig:
    """Settings of `MetamodelFeedback`.

    Attributes:
        targets: set-point by name of the macrostate's component.
        tail: steps at the end that the objective counts.
        steering: runs, metamodel and training. `runs` is replaced by what `learn` is given.
    """

    targets: dict[str, float] = field(default_factory=lambda: {"sheep": 200.0, "wolves": 50.0})
    tail: int = 200
    steering: SteeringConfig = field(default_factory=SteeringConfig)


class _Learnt(NamedTuple):
    controller: FeedbackNet
    metamodel: StochasticMap


class MetamodelFeedback(Agent):
    """Plays random interventions, fits a stochastic metamodel to them, and back-propagates a feedback net through it.

    For environments around an agent-based model (`dynrl/WSG-SS-v0` and kin): anything whose functional environment has
    an attribute `model` with the protocol of `dynrl.abm.model`, and whose observation begins with the macrostate over
    `model.macro_scale`. Far fewer steps than model-free learning: a policy costs the runs of the metamodel alone. No
    guarantee on the agent-based model; judge it there (`lift`).

    `learn(total_timesteps)` spends that many steps of the agent-based model, in whole runs, in compiled cohorts beside
    the environment. `predict` carries the controller's memory in `state`.

    Source: Böttcher, Fonseca and Laubenbacher, "Control of medical digital twins with artificial neural networks",
    Phil. Trans. R. Soc. A, 2025; Fonseca et al., PLoS Computational Biology 21:e1012138, 2025.
    """

    Config = MetamodelFeedbackConfig
    config: MetamodelFeedbackConfig
    state: _Learnt

    def __init__(
        self, env: gym.Env | str, config: Any = None, *, seed: int | None = None, **overrides: Any
    ) -> None:
        made = gym.make(env) if isinstance(env, str) else env
        self.model = model_of(getattr(made.unwrapped, "func_env", None))
        self._act = jax.jit(lambda c, memory, macro: c(memory, macro, jax.random.key(0)))
        super().__init__(made, config, seed=seed, **overrides)

    @property
    def objective(self) -> SetPoint:
        """The set-point of the config."""
        return set_point(self.model, self.config.targets, self.config.tail)

    def initial_state(self) -> _Learnt:
        steering = self._steering()
        return _Learnt(
            blank_controller(self.model, self.objective, steering), blank_metamodel(self.model, steering)
        )

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool = False,
        reset_num_timesteps: bool = True,
    ) -> Self:
        """Makes the controller from `total_timesteps` steps of the agent-based model.

        Raises:
            ValueError: not enough steps for two runs beside the uncontrolled ones.
        """
        steering = self._steering()
        spare = steering.start_runs * steering.start_steps
        runs = (int(total_timesteps) - spare) // steering.steps
        if runs < 2:
            raise ValueError(
                f"total_timesteps is {total_timesteps}, expected at least {spare + 2 * steering.steps}: two runs of "
                f"{steering.steps} steps and {spare} uncontrolled ones"
            )
        steering = replace(steering, runs=runs)
        driver = Callbacks(self, callback)
        driver.start({"self": self, "total_timesteps": total_timesteps})
        data = record_runs(self.model, steering)
        metamodel = fit_metamodel(self.model, data, steering)
        starts = natural_starts(self.model, steering)
        controller = train_controller(self.model, metamodel, self.objective, starts, steering)
        self.state = _Learnt(controller, metamodel)
        self.num_timesteps = steering.agent_steps + (0 if reset_num_timesteps else self.num_timesteps)
        driver.end()
        return self

    def act(self, observation: Any, deterministic: bool) -> Any:
        return self._decide(observation, self.state.controller.start())[0]

    def update(self, transition: Transition) -> None:
        """Nothing: what is learnt comes from `learn`."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Commands for one observation or a batch.

        Args:
            observation: one, or a batch with a leading axis.
            state: the memory that the last call returned; None at first.
            episode_start: `[B]` bool, where the memory begins anew.
            deterministic: has no effect, the controller draws nothing.
        """
        count = batch_size(self.observation_space, observation)
        begin = np.asarray(self.state.controller.start())
        if count is None:
            fresh = state is None or bool(np.any(episode_start))
            return self._decide(observation, begin if fresh else state)
        memory = np.broadcast_to(begin, (count, *begin.shape)) if state is None else np.asarray(state)
        if episode_start is not None:
            memory = np.where(np.asarray(episode_start, bool)[:, None], begin, memory)
        rows = [
            self._decide(jax.tree.map(lambda part, row=row: part[row], observation), memory[row])
            for row in range(count)
        ]
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    def _decide(self, observation: Any, memory: Any) -> tuple[np.ndarray, Any]:
        scaled = observation["macro"] if isinstance(observation, Mapping) else observation
        scale = np.asarray(self.model.macro_scale, np.float32)
        macro = np.asarray(scaled, np.float32)[: len(scale)] * scale
        u, memory = self._act(self.state.controller, jnp.asarray(memory), jnp.asarray(macro))
        space: Any = self.action_space
        return np.clip(np.asarray(u, np.float32), space.low, space.high), np.asarray(memory)

    def _steering(self) -> SteeringConfig:
        if self.config.steering.spread:
            raise ConfigError(
                "spread: an agent serves one patient; train populations with experiment: digital_twin"
            )
        seed = self.config.steering.seed if self.seed is None else self.seed
        return replace(self.config.steering, seed=seed)


def model_of(functional: Any) -> AgentBasedModel:
    """The agent-based model inside a functional environment.

    Raises:
        TypeError: there is none.
    """
    model = getattr(functional, "model", None)
    if not isinstance(model, AgentBasedModel):
        raise TypeError(
            f"{type(functional).__name__} has no agent-based model inside; use dynrl/WSG-SS-v0, or give your "
            "functional environment an attribute `model` with the protocol of dynrl.abm.model"
        )
    return model


def set_point(model: AgentBasedModel, targets: Mapping[str, float], tail: int) -> SetPoint:
    """The objective of targets by name.

    Raises:
        ConfigError: a name that the macrostate does not have, or no target.
    """
    for name in targets:
        if name not in model.macro_names:
            raise ConfigError(
                f"targets: there is no {name!r}; the macrostate has {', '.join(model.macro_names)}"
            )
    if not targets:
        raise ConfigError("targets is empty: name at least one, e.g. targets: {sheep: 200}")
    return SetPoint(tuple(targets.get(name) for name in model.macro_names), tail)
