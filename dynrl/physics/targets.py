"""From a target's text (`"body:torso.mass"`) to elements of a model's fields."""

from __future__ import annotations

import difflib
import fnmatch
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dynrl.physics.snapshot import Snapshot

if TYPE_CHECKING:
    from dynrl.robust.parameter import Param

RECOMPUTE = ("none", "const", "recompile")


@dataclass(frozen=True)
class Attribute:
    """What a target's attribute means.

    Attributes:
        field: the model field, as `mujoco.batch.MODEL_FIELDS` spells it.
        recompute: `"none"`: nothing depends on it; `"const"`: `mj_setConst` derives other fields from it;
            `"recompile"`: the compiler does.
        minimum: the least value that has a meaning.
        strict: whether the minimum itself has none.
        component: the column that the attribute stands for, None for the whole row.
        by_dof: whether the field has one entry per degree of freedom of a joint.
    """

    field: str
    recompute: str = "none"
    minimum: float = -np.inf
    strict: bool = False
    component: int | None = None
    by_dof: bool = False


ATTRIBUTES: dict[str, dict[str, Attribute]] = {
    "body": {
        "mass": Attribute("body_mass", "const", 0.0, strict=True),
        "inertia": Attribute("body_inertia", "const", 0.0, strict=True),
        "ipos": Attribute("body_ipos", "const"),
        "pos": Attribute("body_pos", "const"),
    },
    "geom": {
        "friction": Attribute("geom_friction", minimum=0.0),
        "solref": Attribute("geom_solref"),
        "solimp": Attribute("geom_solimp"),
        "margin": Attribute("geom_margin", "const", 0.0),
        "gap": Attribute("geom_gap", "const", 0.0),
        "size": Attribute("geom_size", "recompile", 0.0, strict=True),
    },
    "joint": {
        "damping": Attribute("dof_damping", minimum=0.0, by_dof=True),
        "stiffness": Attribute("jnt_stiffness", minimum=0.0),
        "armature": Attribute("dof_armature", "const", 0.0, by_dof=True),
        "frictionloss": Attribute("dof_frictionloss", minimum=0.0, by_dof=True),
        "range": Attribute("jnt_range"),
        "springref": Attribute("qpos_spring"),
        "solref": Attribute("jnt_solref"),
        "solimp": Attribute("jnt_solimp"),
    },
    "actuator": {
        "gain": Attribute("actuator_gainprm", component=0),
        "bias": Attribute("actuator_biasprm"),
        "gear": Attribute("actuator_gear", "const"),
        "ctrlrange": Attribute("actuator_ctrlrange"),
        "forcerange": Attribute("actuator_forcerange"),
        "dynamics": Attribute("actuator_dynprm"),
    },
    "tendon": {
        "stiffness": Attribute("tendon_stiffness", minimum=0.0),
        "damping": Attribute("tendon_damping", minimum=0.0),
        "frictionloss": Attribute("tendon_frictionloss", minimum=0.0),
        "range": Attribute("tendon_range"),
        "lengthspring": Attribute("tendon_lengthspring"),
    },
    "option": {
        "gravity": Attribute("opt.gravity"),
        "timestep": Attribute("opt.timestep", minimum=0.0, strict=True),
        "wind": Attribute("opt.wind"),
        "density": Attribute("opt.density", minimum=0.0),
        "viscosity": Attribute("opt.viscosity", minimum=0.0),
        "impratio": Attribute("opt.impratio", minimum=0.0, strict=True),
    },
}


@dataclass(frozen=True)
class Resolved:
    """The elements of model fields that one parameter sets.

    Attributes:
        name: the parameter's target.
        attribute: what is set.
        elements: field -> flat indices into the field, in one model.
        scales: whether the value multiplies the nominal one.
        nominal: the parameter's nominal value.
        objects: indices of the objects named (bodies, geoms, ...), for what depends on them.
    """

    name: str
    attribute: Attribute
    elements: dict[str, np.ndarray]
    scales: bool
    nominal: float
    objects: np.ndarray


def resolve(snapshot: Snapshot, param: Param) -> Resolved:
    """Find a parameter's elements in a model.

    Raises:
        ValueError: no such object, attribute or component (with close matches), nothing to scale, or objects whose
            nominal values differ where one is needed.
    """
    target = param.parsed
    attributes = ATTRIBUTES.get(target.kind)
    if attributes is None:
        raise ValueError(
            f"{param.target!r} is no field of a MuJoCo model; RobustEnv and make_robust_vec apply "
            f"{target.kind} parameters."
        )
    attribute = attributes.get(target.attribute)
    if attribute is None:
        raise ValueError(
            f"{param.target!r}: {target.kind} has no attribute {target.attribute!r}; "
            f"{_close(target.attribute, list(attributes))}."
        )
    objects = _objects(snapshot, target.kind, target.pattern, param.target)
    elements = {attribute.field: _elements(snapshot, attribute, objects, target.index, param)}
    if param.scope == "contact":
        elements = _contact_elements(snapshot, objects, target.index)
    nominal = _nominal(snapshot, attribute, elements, param, objects, target.index)
    _check_frame(snapshot, attribute, objects, param)
    return Resolved(param.target, attribute, elements, param.mode == "scale", nominal, objects)


