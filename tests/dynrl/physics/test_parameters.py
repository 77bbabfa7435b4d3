"""Parameters as model fields: equal to the model compiled again, and what MuJoCo's own contacts say."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynrl.bench.physics_parameters import FACTORS, ROBOTS, ROUNDED_FACTORS, differences, field_difference
from dynrl.physics.models import model_path
from dynrl.physics.parameters import ParameterMap
from dynrl.physics.snapshot import read_field
from dynrl.robust.parameter import Param

BALL = """
<mujoco>
  <option gravity="0 0 -9.81" timestep="0.002"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1" friction=".3 .01 .001"/>
    <body name="ball" pos="0 0 .099">
      <joint name="free" type="free"/>
      <geom name="skin" type="sphere" size=".1" density="1000" friction="1.2 .02 .002"/>
    </body>
    <body name="door" pos="2 0 1">
      <joint name="hinge" type="hinge" axis="0 0 1" damping=".5" armature=".1" stiffness="3"/>
      <geom name="panel" type="box" size=".3 .02 .5" pos=".3 0 0" mass="4"/>
    </body>
  </worldbody>
  <actuator><motor name="motor" joint="hinge" gear="2" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


# Of HalfCheetah's file, which Gymnasium ships.
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute 'settotalmass'")


def compiled(name: str) -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    from_file = name.endswith(".xml")
    spec = mujoco.MjSpec.from_file(str(model_path(name))) if from_file else mujoco.MjSpec.from_string(name)
    return spec, spec.copy().compile()


HOPPER = compiled("hopper.xml")
HOPPER_MASSES = ParameterMap(
    HOPPER[1], [Param(f"body:{name}.mass", 0.01, 30) for name in ("torso", "thigh", "leg")], num_threads=1
)


@pytest.fixture(scope="module")
def ball() -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    return compiled(BALL)


@pytest.fixture(scope="module")
def hopper() -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    return HOPPER


@pytest.mark.parametrize("robot", ["Hopper", "InvertedPendulum"])
def test_mass_in_place_is_the_recompiled_model(robot: str) -> None:
    # Powers of two scale without rounding, so nothing is left to differ.
    assert max(differences(ROBOTS[robot], 2.0).values()) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("factor", FACTORS)
def test_every_body_in_place_is_the_recompiled_model(robot: str, factor: float) -> None:
    _, model = compiled(ROBOTS[robot])
    found = differences(ROBOTS[robot], factor)
    assert len(found) == model.nbody - 1
    assert max(found.values()) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_fields_are_those_of_the_recompiled_model_whatever_the_factor(robot: str) -> None:
    assert max(field_difference(ROBOTS[robot], factor) for factor in ROUNDED_FACTORS) <= 1e-12


