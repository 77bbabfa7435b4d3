"""Counting episodes while learning, and playing them with a trained agent."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np


@dataclasses.dataclass
class EpisodeRecord:
    """Sums over the running episode and over what ended since the last row of metrics.

    All fields are plain numbers, so the record goes into a checkpoint as JSON.
    """

    running_return: float = 0.0
    running_length: int = 0
    ended: int = 0
    ended_return: float = 0.0
    ended_length: int = 0
    steps: int = 0
    reward: float = 0.0
    total_ended: int = 0

    def add(self, reward: float, done: bool) -> None:
        """Counts one step."""
        self.steps += 1
        self.reward += reward
        self.running_return += reward
        self.running_length += 1
        if done:
            self.ended += 1
            self.total_ended += 1
            self.ended_return += self.running_return
            self.ended_length += self.running_length
            self.running_return, self.running_length = 0.0, 0

    def row(self) -> dict[str, float | int]:
        """The metrics since the last row (NaN where no episode ended), and begins the next."""
        return pooled_row([self])


def pooled_row(records: Sequence[EpisodeRecord]) -> dict[str, float | int]:
    """One row of metrics of several environments; begins the next row in each record."""
    ended, steps = sum(record.ended for record in records), sum(record.steps for record in records)
    metrics = {
        "episode_return": sum(record.ended_return for record in records) / ended if ended else float("nan"),
        "episode_length": sum(record.ended_length for record in records) / ended if ended else float("nan"),
        "reward_per_step": sum(record.reward for record in records) / steps if steps else float("nan"),
        "episodes": sum(record.total_ended for record in records),
    }
    for record in records:
        record.ended, record.ended_return, record.ended_length = 0, 0.0, 0
        record.steps, record.reward = 0, 0.0
    return metrics


def play_episodes(agent: Any, env: gym.Env, episodes: int, seed: int) -> np.ndarray:
    """Returns `[episodes]` of an agent (ours or SB3's) acting deterministically.

    Episode i starts from `env.reset(seed=seed + i)`.
    """
    returns = np.zeros(episodes)
    for index in range(episodes):
        observation, _ = env.reset(seed=seed + index)
        state: Any = None
        start = np.ones(1, bool)
        done = False
        while not done:
            action, state = agent.predict(observation, state, start, deterministic=True)
            start = np.zeros(1, bool)
            observation, reward, terminated, truncated, _ = env.step(_as_action(action, env.action_space))
            returns[index] += float(reward)
            done = terminated or truncated
    return returns


def filmed_episode(agent: Any, env: gym.Env, seed: int, every: int) -> Iterator[np.ndarray]:
    """Yields the pictures of one episode of an agent acting deterministically, one of `every` steps and the last.

    The environment has the render mode "rgb_array".
    """
    observation, _ = env.reset(seed=seed)
    yield _picture(env)
    state: Any = None
    start, done, steps = np.ones(1, bool), False, 0
    while not done:
        action, state = agent.predict(observation, state, start, deterministic=True)
        start = np.zeros(1, bool)
        observation, _, terminated, truncated, _ = env.step(_as_action(action, env.action_space))
        done, steps = terminated or truncated, steps + 1
        if done or steps % every == 0:
            yield _picture(env)


def _picture(env: gym.Env) -> np.ndarray:
    return np.asarray(env.render())


def return_figures(returns: Sequence[np.ndarray]) -> dict[str, float]:
    """Figures of what `dynrl evaluate` plays: one array of returns `[episodes]` per trained seed.

    The interval is over the means of the seeds, or over episodes where there is one seed.
    """
    from dynrl.statistics import interquartile_mean, stratified_bootstrap

    scores = returns[0] if len(returns) == 1 else np.mean(returns, axis=1)
    low, high = stratified_bootstrap(scores)
    flat = np.concatenate(returns)
    return {
        "mean return": float(flat.mean()),
        "standard deviation": float(flat.std()),
        "interquartile mean": float(interquartile_mean(scores)),
        "95 % interval, lower end": low,
        "95 % interval, upper end": high,
    }


def _as_action(action: Any, space: gym.Space) -> Any:
    return int(action) if isinstance(space, gym.spaces.Discrete) else action
