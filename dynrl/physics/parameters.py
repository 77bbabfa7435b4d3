"""Uncertain physical parameters as model fields: psi in, arrays for any backend out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.physics.constants import derive, derived_fields
from dynrl.physics.recompile import Recompiler
from dynrl.physics.snapshot import Snapshot, write_fields
from dynrl.physics.targets import RECOMPUTE, Resolved, resolve

if TYPE_CHECKING:
    import mujoco

    from dynrl.robust.parameter import Param

INERTIA_RULES = ("scale", "keep")


class ParameterMap:
    """Turns parameter vectors into model fields, always from the model as it was given here.

    Args:
        model: the nominal model; copied.
        params: the parameters, one dimension each (`UncertaintySet.params`), all of them model fields.
        inertia: what a new body mass does. `"scale"`: the body's inertia scales with it and everything derived
            follows, so that the result is the recompiled model. `"keep"`: the mass alone, as published benchmark
            numbers were computed.
        spec: makes the `MjSpec` that the model was compiled from (`task.spec`); needed for geom sizes.
        num_threads: threads that derive constants; 0 for all processors. Results do not depend on it.

    Attributes:
        names: the parameters' targets.
        nominal: `[d]`, read from the model.
        field_names: the model fields that `fields` returns, always the same ones.
        recompute: the dearest class among the parameters: `"none"`, `"const"` or `"recompile"`.

    Raises:
        ValueError: a target that the model does not have, or a geom size without `spec`.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        params: Sequence[Param],
        inertia: str = "scale",
        spec: Callable[[], mujoco.MjSpec] | None = None,
        num_threads: int = 0,
    ):
        if inertia not in INERTIA_RULES:
            raise ValueError(f"inertia is {inertia!r}, expected one of {list(INERTIA_RULES)}.")
        self.inertia, self.num_threads = inertia, num_threads
        self.snapshot = Snapshot(model)
        self.targets = [resolve(self.snapshot, param) for param in params]
        self.names = tuple(target.name for target in self.targets)
        self.nominal = np.array([target.nominal for target in self.targets])
        classes = [self._class_of(target) for target in self.targets]
        self.recompute = max(classes, key=RECOMPUTE.index, default="none")
        self._sizes = [i for i, kind in enumerate(classes) if kind == "recompile"]
        # Masses before inertias, so that an inertia given by name has the last word over the scaled one.
        direct = [i for i, kind in enumerate(classes) if kind != "recompile"]
        self._direct = sorted(direct, key=lambda i: self.targets[i].attribute.field != "body_mass")
        self._recompiler = self._make_recompiler(spec)
        self._written, self._derived = self._field_names()
        self.field_names = (*self._written, *self._derived)

    @property
    def dim(self) -> int:
        """The number of parameters d."""
        return len(self.targets)

    def fields(self, psi: np.ndarray) -> dict[str, np.ndarray]:
        """The model fields of parameter vectors: a pure function of `psi` and the nominal model.

        Args:
            psi: `[N, d]` or `[d]`, in natural units.

        Returns:
            field -> `[N, *field shape]` (or `[*field shape]`), for every name of `field_names`: those set and those
            derived from them.

        Raises:
            ValueError: a value that physics excludes (mass <= 0, negative friction or damping, an inertia that
                violates the triangle inequality, NaN), named with its row.
        """
        psi = np.asarray(psi, float)
        if psi.shape[-1:] != (self.dim,) or psi.ndim > 2:
            raise ValueError(
                f"psi has shape {psi.shape}, expected [N, {self.dim}] or [{self.dim}]: {list(self.names)}."
            )
        rows = np.atleast_2d(psi)
        self._check(rows)
        fields = self._direct_fields(rows)
        if self._derived:
            fields |= derive(self.snapshot, fields, self._derived, self.num_threads)
        return fields if psi.ndim == 2 else {name: values[0] for name, values in fields.items()}

    def apply(self, model: mujoco.MjModel, psi: np.ndarray) -> None:
        """Write one parameter vector `[d]` into a model, in place; the data that runs on it goes on as it is."""
        write_fields(model, self.fields(np.asarray(psi, float).reshape(self.dim)))

    def restore(self, model: mujoco.MjModel) -> None:
        """Give a model the nominal values back, bit for bit."""
        self.snapshot.restore(model, self.field_names)

    def _class_of(self, target: Resolved) -> str:
        keeps = target.attribute.field == "body_mass" and self.inertia == "keep"
        return "none" if keeps else target.attribute.recompute

    def _make_recompiler(self, spec: Callable[[], mujoco.MjSpec] | None) -> Recompiler | None:
        if not self._sizes:
            return None
        if spec is None:
            raise ValueError(
                f"{self.names[self._sizes[0]]!r} needs the model compiled again; pass `spec`, a function that "
                "makes the mujoco.MjSpec it came from."
            )
        return Recompiler(self.snapshot, spec, [self.targets[i] for i in self._sizes])

    def _field_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the fields that are written and, apart from them, of those derived."""
        touched: dict[str, np.ndarray] = {}
        needs_constants = False
        for target in (self.targets[i] for i in self._direct):
            for name, flat in target.elements.items():
                touched[name] = np.union1d(touched.get(name, np.array([], int)), flat)
            scales_inertia = target.attribute.field == "body_mass" and self.inertia == "scale"
            if scales_inertia:
                inertia = (target.objects[:, None] * 3 + np.arange(3)).ravel()
                touched["body_inertia"] = np.union1d(touched.get("body_inertia", np.array([], int)), inertia)
            needs_constants |= self._class_of(target) == "const"
        recompiled = () if self._recompiler is None else self._recompiler.field_names
        written = tuple(sorted({*touched, *recompiled}))
        if not needs_constants:
            return written, ()
        derived = derived_fields(self.snapshot, touched)
        return tuple(name for name in written if name not in derived), derived

    def _direct_fields(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        count = len(rows)
        base: dict[str, np.ndarray] = {}
        if self._recompiler is not None:
            base = self._recompiler.fields(rows[:, self._sizes])
        fields = {
            name: base[name].copy() if name in base else _repeated(self.snapshot[name], count)
            for name in self._written
        }
        for i in self._direct:
            target = self.targets[i]
            for name, flat in target.elements.items():
                values = rows[:, i, None]
                reference = (base[name] if name in base else self.snapshot[name][None]).reshape(
                    -1, self.snapshot[name].size
                )
                fields[name].reshape(count, -1)[:, flat] = (
                    values * reference[:, flat] if target.scales else values
                )
            if target.attribute.field == "body_mass" and self.inertia == "scale":
                self._scale_inertia(fields, base, target)
        self._check_inertia(fields)
        return fields

    def _scale_inertia(self, fields: dict[str, Any], base: dict[str, np.ndarray], target: Resolved) -> None:
        """A body that gets heavier keeps its shape, so every moment of inertia grows by the same factor."""
        bodies = target.objects
        mass = base.get("body_mass", self.snapshot["body_mass"][None])[:, bodies]
        inertia = base.get("body_inertia", self.snapshot["body_inertia"][None])[:, bodies]
        if not (mass > 0).all():
            raise ValueError(
                f"{target.name!r}: a body without mass has no inertia to scale; use inertia='keep'."
            )
        ratio = fields["body_mass"][:, bodies] / mass
        fields["body_inertia"][:, bodies] = inertia * ratio[:, :, None]

    def _check(self, rows: np.ndarray) -> None:
        for i, target in enumerate(self.targets):
            values, attribute = rows[:, i], target.attribute
            least = 0.0 if target.scales and np.isfinite(attribute.minimum) else attribute.minimum
            wrong = ~np.isfinite(values) | (values <= least if attribute.strict else values < least)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                bound = (
                    f"a number {'>' if attribute.strict else '>='} {least:g}"
                    if np.isfinite(least)
                    else "a finite number"
                )
                raise ValueError(f"{target.name!r} is {values[row]} in row {row}; expected {bound}.")

    def _check_inertia(self, fields: dict[str, np.ndarray]) -> None:
        for i in self._direct:
            target = self.targets[i]
            if target.attribute.field != "body_inertia":
                continue
            moments = fields["body_inertia"][:, target.objects]
            wrong = 2 * moments.max(-1) > moments.sum(-1) * (1 + 1e-12)
            if wrong.any():
                row = int(np.flatnonzero(wrong.any(-1))[0])
                three = moments[row, int(np.argmax(wrong[row]))]
                raise ValueError(
                    f"{target.name!r}: the moments {three} of row {row} violate the triangle inequality: no body has "
                    "one moment of inertia above the sum of the other two."
                )


def _repeated(values: np.ndarray, count: int) -> np.ndarray:
    return np.repeat(values[None], count, axis=0)
