"""Deep IWOCS: incremental worst-case search with one SAC specialist per worst model.

Zouitine, Geist and Rachelson, "Solving robust MDPs as a sequence of static RL problems", 2024, arXiv 2410.06212.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from dynrl.agents.robust.candidate import Expert
from dynrl.agents.robust.domain_randomisation import train_sac
from dynrl.agents.robust.iwocs_config import IWOCSConfig
from dynrl.agents.robust.iwocs_memory import Memory, blank_validity
from dynrl.agents.robust.metered import Found, MeteredEvaluator, StepsSpent, search_worst
from dynrl.agents.robust.specialist import Specialist, SpecialistState, initial_state, with_networks
from dynrl.agents.robust.training import (
    Callback,
    Collection,
    MakeVec,
    Progress,
    Stages,
    TrainResult,
    check_budget,
    run_off_policy,
    sizes_of,
    uniform_sampler,
)
from dynrl.agents.robust.validity import quantile_threshold
from dynrl.agents.robust.vector_evaluation import VectorEvaluator
from dynrl.learning.replay import Replay, Transitions
from dynrl.robust.vector import RobustVectorEnv

__all__ = ["DeepIWOCS"]

RECENT = 5_000


class Kept:
    """Stages that live as long as the object: for a run that need not survive its process."""

    def __init__(self) -> None:
        self._saved: tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None = None

    def load(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None:
        return self._saved

    def save(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        self._saved = dict(arrays), dict(meta)


class DeepIWOCS:
    """Solves a robust problem as a sequence of ordinary ones, each on the worst model of the last candidate policy.

    A default policy is trained with domain randomisation. Then, again and again: search the worst model, train a
    specialist on it with fresh networks and replay, and let the most pessimistic of the valid specialists act
    (`candidate.CandidatePolicy`). The candidate kept is the one with the best worst case, the default policy included.

    Use it where the worst models are few and lie apart (corners), and where one policy cannot serve them all. It
    promises nothing on a box of physical parameters, which is not rectangular: `learned` holds an *estimated* bracket
    and the reason for stopping:

    * `certified`: the set holds one model only, so that plain RL is the solution;
    * `stopping_test`: the candidate's discounted worst case is within `tolerance` of its pessimistic value;
    * `stalled`: the worst model was solved before;
    * `max_iter`, `budget`: out of iterations or steps.

    Differences from the paper: searches count as steps and end with the budget; the best candidate is returned, not the
    last; discounted returns are compared with discounted values in the stopping test.
    """

    Config: ClassVar[type] = IWOCSConfig

    def __init__(self, config: IWOCSConfig | None = None) -> None:
        self.config = config or IWOCSConfig()

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """Trains within `budget` environment steps, searches included; see `training.RobustLearner`."""
        return self.train_in_stages(make_vec, uset, budget, seed, callback, Kept())

    def train_in_stages(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None, stages: Stages
    ) -> TrainResult:
        """The same, on from the stage that `stages` holds; ends with the same bytes as a run that never stopped."""
        check_budget(budget)
        env = make_vec(self.config.training.num_envs, None)
        run = _Run(self.config, env, make_vec, uset, budget, seed, callback, stages)
        try:
            run.go()
            return run.result()
        finally:
            env.close()
            run.close()


class _Run:
    """One training, stage by stage."""

    def __init__(
        self,
        config: IWOCSConfig,
        env: RobustVectorEnv,
        make_vec: MakeVec,
        uset: Any,
        budget: int,
        seed: int,
        callback: Callback | None,
        stages: Stages,
    ) -> None:
        self.config, self.env, self.make_vec, self.uset = config, env, make_vec, uset
        self.budget, self.seed, self.callback, self.stages = budget, seed, callback, stages
        self.sizes = sizes_of(env)
        self.memory = Memory.load(stages, config, *self.sizes)
        self.player = VectorEvaluator(make_vec, uset.dim, config.search.lanes, config.training.sac.discount)
        self.meter = MeteredEvaluator(self.player, max(config.search.lanes // config.search.episodes, 1))

    @property
    def left(self) -> int:
        return self.budget - self.memory.spent

    def go(self) -> None:
        """Default policy, its worst model, then specialists until something ends the run."""
        memory = self.memory
        if _one_model(self.uset):
            self._single_model()
            return
        if memory.default is None:
            self._train_default()
        if memory.next_model is None and not memory.status:
            self._search_default()
        while not memory.status:
            if len(memory.experts) == len(memory.thresholds):
                self._train_specialist()
            else:
                self._judge_candidate()

    def result(self) -> TrainResult:
        """The best candidate and what was learnt on the way."""
        memory = self.memory
        best = int(np.argmax(memory.worst)) if memory.worst else 0
        if memory.status == "certified":
            best = 0
        upper = min(memory.best_possible) if memory.best_possible else None
        lower = max(memory.worst) if memory.worst else None
        learned = {
            "status": memory.status,
            "bound_kind": "exact" if memory.status == "certified" else "estimated",
            "lower": lower,
            "upper": upper,
            "gap": None if upper is None or lower is None else upper - lower,
            "best_candidate": best,
            "models": memory.models,
            "thresholds": memory.thresholds,
            "worst": memory.worst,
        }
        policy = memory.candidate(best, self.env.single_action_space, self.sizes[0])
        return TrainResult(policy, dict(memory.env_steps), memory.history, learned)

    def close(self) -> None:
        self.player.close()

    def _single_model(self) -> None:
        if not self.memory.status:
            self._train_default(self.budget)
            self.memory.status = "certified"
            self._keep()

    def _train_default(self, steps: int | None = None) -> None:
        env = self.make_vec(self.config.training.num_envs, uniform_sampler(self.uset))
        steps = steps or int(self.config.default_share * self.budget)
        try:
            found, _, replay = train_sac(
                env,
                self.config.training,
                self.make_vec,
                self.uset,
                steps,
                self.seed,
                self.callback,
                "default policy",
            )
        finally:
            env.close()
        memory = self.memory
        memory.default = found.policy.actor
        for purpose, count in found.env_steps.items():
            memory.count(purpose, count)
        memory.history += found.history
        if self.config.predictor_data == "default":
            memory.replay = replay
        self._keep()

    def _search_default(self) -> None:
        memory = self.memory
        policy = memory.candidate(0, self.env.single_action_space, self.sizes[0])
        found = self._search(policy, self.left, 0)
        if found is None:
            memory.status = "budget"
        else:
            memory.worst.append(found.value)
            memory.next_model = found.psi.tolist()
            self._record("search", {"worst": found.value, "next_model": memory.next_model})
        self._keep()

    def _train_specialist(self) -> None:
        memory, config = self.memory, self.config
        number = len(memory.experts)
        if number == config.iterations:
            memory.status = "max_iter"
            self._keep()
            return
        tries = len(config.thresholds) if config.threshold_rule == "grid" else 1
        steps = min(int(config.agent_share * self.budget), self.left - tries * memory.search_cost)
        if steps <= config.training.random_steps + config.training.num_envs:
            memory.status = "budget"
            self._keep()
            return
        assert memory.next_model is not None
        model = np.asarray(memory.next_model)
        seed = self.seed + 1000 * (number + 1)
        learner = Specialist(config.training.sac, self._first_state(model, seed), seed, memory.replay)
        replay = Replay(min(config.training.buffer, steps), *self.sizes)
        self.env.set_psi(model)
        collection = run_off_policy(
            self.env,
            learner,
            replay,
            steps=steps,
            random_steps=config.training.random_steps,
            batch_size=config.training.sac.batch_size,
            updates_per_step=config.training.updates_per_step,
            seed=seed,
            after_step=self._watch(f"specialist {number + 1}", memory.spent),
        )
        memory.count("training", collection.steps)
        blank = blank_validity(config, learner.state.critic, *self.sizes)
        expert = Expert(learner.state.actor, learner.state.critic, blank.fit(replay.all()))
        memory.experts.append(expert)
        memory.models.append(model.tolist())
        recent = latest(replay, RECENT)
        memory.history.append(
            {
                "env_steps": memory.spent,
                "stage": f"specialist {number + 1}",
                "return": collection.recent_return(),
                "model": model.tolist(),
                "quantile_threshold": quantile_threshold(expert.validity, recent, config.quantile),
            }
        )
        self._keep()

    def _judge_candidate(self) -> None:
        """Chooses the newest specialist's threshold by searches, and says whether the run goes on."""
        memory, config = self.memory, self.config
        tried = list(config.thresholds)
        if config.threshold_rule == "quantile":
            tried = [float(memory.history[-1]["quantile_threshold"])]
        number, space = len(memory.experts), self.env.single_action_space
        best: tuple[float, Found] | None = None
        for position, threshold in enumerate(tried):
            policy = memory.candidate(number, space, self.sizes[0], threshold)
            found = self._search(policy, self.left // (len(tried) - position), number)
            # of equal worst cases the later threshold stands (the paper); a search cut short cannot beat a whole one
            if found is not None and (
                best is None or (found.complete, found.value) >= (best[1].complete, best[1].value)
            ):
                best = threshold, found
        if best is None:
            memory.experts.pop()
            memory.models.pop()
            memory.status = "budget"
            self._keep()
            return
        threshold, found = best
        memory.thresholds.append(threshold)
        memory.worst.append(found.value)
        memory.next_model = found.psi.tolist()
        figures: dict[str, Any] = {
            "threshold": threshold,
            "worst": found.value,
            "next_model": memory.next_model,
            "complete": found.complete,
            **self._at_the_ends(policy=memory.candidate(number, space, self.sizes[0]), found=found),
        }
        self._record(f"candidate {number}", figures)
        if config.tolerance is not None and figures["test_gap"] <= config.tolerance:
            memory.status = "stopping_test"
        elif self._solved(found.psi):
            memory.status = "stalled"
        self._keep()

    def _at_the_ends(self, policy: Any, found: Found) -> dict[str, float]:
        """The two sides of the stopping test, and the specialist's return on its own model."""
        memory = self.memory
        seeds = np.random.default_rng([self.seed, 6]).integers(2**31, size=self.config.start_episodes)
        worst = self.player(policy, found.psi[None], seeds)
        own = self.player(policy, np.asarray(memory.models[-1])[None], seeds)
        memory.count("search", worst.env_steps + own.env_steps)
        memory.best_possible.append(float(own.returns.mean()))
        first = self.player.first_observations(found.psi, seeds)
        value = float(np.mean(policy.pessimistic_value(first)))
        discounted = float(worst.discounted.mean())
        return {
            "return_on_own_model": memory.best_possible[-1],
            "pessimistic_value": value,
            "discounted_worst": discounted,
            "test_gap": abs(value - discounted),
        }

    def _search(self, policy: Any, limit: int, number: int) -> Found | None:
        memory, before = self.memory, self.meter.spent
        try:
            found = search_worst(policy, self.meter, self.uset, self.config.search, limit, self.seed + number)
        except StepsSpent:
            return None
        finally:
            memory.count("search", self.meter.spent - before)
        if found.complete:
            memory.search_cost = self.meter.spent - before
        return found

    def _first_state(self, model: np.ndarray, seed: int) -> SpecialistState:
        memory, sac = self.memory, self.config.training.sac
        key = jax.random.fold_in(jax.random.key(seed), 1)
        if not (self.config.warm_start and memory.experts):
            return initial_state(sac, *self.sizes, key)
        nearest = memory.experts[int(np.argmin(self._distances(model)))]
        return with_networks(sac, nearest.actor, nearest.critic, key)

    def _distances(self, model: np.ndarray) -> np.ndarray:
        solved = self.uset.to_unit(np.asarray(self.memory.models))
        return np.abs(solved - self.uset.to_unit(model)).max(axis=-1)

    def _solved(self, model: np.ndarray) -> bool:
        return bool((self._distances(model) <= self.config.repeat_distance).any())

    def _watch(self, stage: str, before: int) -> Any:
        every, following = self.config.training.report_every, 0

        def watch(collection: Collection, metrics: Mapping[str, Any]) -> bool:
            nonlocal following
            if self.callback is not None and collection.steps >= following:
                following = collection.steps + every
                figures = {"return": collection.recent_return()}
                self.callback(Progress(before + collection.steps, stage, figures))
            return False

        return watch

    def _record(self, stage: str, figures: Mapping[str, Any]) -> None:
        memory = self.memory
        memory.history.append({"env_steps": memory.spent, "stage": stage, **figures})
        if self.callback is not None:
            self.callback(Progress(memory.spent, stage, {"worst": figures["worst"]}))

    def _keep(self) -> None:
        self.memory.save(self.stages)


def latest(replay: Replay, count: int) -> Transitions:
    """The newest transitions, which the predictor has seen least: they stand in for held-out experience."""
    newest = replay.added - 1 - np.arange(min(count, len(replay)))
    return Transitions(*(column[newest % replay.capacity] for column in replay.all()))


def _one_model(uset: Any) -> bool:
    return bool(np.all(uset.low == uset.high))
