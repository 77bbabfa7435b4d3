"""SAC at the nominal parameters, and SAC on parameters drawn afresh in every episode (domain randomisation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np

from dynrl.agents.robust.training import (
    Callback,
    Collection,
    MakeVec,
    Progress,
    Sampler,
    TrainResult,
    check_budget,
    run_off_policy,
    sizes_of,
    uniform_sampler,
)
from dynrl.agents.robust.vector_evaluation import VectorEvaluator
from dynrl.learning.networks import ActorPolicy
from dynrl.learning.replay import Replay
from dynrl.learning.sac import SAC, SACConfig
from dynrl.robust.vector import RobustVectorEnv

__all__ = ["NominalSAC", "RandomisedSAC", "Selection", "TrainingConfig"]


@dataclass(frozen=True)
class Selection:
    """Keeps the policy whose worst case is best, by searches during the training.

    The points are the corners and a Sobol sequence of its own, so that a report on a grid is not what chose the policy.

    Attributes:
        every: environment steps between searches.
        first: environment steps before the first one.
        points: Sobol points beside the corners.
        episodes: per point.
        target: the training ends when the worst return reaches it; None for never.
        focus: share of the lanes whose episodes begin on the worst points of the last search instead of random ones.
            Episodes on hard parameters are short, so random draws alone give them few of the steps.
        focus_points: how many of the worst points.
    """

    every: int = 10_000
    first: int = 20_000
    points: int = 12
    episodes: int = 1
    target: float | None = None
    focus: float = 0.0
    focus_points: int = 4

    def __post_init__(self) -> None:
        if self.every < 1 or self.points < 0 or self.episodes < 1:
            raise ValueError("every and episodes must be at least 1, points at least 0")
        if not 0 <= self.focus <= 1 or self.focus_points < 1:
            raise ValueError("focus must lie in [0, 1] and focus_points be at least 1")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a SAC training on a vector environment.

    Attributes:
        sac: the learner.
        num_envs: lanes; each has parameters of its own.
        buffer: transitions kept.
        random_steps: uniformly random environment steps at the beginning.
        updates_per_step: gradient steps per environment step.
        selection: keeps the most robust policy instead of the last one; its steps count. None for the last one.
        report_every: environment steps between records of the history.
    """

    sac: SACConfig = field(default_factory=SACConfig)
    num_envs: int = 8
    buffer: int = 1_000_000
    random_steps: int = 10_000
    updates_per_step: float = 1.0
    selection: Selection | None = None
    report_every: int = 5_000

    def __post_init__(self) -> None:
        if self.num_envs < 1 or self.buffer < 1 or self.report_every < 1:
            raise ValueError("num_envs, buffer and report_every must be at least 1")
        if self.random_steps < 0 or self.updates_per_step <= 0:
            raise ValueError("random_steps must not be negative and updates_per_step must be positive")


class RandomisedSAC:
    """Domain randomisation: parameters are drawn uniformly from the set when an episode begins, and kept until it ends.

    Use it first: it is one ordinary training. It maximises the *average* over the set and promises nothing about the
    worst case. Tobin et al., "Domain Randomization for Transferring Deep Neural Networks from Simulation to the Real
    World", 2017; the learner is SAC (Haarnoja et al., 2018). Ours: with `selection` the policy kept is the one
    whose searched worst case was best, and every step of those searches counts.
    """

    Config: ClassVar[type] = TrainingConfig

    def __init__(self, config: TrainingConfig | None = None) -> None:
        self.config = config or TrainingConfig()

    def sampler(self, uset: Any) -> Sampler | None:
        """Who draws the parameters."""
        return uniform_sampler(uset)

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """Trains for `budget` environment steps, searches included; see `training.RobustLearner`."""
        check_budget(budget)
        env = make_vec(self.config.num_envs, self.sampler(uset))
        try:
            return train_sac(env, self.config, make_vec, uset, budget, seed, callback)[0]
        finally:
            env.close()


class NominalSAC(RandomisedSAC):
    """SAC at the nominal parameters: the baseline that knows nothing of the set."""

    def sampler(self, uset: Any) -> Sampler | None:
        return None


