"""What robust learners share: the protocol of `train`, its result, and the loop of off-policy learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from gymnasium.vector import VectorEnv

from dynrl.learning.networks import from_unit
from dynrl.learning.replay import Replay, Transitions
from dynrl.robust.vector import RobustVectorEnv

__all__ = [
    "Callback",
    "Collection",
    "MakeVec",
    "Progress",
    "RobustLearner",
    "Sampler",
    "StagedLearner",
    "Stages",
    "TrainResult",
    "check_budget",
    "final_observations",
    "run_off_policy",
    "sizes_of",
    "uniform_sampler",
]

Sampler = Callable[[np.random.Generator, int], np.ndarray]
"""`(rng, k) -> psi [k, d]`: parameters of the lanes that begin a new episode."""


class MakeVec(Protocol):
    """Makes the robust vector environment that a learner trains on (`dynrl.robust.make_robust_vec` with its set)."""

    def __call__(self, num_envs: int, sampler: Sampler | None) -> RobustVectorEnv:
        """A vector environment with SAME_STEP auto-reset, `psi [N, d]` and `set_psi(psi, ids=None)`."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        env_steps: environment steps so far, of every purpose.
        stage: what is being done, such as "training" or "agent 2".
        metrics: figures worth a log line, such as `return` of the last episodes.
    """

    env_steps: int
    stage: str
    metrics: Mapping[str, float] = field(default_factory=dict)


Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainResult:
    """What `train` gives.

    Attributes:
        policy: a `dynrl.robust.policy.RobustPolicy`.
        env_steps: environment steps by purpose, such as `{"training": 50_000, "search": 20_000}`.
        history: one mapping per record, in order of time.
        learned: the parameters that decided, such as worst models by iteration; JSON values.
    """

    policy: Any
    env_steps: dict[str, int]
    history: list[dict[str, Any]]
    learned: dict[str, Any] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """Environment steps of every purpose together."""
        return sum(self.env_steps.values())


class RobustLearner(Protocol):
    """A method that gives a robust policy."""

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """Trains within `budget` environment steps, search and every other purpose included.

        Args:
            make_vec: makes vector environments.
            uset: a `dynrl.robust.UncertaintySet`.
            budget: environment steps; each lane's step counts one.
            seed: of everything random; the same seed gives the same bytes.
            callback: told now and then how far it is; an exception raised there ends the training.

        Raises:
            ValueError: a budget below 1, or an environment that the method cannot learn on.
        """
        ...


class Stages(Protocol):
    """Where a learner leaves what it knows after each stage."""

    def load(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None:
        """What was saved last, None at the beginning."""
        ...

    def save(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Replaces what was saved: named arrays, and JSON values with `env_steps` by purpose among them."""
        ...


@runtime_checkable
class StagedLearner(RobustLearner, Protocol):
    """A method that can go on from its last stage."""

    def train_in_stages(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None, stages: Stages
    ) -> TrainResult:
        """As `train`, on from what `stages` holds; the bytes are those of a training that never stopped."""
        ...


def check_budget(budget: int) -> None:
    """Raises: ValueError: a budget of no steps."""
    if budget < 1:
        raise ValueError(f"budget is {budget}, expected at least 1 environment step.")


def uniform_sampler(uset: Any) -> Sampler:
    """Draws uniformly from the set (domain randomisation: Tobin et al., 2017)."""
    return lambda rng, count: uset.sample(rng, count, method="uniform")


def sizes_of(env: VectorEnv) -> tuple[int, int]:
    """Lengths of an observation and an action of one lane.

    Raises:
        ValueError: the spaces are not one-dimensional boxes, or the actions are unbounded.
    """
    from gymnasium.spaces import Box

    observations, actions = env.single_observation_space, env.single_action_space
    if not (isinstance(observations, Box) and isinstance(actions, Box)):
        raise ValueError(f"the learner needs Box observations and actions, got {observations} and {actions}")
    if len(observations.shape) != 1 or len(actions.shape) != 1:
        raise ValueError(
            f"the learner needs flat observations and actions, got shapes {observations.shape} and {actions.shape}; "
            "wrap the environment in gymnasium.wrappers.FlattenObservation"
        )
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise ValueError(
            "the learner needs bounded actions; wrap the environment in gymnasium.wrappers.RescaleAction"
        )
    return observations.shape[0], actions.shape[0]


