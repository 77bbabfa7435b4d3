"""Parameters in place against models compiled again, and how long it takes to derive what depends on them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from dynrl.bench import Figure

if TYPE_CHECKING:
    import mujoco

ROBOTS = {
    "Ant": "ant.xml",
    "HalfCheetah": "half_cheetah.xml",
    "Hopper": "hopper.xml",
    "HumanoidStandup": "humanoidstandup.xml",
    "InvertedPendulum": "inverted_pendulum.xml",
    "Walker2d": "walker2d_v5.xml",
}
# Powers of two scale without rounding, so that what differs is the method. Any other factor changes the last bit of a
# mass, in the compiler or in place, and contacts amplify it: there the model's fields are compared instead.
FACTORS = (0.25, 2.0)
ROUNDED_FACTORS = (0.3, 3.0)
STEPS = 200
BAR = 1e-12
FIELDS_BAR = 1e-12


def figures(quick: bool) -> Iterator[Figure]:
    """The rows of this file in `dynrl bench physics`."""
    for robot in ROBOTS:
        yield _difference(robot, quick)
    yield _fields_row(quick)
    yield _speed(1000 if quick else 10_000)


def differences(xml_file: str, factor: float, bodies: list[int] | None = None) -> dict[str, float]:
    """Change the mass of each body of a robot in turn, in place and by compiling again, and play both.

    Args:
        xml_file: the robot's model, one of Gymnasium's.
        factor: on the mass.
        bodies: which; None for all.

    Returns:
        body -> largest difference of a position over 200 physics steps, under the same start and random controls.
    """
    found = {}
    for name, changed, recompiled in _pairs(xml_file, factor, bodies):
        found[name] = float(np.abs(trajectory(changed) - trajectory(recompiled)).max())
    return found


def field_difference(xml_file: str, factor: float, bodies: list[int] | None = None) -> float:
    """The largest relative difference of a model field between a body mass in place and compiled again; arguments as in
    `differences`."""
    from mujoco.batch import MODEL_FIELDS

    from dynrl.physics.snapshot import read_field

    worst = 0.0
    for _, changed, recompiled in _pairs(xml_file, factor, bodies):
        for field in MODEL_FIELDS:
            ours, theirs = read_field(changed, field), read_field(recompiled, field)
            if ours.dtype.kind == "f" and ours.size and not field.startswith(("cam_", "light_")):
                scale = max(float(np.abs(theirs).max()), 1e-300)
                worst = max(worst, float(np.abs(ours - theirs).max()) / scale)
    return worst


def _pairs(
    xml_file: str, factor: float, bodies: list[int] | None
) -> Iterator[tuple[str, mujoco.MjModel, mujoco.MjModel]]:
    """Per body: its name, the model with its mass changed in place, and the one compiled again."""
    from dynrl.physics.parameters import ParameterMap
    from dynrl.robust.parameter import Param

    spec = _spec(xml_file)
    model = _compiled(spec)
    for body in bodies or range(1, model.nbody):
        name = model.body(body).name or f"#{body}"
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of bodies without a name, which are addressed by number
            fields = ParameterMap(model, [Param(f"body:{name}.mass", 0.01, 100.0)], num_threads=1)
        changed = _compiled(spec)
        fields.apply(changed, model.body_mass[[body]] * factor)
        yield name, changed, _with_body_mass(spec, body, factor)


def trajectory(model: mujoco.MjModel, seed: int = 0) -> np.ndarray:
    """Positions `[STEPS, nq]` from a start near the model's own under random controls."""
    import mujoco

    rng = np.random.default_rng(seed)
    data = mujoco.MjData(model)
    data.qpos[:] += rng.uniform(-0.005, 0.005, model.nq)
    data.qvel[:] = rng.uniform(-0.005, 0.005, model.nv)
    low, high = model.actuator_ctrlrange.T
    positions = np.empty((STEPS, model.nq))
    for step in range(STEPS):
        data.ctrl[:] = rng.uniform(low, high)
        mujoco.mj_step(model, data)
        positions[step] = data.qpos
    return positions


def _spec(xml_file: str) -> mujoco.MjSpec:
    """The robot's description, with masses that do not depend on each other.

    HalfCheetah's file prescribes the total mass, so that the compiler would make every other body lighter when one gets
    heavier; the densities that it ends up with are written down instead.
    """
    import mujoco

    from dynrl.physics.models import model_path

    spec = mujoco.MjSpec.from_file(str(model_path(xml_file)))
    total = spec.compiler.settotalmass
    if total > 0:
        spec.compiler.settotalmass = -1
        factor = total / _compiled(spec).body_mass.sum()
        for geom in spec.geoms:
            geom.density *= factor
    return spec


def _compiled(spec: mujoco.MjSpec) -> mujoco.MjModel:
    return spec.copy().compile()


def _with_body_mass(spec: mujoco.MjSpec, body: int, factor: float) -> mujoco.MjModel:
    changed = spec.copy()
    for geom in changed.bodies[body].geoms:
        if np.isfinite(geom.mass):
            geom.mass *= factor
        else:
            geom.density *= factor
    return changed.compile()


def _difference(robot: str, quick: bool) -> Figure:
    bodies = [1, 2] if quick else None
    worst, where = 0.0, ""
    count = 0
    for factor in FACTORS:
        for body, value in differences(ROBOTS[robot], factor, bodies).items():
            count += 1
            if value >= worst:
                worst, where = value, f"{body} x {factor:g}"
    return Figure(
        f"{robot}: mass in place against recompiled, {STEPS} steps, {count} models",
        f"<= {BAR:g}",
        f"{worst:.1e} ({where})",
        worst <= BAR,
    )


def _fields_row(quick: bool) -> Figure:
    factors, bodies = (ROUNDED_FACTORS[:1], [1, 2]) if quick else (ROUNDED_FACTORS, None)
    worst = max(field_difference(xml, factor, bodies) for xml in ROBOTS.values() for factor in factors)
    return Figure(
        f"all six: model fields in place against recompiled, factors {factors}, relative",
        f"<= {FIELDS_BAR:g}",
        f"{worst:.1e}",
        worst <= FIELDS_BAR,
    )


def _speed(count: int) -> Figure:
    from dynrl.physics.parameters import ParameterMap
    from dynrl.robust.parameter import Param

    model = _compiled(_spec("inverted_pendulum.xml"))
    fields = ParameterMap(model, [Param("body:pole.mass", 1, 31), Param("body:cart.mass", 1, 11)])
    psi = np.random.default_rng(0).uniform([1, 1], [31, 11], (count, 2))
    fields.fields(psi[:10])
    begin = time.perf_counter()
    fields.fields(psi)
    seconds = time.perf_counter() - begin
    bar = 1.5 * count / 10_000
    return Figure(
        f"{count} InvertedPendulum models derived", f"<= {bar:g} s", f"{seconds:.2f} s", seconds <= bar
    )
