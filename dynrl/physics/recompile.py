"""Parameters that the compiler has to see, such as the size of a geom: mass, inertia and bounding volumes follow it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.physics.snapshot import Snapshot, read_field
from dynrl.physics.targets import Resolved

if TYPE_CHECKING:
    import mujoco

_KEPT = 4096


class Recompiler:
    """Compiles a model's spec again with other geom sizes, and keeps what it compiled.

    Args:
        snapshot: the nominal model.
        make_spec: makes the spec that it was compiled from; called again in a copy of this object.
        targets: the parameters, all of them geom sizes.

    Raises:
        ValueError: the spec compiles to another model, or a size follows from `fromto`.
    """

    def __init__(self, snapshot: Snapshot, make_spec: Callable[[], mujoco.MjSpec], targets: list[Resolved]):
        self.snapshot, self.targets = snapshot, targets
        self._make_spec = make_spec
        self._spec = _absolute_masses(make_spec(), snapshot)
        self._cache: OrderedDict[bytes, dict[str, np.ndarray]] = OrderedDict()
        nominal = self._spec.copy().compile()
        if nominal.nbody != snapshot.model.nbody or not np.allclose(
            nominal.body_mass, snapshot["body_mass"], rtol=1e-9
        ):
            raise ValueError(
                "the spec compiles to another model than the one given; pass the spec it came from."
            )
        for target in targets:
            self._check_sizes(target)
        probe = self._compiled(np.array([1.1 * target.nominal for target in targets]))
        self.field_names = self._differing(probe)

    def fields(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Compile `[N, number of targets]` values; field -> `[N, *field shape]`."""
        rows = [self._row(value) for value in values]
        return {name: np.stack([row[name] for row in rows]) for name in self.field_names}

    def __getstate__(self) -> dict[str, Any]:
        # MuJoCo's specs can be neither copied nor stored by Python.
        return {name: value for name, value in vars(self).items() if name != "_spec"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._spec = _absolute_masses(self._make_spec(), self.snapshot)

    def _row(self, value: np.ndarray) -> dict[str, np.ndarray]:
        key = value.tobytes()
        if key not in self._cache:
            model = self._compiled(value)
            beyond = sorted(set(self._differing(model)) - set(self.field_names))
            if beyond:
                raise ValueError(
                    f"the value {value} changes the model's {beyond[0]}, which nominal values do not."
                )
            self._cache[key] = {name: np.array(read_field(model, name)) for name in self.field_names}
            if len(self._cache) > _KEPT:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _compiled(self, value: np.ndarray) -> mujoco.MjModel:
        spec = self._spec.copy()
        for target, number in zip(self.targets, value, strict=True):
            width = self.snapshot["geom_size"].shape[1]
            for flat in target.elements["geom_size"]:
                geom, column = divmod(int(flat), width)
                size = np.array(spec.geoms[geom].size)
                size[column] = number * self.snapshot["geom_size"][geom, column] if target.scales else number
                spec.geoms[geom].size = size
        model = spec.compile()
        if model.nq != self.snapshot.model.nq or model.ngeom != self.snapshot.model.ngeom:
            raise ValueError("recompiling changed the number of joints or geoms.")
        return model

    def _differing(self, model: mujoco.MjModel) -> tuple[str, ...]:
        """Fields in which a model differs from the nominal one by more than the rounding of another compilation."""
        from mujoco.batch import MODEL_FIELDS

        names = []
        for name in sorted(MODEL_FIELDS):
            ours, theirs = self.snapshot[name], read_field(model, name)
            if name.startswith(("cam_", "light_")) or ours.dtype.kind not in "fiub":
                continue
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-9, atol=1e-12):
                names.append(name)
        return tuple(names)

    def _check_sizes(self, target: Resolved) -> None:
        width = self.snapshot["geom_size"].shape[1]
        for flat in target.elements["geom_size"]:
            geom, column = divmod(int(flat), width)
            described = self._spec.geoms[geom]
            if column > 0 and np.isfinite(described.fromto[0]):
                raise ValueError(
                    f"{target.name!r}: geom {described.name!r} runs from one point to another (fromto), so its length "
                    "is no size; only component 0, the radius, is."
                )
            if described.meshname:
                raise ValueError(
                    f"{target.name!r}: geom {described.name!r} is a mesh; its size is the mesh's scale."
                )


def _absolute_masses(spec: mujoco.MjSpec, snapshot: Snapshot) -> mujoco.MjSpec:
    """A copy in which no total mass is prescribed: with one, a bigger foot would make every other body lighter."""
    spec = spec.copy()
    if spec.compiler.settotalmass <= 0:
        return spec
    spec.compiler.settotalmass = -1
    factor = float(snapshot["body_mass"].sum() / spec.copy().compile().body_mass.sum())
    for geom in spec.geoms:
        if np.isfinite(geom.mass):
            geom.mass *= factor
        else:
            geom.density *= factor
    return spec