def final_observations(observations: np.ndarray, info: Mapping[str, Any], done: np.ndarray) -> np.ndarray:
    """The observation that each step led to: of lanes that were reset in the same step, the last of the old episode.

    Args:
        observations: `[N, o]`, as `step` returned them.
        info: as `step` returned it; holds `final_obs` (`[N, o]`, or `[N]` objects) where a lane ended.
        done: `[N]`, terminated or truncated.
    """
    if not done.any():
        return observations
    last, ended = np.array(observations), np.flatnonzero(done)
    last[ended] = np.stack([np.asarray(info["final_obs"][lane]) for lane in ended])
    return last


@dataclass
class Collection:
    """Counters and returns of a collection loop.

    Attributes:
        steps: environment steps taken.
        returns: undiscounted return of each finished episode, in order of time.
        lengths: its steps.
    """

    steps: int = 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def recent_return(self, episodes: int = 20) -> float:
        """Mean over the last finished episodes; NaN before the first."""
        return float(np.mean(self.returns[-episodes:])) if self.returns else float("nan")


class OffPolicyLearner(Protocol):
    """What `run_off_policy` drives: a learner that holds its own state."""

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray | jax.Array:
        """Random unit actions `[N, a]`."""
        ...

    def learn(self, batches: Transitions) -> Mapping[str, Any]:
        """One update per leading row of `batches` (`[k, batch, ...]`)."""
        ...


def run_off_policy(
    env: VectorEnv,
    learner: OffPolicyLearner,
    replay: Replay,
    *,
    steps: int,
    random_steps: int,
    batch_size: int,
    updates_per_step: float,
    seed: int,
    extra: Callable[[VectorEnv], np.ndarray] | None = None,
    after_step: Callable[[Collection, Mapping[str, float]], bool] | None = None,
    on_begin: Callable[[VectorEnv, np.ndarray], None] | None = None,
) -> Collection:
    """Acts, stores and learns for `steps` environment steps, rounded up to whole steps of all lanes.

    Updates come in one compiled call of `num_envs * updates_per_step` after each step of all lanes.

    Args:
        env: with SAME_STEP auto-reset; it is reset with `seed`.
        learner: acts and is updated.
        replay: receives the transitions.
        random_steps: uniformly random actions, without updates, before the learner acts.
        batch_size: transitions of an update.
        updates_per_step: gradient steps per environment step.
        seed: of exploration and of the replay's draws.
        extra: gives the extra column `[N, e]` of the step about to be taken, such as `lambda env: env.psi`.
        after_step: told after each step of all lanes; True ends the loop early.
        on_begin: told which lanes have just begun an episode; may give them other parameters by `env.set_psi`.
    """
    lanes = env.num_envs
    space: Any = env.single_action_space  # a Box, as `sizes_of` makes sure
    low, high = space.low, space.high
    rng, key = np.random.default_rng([seed, 1]), jax.random.key(seed)
    observation, _ = env.reset(seed=seed)
    if on_begin is not None:
        on_begin(env, np.arange(lanes))
    running, lengths = np.zeros(lanes), np.zeros(lanes, int)
    collection, owed = Collection(), 0.0
    metrics: Mapping[str, float] = {}
    while collection.steps < steps:
        column = np.zeros((lanes, 0), np.float32) if extra is None else extra(env)
        if collection.steps < random_steps:
            action = rng.uniform(-1, 1, (lanes, len(low))).astype(np.float32)
        else:
            step_key = jax.random.fold_in(key, collection.steps)
            action = np.asarray(learner.explore(np.asarray(observation, np.float32), step_key))
        following, reward, terminated, truncated, info = env.step(from_unit(action, low, high))
        done = terminated | truncated
        last = final_observations(following, info, done)
        replay.add(Transitions(observation, action, reward, last, terminated, column))
        running, lengths = running + reward, lengths + 1
        for lane in np.flatnonzero(done):
            collection.returns.append(float(running[lane]))
            collection.lengths.append(int(lengths[lane]))
        running[done], lengths[done] = 0.0, 0
        if on_begin is not None and done.any():
            on_begin(env, np.flatnonzero(done))
        observation = np.array(following)
        collection.steps += lanes
        if collection.steps > random_steps:
            owed += lanes * updates_per_step
            count = int(owed)
            owed -= count
            if count:
                metrics = learner.learn(replay.sample(rng, count, batch_size))
        if after_step is not None and after_step(collection, metrics):
            break
    return collection
