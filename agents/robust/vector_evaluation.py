"""Whole episodes on a robust vector environment: the evaluator of learners that have nothing but `make_vec`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.robust.training import MakeVec
from dynrl.robust.evaluation.returns import Returns, checked_request

__all__ = ["Played", "VectorEvaluator", "play"]


@eqx.filter_jit
def _act(policy: Any, observation: Any, carry: Any) -> Any:
    return policy.act(observation, carry)


class Played(NamedTuple):
    """One episode per lane, each column `[N]`; as in `Returns`."""

    returns: np.ndarray
    discounted: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    diverged: np.ndarray


def play(
    env: Any,
    act: Callable[[np.ndarray], np.ndarray],
    psi: np.ndarray,
    seeds: np.ndarray,
    alive: np.ndarray,
    discount: float = 1.0,
    most_steps: int | None = None,
) -> Played:
    """One episode in every lane of a robust vector environment.

    Args:
        env: made by `make_vec(N, None)`.
        act: observations `[N, o]` to actions `[N, a]`; an action that is not finite ends its episode as diverged.
        psi, seeds: `[N, d]` and `[N]`.
        alive: `[N]`, lanes to play; the others are stepped along and not counted.
        discount: of the discounted returns.
        most_steps: cuts longer episodes; None plays them to the end.
    """
    lanes, low, high = env.num_envs, env.single_action_space.low, env.single_action_space.high
    env.set_psi(psi)
    observation, _ = env.reset(seed=[int(seed) for seed in seeds])
    returns, discounted, lengths = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes, np.int64)
    ended, blown = np.zeros(lanes, bool), np.zeros(lanes, bool)
    weight = 1.0
    while alive.any() and (most_steps is None or lengths.max() < most_steps):
        action = act(observation)
        finite = np.isfinite(action).all(axis=-1)
        blown |= alive & ~finite
        alive = alive & finite
        action = np.clip(np.where(finite[:, None], action, 0.0), low, high).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        returns += np.where(alive, reward, 0.0)
        discounted += np.where(alive, weight * reward, 0.0)
        lengths += alive
        weight *= discount
        blown |= alive & np.asarray(info.get("diverged", np.zeros(lanes, bool)), bool)
        ended |= alive & terminated
        alive = alive & ~(terminated | truncated)
    return Played(returns, discounted, lengths, ended | blown, blown)


class VectorEvaluator:
    """A `dynrl.robust.evaluation.Evaluator` for every environment that `make_vec` makes.

    Episodes are played in blocks of `lanes`, the last one filled up, so that one compiled policy serves every call and
    a result does not depend on what stands beside it.

    Args:
        make_vec: makes the vector environment, once, at the first call.
        dim: d, length of the parameters.
        lanes: episodes at a time.
        discount: gamma of the discounted returns.
        failure_return: added to the return of an episode whose simulation blew up.
    """

    def __init__(
        self,
        make_vec: MakeVec,
        dim: int,
        lanes: int = 32,
        discount: float = 0.99,
        failure_return: float = 0.0,
    ) -> None:
        self._make_vec, self._dim, self._lanes = make_vec, dim, lanes
        self._discount, self._failure_return = discount, failure_return
        self._env: Any = None

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        """Plays every model with every seed.

        Args:
            policy: a `RobustPolicy` that JAX can trace.
            psi: `[N, d]`.
            episode_seeds: `[m]`.
        """
        models, seeds = checked_request(psi, episode_seeds, self._dim)
        if self._env is None:
            self._env = self._make_vec(self._lanes, None)
        lane_psi, lane_seed = np.repeat(models, len(seeds), axis=0), np.tile(seeds, len(models))
        columns = []
        for start in range(0, len(lane_seed), self._lanes):
            count = min(self._lanes, len(lane_seed) - start)
            rows = start + np.arange(self._lanes) % count
            block = self._block(policy, lane_psi[rows], lane_seed[rows], count)
            columns.append([column[:count] for column in block])
        joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
        return Returns.of_episodes(len(models), *joined)

    def first_observations(self, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """The observation `[m, o]` that each episode of the model `psi [d]` starts with; takes no step."""
        models, seeds = checked_request(psi, episode_seeds, self._dim)
        if self._env is None:
            self._env = self._make_vec(self._lanes, None)
        first = []
        for start in range(0, len(seeds), self._lanes):
            count = min(self._lanes, len(seeds) - start)
            rows = start + np.arange(self._lanes) % count
            self._env.set_psi(np.repeat(models, self._lanes, axis=0))
            first.append(np.array(self._env.reset(seed=[int(seed) for seed in seeds[rows]])[0])[:count])
        return np.concatenate(first)

    def close(self) -> None:
        """Lets go of the environment."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _block(self, policy: Any, psi: np.ndarray, seeds: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        carry = jax.tree.map(jnp.asarray, policy.initial_carry(self._lanes))

        def act(observation: np.ndarray) -> np.ndarray:
            nonlocal carry
            action, carry = _act(policy, np.asarray(observation, np.float32), carry)
            return np.asarray(action)

        played = play(self._env, act, psi, seeds, np.arange(self._lanes) < count, self._discount)
        returns = played.returns + self._failure_return * played.diverged
        return returns, played.discounted, played.lengths, played.terminated, played.diverged
