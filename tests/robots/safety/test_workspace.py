"""The box that the tool must not be commanded out of, against the closed form of the arm."""

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.errors import ConfigError
from dynrl.policy.contract import Workspace
from dynrl.robots.description import Robot
from dynrl.robots.safety import WorkspaceCheck
from dynrl.robots.safety.workspace import GravityEffort

BOX = ((0.1, -0.4, 0.0), (0.5, 0.4, 0.6))


def tool(q: np.ndarray) -> np.ndarray:
    """Place of the tool: upper arm 0.3 m, forearm 0.25 m, shoulder at 0.15 m; positive angles turn downwards."""
    yaw, shoulder, elbow = q
    reach = 0.3 * np.cos(shoulder) + 0.25 * np.cos(shoulder + elbow)
    height = 0.15 - 0.3 * np.sin(shoulder) - 0.25 * np.sin(shoulder + elbow)
    return np.array([reach * np.cos(yaw), reach * np.sin(yaw), height])


@pytest.fixture(scope="module")
def arm() -> Robot:
    return Robot.load("arm")


@pytest.fixture
def check(arm: Robot) -> WorkspaceCheck:
    return WorkspaceCheck(arm, Workspace("base_link", "tool", BOX), arm.names)


@functools.lru_cache
def shared_check() -> WorkspaceCheck:
    arm = Robot.load("arm")
    return WorkspaceCheck(arm, Workspace("base_link", "tool", BOX), arm.names)


@given(st.tuples(st.floats(-2.4, 2.4), st.floats(-2.0, 0.6), st.floats(0.0, 2.4)))
def test_forward_kinematics_is_the_closed_form(angles: tuple[float, float, float]) -> None:
    check = shared_check()
    q = np.array(angles)
    np.testing.assert_allclose(check.place(q), tool(q), atol=1e-12)
    outside = np.maximum(np.array(BOX[0]) - tool(q), tool(q) - np.array(BOX[1])).max()
    if abs(outside - 1e-6) > 1e-9:
        assert check.inside(q) == (outside <= 1e-6)


def test_joints_are_found_by_name(arm: Robot) -> None:
    order = ("elbow", "yaw", "shoulder")
    check = WorkspaceCheck(arm, Workspace("base_link", "tool", BOX), order)
    np.testing.assert_allclose(
        check.place(np.array([1.2, 0.5, -0.8])), tool(np.array([0.5, -0.8, 1.2])), atol=1e-12
    )


def test_a_frame_that_moves_takes_the_box_along(arm: Robot) -> None:
    check = WorkspaceCheck(arm, Workspace("turret", "tool", BOX), arm.names)
    at_zero = check.place(np.array([0.0, -0.9, 1.4])).copy()
    np.testing.assert_allclose(check.place(np.array([1.3, -0.9, 1.4])), at_zero, atol=1e-12)


def test_outside_brakes_and_the_fifth_in_a_row_holds(check: WorkspaceCheck) -> None:
    inside, outside = np.array([0.0, -0.9, 1.4]), np.array([1.6, -0.9, 1.4])
    assert check.inside(inside) and not check.inside(outside)
    assert check.update(inside) == "ok"
    assert [check.update(outside) for _ in range(5)] == ["brake"] * 4 + ["hold"]
    assert check.update(inside) == "ok"
    assert check.update(outside) == "brake", "counted from the start again"


def test_the_way_back_in_is_open(check: WorkspaceCheck) -> None:
    """A deployment that starts outside may come nearer, and not go further away."""
    yaws = np.linspace(1.9, 0.0, 40)
    verdicts = [check.update(np.array([yaw, -0.9, 1.4])) for yaw in yaws]
    assert verdicts[0] == "brake" and set(verdicts[1:]) == {"ok"}
    assert check.update(np.array([1.9, -0.9, 1.4])) == "brake"


def test_what_is_no_number_is_outside(check: WorkspaceCheck) -> None:
    assert not check.inside(np.array([np.nan, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("workspace", "word"),
    [
        (Workspace("base_link", "hand", BOX), "no body 'hand'"),
        (Workspace("map", "tool", BOX), "no body 'map'"),
        (Workspace("base_link", "tool", (BOX[1], BOX[0])), "lowest corner"),
    ],
)
def test_mistakes_are_named(arm: Robot, workspace: Workspace, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        WorkspaceCheck(arm, workspace, arm.names)


@given(st.tuples(st.floats(-2.4, 2.4), st.floats(-2.0, 0.6), st.floats(0.0, 2.4)))
def test_what_carries_the_arm_is_its_weight(angles: tuple[float, float, float]) -> None:
    """By hand from masses and lengths; positive angles turn downwards, so the torques that carry are negative."""
    yaw, shoulder, elbow = angles
    forearm = 0.5 * 9.81 * 0.12 * np.cos(shoulder + elbow)
    upper = 9.81 * (0.9 * 0.15 + 0.5 * 0.3) * np.cos(shoulder) + forearm
    np.testing.assert_allclose(
        gravity()(np.array([elbow, yaw, shoulder])), [-forearm, 0.0, -upper], atol=1e-9
    )


@functools.lru_cache
def gravity() -> GravityEffort:
    return GravityEffort(Robot.load("arm"), ("elbow", "yaw", "shoulder"))


def test_bodies_that_come_too_near_count_as_outside(tmp_path: Path) -> None:
    """Two spheres of 5 cm radius on sliders, 30 cm apart at zero; a margin of 2 cm."""
    (tmp_path / "model.xml").write_text(
        """<mujoco><worldbody><body name="base_link">
        <body name="left" pos="0 0 0"><joint name="a" type="slide" axis="1 0 0"/><geom size="0.05"/></body>
        <body name="right" pos="0.3 0 0"><joint name="b" type="slide" axis="1 0 0"/><geom size="0.05"/></body>
        </body></worldbody></mujoco>"""
    )
    (tmp_path / "robot.yaml").write_text(
        """name: rails
model: model.xml
joints:
  - {name: a, kind: prismatic, position: [-1.0, 1.0], velocity: 1.0, acceleration: 1.0}
  - {name: b, kind: prismatic, position: [-1.0, 1.0], velocity: 1.0, acceleration: 1.0}
sources: {joint_states: {topic: j, type: sensor_msgs/msg/JointState, rate: 100}}
command: {topic: c, type: sensor_msgs/msg/JointState}
rates: {min: 1, max: 100}
"""
    )
    robot = Robot.load(tmp_path)
    box = Workspace("base_link", "left", ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)))
    careful, careless = (
        WorkspaceCheck(robot, box, ("a", "b"), margin=0.02),
        WorkspaceCheck(robot, box, ("a", "b")),
    )
    for gap, clear in ((0.021, True), (0.019, False), (-0.01, False)):
        q = np.array([0.2 - gap, 0.0])
        assert careful.inside(q) == clear
        assert careless.inside(q), "off unless asked for"
