"""Whole episodes of any Gymnasium environment, one after another; for convenience, not for speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from dynrl.robust.evaluation.returns import Returns, checked_request
from dynrl.robust.policy import as_policy
from dynrl.robust.robust_env import RobustEnv
from dynrl.robust.sets import UncertaintySet


class GymnasiumEvaluator:
    """Evaluates a policy on a Gymnasium environment; see `Evaluator` for what is promised.

    Every call makes an environment of its own, so calls from several threads do not meet.

    Args:
        make_env: makes the environment, time limit included; a function of a module can be sent to other processes.
        uset: the parameters.
        horizon: steps after which an episode is over; None for the environment's own end.
        discount: `gamma` of the discounted returns.
        failure_return: added to the return of an episode that diverged.
    """

    def __init__(
        self,
        make_env: Callable[[], gymnasium.Env],
        uset: UncertaintySet,
        *,
        horizon: int | None = None,
        discount: float = 0.99,
        failure_return: float = 0.0,
    ) -> None:
        self.make_env, self.uset = make_env, uset
        self.horizon, self.discount, self.failure_return = horizon, discount, failure_return

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        models, seeds = checked_request(psi, episode_seeds, self.uset.dim)
        policy = as_policy(policy)
        env = RobustEnv(self.make_env(), self.uset)
        try:
            episodes = [self._episode(env, policy, model, int(seed)) for model in models for seed in seeds]
        finally:
            env.close()
        return Returns.of_episodes(len(models), *(np.array(column) for column in zip(*episodes, strict=True)))

    def _episode(self, env: RobustEnv, policy: Any, psi: np.ndarray, seed: int) -> tuple:
        observation, _ = env.reset(seed=seed, options={"psi": psi})
        carry = policy.initial_carry(1)
        total, discounted, weight, length = 0.0, 0.0, 1.0, 0
        terminated = truncated = diverged = False
        while not (terminated or truncated or diverged or length == self.horizon):
            action, carry = policy.act(np.asarray(observation)[None], carry)
            action = np.asarray(action)[0]
            length += 1
            if action.dtype.kind == "f" and not np.isfinite(action).all():
                diverged = True
                break
            observation, reward, terminated, truncated, info = env.step(_within(env.action_space, action))
            diverged = bool(info.get("diverged", False))
            total += float(reward)
            discounted += weight * float(reward)
            weight *= self.discount
        if diverged:
            total += self.failure_return
            discounted += self.failure_return * self.discount**length
        return total, discounted, length, terminated or diverged, diverged


def _within(space: gymnasium.Space, action: np.ndarray) -> Any:
    if isinstance(space, gymnasium.spaces.Box):
        return np.clip(action, space.low, space.high).astype(space.dtype)
    return action
