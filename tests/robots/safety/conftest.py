"""The arm, a bundle's contract for it, and its messages."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dynrl.policy.contract import ActionTerm, Contract, Control, Limits, ObservationTerm, RobotModel
from dynrl.robots.description import Robot


@pytest.fixture
def arm() -> Robot:
    return Robot.load("arm")


@pytest.fixture
def make_contract() -> Callable[..., Contract]:
    """A contract for a robot: joint positions and velocities in, position targets out."""

    def make(
        robot: Robot,
        kinds: tuple[str, ...] = ("state/joint/position", "state/joint/velocity"),
        joints: tuple[str, ...] | None = None,
        limits: Limits | None = None,
        period: float = 0.02,
    ) -> Contract:
        units = {"position": "rad", "velocity": "rad/s", "effort": "N.m", "angular_velocity": "rad/s"}
        terms = tuple(
            ObservationTerm(kind.rpartition("/")[2], kind, unit=units.get(kind.rpartition("/")[2], "1"))
            for kind in kinds
        )
        return Contract(
            name="test",
            control=Control(period),
            robot=RobotModel(robot.name, joints or robot.names),
            observation=terms,
            action=(ActionTerm("target", "target/joint/position", unit="rad"),),
            limits=limits or Limits(),
        )

    return make


@pytest.fixture(scope="session")
def types() -> Any:
    pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'dynrl[ros]'")
    from dynrl.robots.messages import message_types

    return message_types()


@pytest.fixture
def joint_state(types: Any, arm: Robot) -> Callable[..., Any]:
    """A `JointState` of the arm at model positions and velocities, as its wire has it."""

    def make(
        position: np.ndarray | None = None,
        velocity: np.ndarray | None = None,
        stamp_ns: int = 0,
        names: tuple[str, ...] | None = None,
    ) -> Any:
        q = arm.home_position if position is None else np.asarray(position, float)
        qd = np.zeros(len(arm.joints)) if velocity is None else np.asarray(velocity, float)
        order = [arm.wire_names.index(name) for name in (names or arm.wire_names)]
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        stamp = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return types.new(
            "sensor_msgs/msg/JointState",
            header=types.new("std_msgs/msg/Header", stamp=stamp),
            name=list(names or arm.wire_names),
            position=arm.position_to_wire(q)[order],
            velocity=arm.velocity_to_wire(qd)[order],
            effort=np.zeros(len(order)),
        )

    return make
