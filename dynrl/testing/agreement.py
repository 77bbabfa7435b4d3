"""Whether the functions of a MuJoCo task say the same with NumPy and with JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dynrl.physics.batch import Simulations
from dynrl.physics.random_numbers import unit_numbers
from dynrl.physics.task import MujocoTask
from dynrl.testing.comparison import difference

_LANES = 3


def task_functions_agree(task: MujocoTask, seed: int, tolerance: float) -> None:
    """Compare start, observation, outcome and end of one step: NumPy on a batch, and JAX compiled and mapped over it.

    Raises:
        AssertionError: they differ, or work on one leading shape only; names the function.
    """
    keys, first = np.arange(seed, seed + _LANES, dtype=np.uint64), np.zeros(_LANES, np.uint64)
    numbers = unit_numbers(keys, first, task.num_uniform, task.num_normal)
    simulations = Simulations(task, _LANES, 1)
    start = task.initial(*numbers)
    simulations.begin(None, *start)
    before = jax.tree.map(np.copy, simulations.now)
    space = task.action_space
    actions = (
        np.random.default_rng(seed).uniform(space.low, space.high, (_LANES, *space.shape)).astype(space.dtype)
    )
    simulations.advance(actions)
    after = simulations.live
    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "initial": (task.initial, numbers),
        "reset_info": (task.reset_info, (before,)),
        "observation": (task.observation, (after,)),
        "outcome": (task.outcome, (before, actions, after)),
        "terminal": (task.terminal, (after,)),
    }
    for name, (function, arguments) in calls.items():
        # Costs of a float32 action are summed in float32, in another order by XLA.
        allowed = max(tolerance, 1e-6) if name == "outcome" else tolerance
        ours = jax.tree.map(np.asarray, function(*arguments))
        found = difference(ours, _mapped(name, function, arguments), allowed, dtypes=False)
        assert found is None, f"{name} differs between NumPy and JAX: {found}."


def _mapped(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        with jax.enable_x64(True):
            return jax.device_get(jax.jit(jax.vmap(function))(*arguments))
    except TypeError as error:
        raise AssertionError(f"{name} works with NumPy only (use namespace(array)): {error}") from error
