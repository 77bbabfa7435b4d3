"""The pendulum on which searches and evaluators are measured (spec 14.10): rugged, cheap, and known by brute force.

A torque-limited pendulum with uncertain mass and length, a fixed swing-up policy, eight starts of 200 steps; a model's
score is its mean undiscounted return. The lowest score on a 201 x 201 grid is -343.83; between the grid points it is
lower still.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.robust.evaluation.functional import FunctionalEvaluator
from dynrl.robust.evaluation.params import ParamsOf
from dynrl.robust.parameter import Param
from dynrl.robust.sets import UncertaintySet

STARTS = np.array(
    [
        (np.pi, 0.0),
        (np.pi / 2, 0.0),
        (-np.pi / 2, 0.0),
        (2.5, 1.0),
        (-2.5, -1.0),
        (0.3, 0.0),
        (-0.3, 0.5),
        (3.0, -4.0),
    ]
)
GRID_MINIMUM = -343.82712


def swing_up_set() -> UncertaintySet:
    """Mass in [0.5, 1.5] kg and length in [0.7, 1.3] m, of `dynrl/Pendulum-v0` and of Gymnasium's `Pendulum-v1`."""
    return UncertaintySet([Param("attr:m", 0.5, 1.5, nominal=1.0), Param("attr:l", 0.7, 1.3, nominal=1.0)])


def swing_up_evaluator(x64: bool = True, lanes: int | None = None) -> FunctionalEvaluator:
    """Evaluates on `dynrl/Pendulum-v0`; the episode seed `s` stands for start `s % 8`."""
    from dynrl.registry import make_functional

    env = make_functional("dynrl/Pendulum-v0", x64=x64)
    like = env.initial(_any_key(), env.default_params)
    starts = like._replace(theta=STARTS[:, 0], theta_dot=STARTS[:, 1])
    return FunctionalEvaluator(env, ParamsOf(env, swing_up_set()), horizon=200, starts=starts, lanes=lanes)


def swing_up(observation: Any) -> Any:
    """Pump energy until upright, then balance: `observation [B, 3]` (cosine, sine, speed) -> torque `[B, 1]`.

    Works on NumPy and on JAX arrays.
    """
    import jax.numpy as jnp

    xp = np if isinstance(observation, np.ndarray) else jnp
    cosine, sine, speed = observation[:, 0], observation[:, 1], observation[:, 2]
    angle = xp.arctan2(sine, cosine)
    balance = -(12.0 * angle + 3.0 * speed)
    # Energy above that of standing upright, in units of m l²: pump towards it, brake beyond.
    pump = 2.0 * _sign(xp, speed) * xp.sign(5.0 - speed**2 / 6.0 - 5.0 * cosine)
    torque = xp.where((cosine > 0.85) & (abs(speed) < 4.0), balance, pump)
    return xp.clip(torque, -2.0, 2.0)[:, None]


def _sign(xp: Any, speed: Any) -> Any:
    return xp.where(speed >= 0.0, 1.0, -1.0)


def _any_key() -> Any:
    import jax

    return jax.random.key(0)
