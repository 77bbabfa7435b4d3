"""What a task sees of a simulation, whichever engine runs it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

CORE_FIELDS = ("time", "qpos", "qvel", "act", "ctrl")
"""Fields that every state has."""


class PhysicsState(NamedTuple):
    """Arrays of one simulation, or of many with leading axes `[...]`; named and shaped as in `mujoco.MjData`.

    A named tuple, and so a JAX pytree. Fields that the task does not name in `data_fields` are None. Derived fields
    describe the state before the last substep, as `mj_step` leaves them.

    Attributes:
        time: `[...]`, s.
        qpos: `[..., nq]`.
        qvel: `[..., nv]`.
        act: `[..., na]`.
        ctrl: `[..., nu]`, the controls that led here.
        xpos, xquat, xipos: `[..., nbody, 3 or 4]`, frames of bodies and their centres of mass.
        geom_xpos, site_xpos: `[..., ngeom or nsite, 3]`.
        subtree_com: `[..., nbody, 3]`.
        cinert: `[..., nbody, 10]`.
        cvel: `[..., nbody, 6]`.
        cfrc_ext: `[..., nbody, 6]`, external forces on the bodies; zero after a reset.
        qfrc_actuator, qfrc_constraint: `[..., nv]`.
        actuator_force: `[..., nu]`.
        ten_length, ten_velocity: `[..., ntendon]`.
        sensordata: `[..., nsensordata]`.
    """

    time: Any
    qpos: Any
    qvel: Any
    act: Any
    ctrl: Any
    xpos: Any = None
    xquat: Any = None
    xipos: Any = None
    geom_xpos: Any = None
    site_xpos: Any = None
    subtree_com: Any = None
    cinert: Any = None
    cvel: Any = None
    cfrc_ext: Any = None
    qfrc_actuator: Any = None
    qfrc_constraint: Any = None
    actuator_force: Any = None
    ten_length: Any = None
    ten_velocity: Any = None
    sensordata: Any = None


DATA_FIELDS = tuple(name for name in PhysicsState._fields if name not in CORE_FIELDS)
"""What a task may name in `data_fields`."""


def namespace(array: Any) -> Any:
    """Return the module whose functions fit the array: `numpy`, or `jax.numpy`."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import jax.numpy as jnp

    return jnp
