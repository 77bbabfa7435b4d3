"""Whole episodes of a MuJoCo task on many models, on the C engine."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

import numpy as np

from dynrl.physics.episodes import Episodes
from dynrl.physics.task import MujocoTask
from dynrl.robust.binding import Columns, force_element, parameter_map, world_of
from dynrl.robust.evaluation.compiled_policy import FEWEST_ROWS, Static, act, restarted, split
from dynrl.robust.evaluation.returns import Returns, checked_request
from dynrl.robust.policy import HostPolicy, as_policy
from dynrl.robust.sets import UncertaintySet


class BatchEvaluator:
    """Evaluates a policy on a MuJoCo task, a lane being one simulation; see `Evaluator` for what is promised.

    A lane whose episode ended takes the next (model, episode) pair at once, so that none idles. Actions are moved into
    the action space; one that is not finite ends its episode as diverged.

    Args:
        task: what is simulated, observed and rewarded.
        uset: the parameters: model fields and forces.
        lanes: simulations side by side; the policy always acts on so many rows, at least 64, so that its arithmetic
            does not depend on how much there is to do.
        num_threads: of the engine; 0 for one per core.
        horizon: steps after which an episode is over; None for the task's.
        discount: `gamma` of the discounted returns.
        failure_return: added to the return of an episode that diverged.

    Raises:
        ValueError: a parameter that the task does not have, or no horizon.
    """

    def __init__(
        self,
        task: MujocoTask,
        uset: UncertaintySet,
        *,
        lanes: int = 256,
        num_threads: int = 0,
        horizon: int | None = None,
        discount: float = 0.99,
        failure_return: float = 0.0,
    ) -> None:
        self.task, self.uset = task, uset
        self.lanes, self.num_threads = lanes, num_threads
        steps = task.horizon if horizon is None else min(horizon, task.horizon or horizon)
        if steps is None or steps < 1:
            raise ValueError(f"horizon is {steps}: {type(task).__name__} has none, pass a positive integer.")
        self.horizon, self.discount, self.failure_return = steps, discount, failure_return
        columns = Columns(uset.params)
        for i in columns.attr + columns.delay:
            raise ValueError(
                f"{uset.names[i]!r} is no model field or force; evaluate it through GymnasiumEvaluator."
            )
        world = world_of(task)
        self._columns, self._map = columns, parameter_map(uset, world, num_threads)
        self._elements = [force_element(world, uset.params[i]) for i in columns.force]
        self._free: queue.SimpleQueue[Episodes] = queue.SimpleQueue()

    def __call__(self, policy: Any, psi: np.ndarray, episode_seeds: Sequence[int] | np.ndarray) -> Returns:
        models, seeds = checked_request(psi, episode_seeds, self.uset.dim)
        try:
            episodes = self._free.get_nowait()
        except queue.Empty:
            episodes = Episodes(self.task, self.lanes, self.num_threads)
        try:
            return _Run(self, episodes, as_policy(policy), models, seeds).played()
        finally:
            self._free.put(episodes)

    def __getstate__(self) -> dict[str, Any]:
        """Simulations stay at home; another process makes its own."""
        return {name: value for name, value in vars(self).items() if name != "_free"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._free = queue.SimpleQueue()

    def begin(self, episodes: Episodes, ids: np.ndarray, psi: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Begin an episode in the lanes `ids [k]` on the models `psi [k, d]`; returns observations `[k, n]`."""
        if self._map is not None:
            episodes.simulations.set_params(self._map.fields(psi[:, self._columns.model]), ids)
        for lane, seed in zip(ids, seeds, strict=True):
            episodes.seed(int(lane), int(seed))
        observation, _ = episodes.begin(ids)
        if self._elements:
            forces = np.zeros((len(ids), self.task.model.nbody, 6))
            for column, (body, axis) in zip(self._columns.force, self._elements, strict=True):
                forces[:, body, axis] = psi[:, column]
            episodes.simulations.set_forces(forces, ids)
        return observation


