"""Competing advertisers through PettingZoo's parallel API. Needs `pip install dynrl[auctions]`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from dynrl.envs.auctions.competition import Competition
from dynrl.faces.episode import Episode, advance, begin, key_from_seed
from dynrl.faces.params import checked_params

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise ImportError("AuctionParallelEnv needs PettingZoo: pip install dynrl[auctions]") from error

__all__ = ["AuctionParallelEnv"]

_PER_STEP = ("won", "shown", "cost", "conversions", "expected_conversions", "mean_value", "left", "score")

_begin = jax.jit(begin, static_argnums=0)
_advance = jax.jit(advance, static_argnums=0)


class AuctionParallelEnv(ParallelEnv):
    """The advertisers of a `Competition` as agents `advertiser_0`, `advertiser_1`, ..., who act at the same time.

    Each agent's action is its multiplier, `Box(0, max_multiplier, (1,), float32)`; its observation is its row `[8]` of
    the world's observation, its reward its entry of the world's rewards. An agent without money stays and bids nothing;
    all agents terminate together after `horizon` time steps. The info of each agent holds its sums of the step (`won`,
    `shown`, `cost`, `conversions`, `expected_conversions`, `mean_value`), its money `left` and its `score` so far, and
    at the end `totals`. `state()` is the observation of all, `[A, 8]`.

    Args:
        world: the market; None to build one from `settings`.
        params: its constants; None for the defaults.
        settings: fields of `Competition`, e.g. `advertisers=12`, `pricing="first"`.

    Raises:
        ValueError: both a world and settings, or wrong ones.
    """

    metadata = {"name": "dynrl_auction_v0", "render_modes": [], "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, world: Competition | None = None, params: Any = None, **settings: Any) -> None:
        if world is not None and settings:
            raise ValueError("settings build a world; give them to the Competition itself")
        self.world = Competition(**settings) if world is None else world
        self.params = checked_params(self.world, params)
        self.render_mode = None
        self.possible_agents = [f"advertiser_{number}" for number in range(self.world.advertisers)]
        self.agents: list[str] = []
        rows = self.world.observation_space
        self.action_spaces = {
            agent: spaces.Box(0.0, self.world.max_multiplier, (1,), np.float32)
            for agent in self.possible_agents
        }
        self.observation_spaces = {
            agent: spaces.Box(rows.low[0], rows.high[0], dtype=np.float32) for agent in self.possible_agents
        }
        self._key: np.ndarray | None = None
        self._episode: Episode | None = None
        self._rows = np.zeros(rows.shape, np.float32)

    def observation_space(self, agent: str) -> spaces.Space:
        """Of one agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Of one agent."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Start an episode; a seed starts the chain of random keys anew.

        There are no options. PettingZoo's own checker passes made-up ones, so they are not refused.
        """
        if seed is not None:
            key = key_from_seed(seed)
        elif self._episode is not None:
            key = np.asarray(self._episode.key)
        else:
            key = key_from_seed(int(seeding.np_random()[0].integers(2**32)))
        with jax.enable_x64(True):
            self._episode, rows, _ = _begin(self.world, key, self.params)
        self.agents = self.possible_agents[:]
        self._rows = np.array(rows)
        left = np.asarray(self._episode.state.left)
        return self._observations(), {
            agent: {"left": float(left[number])} for number, agent in enumerate(self.agents)
        }

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """One time step; `actions` holds the multiplier `[1]` of every agent.

        Raises:
            ValueError: an agent's action is missing or outside its space; nothing has changed then.
        """
        if self._episode is None or not self.agents:
            raise ValueError("no episode is running; call reset() first")
        multipliers = np.array([self._multiplier(agent, actions) for agent in self.agents], np.float32)
        with jax.enable_x64(True):
            self._episode, shown = _advance(self.world, self._episode, multipliers, self.params)
        shown = jax.tree.map(np.asarray, shown)
        self._rows = np.array(shown.observation)
        over, info = bool(shown.terminated), shown.info
        agents = self.agents
        infos: dict[str, dict[str, Any]] = {
            agent: {name: float(info[name][number]) for name in _PER_STEP}
            for number, agent in enumerate(agents)
        }
        if over:
            for number, agent in enumerate(agents):
                infos[agent]["totals"] = {name: float(leaf[number]) for name, leaf in info["totals"].items()}
        observations = self._observations()
        rewards = {agent: float(info["rewards"][number]) for number, agent in enumerate(agents)}
        flags = partial(dict.fromkeys, agents)
        if over:
            self.agents = []
        return observations, rewards, flags(over), flags(False), infos

    def state(self) -> np.ndarray:
        """The observations of all agents `[A, 8]`."""
        return self._rows.copy()

    def _observations(self) -> dict[str, np.ndarray]:
        return {agent: self._rows[number].copy() for number, agent in enumerate(self.possible_agents)}

    def _multiplier(self, agent: str, actions: Mapping[str, Any]) -> float:
        if agent not in actions:
            raise ValueError(f"the action of {agent} is missing; every agent acts in every step")
        action = np.asarray(actions[agent])
        if action.shape != (1,) or action.dtype.kind not in "fiu":
            raise ValueError(f"action of {agent} is {actions[agent]!r}, expected {self.action_spaces[agent]}")
        number = float(action[0])
        if not 0.0 <= number <= self.world.max_multiplier:
            raise ValueError(f"action of {agent} is {number}, expected {self.action_spaces[agent]}")
        return number