@settings(max_examples=25)
@given(arrays(float, (3, 3), elements=st.floats(0.05, 20)))
def test_masses_add_up_and_inertias_keep_their_shape(masses: np.ndarray) -> None:
    model = HOPPER[1]
    found = HOPPER_MASSES.fields(masses)
    np.testing.assert_array_equal(found["body_mass"][:, 1:4], masses)
    # A chain: the subtree of a body is the body and all below it.
    chain = np.cumsum(found["body_mass"][:, :0:-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(found["body_subtreemass"][:, 1:], chain, rtol=1e-14)
    ratio = found["body_inertia"][:, 1:4] / model.body_inertia[1:4]
    np.testing.assert_allclose(ratio, (masses / model.body_mass[1:4])[:, :, None].repeat(3, 2), rtol=1e-13)
    # Sliding joints carry the whole robot.
    np.testing.assert_allclose(
        found["dof_M0"][:, :2], chain[:, :1].repeat(2, 1) + model.dof_armature[:2], rtol=1e-12
    )


def test_mass_alone_is_another_model(hopper: tuple) -> None:
    _, model = hopper
    kept = ParameterMap(model, [Param("body:torso.mass", 0.1, 9)], inertia="keep")
    assert kept.field_names == ("body_mass",) and kept.recompute == "none"
    scaled = ParameterMap(model, [Param("body:torso.mass", 0.1, 9)]).fields(
        np.array([2 * model.body_mass[1]])
    )
    np.testing.assert_array_equal(scaled["body_inertia"][1], 2 * model.body_inertia[1])
    # The subtree of the torso is the whole robot.
    assert scaled["body_subtreemass"][1] == pytest.approx(
        model.body_mass.sum() + model.body_mass[1], rel=1e-14
    )


@pytest.mark.parametrize(
    "params",
    [
        [Param("body:ball.mass", 0.1, 9), Param("body:door.inertia[1]", 0.1, 9)],
        [
            Param("joint:hinge.damping", 0, 9),
            Param("joint:hinge.stiffness", 0, 9),
            Param("joint:hinge.armature", 0, 9),
        ],
        [
            Param("actuator:motor.gain", 0, 9),
            Param("actuator:motor.gear[0]", 0, 9),
            Param("option.gravity[2]", -12, 0),
        ],
        [Param("geom:floor.friction[0]", 0, 9, scope="floor"), Param("option.timestep", 1e-3, 2e-3)],
        [Param("geom:*.friction[0]", 0.5, 2, mode="scale"), Param("body:*.mass", 0.5, 2, mode="scale")],
        [Param("geom:skin.size[0]", 0.05, 0.2), Param("body:ball.mass", 0.5, 2, mode="scale")],
    ],
    ids=lambda params: params[0].target,
)
def test_nominal_parameters_are_the_model_bit_for_bit(ball: tuple, params: list[Param]) -> None:
    spec, model = ball
    fields = ParameterMap(model, params, spec=spec.copy)
    for name, values in fields.fields(fields.nominal).items():
        np.testing.assert_array_equal(values, read_field(model, name), err_msg=name)


def test_rows_do_not_depend_on_each_other_nor_on_threads(hopper: tuple) -> None:
    _, model = hopper
    params = [Param("body:torso.mass", 0.1, 3), Param("geom:floor.friction[0]", 0.1, 3)]
    psi = np.random.default_rng(0).uniform(0.1, 3, (17, 2))
    whole = ParameterMap(model, params, num_threads=1).fields(psi)
    parts = ParameterMap(model, params, num_threads=2)
    for name in whole:
        joined = np.concatenate([parts.fields(psi[:5])[name], parts.fields(psi[5:])[name]])
        np.testing.assert_array_equal(whole[name], joined)
        np.testing.assert_array_equal(whole[name][3], parts.fields(psi[3])[name])


def test_factors_do_not_compound_and_restore_is_exact(hopper: tuple) -> None:
    model = hopper[0].copy().compile()
    before = {
        name: read_field(model, name).copy()
        for name in ("body_mass", "body_inertia", "dof_M0", "dof_damping")
    }
    fields = ParameterMap(
        model, [Param("body:*.mass", 0.5, 2, mode="scale"), Param("joint:*.damping", 0.5, 2, mode="scale")]
    )
    for _ in range(3):
        fields.apply(model, np.array([2.0, 0.5]))
    np.testing.assert_array_equal(model.body_mass, 2 * before["body_mass"])
    np.testing.assert_array_equal(model.dof_damping, 0.5 * before["dof_damping"])
    fields.restore(model)
    for name, values in before.items():
        np.testing.assert_array_equal(read_field(model, name), values, err_msg=name)


def contact_friction(model: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert data.ncon == 1
    return data.contact.friction[0]


def test_friction_of_the_contact_is_the_value_and_that_of_the_floor_is_not(ball: tuple) -> None:
    for scope, expected in (("contact", 0.5), ("floor", 1.2)):
        model = ball[0].copy().compile()
        fields = ParameterMap(model, [Param("geom:floor.friction[0]", 0.1, 3, scope=scope)])
        fields.apply(model, np.array([0.5]))
        # Elements 0 and 1 of a contact's friction are the two sliding directions; torsion is untouched.
        np.testing.assert_allclose(
            contact_friction(model), [expected, expected, 0.02, 0.002, 0.002], rtol=1e-15
        )
    assert ParameterMap(ball[1], [Param("geom:floor.friction[0]", 0.1, 3)]).nominal == [1.2]
    assert ParameterMap(ball[1], [Param("geom:floor.friction[0]", 0.1, 3, scope="floor")]).nominal == [0.3]


def test_nominal_friction_of_the_feet(hopper: tuple) -> None:
    contact = ParameterMap(hopper[1], [Param("geom:floor.friction[0]", 0.1, 3)])
    assert contact.nominal == [2.0]
    assert ParameterMap(
        compiled("walker2d_v5.xml")[1], [Param("geom:floor.friction[0]", 0.1, 4)]
    ).nominal == [1.9]


def test_friction_sets_explicit_pairs_too() -> None:
    pair = '<contact><pair geom1="floor" geom2="skin" friction="9 8 7 6 5"/></contact>'
    model = compiled(BALL.replace("<actuator>", f"{pair}<actuator>"))[1]
    ParameterMap(model, [Param("geom:floor.friction[0]", 0.1, 3)]).apply(model, np.array([0.25]))
    np.testing.assert_array_equal(model.pair_friction[0], [0.25, 0.25, 7, 6, 5])


def test_size_is_compiled_again_and_mass_follows_the_volume(ball: tuple) -> None:
    spec, model = ball
    fields = ParameterMap(model, [Param("geom:skin.size[0]", 0.05, 0.2)], spec=spec.copy)
    radii = np.array([[0.05], [0.1], [0.2]])
    found = fields.fields(radii)
    mass = 1000 * 4 / 3 * np.pi * radii[:, 0] ** 3
    np.testing.assert_allclose(found["body_mass"][:, 1], mass, rtol=1e-12)
    inertia = (0.4 * mass * radii[:, 0] ** 2)[:, None].repeat(3, 1)
    np.testing.assert_allclose(found["body_inertia"][:, 1], inertia, rtol=1e-12)
    np.testing.assert_allclose(found["geom_rbound"][:, 1], radii[:, 0], rtol=1e-12)
    assert fields.recompute == "recompile"


def test_mass_has_the_last_word_over_the_size(ball: tuple) -> None:
    spec, model = ball
    fields = ParameterMap(
        model, [Param("geom:skin.size[0]", 0.05, 0.2), Param("body:ball.mass", 0.1, 50)], spec=spec.copy
    )
    found = fields.fields(np.array([0.2, 7.0]))
    assert found["body_mass"][1] == 7.0
    np.testing.assert_allclose(found["body_inertia"][1], 0.4 * 7.0 * 0.2**2, rtol=1e-12)
    np.testing.assert_allclose(found["body_subtreemass"][0], 7.0 + 4.0, rtol=1e-14)


def test_a_prescribed_total_mass_does_not_make_the_others_lighter() -> None:
    spec, model = compiled("half_cheetah.xml")
    found = ParameterMap(model, [Param("geom:ffoot.size[0]", 0.02, 0.1)], spec=spec.copy).fields(
        np.array([0.09])
    )
    foot = model.body("ffoot").id
    others = np.delete(np.arange(model.nbody), foot)
    np.testing.assert_allclose(found["body_mass"][others], model.body_mass[others], rtol=1e-12)
    assert found["body_mass"][foot] > 2 * model.body_mass[foot]


def test_armature_adds_to_the_inertia_of_its_joint(ball: tuple) -> None:
    _, model = ball
    fields = ParameterMap(model, [Param("joint:hinge.armature", 0, 9)])
    dof = model.joint("hinge").dofadr[0]
    nominal, more = fields.fields(np.array([[0.1], [0.6]]))["dof_M0"][:, dof]
    assert more - nominal == pytest.approx(0.5, rel=1e-12)
    # A hinge alone: the inverse weight is the inverse of the inertia.
    assert fields.fields(np.array([0.6]))["dof_invweight0"][dof] == pytest.approx(1 / more, rel=1e-12)


def test_running_simulations_keep_their_state(hopper: tuple) -> None:
    model = hopper[0].copy().compile()
    data = mujoco.MjData(model)
    data.ctrl[:] = 0.3
    mujoco.mj_step(model, data, nstep=20)
    before = data.qpos.copy(), data.qvel.copy(), data.time
    ParameterMap(model, [Param("body:torso.mass", 0.1, 3)]).apply(model, np.array([1.0]))
    np.testing.assert_array_equal(data.qpos, before[0])
    np.testing.assert_array_equal(data.qvel, before[1])
    assert data.time == before[2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("body:tors.mass", "did you mean 'torso'"),
        ("body:torso.mas", "did you mean 'mass'"),
        ("geom:floor.friction", "say which, as in 'geom:floor.friction\\[0\\]'"),
        ("geom:floor.friction[3]", "components are 0 to 2"),
        ("body:torso.mass[0]", "leave the index out"),
        ("joint:*.damping", "different nominal values \\(0 to 1\\)"),
        ("body:*leg*x.mass", "no body is called"),
        ("attr:gravity", "RobustEnv and make_robust_vec apply attr"),
        ("geom:foot_geom.size[0]", "pass `spec`"),
        ("body:#9.mass", "5 body objects"),
    ],
)
def test_what_is_not_there_is_named(hopper: tuple, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParameterMap(hopper[1], [Param(target, 0.1, 3)])


def test_centre_of_mass_where_the_compiler_took_a_short_cut(ball: tuple) -> None:
    with pytest.raises(ValueError, match="centre of mass on a frame of its geometry"):
        ParameterMap(ball[1], [Param("body:ball.ipos[0]", -0.1, 0.1)])


@pytest.mark.parametrize(
    ("target", "value", "message"),
    [
        ("body:door.mass", 0.0, "is 0.0 in row 1; expected a number > 0"),
        ("joint:hinge.damping", -1.0, "is -1.0 in row 1; expected a number >= 0"),
        ("geom:floor.friction[0]", -0.1, "expected a number >= 0"),
        ("option.timestep", 0.0, "expected a number > 0"),
        ("option.gravity[2]", np.nan, "expected a finite number"),
        ("body:door.inertia[0]", 50.0, "violate the triangle inequality"),
    ],
)
def test_values_that_physics_excludes(ball: tuple, target: str, value: float, message: str) -> None:
    fields = ParameterMap(ball[1], [Param(target, -1, 100)])
    with pytest.raises(ValueError, match=message):
        fields.fields(np.array([[fields.nominal[0]], [value]]))


def test_objects_without_a_name_are_addressed_by_number_with_a_warning() -> None:
    _, model = compiled("ant.xml")
    with pytest.warns(UserWarning, match="addresses a body by its index"):
        fields = ParameterMap(model, [Param("body:#4.mass", 0.01, 3)])
    assert fields.nominal == [model.body_mass[4]]
