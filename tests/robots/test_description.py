"""Robot files: every mistake is one line, and wire and model are each other's inverse."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynrl.errors import ConfigError
from dynrl.robots.description import DESCRIPTIONS, Joint, Robot, installed_robots

FLOATS = st.floats(-100, 100)


def test_the_installed_robots_load_and_their_models_have_their_joints() -> None:
    import mujoco

    assert installed_robots() == ["arm", "pamy", "spot_arm"]
    for name in installed_robots():
        robot = Robot.load(name)
        model = mujoco.MjModel.from_xml_path(robot.model)
        assert robot.name == name
        assert {model.joint(i).name for i in range(model.njnt)} == set(robot.names)
        assert np.all(robot.lower < robot.home_position) or name == "arm"
        assert Robot.load(DESCRIPTIONS / name).names == Robot.load(DESCRIPTIONS / name / "robot.yaml").names


@given(st.lists(FLOATS, min_size=3, max_size=3), st.sampled_from((-1, 1)), st.floats(1e-3, 1e3), FLOATS)
def test_wire_and_model_are_inverse(values: list[float], sign: int, scale: float, offset: float) -> None:
    arm = Robot.load("arm")
    joints = tuple(
        dataclasses.replace(joint, sign=sign, unit_scale=scale, offset=offset, effort_scale=scale)
        for joint in arm.joints
    )
    robot, x = dataclasses.replace(arm, joints=joints), np.array(values)
    np.testing.assert_allclose(robot.position_to_model(x), sign * scale * x + offset)
    np.testing.assert_allclose(
        robot.position_to_wire(robot.position_to_model(x)), x, atol=1e-9 * (1 + abs(offset) / scale)
    )
    np.testing.assert_allclose(robot.velocity_to_wire(robot.velocity_to_model(x)), x)
    np.testing.assert_allclose(robot.effort_to_wire(robot.effort_to_model(x)), x)
    out = np.empty((2, 3))
    assert robot.position_to_model(np.stack([x, x]), out=out) is out
    np.testing.assert_array_equal(out[0], out[1])


def test_the_arm_s_wire_is_not_its_model() -> None:
    """Sign of the elbow, zero of the shoulder: who forgets the mapping is found out."""
    arm = Robot.load("arm")
    np.testing.assert_allclose(arm.position_to_wire(np.array([0.1, 0.2, 0.3])), [0.1, 0.1, -0.3])
    np.testing.assert_allclose(arm.velocity_to_wire(np.array([0.1, 0.2, 0.3])), [0.1, 0.2, -0.3])


def test_joints_are_found_by_name() -> None:
    arm = Robot.load("arm")
    assert arm.index(["elbow", "yaw"]).tolist() == [2, 0]
    with pytest.raises(ConfigError, match="no joint 'knee'; known: yaw, shoulder, elbow"):
        arm.index(["knee"])


def test_namespaced_joints_have_a_prefix_on_the_wire() -> None:
    robot = Robot.load("spot_arm", wire_prefix="Robot/")
    assert robot.wire_names[0] == "Robot/arm_sh0" and robot.names[0] == "arm_sh0"


def test_sources_know_what_they_provide() -> None:
    arm, pamy, spot = (Robot.load(name) for name in ("arm", "pamy", "spot_arm"))
    assert arm.provides["state/joint/position"] == "joint_states" and arm.provides["command/pose"] == "goal"
    assert pamy.provides["state/muscle/pressure"] == "muscle_states"
    assert "state/joint/effort" not in pamy.provides
    assert spot.provides["state/body/projected_gravity"] == "imu"
    assert spot.estimated == ("state/body/linear_velocity",)


def test_pamy2_has_the_pressures_of_its_driver() -> None:
    """Limits of the spec, agonists and antagonists."""
    muscles = Robot.load("pamy").muscles
    agonists, antagonists = muscles[::2], muscles[1::2]
    assert [m.pressure[1] for m in agonists] == [25000, 21500, 21000, 19000]
    assert [m.pressure[0] for m in agonists] == [15000, 15000, 13000, 13000]
    assert [m.pressure[1] for m in antagonists] == [25000, 25000, 21000, 21900]
    assert [m.pressure[0] for m in antagonists] == [16000, 16000, 13000, 13000]
    assert {m.rate * 0.01 for m in muscles} == {500.0}


def write(folder: Path, change: dict) -> Path:
    """The arm's file with some top-level keys replaced (None: left out)."""
    values = yaml.safe_load((DESCRIPTIONS / "arm" / "robot.yaml").read_text()) | change
    values = {key: value for key, value in values.items() if value is not None}
    (folder / "model.xml").write_text((DESCRIPTIONS / "arm" / "model.xml").read_text())
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def joint(**change: object) -> dict:
    base = {"name": "yaw", "position": [-1.0, 1.0], "velocity": 1.0, "acceleration": 1.0}
    values = {key: value for key, value in (base | change).items() if value is not None}
    return {"joints": [values], "home": None}


