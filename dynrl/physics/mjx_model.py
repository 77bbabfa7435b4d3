"""A task's model on MJX: what MJX refuses, and which of its fields may differ from simulation to simulation."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping
from typing import Any

import jax
import mujoco
import numpy as np
from mujoco.batch import MODEL_FIELDS

from dynrl.physics.snapshot import read_field

SOLVERS = {"newton": mujoco.mjtSolver.mjSOL_NEWTON, "cg": mujoco.mjtSolver.mjSOL_CG}

# Pictures, keyframes, meshes and bounding volumes: not physics, or fixed when the program is compiled.
_FIXED = (
    "cam_",
    "light_",
    "mat_",
    "tex_",
    "key_",
    "mesh_",
    "hfield_",
    "flex",
    "bvh_",
    "skin_",
    "numeric_",
    "tuple_",
)
# The C engine takes short cuts where frames coincide in the nominal model, and so does not read these there.
_SHORT_CUTS = {"body_iquat", "geom_quat", "site_quat", "jnt_axis"}
_FIXED_NAMES = _SHORT_CUTS | {
    "geom_rgba",
    "site_rgba",
    "tendon_rgba",
    "geom_aabb",
    "geom_rbound",
    "site_size",
}
_OPTIONS = ("opt.gravity", "opt.timestep", "opt.impratio")
# MJX does not read these.
_POLYNOMIAL = ("dof_dampingpoly", "jnt_stiffnesspoly", "tendon_dampingpoly", "tendon_stiffnesspoly")
# MJX leaves out, at compile time, the friction of joints and tendons that have none.
_WHERE_POSITIVE = ("dof_frictionloss", "tendon_frictionloss")
# MJX leaves out drag, at compile time, from models that have none.
_FLUID = ("opt.density", "opt.viscosity", "opt.wind")


def import_mjx() -> Any:
    """Return the module `mujoco.mjx`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # it prints that Warp, which is optional, is not there
            from mujoco import mjx
            from mujoco.mjx._src import forward
    except ImportError as error:
        raise ImportError(f"the backend `mjx` needs MuJoCo MJX: pip install mujoco-mjx ({error})") from error
    # MJX hands this table of halves and ones to JAX as float64. Once a process has computed in float64, JAX compiles no
    # float32 program with it any more ("Cannot lower jaxpr with verifier errors"); as float32 the numbers are the same.
    forward._RK4_A = forward._RK4_A.astype(np.float32)
    return mjx


def put_model(model: mujoco.MjModel, name: str, solver: str | None, engine: str) -> Any:
    """Return the `mjx.Model` of a model, in the precision that JAX is set to.

    Args:
        model: stays as it is.
        name: of the task, for errors.
        solver: `"newton"` or `"cg"` in place of the model's own; None for that.
        engine: `"jax"` or `"warp"`.

    Raises:
        ValueError: MJX lacks something that the model uses.
    """
    mjx = import_mjx()
    for field in _POLYNOMIAL:
        if read_field(model, field).any():
            raise ValueError(
                f"{name} cannot run on MJX, which does not read {field}; use the backend `batch`."
            )
    if solver is not None:
        model = copy.copy(model)
        model.opt.solver = SOLVERS[solver]
    try:
        # Inside a caller's trace the arrays would be traced, and remembered.
        with jax.ensure_compile_time_eval():
            return mjx.put_model(model, impl=engine)
    except NotImplementedError as error:
        advice = "use the backend `batch`"
        if "mjSOL" in str(error):
            advice = f"choose another solver, `MjxEnv(task, solver='newton')`, or {advice}"
        raise ValueError(f"{name} cannot run on MJX, which lacks {error}; {advice}.") from error


def variable_fields(model: mujoco.MjModel, on_mjx: Any) -> dict[str, np.ndarray]:
    """Return the fields that may vary from simulation to simulation with their nominal values, float64 `[*shape]`.

    Those that MJX holds as arrays of floats and reads while it runs, under the names of `mujoco.batch.MODEL_FIELDS`.
    """
    names = [name for name in sorted(MODEL_FIELDS) if not name.startswith((*_FIXED, "opt."))]
    names = [
        name for name in names if name not in _FIXED_NAMES and isinstance(vars(on_mjx).get(name), jax.Array)
    ]
    left_out = [*_POLYNOMIAL, *(name for name in _WHERE_POSITIVE if not (read_field(model, name) > 0).all())]
    names = [name for name in names if name not in left_out]
    options = _OPTIONS + (
        _FLUID if (read_field(model, "opt.density") + read_field(model, "opt.viscosity")) > 0 else ()
    )
    options = tuple(name for name in options if name[4:] in vars(on_mjx.opt))
    fields = {name: read_field(model, name) for name in (*names, *options)}
    return {name: np.array(value) for name, value in fields.items() if value.dtype.kind == "f" and value.size}


def replaced(on_mjx: Any, fields: Mapping[str, Any]) -> Any:
    """Return the model with fields of one simulation, in the model's precision."""
    import jax.numpy as jnp

    def old(name: str) -> Any:
        return vars(on_mjx.opt)[name[4:]] if name.startswith("opt.") else vars(on_mjx)[name]

    return on_mjx.tree_replace({name: jnp.asarray(value, old(name).dtype) for name, value in fields.items()})
