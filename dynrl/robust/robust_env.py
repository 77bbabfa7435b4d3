"""A Gymnasium environment whose physics is a parameter vector: third-party MuJoCo robots, classic control, and ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from copy import copy, deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from dynrl.robust.appliers import Applier, applier_of
from dynrl.robust.binding import Columns
from dynrl.robust.sets import UncertaintySet
from dynrl.robust.vector import check_inside, neutral_action, numbers_of


class RobustEnv(gymnasium.Wrapper, RecordConstructorArgs):
    """An environment with parameters psi.

    Values are always applied to the environment as it was when it was wrapped, never to what another psi left there.
    `info["psi"]` of reset and step is a copy of what is in force. Observation and action spaces stay as they are.

    A simulation that diverges (MuJoCo warns of a bad position, velocity or acceleration, or an observation or reward
    is not finite) ends its episode: terminated, `info["diverged"]`, the observation before, and a reward of 0.

    Args:
        env: the environment, wrapped or not (`gymnasium.make("Hopper-v5")`).
        uset: the parameters; nominal values are this environment's, whatever the set was bound to before.
        sticky: whether psi stays over resets; otherwise a reset without options brings the nominal values back.
        clip: whether psi outside the set is moved inside, with `info["psi_clipped"]`, rather than refused.
        partial: whether a dict of parameters may leave some out, which are then nominal.

    Attributes:
        uset: the parameters, bound.
        before_reset: called, where it is set, at the start of every reset without a psi; it may call `set_psi`, and
            that psi then holds.

    Raises:
        ValueError: a parameter that the environment does not have.
        TypeError: a vector environment.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        uset: UncertaintySet,
        sticky: bool = False,
        clip: bool = False,
        partial: bool = False,
    ):
        if not isinstance(env, gymnasium.Env):
            raise TypeError(
                f"RobustEnv wraps one environment, got {type(env).__name__}; use make_robust_vec for lanes."
            )
        RecordConstructorArgs.__init__(self, uset=uset, sticky=sticky, clip=clip, partial=partial)
        gymnasium.Wrapper.__init__(self, env)
        self.uset = uset.bind(env)
        self.sticky, self.clip, self.partial = sticky, clip, partial
        self.before_reset: Callable[[], None] | None = None
        self._applier: Applier = applier_of(env.unwrapped, self.uset)
        self._delay = Columns(self.uset.params).delay
        self._pending: deque[Any] = deque()
        self._clipped, self._running = False, False
        self._observation: Any = None
        self._psi = self.uset.nominal
        self._applier.apply(env.unwrapped, self._psi)

    @property
    def psi(self) -> np.ndarray:
        """What is in force, `[d]`; a copy."""
        return self._psi.copy()

    @property
    def nominal(self) -> np.ndarray:
        """The environment's own parameters, `[d]`."""
        return self.uset.nominal

    def set_psi(self, psi: Any) -> None:
        """Change the parameters at once, in a running episode too; observations show it from the next step on.

        Args:
            psi: `[d]`, or a dict from names to numbers.

        Raises:
            ValueError: a wrong length or name, a value outside the set (unless `clip`; nominal values always pass),
                or a geom size in a running episode.
        """
        vector = self._vector(psi)
        self._clipped = False
        if self.clip:
            inside = np.where(vector == self.nominal, vector, self.uset.clip(vector))
            self._clipped = bool((inside != vector).any())
            vector = inside
        check_inside(self.uset, vector)
        if self._running:
            self._applier.refuse_while_running(self._psi, vector)
        self._applier.apply(self.env.unwrapped, vector)
        self._psi = vector

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the environment.
            options: `{"psi": [d] or dict}` sets the parameters of the episode; other options go to the environment.

        Raises:
            ValueError: as `set_psi`.
        """
        rest = dict(options or {})
        given = rest.pop("psi", None)
        self._running = False
        if given is not None:
            self.set_psi(given)
        elif self.before_reset is not None:
            self.before_reset()
        elif not self.sticky:
            self.set_psi(self.nominal)
        self._pending.clear()
        observation, info = self.env.reset(seed=seed, options=rest or None)
        self._applier.after_reset(self.env.unwrapped, self._psi)
        self._running, self._observation = True, _kept(observation)
        return observation, self._with_psi(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play one action, or with a delay the one of `delay` steps ago."""
        observation, reward, terminated, truncated, info = self.env.step(self._delayed(action))
        info = self._with_psi(info)
        if self._applier.diverged(self.env.unwrapped) or not _finite(observation, reward):
            observation, reward, terminated = self._observation, 0.0, True
            info["diverged"] = True
        self._observation = _kept(observation)
        self._running = not (terminated or truncated)
        return observation, reward, terminated, truncated, info

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Gymnasium's robots are copied and unpickled by being built anew, with nominal physics and no episode.
        self.__dict__.update(state)
        self._applier.apply(self.env.unwrapped, self._psi)

    def _vector(self, psi: Any) -> np.ndarray:
        if not isinstance(psi, Mapping):
            vector = numbers_of(self.uset, psi)
            if vector.shape != (self.uset.dim,):
                raise ValueError(
                    f"psi has shape {vector.shape}, expected ({self.uset.dim},): {list(self.uset.names)}."
                )
            return vector
        unknown = [name for name in psi if name not in self.uset.names]
        if unknown:
            raise ValueError(f"psi names {unknown[0]!r}, expected some of {list(self.uset.names)}.")
        missing = [name for name in self.uset.names if name not in psi]
        if missing and not self.partial:
            raise ValueError(
                f"psi lacks {missing[0]!r}; RobustEnv(partial=True) lets missing parameters be nominal."
            )
        return numbers_of(
            self.uset,
            [psi.get(name, value) for name, value in zip(self.uset.names, self.nominal, strict=True)],
        )

    def _with_psi(self, info: Mapping[str, Any]) -> dict[str, Any]:
        return {**info, "psi": self._psi.copy(), **({"psi_clipped": self._clipped} if self.clip else {})}

    def _delayed(self, action: Any) -> Any:
        if not self._delay:
            return action
        longest = int(self.uset.high[self._delay[0]])
        if not self._pending:
            still = neutral_action(self.env.action_space)
            self._pending.extend([still] * longest)
        self._pending.append(copy(action))  # the caller may fill the same array again
        arrives = self._pending[-1 - int(self._psi[self._delay[0]])]
        if len(self._pending) > longest:
            self._pending.popleft()
        return arrives


def robust_env_of(env: gymnasium.Env) -> RobustEnv:
    """The `RobustEnv` in a chain of wrappers.

    Raises:
        ValueError: there is none.
    """
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, RobustEnv):
            return layer
        layer = layer.env
    raise ValueError(f"{env} has no parameters: wrap it first, RobustEnv(env, uset).")


def _kept(observation: Any) -> Any:
    # Third-party environments may write the next observation into the same array.
    return observation.copy() if isinstance(observation, np.ndarray) else deepcopy(observation)


def _finite(*values: Any) -> bool:
    """Whether observations, of any space, and rewards have no NaN and no infinity."""
    for value in values:
        parts = value.values() if isinstance(value, Mapping) else value
        if isinstance(parts, np.ndarray):
            if parts.dtype.kind == "f" and not np.isfinite(parts).all():
                return False
        elif isinstance(parts, Iterable) and not isinstance(parts, str):
            if not _finite(*parts):
                return False
        elif isinstance(parts, (float, np.floating)) and not np.isfinite(parts):
            return False
    return True
