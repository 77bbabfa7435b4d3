"""Policies in JAX: Equinox modules and plain functions, with or without memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dynrl.policy.contract import StateTensor
from dynrl.policy.exporters.exported import ExportedPolicy, State
from dynrl.policy.exporters.jaxpr import jax_graph


def export_jax(
    policy: Callable[[Any], Any], observation_size: int, framework: str = "equinox"
) -> ExportedPolicy:
    """A policy without memory.

    Args:
        policy: an Equinox module or a pure function, `observation [n] -> action [m]`, deterministic.
        observation_size: n.
        framework: named in the bundle.

    Raises:
        BundleModel: it uses a primitive that has no ONNX counterpart here.
    """
    return export_batched_jax(jax.vmap(policy), observation_size, framework)


def export_batched_jax(policy: Callable[[Any], Any], observation_size: int, framework: str) -> ExportedPolicy:
    """The same for a policy that takes a batch, `[B, n] -> [B, m]`.

    Raises:
        BundleModel: as `export_jax`.
    """
    model = jax_graph(policy, {"observation": (1, observation_size)}, ["action"])
    compiled = jax.jit(policy)

    def step(observation: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        with jax.enable_x64(False):
            return np.asarray(compiled(observation), np.float32), state

    return ExportedPolicy(framework, model, step)


def export_recurrent_jax(
    policy: Callable[..., Any],
    observation_size: int,
    state: Mapping[str, Sequence[int]],
    initial_state: Mapping[str, np.ndarray] | None = None,
    framework: str = "equinox",
) -> ExportedPolicy:
    """A policy with memory.

    Args:
        policy: pure, `(observation [n], *memory) -> (action [m], *next memory)`, deterministic.
        observation_size: n.
        state: name -> shape of each memory array, in the order of the arguments.
        initial_state: those that do not start at zero, by name, in the shapes above.
        framework: named in the bundle.

    In the graph the memory `h` enters as `h_in [1, ...]` and leaves as `h_out`.

    Raises:
        BundleModel: it uses a primitive that has no ONNX counterpart here.
    """
    shapes = {f"{name}_in": (1, *shape) for name, shape in state.items()}
    started = {
        f"{name}_in": np.asarray(value, np.float32)[None] for name, value in (initial_state or {}).items()
    }
    batched = jax.vmap(policy)
    outputs = ["action", *(f"{name}_out" for name in state)]
    model = jax_graph(batched, {"observation": (1, observation_size), **shapes}, outputs)
    compiled = jax.jit(batched)

    def step(observation: np.ndarray, memory: State) -> tuple[np.ndarray, State]:
        with jax.enable_x64(False):
            action, *following = compiled(observation, *(memory[name] for name in shapes))
        return np.asarray(action, np.float32), dict(zip(shapes, map(np.asarray, following), strict=True))

    tensors = tuple(
        StateTensor(
            name,
            f"{name.removesuffix('_in')}_out",
            shape,
            "state.safetensors" if name in started else "zeros",
        )
        for name, shape in shapes.items()
    )
    return ExportedPolicy(framework, model, step, tensors, started)