def train_sac(
    env: RobustVectorEnv,
    config: TrainingConfig,
    make_vec: MakeVec,
    uset: Any,
    budget: int,
    seed: int,
    callback: Callback | None = None,
    stage: str = "training",
) -> tuple[TrainResult, SAC, Replay]:
    """Trains SAC on `env` and selects as the config says.

    Returns:
        The result, the learner in its last state and the replay.
    """
    observation_size, action_size = sizes_of(env)
    learner = SAC(config.sac, observation_size, action_size, jax.random.fold_in(jax.random.key(seed), 1))
    replay = Replay(min(config.buffer, budget), observation_size, action_size)
    watch = _Watch(config, env, make_vec, uset, budget, seed, learner, callback, stage)
    try:
        collection = run_off_policy(
            env,
            learner,
            replay,
            steps=budget,
            random_steps=min(config.random_steps, budget),
            batch_size=config.sac.batch_size,
            updates_per_step=config.updates_per_step,
            seed=seed,
            after_step=watch,
            on_begin=watch.focus if config.selection is not None and config.selection.focus else None,
        )
    finally:
        watch.close()
    policy = watch.best_policy or ActorPolicy.of(learner.state.actor, env.single_action_space)
    steps = {"training": collection.steps}
    if watch.search_steps:
        steps["search"] = watch.search_steps
    return TrainResult(policy, steps, watch.history, watch.learned), learner, replay


class _Watch:
    """Records, searches and says when to stop."""

    def __init__(
        self,
        config: TrainingConfig,
        env: RobustVectorEnv,
        make_vec: MakeVec,
        uset: Any,
        budget: int,
        seed: int,
        learner: SAC,
        callback: Callback | None,
        stage: str,
    ) -> None:
        self._config, self._env, self._learner = config, env, learner
        self._budget, self._callback, self._stage = budget, callback, stage
        self.history: list[dict[str, Any]] = []
        self.learned: dict[str, Any] = {}
        self.best_policy: ActorPolicy | None = None
        self.search_steps = 0
        self._next_report = 0
        self._best_worst = -np.inf
        selection = config.selection
        if selection is not None:
            self._evaluator = VectorEvaluator(make_vec, uset.dim)
            drawn = uset.sample(np.random.default_rng([seed, 3]), selection.points, method="sobol")
            self._points = np.concatenate([uset.corners(), drawn])
            self._values = np.zeros(len(self._points))
            self._rng = np.random.default_rng([seed, 5])
            self._seeds = np.random.default_rng([seed, 4]).integers(2**31, size=selection.episodes)
            self._next_search = selection.first

    def __call__(self, collection: Collection, metrics: Mapping[str, Any]) -> bool:
        if self._config.selection is not None and collection.steps >= self._next_search:
            self._next_search = collection.steps + self._config.selection.every
            if self._search(collection):
                self._record(collection, metrics)
                return True
        if collection.steps >= self._next_report:
            self._next_report = collection.steps + self._config.report_every
            self._record(collection, metrics)
        return collection.steps + self.search_steps >= self._budget

    def close(self) -> None:
        if self._config.selection is not None:
            self._evaluator.close()

    def _search(self, collection: Collection) -> bool:
        """One search; True when the target is reached.

        The last worst point comes first: where it is no better than the best policy's worst case, the rest can only
        lower it further and need not be played.
        """
        selection = self._config.selection
        assert selection is not None
        policy = ActorPolicy.of(self._learner.state.actor, self._env.single_action_space)
        order = np.argsort(self._values, kind="stable")
        self._points, self._values = self._points[order], self._values[order]
        self._values[:1] = self._play(policy, self._points[:1])
        if self._values[0] <= self._best_worst:
            return False
        if len(self._points) > 1:
            self._values[1:] = self._play(policy, self._points[1:])
        number, worst = int(self._values.argmin()), float(self._values.min())
        if worst > self._best_worst:
            self._best_worst, self.best_policy = worst, policy
            self.learned = {"worst": worst, "psi": self._points[number].tolist()}
        return selection.target is not None and worst >= selection.target

    def focus(self, env: Any, lanes: np.ndarray) -> None:
        """Gives the focus lanes among `lanes` the worst known points; before the first search, corners."""
        selection = self._config.selection
        assert selection is not None
        chosen = lanes[lanes < round(selection.focus * self._config.num_envs)]
        if len(chosen):
            worst = np.argsort(self._values, kind="stable")[: selection.focus_points]
            env.set_psi(self._points[self._rng.choice(worst, len(chosen))], chosen)

    def _play(self, policy: ActorPolicy, points: np.ndarray) -> np.ndarray:
        found = self._evaluator(policy, points, self._seeds)
        self.search_steps += found.env_steps
        return found.returns.mean(axis=1)

    def _record(self, collection: Collection, metrics: Mapping[str, Any]) -> None:
        steps = collection.steps + self.search_steps
        row: dict[str, Any] = {
            "env_steps": steps,
            "stage": self._stage,
            "return": collection.recent_return(),
            **{name: float(value) for name, value in metrics.items()},
        }
        if np.isfinite(self._best_worst):
            row["worst"] = self._best_worst
        self.history.append(row)
        if self._callback is not None:
            figures: dict[str, float] = {name: row[name] for name in ("return", "worst") if name in row}
            self._callback(Progress(steps, self._stage, figures))
