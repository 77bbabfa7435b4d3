"""External forces on the bodies of many simulations, as `mj_rnePostConstraint` gives them after a step."""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco.batch import Batch


class ExternalForces:
    """`cfrc_ext` of every simulation of a persistent batch.

    The engine computes it in a step only for the sensors that need it, and then, with a Runge-Kutta integrator, at
    another stage than the one at which `mj_rnePostConstraint` finds the contacts after the step. So it is called here,
    on a copy of those simulations on which anything acts from outside.

    Args:
        batch: persistent.

    Attributes:
        values: `[N, nbody, 6]`, torque and force.
    """

    def __init__(self, batch: Batch):
        self._batch = batch
        self._contacts = batch.bind("ncon")
        self._applied = batch.bind("xfrc_applied").reshape(batch.nsim, -1)
        self._scratch = mujoco.MjData(batch.model)
        self.values = np.zeros((batch.nsim, batch.model.nbody, 6))

    def update(self, ids: np.ndarray | None) -> None:
        """Compute the forces at the end of a step of simulations `ids [k]`; None for all."""
        acted = self._contacts.reshape(-1) > 0
        if self._batch.model.neq:
            acted[:] = True
        elif self._applied.any():
            acted |= self._applied.any(1)
        if ids is None:
            self.values[:] = 0.0
        else:
            self.values[ids] = 0.0
            stepped = np.zeros_like(acted)
            stepped[ids] = True
            acted &= stepped
        model, scratch, forces = self._batch.model, self._scratch, self._scratch.cfrc_ext
        for index in np.flatnonzero(acted).tolist():
            self._batch.get_data(index, scratch)
            mujoco.mj_rnePostConstraint(model, scratch)
            self.values[index] = forces
