"""Doses that come from outside as actions: what is refused, what is cut, and what compiled code makes of the rest."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.functional import check_actions

__all__ = ["Dose", "check_doses", "given_dose"]

Array = Any


class Dose(NamedTuple):
    """Attributes:
    amount: within the space `[m]` float32.
    clipped: whether more (or less) was asked for `[]` bool.
    invalid: whether a number was not finite, which counts as 0 `[]` bool.
    """

    amount: Array
    clipped: Array
    invalid: Array


def check_doses(space: spaces.Box, actions: Any) -> np.ndarray:
    """Return actions `[N, m]` from outside as float32; too large doses stay, for `given_dose` to cut.

    Raises:
        ValueError: wrong shape or dtype, a number that is not finite, or a dose below the lowest (such as a negative
            one).
    """
    unlimited = spaces.Box(-np.inf, np.inf, space.shape, np.float32)
    checked = check_actions(unlimited, actions)
    low = checked < space.low
    if low.any():
        row, channel = np.argwhere(low.reshape(len(checked), -1))[0]
        where = f" (environment {row})" if len(checked) > 1 else ""
        raise ValueError(
            f"dose {checked[row].ravel()[channel]} of channel {channel} is below {space.low.ravel()[channel]}{where}; "
            "doses are not negative"
        )
    return checked


def given_dose(action: Any, low: Any, high: Any) -> Dose:
    """The nearest dose that may be given, in compiled code `[m]`."""
    asked = jnp.asarray(action, jnp.float32)
    finite = jnp.isfinite(asked)
    amount = jnp.clip(
        jnp.where(finite, asked, 0.0), jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    )
    return Dose(amount, jnp.any(finite & (amount != asked)), ~finite.all())
