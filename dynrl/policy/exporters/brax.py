"""Policies that Brax's trainers made."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dynrl.policy.exporters.equinox import export_batched_jax
from dynrl.policy.exporters.exported import ExportedPolicy


def export_brax(policy: Callable[..., Any], env: Any) -> ExportedPolicy:
    """A policy trained by Brax.

    Args:
        policy: `make_policy(params, deterministic=True)`; the running statistics of the observation are inside.
        env: the `dynrl.BraxEnv` that it was trained on. Its mapping from [-1, 1] to the bounds of the action space
            becomes part of the graph, so that the raw action is the one of the environment.

    Raises:
        BundleModel: it uses a primitive that has no ONNX counterpart here.
    """
    from dynrl.faces.brax import BraxEnv

    if not isinstance(env, BraxEnv):
        raise TypeError(
            f"env is a {type(env).__name__}, expected the dynrl.BraxEnv that the policy was trained on"
        )
    key = np.zeros(2, np.uint32)

    def act(observations: Any) -> Any:
        actions, _ = policy(observations, key)
        return jax.vmap(env.to_bounds)(actions).reshape(len(observations), -1)

    return export_batched_jax(act, env.observation_size, "brax")
