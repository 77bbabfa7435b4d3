"""What a robust method learns: a policy that may remember, acting on a batch of simulations at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class RobustPolicy(Protocol):
    """A policy with memory, as every evaluator and every robust learner of dynrl sees it.

    The object is a pytree (an Equinox module, or a registered frozen dataclass) and `act` can be traced by JAX:
    arrays inside are data, so another set of weights compiles nothing anew. Every lane is on its own: row `i` of the
    action and of the next carry depends on row `i` of the observation and of the carry only. Whoever runs the policy
    puts the row of `initial_carry` back into every lane whose episode ended.
    """

    def initial_carry(self, num_envs: int) -> Any:
        """What is remembered when an episode begins: a pytree of arrays `[num_envs, ...]`; `()` for no memory."""
        ...

    def act(self, observation: Any, carry: Any, key: Any = None) -> tuple[Any, Any]:
        """Return `(action [B, *action shape], carry)` for `observation [B, *observation shape]`.

        Args:
            observation: one row per lane.
            carry: of `initial_carry`, or of the last call.
            key: a JAX random key for exploring; None for the deterministic (mode) action.
        """
        ...


class FunctionPolicy:
    """A policy without memory from a plain function `observation [B, o] -> action [B, a]` that JAX can trace.

    A function of NumPy belongs in a `HostPolicy`. Define the function once, at the top of a module: every new function
    object is compiled anew, and a function of a module can be sent to other processes.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def initial_carry(self, num_envs: int) -> tuple[()]:
        return ()

    def act(self, observation: Any, carry: Any, key: Any = None) -> tuple[Any, Any]:
        return self.function(observation), carry

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionPolicy) and self.function == other.function

    def __hash__(self) -> int:
        return hash((FunctionPolicy, self.function))


class HostPolicy:
    """A policy that runs in NumPy, outside compiled code: an agent of Stable-Baselines3, SBX or dynrl, or a function.

    Evaluators that step the engine from the host (MuJoCo `batch`, Gymnasium) take it; a compiled rollout cannot.

    Args:
        predict: `(observation [B, o], state, episode_start [B] bool) -> (action [B, a], state)`.
    """

    def __init__(self, predict: Callable[[Any, Any, Any], tuple[Any, Any]]) -> None:
        self._predict = predict

    def initial_carry(self, num_envs: int) -> dict[str, Any]:
        """`episode_start` tells a recurrent agent to forget."""
        return {"episode_start": np.ones(num_envs, bool)}

    def act(self, observation: Any, carry: Any, key: Any = None) -> tuple[np.ndarray, Any]:
        state = carry.get("state")
        action, state = self._predict(np.asarray(observation), state, carry["episode_start"])
        following = {"episode_start": np.zeros(len(action), bool)}
        return np.asarray(action), following if state is None else {**following, "state": state}


def as_policy(obj: Any, *, jax: bool = False) -> Any:
    """Return `obj` as a policy that the evaluators take.

    Args:
        obj: a `RobustPolicy` (returned as it is), an agent with `predict(observation, state, episode_start,
            deterministic)`, or a function `observation [B, o] -> action [B, a]`.
        jax: whether a plain function can be traced by JAX; True makes it a `FunctionPolicy`, which every evaluator
            takes, False a `HostPolicy`.

    Raises:
        TypeError: none of them.
    """
    if isinstance(obj, (RobustPolicy, FunctionPolicy, HostPolicy)):
        return obj
    if callable(getattr(obj, "predict", None)):
        return HostPolicy(_Predict(obj))
    if callable(obj):
        return FunctionPolicy(obj) if jax else HostPolicy(_Call(obj))
    raise TypeError(
        f"{type(obj).__name__} is no policy: expected act() and initial_carry() (dynrl.robust.RobustPolicy), an agent "
        "with predict(), or a function from observations [B, o] to actions [B, a]."
    )


class _Predict:
    """The mode action of an agent with `predict`; a class, so that it can be sent to another process."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def __call__(self, observation: Any, state: Any, episode_start: Any) -> tuple[Any, Any]:
        action, state = self.agent.predict(
            observation, state=state, episode_start=episode_start, deterministic=True
        )
        return action, state


class _Call:
    """A function without memory."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, observation: Any, state: Any, episode_start: Any) -> tuple[Any, None]:
        return self.function(observation), None
