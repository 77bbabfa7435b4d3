"""The evaluator that fits an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from dynrl.robust.evaluation.returns import Evaluator
from dynrl.robust.sets import UncertaintySet


def make_evaluator(
    env: Any,
    uset: UncertaintySet,
    *,
    horizon: int | None = None,
    discount: float = 0.99,
    failure_return: float = 0.0,
    num_threads: int = 0,
) -> Evaluator:
    """Make the fastest evaluator for an environment on this machine.

    Args:
        env: id (`"dynrl/Hopper-v0"`, `"dynrl/Pendulum-v0"`, `"Hopper-v5"`), a `MujocoTask` (C engine), a
            `FunctionalEnv` (compiled rollouts; an `MjxEnv` too), or a function that makes a Gymnasium environment.
        uset: the parameters.
        horizon, discount, failure_return: as in the evaluators.
        num_threads: of the C engine; 0 for one per core.

    Raises:
        TypeError: none of them.
        ValueError: a parameter that the environment does not have.
    """
    if isinstance(env, str):
        if env.startswith("dynrl/"):
            from dynrl import registry

            env = registry.make_world(env)
        else:
            env = _Made(env)
    from dynrl.functional import FunctionalEnv

    if isinstance(env, FunctionalEnv):
        from dynrl.robust.evaluation.functional import FunctionalEvaluator
        from dynrl.robust.evaluation.params import ParamsOf

        return FunctionalEvaluator(
            env, ParamsOf(env, uset), horizon=horizon, discount=discount, failure_return=failure_return
        )
    if callable(env):
        return _gymnasium(env, uset, horizon, discount, failure_return)
    from dynrl.physics.task import MujocoTask
    from dynrl.robust.evaluation.batch import BatchEvaluator

    if not isinstance(env, MujocoTask):
        raise TypeError(
            f"cannot evaluate on {type(env).__name__}: expected an id, a MujocoTask, a FunctionalEnv, or a function "
            "that makes a Gymnasium environment."
        )
    return BatchEvaluator(
        env,
        uset,
        num_threads=num_threads,
        horizon=horizon,
        discount=discount,
        failure_return=failure_return,
    )


def _gymnasium(
    make_env: Callable[[], gymnasium.Env],
    uset: UncertaintySet,
    horizon: int | None,
    discount: float,
    failure_return: float,
) -> Evaluator:
    from dynrl.robust.evaluation.gym import GymnasiumEvaluator

    return GymnasiumEvaluator(
        make_env, uset, horizon=horizon, discount=discount, failure_return=failure_return
    )


class _Made:
    """Makes an environment by its id; a class, so that it can be sent to another process."""

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id

    def __call__(self) -> gymnasium.Env:
        return gymnasium.make(self.env_id)
