"""Worst-case policy search: CMA-ES on the weights of a linear policy, scored on a growing set of bad models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dynrl.agents.robust.training import Callback, MakeVec, Progress, TrainResult, check_budget, sizes_of
from dynrl.agents.robust.vector_evaluation import Played, play
from dynrl.learning.networks import from_unit

__all__ = ["LinearPolicy", "PolicySearchConfig", "WorstCasePolicySearch"]

SEARCH_EVERY = 10


class LinearPolicy(eqx.Module):
    """`u = clip(W s, -1, 1)`, scaled to the environment's actions; a `RobustPolicy` without memory.

    Attributes:
        weights: `[a, o]`.
        low, high: `[a]`, bounds of the actions.
    """

    weights: Float[Array, "a o"]
    low: Float[Array, " a"]
    high: Float[Array, " a"]

    def initial_carry(self, num_envs: int) -> tuple[()]:
        return ()

    def act(
        self, observation: Float[Array, "b o"], carry: tuple[()], key: Any = None
    ) -> tuple[Array, tuple[()]]:
        """A key changes nothing: the policy has no noise."""
        unit = jnp.clip(jnp.asarray(observation, jnp.float32) @ self.weights.T, -1, 1)
        return from_unit(unit, self.low, self.high), carry


@dataclass(frozen=True)
class PolicySearchConfig:
    """Settings of `WorstCasePolicySearch`.

    Attributes:
        population: policies per generation of CMA-ES.
        step: first standard deviation of the weights.
        first_steps: episodes are cut there at first; doubled whenever a policy lasts so long on every model.
        points: Sobol points of each search of the whole set, beside the corners.
        models: worst models kept beside the corners.
        mean_share: weight of the mean over the models beside the minimum: it guides where all minima are alike.
        lanes: episodes played at a time.
        target: a searched worst return that ends the training; None trains until the budget is spent.
    """

    population: int = 16
    step: float = 0.3
    first_steps: int = 100
    points: int = 16
    models: int = 8
    mean_share: float = 0.1
    lanes: int = 64
    target: float | None = None

    def __post_init__(self) -> None:
        if self.population < 4 or self.step <= 0 or self.first_steps < 1:
            raise ValueError("population must be at least 4, step positive and first_steps at least 1")
        if self.points < 0 or self.models < 1 or self.lanes < 1 or not 0 <= self.mean_share < 1:
            raise ValueError(
                "points must not be negative, models and lanes at least 1, and mean_share must lie in [0, 1)"
            )


class WorstCasePolicySearch:
    """Searches linear policies for the best worst case on a set of models that grows by the worst ones found.

    The outer loop is that of IWOCS, with a finite set and the same policy for all of it in place of specialists: score
    by the minimum over the corners and the worst models met so far; where a policy lasts on all of them, search the
    whole set, and add the worst model found. Linear policies and evolution are enough for many control tasks (Mania,
    Guy and Recht, "Simple random search of static linear policies is competitive", 2018; Hansen, CMA-ES, 2016). Use it
    where a linear policy can do the task and observations are few; episodes on bad policies are short and hence cheap.
    It promises nothing beyond the points it searched.
    """

    Config: ClassVar[type] = PolicySearchConfig

    def __init__(self, config: PolicySearchConfig | None = None) -> None:
        self.config = config or PolicySearchConfig()

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """Trains within `budget` environment steps, searches included; see `training.RobustLearner`.

        A search that the budget cuts short counts its steps and proves nothing: the policy before it is returned.
        """
        check_budget(budget)
        env = make_vec(self.config.lanes, None)
        try:
            search = _Search(self.config, env, uset, budget, seed)
            search.go(callback)
        finally:
            env.close()
        space: Any = env.single_action_space
        low, high = jnp.asarray(space.low, jnp.float32), jnp.asarray(space.high, jnp.float32)
        policy = LinearPolicy(jnp.asarray(search.best, jnp.float32), low, high)
        learned = {
            "worst": search.best_worst if np.isfinite(search.best_worst) else None,
            "models": search.models.tolist(),
            "weights": search.best.tolist(),
        }
        return TrainResult(policy, search.env_steps, search.history, learned)


class _Search:
    """One training."""

    def __init__(self, config: PolicySearchConfig, env: Any, uset: Any, budget: int, seed: int) -> None:
        self.config, self.env, self.uset, self.budget, self.seed = config, env, uset, budget, seed
        observation_size, action_size = sizes_of(env)
        self.shape = (action_size, observation_size)
        self.models = np.atleast_2d(uset.corners())
        self.corners = len(self.models)
        self.cut = config.first_steps
        self.env_steps = {"training": 0, "search": 0}
        self.best, self.best_worst = np.zeros(self.shape), -np.inf
        self.history: list[dict[str, Any]] = []
        self.searches = 0

    @property
    def spent(self) -> int:
        return sum(self.env_steps.values())

    @property
    def left(self) -> int:
        return self.budget - self.spent

    def go(self, callback: Callback | None) -> None:
        from cma import CMAEvolutionStrategy

        options: dict[str, Any] = {
            "popsize": self.config.population,
            "seed": self.seed + 1,
            "verbose": -9,
            "tolfun": 0,
            "tolx": 0,
        }
        options |= {"tolflatfitness": np.inf, "tolstagnation": np.inf, "verb_log": 0, "maxiter": np.inf}
        strategy = CMAEvolutionStrategy(np.zeros(self.shape).ravel(), self.config.step, options)
        generation = 0
        while self.left >= self.config.lanes:
            proposals = strategy.ask()
            weights = np.stack(proposals).reshape(-1, *self.shape)
            played = self.play(weights, self.models, self.episode_seed(generation), self.cut, "training")
            returns = played.returns.reshape(len(weights), -1)
            share = self.config.mean_share
            scores = (1 - share) * returns.min(axis=1) + share * returns.mean(axis=1)
            strategy.tell(proposals, list(-scores))
            leader = int(scores.argmax())
            if self.best_worst == -np.inf:
                self.best = weights[leader]
            if self.promising(played, returns, leader, generation) and self.search(weights[leader]):
                break
            generation += 1
            row = {"env_steps": self.spent, "stage": "training", "return": float(returns[leader].mean())}
            self.history.append({**row, "score": float(scores[leader]), "worst": self.best_worst})
            if callback is not None and generation % 10 == 0:
                callback(
                    Progress(
                        self.spent, "training", {"score": float(scores[leader]), "worst": self.best_worst}
                    )
                )

    def promising(self, played: Played, returns: np.ndarray, leader: int, generation: int) -> bool:
        """Whether the leader is worth a search: it lasted on every model, or (asked now and then) its whole episodes
        are better than the best worst case so far."""
        shape = returns.shape
        ended, lengths = played.terminated.reshape(shape)[leader], played.lengths.reshape(shape)[leader]
        if not ended.any():
            return True
        whole = bool((ended | (lengths < self.cut)).all())
        return (
            whole
            and generation % SEARCH_EVERY == SEARCH_EVERY - 1
            and returns[leader].min() > self.best_worst
        )

    def search(self, weights: np.ndarray) -> bool:
        """Plays whole episodes on the models and, if it lasts there, over the set; the worst model joins.

        Returns:
            Whether the training ends: the target is reached, or the budget cut the episodes short.
        """
        rng = np.random.default_rng([self.seed, 3, self.searches])
        self.searches += 1
        points, episode_seed = self.models, self.episode_seed(-self.searches)
        played = self.play(weights[None], points, episode_seed, None, "search")
        # the worst of a few models bounds the worst case from above: the rest is played only where it can still matter
        wanted = -np.inf if self.config.target is None else self.config.target
        bound = played.returns.min()
        if self.config.points and bound > self.best_worst and bound >= wanted:
            drawn = self.uset.sample(rng, self.config.points, method="sobol")
            further = self.play(weights[None], drawn, episode_seed, None, "search")
            points = np.concatenate([points, drawn])
            played = Played(*(np.concatenate(columns) for columns in zip(played, further, strict=True)))
        if self.left < len(points):
            return True
        number = int(played.returns.argmin())
        worst = float(played.returns[number])
        if worst > self.best_worst:
            self.best, self.best_worst = weights, worst
        if self.config.target is not None and worst >= self.config.target:
            return True
        if played.terminated[number]:
            self.cut = max(self.cut, min(2 * self.cut, int(played.lengths[number]) + self.config.first_steps))
        else:
            self.cut *= 2
        if number >= len(self.models):
            kept = self.models[: self.corners], self.models[self.corners :]
            recent = np.concatenate([kept[1], points[[number]]])[-self.config.models :]
            self.models = np.concatenate([kept[0], recent])
        return False

    def play(
        self, weights: np.ndarray, models: np.ndarray, seed: int, most_steps: int | None, purpose: str
    ) -> Played:
        """Every policy `[P, a, o]` on every model `[N, d]`: columns `[P N]`, in blocks of all lanes."""
        lanes = self.config.lanes
        lane_weights = np.repeat(weights, len(models), axis=0)
        lane_psi = np.tile(models, (len(weights), 1))
        space, blocks = self.env.single_action_space, []
        for start in range(0, len(lane_psi), lanes):
            count = min(lanes, len(lane_psi) - start)
            allowed = max(self.left // count, 0)
            cut = allowed if most_steps is None else min(most_steps, allowed)
            rows = start + np.arange(lanes) % count
            own = lane_weights[rows]

            def act(observation: np.ndarray, own: np.ndarray = own) -> np.ndarray:
                unit = np.clip(np.einsum("nao,no->na", own, observation), -1, 1)
                return from_unit(unit, space.low, space.high)

            seeds = np.full(lanes, seed)
            block = play(self.env, act, lane_psi[rows], seeds, np.arange(lanes) < count, 1.0, cut)
            self.env_steps[purpose] += int(block.lengths[:count].sum())
            blocks.append(Played(*(column[:count] for column in block)))
        return Played(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))

    def episode_seed(self, number: int) -> int:
        """Common to all policies and models of a generation, and of no other."""
        return int(np.random.default_rng([self.seed, 4, abs(number), int(number < 0)]).integers(2**31))