def _objects(snapshot: Snapshot, kind: str, pattern: str, text: str) -> np.ndarray:
    """Indices of the objects that a name or glob matches; `[0]` for the options."""
    if kind == "option":
        return np.zeros(1, int)
    model = snapshot.model
    count, accessor = {
        "body": (model.nbody, model.body),
        "geom": (model.ngeom, model.geom),
        "joint": (model.njnt, model.joint),
        "actuator": (model.nu, model.actuator),
        "tendon": (model.ntendon, model.tendon),
    }[kind]
    names = [accessor(i).name for i in range(count)]
    if pattern.startswith("#") and pattern[1:].isdigit():
        index = int(pattern[1:])
        if index >= count:
            raise ValueError(f"{text!r}: the model has {count} {kind} objects, numbered from 0.")
        known = f"; its name is {names[index]!r}" if names[index] else ""
        warnings.warn(
            f"{text!r} addresses a {kind} by its index, which another model may use otherwise{known}.",
            stacklevel=2,
        )
        return np.array([index])
    found = [i for i, name in enumerate(names) if name == pattern]
    if not found and any(sign in pattern for sign in "*?["):
        first = 1 if kind == "body" else 0  # the world body has no mass and does not move
        found = [i for i in range(first, count) if fnmatch.fnmatchcase(names[i], pattern)]
    if not found:
        raise ValueError(
            f"{text!r}: no {kind} is called {pattern!r}; {_close(pattern, [n for n in names if n])}."
        )
    return np.array(found)


def _elements(
    snapshot: Snapshot, attribute: Attribute, objects: np.ndarray, index: tuple[int, ...], param: Param
) -> np.ndarray:
    """Flat indices of the components `index` of the objects' rows."""
    values = snapshot[attribute.field]
    if attribute.field.startswith("opt."):
        return np.array(_components(attribute, values.size, values.ndim == 0, index, param))
    rows = objects
    if attribute.by_dof:
        rows = np.flatnonzero(np.isin(snapshot["dof_jntid"], objects))
    if attribute.field == "qpos_spring":
        rows = snapshot["jnt_qposadr"][objects]
        if not np.isin(snapshot["jnt_type"][objects], (2, 3)).all():
            raise ValueError(f"{param.target!r}: only hinge and slide joints have one spring reference.")
    width = int(np.prod(values.shape[1:], dtype=int))
    columns = _components(attribute, width, values.ndim == 1, index, param)
    return (rows[:, None] * width + np.array(columns)).ravel()


def _components(
    attribute: Attribute, width: int, scalar: bool, index: tuple[int, ...], param: Param
) -> list[int]:
    if attribute.component is not None:
        if index:
            raise ValueError(f"{param.target!r} is a single number; leave the index out.")
        return [attribute.component]
    if scalar:
        if index:
            raise ValueError(f"{param.target!r} is a single number; leave the index out.")
        return [0]
    if not index:
        if param.mode == "scale":
            return list(range(width))
        raise ValueError(
            f"{param.target!r} has {width} components; say which, as in {param.target + '[0]'!r}."
        )
    if max(index) >= width:
        raise ValueError(f"{param.target!r}: components are 0 to {width - 1}.")
    return list(index)


def _touching(snapshot: Snapshot, geoms: np.ndarray) -> np.ndarray:
    """The given geoms and all those that collision filtering lets them touch."""
    contype, conaffinity = snapshot["geom_contype"], snapshot["geom_conaffinity"]
    body = snapshot["geom_bodyid"]
    meets = np.zeros(len(contype), bool)
    meets[geoms] = True
    for geom in geoms:
        allowed = (contype[geom] & conaffinity) | (contype & conaffinity[geom])
        meets |= (allowed != 0) & (body != body[geom])
    return np.flatnonzero(meets)


def _contact_elements(snapshot: Snapshot, geoms: np.ndarray, index: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Friction elements of everything that can be in contact with the geoms, so that the value is the contact's.

    MuJoCo takes the element-wise maximum of the two geoms' friction (MuJoCo documentation, Computation, Contact),
    unless one has the higher priority; where all partners have the value, either rule gives it.
    """
    columns = index or (0, 1, 2)
    partners = _touching(snapshot, geoms)
    width = snapshot["geom_friction"].shape[1]
    elements = {"geom_friction": (partners[:, None] * width + np.array(columns)).ravel()}
    pairs = np.flatnonzero(np.isin(snapshot["pair_geom1"], geoms) | np.isin(snapshot["pair_geom2"], geoms))
    if len(pairs):
        # An explicit pair has two sliding, one torsional and two rolling coefficients.
        spread = np.array([column for wanted in columns for column in ((0, 1), (2,), (3, 4))[wanted]])
        elements["pair_friction"] = (pairs[:, None] * 5 + spread).ravel()
    return elements


def _nominal(
    snapshot: Snapshot,
    attribute: Attribute,
    elements: dict[str, np.ndarray],
    param: Param,
    objects: np.ndarray,
    index: tuple[int, ...],
) -> float:
    values = np.concatenate([snapshot[field].ravel()[flat] for field, flat in elements.items()])
    if param.mode == "scale":
        if not values.any():
            raise ValueError(
                f"{param.target!r}: the nominal value is 0, which no factor changes; use mode='absolute'."
            )
        return 1.0 if param.nominal is None else float(param.nominal)
    if param.nominal is not None:
        return float(param.nominal)
    if param.scope == "contact":
        # Feet usually have the largest friction, and theirs is the contact that the robot walks on.
        return float(values.max())
    if len(np.unique(values)) > 1:
        raise ValueError(
            f"{param.target!r} stands for several elements with different nominal values "
            f"({values.min():.6g} to {values.max():.6g}); use mode='scale', or give `nominal`."
        )
    return float(values[0])


def _check_frame(snapshot: Snapshot, attribute: Attribute, objects: np.ndarray, param: Param) -> None:
    if attribute.field == "body_ipos" and snapshot["body_sameframe"][objects].any():
        raise ValueError(
            f"{param.target!r}: MuJoCo compiled this body with its centre of mass on a frame of its geometry, and the "
            "engine takes it from there. Move the geom (geom size or a model of your own), or declare an <inertial>."
        )


def _close(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return f"known: {', '.join(known) or 'none'}"
