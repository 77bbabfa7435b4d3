"""The loop of M2TD3 and its kin: a learner whose episodes are played at learned worst candidates of the parameters."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from dynrl.agents.robust.recorder import Recorder
from dynrl.agents.robust.training import (
    Callback,
    Collection,
    MakeVec,
    TrainResult,
    check_budget,
    run_off_policy,
    sizes_of,
)
from dynrl.agents.robust.worst_parameters import CandidateSampler, CandidatesConfig
from dynrl.learning.networks import ActorPolicy, explored
from dynrl.learning.replay import Replay, Transitions

__all__ = ["CandidatePlayer", "train_against_candidates"]


class CandidatePlayer(abc.ABC):
    """A learner against candidates, as `run_off_policy` drives it.

    Attributes:
        learner: the state of its networks, with an `actor`.
        batch_size: transitions of an update.
    """

    learner: Any
    batch_size: int

    @property
    def actor(self) -> Any:
        return self.learner.actor

    def explore(self, observation: np.ndarray, key: jax.Array) -> jax.Array:
        return explored(self.learner.actor, observation, key)

    @abc.abstractmethod
    def learn(self, batches: Transitions) -> Mapping[str, float]:
        """One update of networks and candidates per leading row of `batches`."""


C = TypeVar("C", bound=CandidatesConfig)


def train_against_candidates(
    config: C,
    soft: bool,
    player_of: Callable[[C, CandidateSampler, tuple[int, int], Any], CandidatePlayer],
    make_vec: MakeVec,
    uset: Any,
    budget: int,
    seed: int,
    callback: Callback | None,
) -> TrainResult:
    """Acts, stores ω with every step, learns, and keeps the sampler up to date.

    Args:
        soft: as `CandidateSampler` takes it.
        player_of: makes the learner from settings, sampler, lengths of observation and action, and a key.
        make_vec, uset, budget, seed, callback: as in `training.RobustLearner.train`.
    """
    check_budget(budget)
    player_key, sampler_key = jax.random.split(jax.random.key(seed))
    sampler = CandidateSampler(config, soft, uset, budget, sampler_key)
    env = make_vec(config.num_envs, sampler)
    recorder = Recorder(config.record_every, "training", callback, sampler.learned)

    def after_step(collection: Collection, metrics: Mapping[str, float]) -> bool:
        sampler.steps = collection.steps
        sampler.length = collection.lengths[-1] if collection.lengths else 0
        return recorder(collection, metrics)

    try:
        sizes = sizes_of(env)
        player = player_of(config, sampler, sizes, player_key)
        collection = run_off_policy(
            env,
            player,
            Replay(min(config.capacity, budget + config.num_envs), sizes[0], sizes[1], uset.dim),
            steps=budget,
            random_steps=sampler.random_steps,
            batch_size=player.batch_size,
            updates_per_step=config.updates_per_step,
            seed=seed,
            extra=sampler.omega,
            after_step=after_step,
        )
    finally:
        env.close()
    policy = ActorPolicy.of(player.actor, env.single_action_space)
    return TrainResult(policy, {"training": collection.steps}, recorder.history, sampler.learned())
