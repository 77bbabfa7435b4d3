"""Synthetic patients: constants of a model that differ from person to person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.model import AgentBasedModel

__all__ = ["PatientLaw", "Patients"]

Array = Any


class Patients(NamedTuple):
    """P patients.

    Attributes:
        params: constants, the varied leaves `[P]`, the others as in the default.
        context: logarithms of the varied constants over their defaults `[P, c]`.
    """

    params: Any
    context: Array


@dataclass(frozen=True)
class PatientLaw:
    """Which constants differ between patients, and by how much: each is its default times `exp(spread N(0, 1))`.

    Attributes:
        names: fields of the model's params.
        spread: standard deviation of the logarithm.
        most: largest value that a constant may take, by name (probabilities end at 1).
    """

    names: tuple[str, ...] = ("gain_wolf", "gain_sheep", "p_wolf", "p_sheep", "regrowth")
    spread: float = 0.1
    most: tuple[tuple[str, float], ...] = (("p_wolf", 1.0), ("p_sheep", 1.0))

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names are {self.names}, expected one or more different fields of the params")
        if not self.spread >= 0:
            raise ValueError(f"spread is {self.spread}, expected a number of at least 0")

    def draw(self, model: AgentBasedModel, count: int, seed: int) -> Patients:
        """`count` random patients of a model; whole constants are rounded, and the context says to what."""
        if count < 1:
            raise ValueError(f"count is {count}, expected at least 1 patient")
        rng = np.random.default_rng(seed)
        params = self.params(model, self.spread * rng.standard_normal((count, len(self.names))))
        values = np.stack([np.asarray(getattr(params, name), np.float64) for name in self.names], -1)
        return Patients(params, np.log(values / self.defaults(model)).astype(np.float32))

    def params(self, model: AgentBasedModel, context: Array) -> Any:
        """The constants of contexts `[..., c]`, varied leaves `[...]`; whole ones rounded, at least 1.

        Raises:
            ValueError: the model's params have no field of a name.
        """
        default = model.default_params()
        most = dict(self.most)
        changed = {}
        value: Any
        for number, name in enumerate(self.names):
            leaf = np.asarray(self._leaf(default, name))
            value = leaf * jnp.exp(context[..., number])
            value = jnp.minimum(value, most.get(name, jnp.inf))
            if name == "regrowth" or leaf.dtype.kind in "iu":  # steps are whole, however they are stored
                value = jnp.maximum(jnp.round(value), 1)
            changed[name] = value.astype(leaf.dtype)
        return default._replace(**changed)

    def defaults(self, model: AgentBasedModel) -> np.ndarray:
        """The defaults of the varied constants `[c]`."""
        default = model.default_params()
        return np.array([float(self._leaf(default, name)) for name in self.names])

    def one(self, patients: Patients, number: int) -> Any:
        """The constants of one patient, leaves as in the default."""
        picked = {name: np.asarray(getattr(patients.params, name))[number] for name in self.names}
        return jax.tree.map(np.asarray, patients.params._replace(**picked))

    def _leaf(self, params: Any, name: str) -> Any:
        try:
            return getattr(params, name)
        except AttributeError:
            known = ", ".join(getattr(params, "_fields", ())) or type(params).__name__
            raise ValueError(f"the model's params have no field {name!r}; they have: {known}") from None
