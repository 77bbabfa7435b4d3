"""Counting episodes while learning, and playing them with a trained agent."""

import dataclasses
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
        metrics = {
            "episode_return": self.ended_return / self.ended if self.ended else float("nan"),
            "episode_length": self.ended_length / self.ended if self.ended else float("nan"),
            "reward_per_step": self.reward / self.steps if self.steps else float("nan"),
            "episodes": self.total_ended,
        }
        self.ended, self.ended_return, self.ended_length = 0, 0.0, 0
        self.steps, self.reward = 0, 0.0
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


def _as_action(action: Any, space: gym.Space) -> Any:
    return int(action) if isinstance(space, gym.spaces.Discrete) else action
