"""Who falls ill: a distribution of patients of whom about half die untreated."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.envs.digital_twins.sepsis.fields import Patient

__all__ = ["COHORT", "Cohort", "drawn_patient"]


class Cohort(NamedTuple):
    """Independent uniform distributions, `(lowest, highest)` each, both included.

    Attributes:
        oxy_heal: continuous.
        infect_spread, infect_repeat, recurrent_injuries: whole numbers.
        injury: continuous, in cells of the published grid.
    """

    oxy_heal: Any
    infect_spread: Any
    infect_repeat: Any
    recurrent_injuries: Any
    injury: Any


COHORT = Cohort(
    oxy_heal=np.array([0.05, 0.2], np.float32),
    infect_spread=np.array([1, 3], np.int32),
    infect_repeat=np.array([1, 3], np.int32),
    recurrent_injuries=np.array([0, 6], np.int32),
    injury=np.array([18.0, 36.0], np.float32),
)
"""Ranges within those that An and Cockrell sweep, cut to where the outcome is open."""


def drawn_patient(key: Any, cohort: Cohort) -> Patient:
    """One random patient."""
    u = jax.random.uniform(key, (5,), jnp.float32)
    ranges = [jnp.asarray(leaf) for leaf in cohort]

    def real(index: int) -> Any:
        low, high = ranges[index]
        return low + u[index] * (high - low)

    def whole(index: int) -> Any:
        low, high = ranges[index]
        return jnp.minimum(low + jnp.floor(u[index] * (high - low + 1)).astype(low.dtype), high)

    return Patient(real(0), whole(1).astype(jnp.float32), whole(2), whole(3), real(4))
