"""The model as it was compiled: parameters are applied to it, never to the values that happen to be there."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco


def read_field(model: mujoco.MjModel, name: str) -> np.ndarray:
    """A field of a model as an array; `"opt.gravity"` is `model.opt.gravity`."""
    if name.startswith("opt."):
        return np.asarray(getattr(model.opt, name[4:]))
    return np.asarray(getattr(model, name))


def write_fields(model: mujoco.MjModel, fields: Mapping[str, np.ndarray], index: int | None = None) -> None:
    """Write fields into a model, in place.

    Args:
        model: the model; the data that runs on it is not touched.
        fields: field name -> `[*field shape]`, or `[N, *field shape]` with an `index`.
        index: the row to write.
    """
    for name, values in fields.items():
        value = values if index is None else values[index]
        if name.startswith("opt."):
            setattr(model.opt, name[4:], value.item() if np.ndim(value) == 0 else value)
        else:
            getattr(model, name)[...] = value


class Snapshot:
    """A frozen copy of a model.

    Args:
        model: the model whose current values are the nominal ones.
    """

    def __init__(self, model: mujoco.MjModel):
        self.model = copy.copy(model)

    def __getitem__(self, name: str) -> np.ndarray:
        """The nominal values of a field, read-only."""
        values = read_field(self.model, name).view()
        values.flags.writeable = False
        return values

    def restore(self, model: mujoco.MjModel, names: Iterable[str]) -> None:
        """Write the nominal values of some fields back into a model."""
        write_fields(model, {name: self[name] for name in names})