COMMAND = {"topic": "c", "type": "sensor_msgs/msg/JointState"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed": 3}, ["speed", "unknown key"]),
        ({"joints": None}, ["joints", "required"]),
        ({"stop": "jump"}, ["stop", "jump"]),
        ({"home": [0.0, 0.0]}, ["home", "2 numbers for 3 joints"]),
        ({"home": [0.0, 0.0, 9.0]}, ["home", "elbow"]),
        ({"stop": "damp"}, ["damp", "gains"]),
        ({"model": "../model.xml"}, ["leaves the robot's folder"]),
        ({"model": "/etc/hostname"}, ["leaves the robot's folder"]),
        ({"model": "other.xml"}, ["no file 'other.xml'"]),
        ({"activation": ["reference"]}, ["no source 'reference'"]),
        ({"activation": ["goal"]}, ["std_msgs/msg/Bool"]),
        ({"rates": {"min": 500, "max": 10}}, ["rates"]),
        ({"tracking": 0.0}, ["tracking"]),
        (joint(position=[1.0, -1.0]), ["position", "lower one first"]),
        (joint(position=None), ["position limits are needed"]),
        (joint(kind="continuous"), ["continuous"]),
        (joint(velocity=0.0), ["velocity", "above 0"]),
        (joint(velocity=".inf"), ["velocity"]),
        (joint(sign=2), ["sign"]),
        (joint(kp=1.0), ["kp and kd come together"]),
        (joint(unit_scale=-1.0), ["unit_scale"]),
        ({"joints": joint()["joints"] * 2, "home": None}, ["'yaw'", "twice"]),
        ({"command": COMMAND | {"type": "JointState"}}, ["pkg/msg/Name"]),
        ({"command": COMMAND | {"type": "std_msgs/msg/Float64MultiArray"}}, ["order", "mandatory"]),
        (
            {
                "command": COMMAND
                | {"type": "std_msgs/msg/Float64MultiArray", "order": ["arm_yaw", "arm_elbow"]}
            },
            ["missing ['arm_shoulder']"],
        ),
        ({"command": COMMAND | {"mode": "pressure"}}, ["muscles"]),
        ({"command": COMMAND | {"mode": "body_velocity"}}, ["body"]),
        ({"command": COMMAND | {"watchdog": 0}}, ["watchdog"]),
        ({"twin": {"physics_dt": 0.0}}, ["physics_dt"]),
        (
            {
                "muscles": [
                    {
                        "name": "m",
                        "joint": "knee",
                        "side": "agonist",
                        "pressure": [0, 1],
                        "rate": 1,
                        "safe": 0,
                    }
                ]
            },
            ["no joint 'knee'"],
        ),
        (
            {
                "muscles": [
                    {"name": "m", "joint": "yaw", "side": "agonist", "pressure": [0, 1], "rate": 1, "safe": 2}
                ]
            },
            ["safe pressure"],
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, change: dict, words: list[str]) -> None:
    path = write(tmp_path, change)
    with pytest.raises(ConfigError) as raised:
        Robot.load(path)
    message = str(raised.value)
    assert "\n" not in message and "robot.yaml" in message
    assert all(word in message for word in words), message


def test_the_unchanged_copy_loads(tmp_path: Path) -> None:
    """So that each case above fails for its change alone."""
    assert dataclasses.replace(Robot.load(write(tmp_path, {})), model="") == dataclasses.replace(
        Robot.load("arm"), model=""
    )


def test_a_robot_that_is_not_there_is_an_error_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="arm, pamy, spot_arm"):
        Robot.load("armm")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "robot"
    inside.mkdir()
    path = write(inside, {"model": "link.xml"})
    (tmp_path / "secret.xml").write_text("<mujoco/>")
    (inside / "link.xml").symlink_to(tmp_path / "secret.xml")
    with pytest.raises(ConfigError, match="leaves the robot's folder"):
        Robot.load(path)


def test_prismatic_joints_have_a_tolerance_in_metres() -> None:
    arm = Robot.load("arm")
    rail = Joint("rail", 1.0, 1.0, position=(0.0, 1.0), kind="prismatic")
    free = Joint("wheel", 1.0, 1.0, kind="continuous")
    robot = dataclasses.replace(arm, joints=(rail, free), home=())
    np.testing.assert_array_equal(robot.tolerance, [0.01, 0.0087])
    np.testing.assert_array_equal(robot.home_position, [0.5, 0.0])
    assert np.isinf(robot.lower[1]) and np.isinf(robot.upper[1])
