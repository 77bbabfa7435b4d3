"""What deep IWOCS knows after each stage, as named arrays and JSON values: a stopped run goes on from there."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from dynrl.agents.robust.candidate import CandidatePolicy, Expert
from dynrl.agents.robust.iwocs_config import IWOCSConfig
from dynrl.agents.robust.specialist import initial_state
from dynrl.agents.robust.training import Stages
from dynrl.agents.robust.validity import GaussianValidity, PredictorValidity, ValidityModel
from dynrl.learning.networks import ActorPolicy, GaussianActor
from dynrl.learning.replay import Replay
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree

__all__ = ["Memory", "blank_validity"]


@dataclass
class Memory:
    """The run so far.

    Attributes:
        default: the default policy's actor; None before it is trained.
        experts: the specialists.
        thresholds: rho of those that have one.
        models: psi `[d]` of each specialist.
        next_model: psi of the next one; None before the first search.
        worst: searched worst case of each candidate, the default policy first.
        best_possible: return of each specialist on its own model.
        env_steps: by purpose.
        search_cost: steps of the last complete search.
        history: one row per record.
        status: why the run ended; empty while it goes on.
        replay: the default policy's experience, where the predictors use it.
    """

    default: GaussianActor | None = None
    experts: list[Expert] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    models: list[list[float]] = field(default_factory=list)
    next_model: list[float] | None = None
    worst: list[float] = field(default_factory=list)
    best_possible: list[float] = field(default_factory=list)
    env_steps: dict[str, int] = field(default_factory=dict)
    search_cost: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""
    replay: Replay | None = None

    @property
    def spent(self) -> int:
        """Environment steps of every purpose."""
        return sum(self.env_steps.values())

    def count(self, purpose: str, steps: int) -> None:
        self.env_steps[purpose] = self.env_steps.get(purpose, 0) + steps

    def candidate(
        self, number: int, action_space: Any, observation_size: int, threshold: float | None = None
    ) -> Any:
        """Candidate `number`: 0 is the default policy, i uses the first i experts.

        Args:
            threshold: of the newest expert, where it has none yet.
        """
        assert self.default is not None
        if number == 0:
            return ActorPolicy.of(self.default, action_space)
        thresholds = (
            [*self.thresholds, threshold][:number] if threshold is not None else self.thresholds[:number]
        )
        bounds = action_space.low, action_space.high
        return CandidatePolicy.of(self.experts[:number], thresholds, self.default, *bounds, observation_size)

    def save(self, stages: Stages) -> None:
        arrays: dict[str, np.ndarray] = {}
        if self.default is not None:
            arrays |= flatten_tree(self.default, "default")
        for number, expert in enumerate(self.experts):
            arrays |= flatten_tree(expert, f"expert{number}")
        if self.replay is not None:
            arrays |= {f"replay/{name}": column for name, column in self.replay.state_dict().items()}
        names = (
            "thresholds", "models", "next_model", "worst", "best_possible", "env_steps", "search_cost",
            "history", "status",
        )  # fmt: skip
        meta = {name: copy.deepcopy(getattr(self, name)) for name in names}
        stages.save(arrays, {**meta, "experts": len(self.experts), "trained": self.default is not None})

    @classmethod
    def load(cls, stages: Stages, config: IWOCSConfig, observation_size: int, action_size: int) -> Memory:
        """What `save` left, or an empty memory."""
        saved = stages.load()
        if saved is None:
            return cls()
        arrays, meta = saved
        values = copy.deepcopy(dict(meta))
        trained, experts = values.pop("trained"), values.pop("experts")
        blank = initial_state(config.training.sac, observation_size, action_size, jax.random.key(0))
        validity = blank_validity(config, blank.critic, observation_size, action_size)
        template = Expert(blank.actor, blank.critic, validity)
        memory = cls(**values)
        if trained:
            memory.default = unflatten_tree(blank.actor, arrays, "default")
        memory.experts = [unflatten_tree(template, arrays, f"expert{number}") for number in range(experts)]
        if "replay/added" in arrays:
            memory.replay = Replay(len(arrays["replay/reward"]), observation_size, action_size)
            columns = {name[7:]: column for name, column in arrays.items() if name.startswith("replay/")}
            memory.replay.load_state_dict(columns)
        return memory


def blank_validity(
    config: IWOCSConfig, critic: Any, observation_size: int, action_size: int
) -> ValidityModel:
    """The validity model that the config names, to be fitted."""
    if config.validity == "gaussian":
        return GaussianValidity.blank(observation_size, action_size)
    return PredictorValidity.of(critic, observation_size, config.scaling)
