"""One bandit run in NumPy: the act/update protocol around a `BanditAlgorithm`."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, NamedTuple, Self

import gymnasium
import numpy as np

from dynrl.agent import Agent, Transition
from dynrl.agents.bandits.algorithm import BanditAlgorithm, counted_rounds
from dynrl.bandits import ActionSet, BoxSet, FiniteSet

REFRESH_EVERY = 10_000  # learnt samples between two recomputations of an inverse from its master copy


class RunState(NamedTuple):
    """Where a run stands, to the round.

    Attributes:
        learned: the algorithm's own state.
        extra: what a subclass keeps beside it.
        t: rounds completed.
        epoch: epochs begun.
        learned_epochs: epochs that gave a sample.
        left: rounds left of the running hold.
        hold: length of the running hold.
        candidate: index of what is held (−1 where the action set has no list of candidates).
        action: `[d]`, what is held.
        sample: reduction of the hold's rewards so far.
        spoiled: a reward of this hold was skipped, so it will give no sample.
        awaiting: `act` has been called and its reward has not come yet.
        previous_reward: reward of the round before.
    """

    learned: Any
    extra: Any
    t: np.ndarray
    epoch: np.ndarray
    learned_epochs: np.ndarray
    left: np.ndarray
    hold: np.ndarray
    candidate: np.ndarray
    action: np.ndarray
    sample: np.ndarray
    spoiled: np.ndarray
    awaiting: np.ndarray
    previous_reward: np.ndarray


def action_set_of(env: Any) -> ActionSet:
    """The actions that an environment offers: its own `action_set`, else a set made from its action space.

    A `Discrete(K)` space without an action set becomes K unrelated arms (unit vectors).

    Raises:
        TypeError: the space is neither `Discrete` nor a bounded one-dimensional `Box`.
    """
    own = getattr(getattr(env.unwrapped, "func_env", None), "action_set", None)
    if isinstance(own, ActionSet):
        return own
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return FiniteSet(np.eye(int(space.n)))
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        return BoxSet(space.low, space.high)
    raise TypeError(
        f"bandit agents need a Discrete action space or a bounded Box of shape (d,), got {space}; "
        "or give an ActionSet in place of the environment"
    )


class BanditAgent(Agent):
    """A bandit algorithm, one run at a time.

    Beside `learn` and `predict` it speaks the bandit protocol: `act()` gives the action of the next round, an index
    where the actions are a `FiniteSet` and a vector `[d]` otherwise; `update(reward)` gives the reward back.

    Args:
        env: a Gymnasium environment, or the `ActionSet` alone for use without one.
        config: a `Config`.
        seed: seed of the agent's own randomness.
        overrides: fields of the config by name.
    """

    needs_candidates: ClassVar[bool] = True
    action_set: ActionSet

    def __init__(
        self,
        env: gymnasium.Env | str | ActionSet,
        config: Any = None,
        *,
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        if not isinstance(env, ActionSet):
            super().__init__(env, config, seed=seed, **overrides)
            return
        self.env = self.observation_space = None  # type: ignore[assignment]
        self.action_space = env.to_gym_space()
        self.action_set = env
        self.config = self._make_config(config, overrides)
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.num_timesteps = 0
        self.last_observation = None
        self._vec_env = self._logger = None
        self.state = self.initial_state()

    def make_algorithm(self) -> BanditAlgorithm:
        """The pure functions of this agent for its action set and config."""
        raise NotImplementedError

    def initial_state(self) -> RunState:
        if self.env is not None:
            self.action_set = action_set_of(self.env)
        candidates = self.action_set.candidates()
        if candidates is None and self.needs_candidates:
            raise ValueError(
                f"{type(self).__name__} plays finitely many actions, but {self.action_set} has no list of "
                "candidates: give a FiniteSet"
            )
        none = np.zeros((0, self.action_set.dimension))
        self.candidates = none if candidates is None else np.asarray(candidates, np.float64)
        self.algorithm = self.make_algorithm()
        self._rows = list(self.candidates)
        self._holds: list[int] = []
        self._columns: dict[str, list[Any]] = {}
        self._finite = isinstance(self.action_set, FiniteSet)
        zero, false = np.zeros((), np.int64), np.zeros((), np.bool_)
        return RunState(
            learned=self.algorithm.init(),
            extra=self.initial_extra(),
            t=zero,
            epoch=zero,
            learned_epochs=zero,
            left=zero,
            hold=zero,
            candidate=np.array(-1),
            action=np.zeros(self.action_set.dimension),
            sample=np.zeros(()),
            spoiled=false,
            awaiting=false,
            previous_reward=np.zeros(()),
        )

    def initial_extra(self) -> Any:
        """What a subclass tracks beside the algorithm's state."""
        return ()

    @property
    def state(self) -> RunState:
        """The whole run as a pytree of arrays; assigning one continues from there."""
        return RunState(
            self.learned,
            copy.deepcopy(self.extra),
            *(
                np.asarray(value)
                for value in (
                    self.t,
                    self.epoch,
                    self.learned_epochs,
                    self._left,
                    self._hold,
                    self._index,
                    self._action,
                    self._sample,
                    self._spoiled,
                    self._awaiting,
                    self._previous_reward,
                )
            ),
        )

    @state.setter
    def state(self, state: RunState) -> None:
        self.learned, self.extra = state.learned, copy.deepcopy(state.extra)
        self.t, self.epoch = int(state.t), int(state.epoch)
        self.learned_epochs = int(state.learned_epochs)
        self._left, self._hold, self._index = int(state.left), int(state.hold), int(state.candidate)
        self._action = np.array(state.action, np.float64)
        self._sample = float(state.sample)
        self._spoiled, self._awaiting = bool(state.spoiled), bool(state.awaiting)
        self._previous_reward = float(state.previous_reward)
        if self.epoch:
            self._enter(self.epoch)

    @property
    def rounds_left(self) -> int:
        """Rounds for which the action of the running hold is still to be played (0: a new one is due)."""
        return self._left

    def reset(self, seed: int | None = None) -> Self:
        """Forgets everything learnt and starts at round 1; `seed` None keeps the agent's own."""
        self.seed = self.seed if seed is None else seed
        self.rng = np.random.default_rng(self.seed)
        self.num_timesteps = 0
        self.state = self.initial_state()
        return self

    def act(self, observation: Any = None, deterministic: bool = False) -> Any:
        """The action of the next round; again the same one until `update` is called.

        With `deterministic=True` it is the recommendation for today's data instead, and the run does not move.
        """
        if deterministic:
            return self._output(*self.recommended())
        if not self._awaiting:
            if self._left == 0:
                self._begin_epoch()
            self._awaiting = True
        return self._output(self._index, self._action)

    def update(self, outcome: float | Transition) -> None:
        """Takes the reward of the action that `act` gave.

        Raises:
            RuntimeError: no action awaits a reward.
            ValueError: the reward is not finite (unless the config says to skip it); nothing changes then.
        """
        if not self._awaiting:
            raise RuntimeError("update() without act(): call act() once before each reward")
        reward = float(outcome.reward if isinstance(outcome, Transition) else outcome)
        if not math.isfinite(reward):
            if getattr(self.config, "on_bad_reward", "raise") == "raise":
                raise ValueError(
                    f"the reward of round {self.t + 1} is {reward}, expected a finite number; "
                    'on_bad_reward="skip" counts such a round without learning from it'
                )
            self._spoiled, reward = True, 0.0
        self._awaiting = False
        self.t += 1
        self._left -= 1
        if self._left < self._counted:
            self._sample += self._weight * reward
        if self._left == 0:
            self.end_hold(reward)
            if not self._spoiled:
                self._learn()
        self._previous_reward = reward

    def end_hold(self, reward: float) -> None:
        """Called with the last reward of each hold, before learning."""

    def run(self, env: Any, total_rounds: int, seed: int | None = None) -> np.ndarray:
        """Plays `total_rounds` rounds in a Gymnasium environment.

        Returns:
            The rewards, `[total_rounds]`.
        """
        rewards = np.empty(total_rounds)
        env.reset(seed=seed)
        for t in range(total_rounds):
            _, reward, terminated, truncated, _ = env.step(self.act())
            self.update(reward)
            rewards[t] = reward
            if (terminated or truncated) and t + 1 < total_rounds:
                env.reset()
        return rewards

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """The recommended action for each observation (a bandit's state is hidden, so they are all the same)."""
        return super().predict(observation, state, episode_start, deterministic=True)

    def recommended(self) -> tuple[int, np.ndarray]:
        """Index and vector `[d]` of the action that the data speaks for."""
        index = int(self.algorithm.recommend(self.learned))
        return index, self.candidates[index]

    def inputs(self, epoch: int) -> dict[str, Any]:
        """The schedule's inputs of epoch `epoch` (from 1)."""
        self._extend_schedule(epoch)
        return {name: column[epoch - 1] for name, column in self._columns.items()}

    def _extend_schedule(self, epoch: int) -> None:
        length = len(self._holds)
        if epoch > length:
            schedule = self.algorithm.schedule(max(256, 2 * length, epoch))
            # lists, because one number at a time is taken out of them
            self._holds = schedule.holds.tolist()
            self._columns = {name: table.tolist() for name, table in schedule.inputs.items()}

    def _enter(self, epoch: int) -> None:
        self._inputs = self.inputs(epoch)
        if self._hold:
            self._counted = counted_rounds(self.algorithm.sample, self._hold)
            self._weight = 1.0 / self._counted

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._extend_schedule(self.epoch)
        self._hold = self._left = self._holds[self.epoch - 1]
        self._enter(self.epoch)
        self._sample, self._spoiled = 0.0, False
        self._index, self._action = self._choose()

    def _choose(self) -> tuple[int, np.ndarray]:
        draw = self.draw(*self.algorithm.draw)
        self.learned, choice = self.algorithm.choose(self.learned, self._inputs, draw)
        index = int(choice)
        return index, self._rows[index]

    def draw(self, kind: str, count: int) -> np.ndarray:
        """The randomness an algorithm asks for."""
        if kind == "uniform":
            return self.rng.random(count)
        return self.rng.standard_normal(count) if kind == "normal" else np.zeros(0)

    def _learn(self) -> None:
        sample = np.float64(self._sample)
        self.learned = self.algorithm.learn(self.learned, self._inputs, self._index, self._action, sample)
        self.learned_epochs += 1
        if self.learned_epochs % REFRESH_EVERY == 0:
            self.learned = self.algorithm.refresh(self.learned)

    def _output(self, index: int, action: np.ndarray) -> Any:
        return index if self._finite else action.copy()
