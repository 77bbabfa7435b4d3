"""An adversary that acts at every step: on the physics (RARL) or on the action (action-robust)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from dynrl.robust.robust_env import robust_env_of
from dynrl.robust.sets import RateLimited

KINDS = ("noisy", "probabilistic")


class DynamicAdversary(gymnasium.Wrapper, RecordConstructorArgs):
    """A second player moves the parameters at every step (Pinto et al. 2017).

    Actions are `Dict(agent, adversary)`; the adversary's is in [-1, 1]^d and maps affinely to the whole set, or with a
    `RateLimited` set to a move of at most its rate. The reward is the agent's; the adversary's is its negative,
    `info["adversary_reward"]`.

    Args:
        env: a `RobustEnv`, or wrappers around one, over parameters or forces that may change in an episode.

    Raises:
        ValueError: no `RobustEnv` below.
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._robust = robust_env_of(env)
        box = spaces.Box(-1.0, 1.0, (self._robust.uset.dim,), np.float32)
        self.action_space = spaces.Dict({"agent": env.action_space, "adversary": box})

    def step(self, action: dict[str, Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Let the adversary change the physics, then play the agent's action in it.

        Raises:
            ValueError: an adversary's action of wrong shape or outside [-1, 1].
        """
        uset, moves = self._robust.uset, np.asarray(action["adversary"], float)
        if moves.shape != (uset.dim,) or not (np.abs(moves) <= 1).all():
            raise ValueError(f"the adversary's action is {moves}, expected {uset.dim} numbers in [-1, 1].")
        if isinstance(uset, RateLimited):
            self._robust.set_psi(uset.step(uset.clip(self._robust.psi), moves))
        else:
            self._robust.set_psi(uset.from_unit((moves + 1) / 2))
        observation, reward, terminated, truncated, info = self.env.step(action["agent"])
        return observation, reward, terminated, truncated, {**info, "adversary_reward": -float(reward)}


def mixed_actions(
    agent: np.ndarray, adversary: np.ndarray, alpha: float, kind: str, rng: np.random.Generator | None = None
) -> np.ndarray:
    """What is executed when an adversary has a share in the actions (Tessler et al. 2019), any shape `[..., n]`.

    Args:
        agent, adversary: their actions.
        alpha: the adversary's share, in [0, 1]; the paper uses 0.1 to 0.15.
        kind: `"noisy"`: `(1 - alpha) agent + alpha adversary` (NR-MDP); `"probabilistic"`: the adversary's with
            probability alpha, independently in every row (PR-MDP).
        rng: of the probabilistic kind.

    Raises:
        ValueError: an unknown kind, a share outside [0, 1], or no generator where one is needed.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, expected a share in [0, 1].")
    agent, adversary = np.asarray(agent), np.asarray(adversary)
    if kind == "noisy":
        return ((1 - alpha) * agent + alpha * adversary).astype(agent.dtype)
    if kind != "probabilistic":
        raise ValueError(f"kind is {kind!r}, expected one of {list(KINDS)}.")
    if rng is None:
        raise ValueError("the probabilistic kind needs a random generator: rng=np.random.default_rng(seed).")
    return np.where(rng.random(agent.shape[:-1])[..., None] < alpha, adversary, agent)


class ActionRobust(gymnasium.Wrapper, RecordConstructorArgs):
    """A second player has a share in the actions (Tessler et al. 2019).

    Actions are `Dict(agent, adversary)`, both in the environment's own space; `info["action"]` is what was executed.

    Args:
        env: with Box actions.
        alpha: the adversary's share.
        kind: `"noisy"` or `"probabilistic"`, see `mixed_actions`.

    Raises:
        ValueError: another action space, an unknown kind, or a share outside [0, 1].
    """

    def __init__(self, env: gymnasium.Env, alpha: float = 0.1, kind: str = "noisy"):
        RecordConstructorArgs.__init__(self, alpha=alpha, kind=kind)
        gymnasium.Wrapper.__init__(self, env)
        if not isinstance(env.action_space, spaces.Box):
            raise ValueError(f"action-robust play needs a Box action space, got {env.action_space}.")
        if kind not in KINDS or not 0 <= alpha <= 1:
            raise ValueError(
                f"kind is {kind!r} and alpha {alpha}, expected one of {list(KINDS)} and a share in [0, 1]."
            )
        self.alpha, self.kind = float(alpha), kind
        self.action_space = spaces.Dict({"agent": env.action_space, "adversary": env.action_space})

    def step(self, action: dict[str, Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play the mixture of the two actions; chance is the environment's own generator."""
        rng = self.env.unwrapped.np_random
        executed = mixed_actions(action["agent"], action["adversary"], self.alpha, self.kind, rng)
        observation, reward, terminated, truncated, info = self.env.step(executed)
        return observation, reward, terminated, truncated, {**info, "action": executed.copy()}
