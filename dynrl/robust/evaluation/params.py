"""From psi to the `params` of a functional environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.functional import FunctionalEnv
from dynrl.robust.binding import (
    Columns,
    named_leaves,
    nominal_attribute,
    parameter_map,
    scaled,
    with_leaves,
    world_of,
)
from dynrl.robust.sets import UncertaintySet


class ParamsOf:
    """`psi [N, d] -> params`: leaves by attribute name, model fields of an MjxEnv by the parameter map.

    Args:
        env: the world.
        uset: its parameters.

    Raises:
        ValueError: a parameter that a compiled rollout cannot vary.
    """

    def __init__(self, env: FunctionalEnv, uset: UncertaintySet) -> None:
        self.env, self.uset = env, uset
        columns = Columns(uset.params)
        for i in columns.force + columns.delay:
            raise ValueError(
                f"{uset.names[i]!r} is no constant of {type(env).__name__}: a compiled rollout varies attr:NAME and "
                "model fields. Use the backend `batch` or a Gymnasium environment."
            )
        world = world_of(env)
        self._map = parameter_map(uset, world)
        self._model, self._attr = columns.model, columns.attr
        self._nominal = [nominal_attribute(world, uset.params[i]) for i in columns.attr]
        self._names = [uset.params[i].parsed.pattern for i in columns.attr]

    def __call__(self, psi: np.ndarray) -> Any:
        if psi.shape[1:] != (self.uset.dim,):
            raise ValueError(
                f"psi has shape {psi.shape}, expected [N, {self.uset.dim}]: {list(self.uset.names)}."
            )
        if self._map is not None:
            from dynrl.physics.mjx_env import MjxEnv

            if isinstance(self.env, MjxEnv):
                return self.env.complete(self._map.fields(psi[:, self._model]))
        values = scaled(self.uset.params, self._attr, psi, self._nominal)
        leaves = named_leaves(self.env.default_params)
        columns = {name: np.asarray(values[:, k], leaves[name].dtype) for k, name in enumerate(self._names)}
        return with_leaves(self.env.default_params, columns)