class _Run:
    """One call of the evaluator: pairs waiting, pairs in the lanes, and what came of those played."""

    def __init__(
        self,
        evaluator: BatchEvaluator,
        episodes: Episodes,
        policy: Any,
        models: np.ndarray,
        seeds: np.ndarray,
    ) -> None:
        self.evaluator, self.episodes, self.policy = evaluator, episodes, policy
        self.model = np.repeat(np.arange(len(models)), len(seeds))
        self.seed = np.tile(seeds, len(models))
        self.models = models
        pairs = len(self.model)
        self.returns, self.discounted = np.zeros(pairs), np.zeros(pairs)
        self.lengths = np.zeros(pairs, np.int64)
        self.terminated, self.diverged = np.zeros(pairs, bool), np.zeros(pairs, bool)
        self.waiting = 0
        self.pair = np.full(episodes.num, -1)
        self.weight = np.ones(episodes.num)
        size = evaluator.task.observation_space.shape[0]
        self.rows = max(FEWEST_ROWS, episodes.num)
        self.observation = np.zeros((self.rows, size))
        self.carry = policy.initial_carry(self.rows)
        self.compiled: tuple[Static, list[Any]] | None = None
        if not isinstance(policy, HostPolicy):
            self.compiled = split(policy)

    def played(self) -> Returns:
        self._fill(np.arange(self.episodes.num))
        while (self.pair >= 0).any():
            self._step()
        evaluator = self.evaluator
        failed = evaluator.failure_return * self.diverged
        return Returns.of_episodes(
            len(self.models),
            self.returns + failed,
            self.discounted + failed * evaluator.discount**self.lengths,
            self.lengths,
            self.terminated,
            self.diverged,
        )

    def _fill(self, free: np.ndarray) -> None:
        """Give waiting pairs to free lanes `[k]`."""
        lanes = free[: len(self.model) - self.waiting]
        if not len(lanes):
            return
        pairs = np.arange(self.waiting, self.waiting + len(lanes))
        self.waiting += len(lanes)
        self.pair[lanes], self.weight[lanes] = pairs, 1.0
        psi = self.models[self.model[pairs]]
        self.observation[lanes] = self.evaluator.begin(self.episodes, lanes, psi, self.seed[pairs])
        begun = np.zeros(self.rows, bool)
        begun[lanes] = True
        self.carry = restarted(self.policy, self.carry, begun)

    def _step(self) -> None:
        action, self.carry = self._act()
        space = self.evaluator.task.action_space
        action = np.asarray(action, np.float32)[: self.episodes.num]
        live = self.pair >= 0
        unplayable = live & ~np.isfinite(action).all(axis=1)
        playable = np.clip(np.where(np.isfinite(action), action, 0), space.low, space.high)
        stepped = live & ~unplayable
        ids = None if stepped.all() else np.flatnonzero(stepped)
        ended = unplayable.copy()
        if ids is None or len(ids):
            shown = self.episodes.advance(playable, ids)
            self.observation[np.flatnonzero(stepped)] = shown.observation[stepped]
            now = self.pair[stepped]
            self.returns[now] += shown.reward[stepped]
            self.discounted[now] += self.weight[stepped] * shown.reward[stepped]
            self.terminated[now] = shown.terminated[stepped]
            self.diverged[now] = shown.info["diverged"][stepped]
            ended |= stepped & (shown.terminated | shown.truncated)
        self.lengths[self.pair[live]] += 1
        self.weight *= self.evaluator.discount
        broken = self.pair[unplayable]
        self.terminated[broken] = self.diverged[broken] = True
        ended[live] |= self.lengths[self.pair[live]] >= self.evaluator.horizon
        self.pair[ended] = -1
        if ended.any():
            self._fill(np.flatnonzero(ended))

    def _act(self) -> tuple[Any, Any]:
        if self.compiled is None:
            return self.policy.act(self.observation, self.carry)
        static, arrays = self.compiled
        return act(static, arrays, self.observation, self.carry)
