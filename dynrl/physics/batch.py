"""Many simulations of a task on MuJoCo's C engine, through `mujoco.batch.Batch`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import MODEL_FIELDS, Batch, SimulationError

from dynrl.physics.external_forces import ExternalForces
from dynrl.physics.state import CORE_FIELDS, PhysicsState
from dynrl.physics.task import MujocoTask

_UNSTABLE = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


class Simulations:
    """`num` simulations of a task's model, side by side on a thread pool.

    Results are the same bytes at any number of threads and beside any other simulations. A simulation that diverges
    (NaN, infinite or huge position, velocity or acceleration, or an error of the engine) goes back to where it was
    before the call, and `advance` says which it was; the others do not notice.

    Args:
        task: whose model is simulated.
        num: number of simulations N.
        num_threads: 0 for one per core that this process may use.

    Attributes:
        task, num: as given.
        live: views of the engine's own arrays, `[N, ...]`: what `advance` arrived at, until its next call.
        now: where every simulation stands as of the last `begin`, `write` or `keep`, a copy: what the next step calls
            `before`.
    """

    def __init__(self, task: MujocoTask, num: int, num_threads: int = 0):
        self.task, self.num = task, num
        threads = num_threads or len(os.sched_getaffinity(0))
        forces = "cfrc_ext" in task.data_fields
        # Only external forces need an MjData per simulation: they come from contacts that no array holds.
        self._batch = Batch(task.model, num, min(threads, num), persistent=forces)
        # A few episodes begin in nearly every step. One thread does that sooner than a pool wakes up.
        self._starter = Batch(task.model, num, 1)
        # Bound before the first call: a field that is bound later is zero until the next one.
        names = [*CORE_FIELDS, *(name for name in task.data_fields if name != "cfrc_ext")]
        self._started = {name: self._starter.bind(name) for name in names}
        bound = {name: self._batch.bind(name) for name in names}
        self._forces = ExternalForces(self._batch) if forces else None
        self.live = PhysicsState(**bound, cfrc_ext=self._forces.values if self._forces else None)
        self._rows = self._batch.state.copy()
        self._derived = {name: np.array(getattr(self.live, name)) for name in task.data_fields}
        own = {name: self._view_of_rows(name) for name in CORE_FIELDS}
        self.now = PhysicsState(**own, **self._derived)
        self._unstable = self._batch.warning[:, _UNSTABLE, 1]
        self._rest = self._batch.state[0].copy()
        self._expanded: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def begin(self, ids: np.ndarray | None, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put simulations at the start of an episode, at rest in everything but `qpos [k, nq]` and `qvel [k, nv]`."""
        if ids is None:
            self._place(self._batch, self.live._asdict(), slice(None), qpos, qvel)
        else:
            self._place(self._starter, self._started, ids, qpos, qvel)
            self._batch.state[ids] = self._rows[ids]

    def _place(
        self, engine: Batch, fields: Mapping[str, np.ndarray], where: Any, qpos: np.ndarray, qvel: np.ndarray
    ) -> None:
        engine.state[where] = self._rest
        fields["qpos"][where] = qpos
        fields["qvel"][where] = qvel
        engine.forward(None if isinstance(where, slice) else where)
        self._rows[where] = engine.state[where]
        for name, value in self._derived.items():
            # As Gymnasium's: mj_forward does not compute external forces, and a reset clears them.
            value[where] = 0.0 if name == "cfrc_ext" else fields[name][where]

    def advance(self, controls: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray | None:
        """Play controls `[N, nu]` for `frame_skip` substeps.

        Args:
            controls: of all simulations.
            ids: which are stepped, `[k]`; None for all. The others must `begin` before they go on.

        Returns:
            which diverged, `[N]` bool, or None if none did.
        """
        self.live.ctrl[:] = controls
        diverged = None
        try:
            self._batch.step(ids, nstep=self.task.frame_skip)
        except SimulationError as error:
            diverged = np.zeros(self.num, bool)
            diverged[error.ids] = True
        if self._unstable.any():
            unstable = self._unstable.any(1)
            diverged = unstable if diverged is None else diverged | unstable
            self._unstable[:] = 0
        if self._forces:
            self._forces.update(ids)
        if diverged is not None:
            # MuJoCo has put an unstable simulation back to its defaults in the middle of the step.
            self._batch.state[diverged] = self._rows[diverged]
        return diverged

    def keep(self, chosen: np.ndarray | None = None) -> None:
        """Let `now` be what `live` is, in all simulations or in those of `chosen`, `[N]` bool."""
        self._keep(slice(None) if chosen is None else chosen)

    def set_params(self, fields: Mapping[str, Any], ids: np.ndarray | None = None) -> None:
        """Change model fields, at once.

        Args:
            fields: by their names in `mujoco.batch.MODEL_FIELDS`, each `[*shape]` (shared) or `[k, *shape]`.
            ids: of which simulations, `[k]`; None for all.

        Raises:
            ValueError: an unknown field, a wrong shape, or a number that is not finite; nothing has changed then.
        """
        count = self.num if ids is None else len(ids)
        checked = {name: self._checked_field(name, value, count) for name, value in fields.items()}
        for name, value in checked.items():
            if name not in self._expanded:
                self._expanded[name] = self._batch.expand(name), self._starter.expand(name)
            for values in self._expanded[name]:
                values[slice(None) if ids is None else ids] = value

    def set_forces(self, forces: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Push on bodies from now on: forces (N) and torques (N m) in the world frame, `[k, nbody, 6]`; a reset of an
        episode removes them."""
        self._batch.bind("xfrc_applied")[slice(None) if ids is None else ids] = forces

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The model fields that were ever set, `[N, *shape]`, copied."""
        return {name: values.copy() for name, (values, _) in self._expanded.items()}

    def write(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Move simulations to another position `[k, nq]` and velocity `[k, nv]`, and compute what follows from them."""
        self.live.qpos[ids] = qpos
        self.live.qvel[ids] = qvel
        self._batch.forward(ids)
        self._keep(ids)

    def model_of(self, index: int, model: mujoco.MjModel | None = None) -> mujoco.MjModel:
        """Return the model that simulation `index` runs on, written into `model` where one is given."""
        return self._batch.get_model(index, model)

    def data_of(self, index: int) -> mujoco.MjData:
        """Return the state of simulation `index`, to be forwarded on its model."""
        return self._batch.get_data(index)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the future depends on, as named arrays `[N, ...]`."""
        arrays = {"rows": self._batch.state.copy(), "kept": self._rows.copy()}
        arrays |= {f"derived/{name}": value.copy() for name, value in self._derived.items()}
        return arrays | {f"params/{name}": value for name, value in self.params.items()}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state_dict` returned; parameters that it does not name become nominal."""
        self.set_params({name: self._nominal(name) for name in self._expanded})
        self.set_params({name[7:]: value for name, value in arrays.items() if name.startswith("params/")})
        self._batch.state[:] = arrays["rows"]
        self._rows[:] = arrays["kept"]
        for name, value in self._derived.items():
            value[:] = arrays[f"derived/{name}"]

    def _keep(self, where: Any) -> None:
        self._rows[where] = self._batch.state[where]
        for name, value in self._derived.items():
            value[where] = getattr(self.live, name)[where]

    def _view_of_rows(self, name: str) -> np.ndarray:
        # The same place in our copy of the rows as the engine's view has in its own.
        theirs = getattr(self.live, name)
        offset = theirs.__array_interface__["data"][0] - self._batch.state.__array_interface__["data"][0]
        return np.ndarray(
            theirs.shape, theirs.dtype, self._rows.data, offset if theirs.size else 0, theirs.strides
        )

    def _nominal(self, name: str) -> np.ndarray:
        model = self._batch.model
        return np.asarray(getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name))

    def _checked_field(self, name: str, value: Any, count: int) -> np.ndarray:
        if name not in MODEL_FIELDS:
            raise ValueError(
                f"params name {name!r}, which is no model field; expected names as in mujoco.batch.MODEL_FIELDS."
            )
        shape = self._nominal(name).shape
        array = np.asarray(value, float)
        if array.shape not in (shape, (count, *shape)):
            raise ValueError(
                f"params[{name!r}] has shape {array.shape}, expected {shape} or {(count, *shape)}, one per simulation."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"params[{name!r}] holds a number that is not finite.")
        return array
