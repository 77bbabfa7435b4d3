"""What MuJoCo derives from masses, inertias and positions (`mj_setConst`), for many models at once.

Without it `body_subtreemass`, `dof_M0`, `body_invweight0`, `dof_invweight0`, `actuator_acc0` and others keep the
values of the model as it was compiled, and contacts are solved with the wrong weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dynrl.physics.snapshot import Snapshot

if TYPE_CHECKING:
    from mujoco.batch import Batch

_CHUNK = 4096
_WORTH_THREADS = 64  # below that, starting threads takes longer than the work
# Where cameras and lights that track a body stand: pictures only, and not part of a model on MJX.
_PICTURES = ("cam_", "light_")


def derived_fields(snapshot: Snapshot, touched: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The fields that change when the touched elements do, other than the touched fields themselves.

    Found by changing all of them at once, each by another factor, so that it depends on the model and not on a value.

    Args:
        snapshot: the nominal model.
        touched: field -> flat indices of the elements that parameters set.
    """
    changed = {}
    for position, (name, flat) in enumerate(sorted(touched.items())):
        values = snapshot[name].astype(float).copy()
        element = np.arange(len(flat))
        values.ravel()[flat] = values.ravel()[flat] * (1.3 + 0.07 * position + 0.011 * element) + 0.01
        changed[name] = values[None]
    batch = _batch(snapshot, changed, 1, num_threads=1)
    from mujoco.batch import MODEL_FIELDS

    derived = [
        name for name in sorted(MODEL_FIELDS) if batch.expanded(name) is not None and name not in changed
    ]
    return tuple(name for name in derived if not name.startswith(_PICTURES))


def derive(
    snapshot: Snapshot, written: Mapping[str, np.ndarray], names: tuple[str, ...], num_threads: int = 0
) -> dict[str, np.ndarray]:
    """Run `mj_setConst` on N models.

    It works on scratch data of its own at the reference pose; no simulation is touched. The result of a model does not
    depend on the others, nor on the number of threads.

    Args:
        snapshot: the nominal model.
        written: field -> `[N, *field shape]`, everything that differs from it.
        names: the derived fields wanted, from `derived_fields`.
        num_threads: threads; 0 for all processors.

    Returns:
        name -> `[N, *field shape]`.
    """
    count = len(next(iter(written.values())))
    out = {name: np.empty((count, *snapshot[name].shape), snapshot[name].dtype) for name in names}
    for begin in range(0, count, _CHUNK):
        rows = slice(begin, min(begin + _CHUNK, count))
        chunk = {name: values[rows] for name, values in written.items()}
        few = rows.stop - begin < _WORTH_THREADS
        batch = _batch(snapshot, chunk, rows.stop - begin, 1 if few else num_threads)
        for name, values in out.items():
            expanded = batch.expanded(name)
            values[rows] = snapshot[name] if expanded is None else expanded
    return out


def _batch(snapshot: Snapshot, written: Mapping[str, np.ndarray], count: int, num_threads: int) -> Batch:
    from mujoco.batch import Batch

    batch = Batch(snapshot.model, count, num_threads)
    for name, values in written.items():
        batch.expand(name)[...] = values
    batch.set_const()
    return batch
