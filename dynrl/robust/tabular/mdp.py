"""The problem and its solution: finite Markov decision processes whose transition kernel is uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dynrl.robust.tabular.finite import StaticFinite, hull
from dynrl.robust.tabular.rectangular import Game, Outcome, Rectangular
from dynrl.robust.tabular.rows import checked_array, freeze, pair

__all__ = ["RobustMDP", "RobustSolution", "as_policy"]

LARGEST_DENSE_SOLVE = 2000
"""States up to which a policy is evaluated by one linear solve; beyond, by repeated backups."""


@dataclass(frozen=True, eq=False)
class RobustMDP:
    """A finite problem with S states and A actions whose kernel is one of a set.

    Attributes:
        reward: `[S, A]`, or `[S, A, S']` where it depends on the successor.
        gamma: discount, in [0, 1).
        initial: the first state, or a distribution over them `[S]`.
        ambiguity: the set: `SAFinite`, `SAL1`, `SAKL`, `SAChi2`, `SAInterval`, `SAContamination`, `SAWasserstein`,
            `SL1`, `StaticFinite` or `StaticParametric`.
        terminal: `[S]` bool; terminal states are worth 0, whatever their rewards and rows. Default: none.

    Raises:
        ValueError: wrong shapes, NaN rewards (names the pair), a discount outside [0, 1), no start distribution.
        TypeError: `ambiguity` is no such set.
    """

    reward: Any
    gamma: float
    initial: Any
    ambiguity: Rectangular | StaticFinite
    terminal: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.ambiguity, (Rectangular, StaticFinite)):
            raise TypeError(
                f"ambiguity is a {type(self.ambiguity).__name__}, expected a set such as SAL1(...)."
            )
        shape = self.ambiguity.shape
        reward = checked_array(self.reward, "reward")
        if reward.shape not in (shape, shape[:2]):
            raise ValueError(
                f"reward has shape {reward.shape}, expected {shape[:2]} or {shape} as the ambiguity set."
            )
        if not np.isfinite(reward).all():
            where = tuple(int(index) for index in np.argwhere(~np.isfinite(reward))[0])
            raise ValueError(f"reward is infinite at {pair(where)}; expected finite numbers.")
        if not 0 <= float(self.gamma) < 1:
            raise ValueError(f"gamma is {self.gamma!r}, expected a discount in [0, 1).")
        terminal = np.zeros(shape[0], bool) if self.terminal is None else np.array(self.terminal, bool)
        if terminal.shape != shape[:1]:
            raise ValueError(
                f"terminal has shape {terminal.shape}, expected [{shape[0]}], one bool per state."
            )
        freeze(
            self,
            reward=reward,
            gamma=float(self.gamma),
            initial=_checked_initial(self.initial, shape[0]),
            terminal=terminal,
        )

    @property
    def num_states(self) -> int:
        return self.ambiguity.shape[0]

    @property
    def num_actions(self) -> int:
        return self.ambiguity.shape[1]

    @cached_property
    def rectangular(self) -> Rectangular:
        """The set itself where it is rectangular, else its (s,a)-rectangular hull."""
        if isinstance(self.ambiguity, Rectangular):
            return self.ambiguity
        return hull(self.ambiguity.kernels)

    def outcome(self, value: np.ndarray) -> Outcome:
        """What a step is worth when the successors are worth `value [S']`."""
        return Outcome(self.reward, self.gamma, np.where(self.terminal, 0.0, value))

    def start_value(self, value: np.ndarray) -> float:
        """The mean of `value [S]` over the start distribution."""
        return float(self.initial @ value)

    def mask_terminal(self, game: Game, nominal: np.ndarray) -> Game:
        """A game in which terminal states are worth 0 and keep their nominal rows `[S, A, S']`."""
        over = self.terminal
        idle = np.eye(self.num_actions)[0]
        return Game(
            np.where(over, 0.0, game.value),
            np.where(over[:, None], 0.0, game.q),
            np.where(over[:, None], idle, game.policy),
            np.where(over[:, None, None], nominal, game.rows),
        )


@dataclass(frozen=True, eq=False)
class RobustSolution:
    """A solved robust problem.

    Attributes:
        value: `[S]`.
        q: `[S, A]`, worth of each action under `worst_kernel`.
        policy: action probabilities, `[S, A]`; 0 and 1 for (s,a)-rectangular sets.
        worst_kernel: nature's, `[S, A, S']`, a member of the rectangular set; terminal states keep their nominal rows.
        residual: the largest change of the value in the last sweep; the value is within γ/(1−γ) times it.
        iterations: sweeps of value iteration, or policies of policy iteration.
        bound_kind: `"exact"`, or `"hull"` where the set is not rectangular: its hull was solved, and the value is a
            lower bound on what a policy of the problem can guarantee.
    """

    value: np.ndarray
    q: np.ndarray
    policy: np.ndarray
    worst_kernel: np.ndarray
    residual: float
    iterations: int
    bound_kind: str

    @property
    def actions(self) -> np.ndarray:
        """The action of each state, `[S]`.

        Raises:
            ValueError: the policy is randomised.
        """
        if not (self.policy.max(axis=1) == 1).all():
            raise ValueError("the policy is randomised; read its probabilities in `policy`.")
        return self.policy.argmax(axis=1)


def as_policy(mdp: RobustMDP, policy: Any) -> np.ndarray:
    """Action probabilities `[S, A]`, from those or from one action per state `[S]`.

    Raises:
        ValueError: neither, actions that do not exist, or probabilities that are none.
    """
    given = np.asarray(policy)
    states, actions = mdp.num_states, mdp.num_actions
    if given.shape == (states,) and given.dtype.kind in "iu":
        if given.min() < 0 or given.max() >= actions:
            raise ValueError(f"policy names an action outside 0..{actions - 1}.")
        return np.eye(actions)[given]
    if given.shape != (states, actions):
        raise ValueError(
            f"policy is {given.dtype} {given.shape}, expected whole numbers [{states}] or probabilities "
            f"[{states}, {actions}]."
        )
    given = checked_array(given, "policy")
    if (given < 0).any() or (np.abs(given.sum(axis=1) - 1) > 1e-8).any():
        raise ValueError("policy holds rows that are no probabilities; each must sum to 1.")
    return given


def solve_linear(transition: np.ndarray, reward: np.ndarray, gamma: float) -> np.ndarray:
    """The value `[..., S]` of Markov chains: `(I − γ P) V = r` for `P [..., S, S]` and `r [..., S]`."""
    states = transition.shape[-1]
    if states <= LARGEST_DENSE_SOLVE:
        return np.linalg.solve(np.eye(states) - gamma * transition, reward[..., None])[..., 0]
    value, change = reward, np.inf
    while change > 1e-13 * (1 - gamma) * max(1.0, float(np.abs(value).max())):
        after = reward + gamma * (transition @ value[..., None])[..., 0]
        value, change = after, float(np.abs(after - value).max())
    return value


def _checked_initial(initial: Any, states: int) -> np.ndarray:
    given = np.asarray(initial)
    if given.ndim == 0 and given.dtype.kind in "iu":
        if not 0 <= given < states:
            raise ValueError(f"initial is state {given}, expected one of 0..{states - 1}.")
        return np.eye(states)[int(given)]
    array = checked_array(initial, "initial")
    if array.shape != (states,) or (array < 0).any() or abs(array.sum() - 1) > 1e-8:
        raise ValueError(f"initial is no state and no distribution over {states} states that sums to 1.")
    return array / array.sum()
