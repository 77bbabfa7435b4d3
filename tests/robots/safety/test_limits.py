"""Narrower wins, and the wider one is named; the right filter for each robot."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from dynrl.errors import ConfigError
from dynrl.policy.contract import Contract
from dynrl.policy.contract import Limits as Asked
from dynrl.robots.description import BodyLimits, Robot
from dynrl.robots.safety import (
    BodyVelocityFilter,
    EffortFilter,
    FaultKind,
    Limits,
    PositionFilter,
    PressureFilter,
    VelocityFilter,
    check_action,
    make_filter,
)

MakeContract = Callable[..., Contract]


def test_the_narrower_limit_wins_and_a_warning_names_the_wider_one(
    arm: Robot, make_contract: MakeContract
) -> None:
    asked = Asked(
        position=((-1.0, 9.0), (-9.0, 0.5), (0.1, 2.0)),
        velocity=(1.0, 9.0, 3.0),
        acceleration=(15.0, 15.0, 99.0),
    )
    limits, warnings = Limits.narrowed(arm, make_contract(arm, limits=asked))
    np.testing.assert_array_equal(limits.lower, [-1.0, -2.0, 0.1])
    np.testing.assert_array_equal(limits.upper, [2.4, 0.5, 2.0])
    np.testing.assert_array_equal(limits.velocity, [1.0, 2.5, 3.0])
    np.testing.assert_array_equal(limits.acceleration, [15.0, 15.0, 20.0])
    np.testing.assert_array_equal(limits.effort, arm.effort_limit)
    assert len(warnings) == 4
    for joint, quantity in (
        ("yaw", "upper position"),
        ("shoulder", "lower position"),
        ("shoulder", "velocity"),
    ):
        assert any(line.startswith(f"{joint}: ") and quantity in line for line in warnings)


def test_limits_are_in_the_order_of_the_bundle(arm: Robot, make_contract: MakeContract) -> None:
    limits, warnings = Limits.narrowed(arm, make_contract(arm, joints=("elbow", "yaw")))
    np.testing.assert_array_equal(limits.upper, [2.4, 2.4])
    np.testing.assert_array_equal(limits.lower, [0.0, -2.4])
    np.testing.assert_array_equal(limits.velocity, [3.0, 2.5])
    assert not warnings


def test_ranges_that_do_not_meet_are_refused(arm: Robot, make_contract: MakeContract) -> None:
    asked = Asked(position=((3.0, 4.0), (-1.0, 0.0), (0.1, 2.0)))
    with pytest.raises(ConfigError, match="position"):
        Limits.narrowed(arm, make_contract(arm, limits=asked))


def test_the_command_mode_picks_the_filter(arm: Robot, make_contract: MakeContract) -> None:
    contract = make_contract(arm)
    assert isinstance(make_filter(arm, contract), PositionFilter)
    for mode, kind in (
        ("velocity", VelocityFilter),
        ("effort", EffortFilter),
        ("body_velocity", BodyVelocityFilter),
    ):
        robot = dataclasses.replace(
            arm,
            command=dataclasses.replace(arm.command, mode=mode),
            body=BodyLimits((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        )
        assert isinstance(make_filter(robot, contract), kind)
    pamy = Robot.load("pamy")
    assert isinstance(make_filter(pamy, make_contract(pamy)), PressureFilter)


def test_efforts_need_an_effort_limit(make_contract: MakeContract) -> None:
    pamy = Robot.load("pamy")
    robot = dataclasses.replace(
        pamy, command=dataclasses.replace(pamy.command, mode="effort", order=pamy.wire_names)
    )
    with pytest.raises(ConfigError, match="effort limit"):
        make_filter(robot, make_contract(robot))


def test_the_arm_s_filter_has_its_effort_window(arm: Robot, make_contract: MakeContract) -> None:
    """Held fast at home, a far target gets no further than effort/kp."""
    filter = make_filter(arm, make_contract(arm))
    filter.start(arm.home_position)
    for _ in range(200):
        filter.measured(arm.home_position, np.zeros(3))
        filter(np.array([2.4, -2.0, 0.0]))
    reach = arm.effort_limit / arm.kp
    np.testing.assert_allclose(np.abs(filter.command - arm.home_position), reach, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_no_number_is_a_fault(bad: float) -> None:
    assert check_action(np.array([0.1, -1e30], np.float32)) is None
    fault = check_action(np.array([0.1, bad, 0.0], np.float32))
    assert (
        fault is not None
        and fault.kind is FaultKind.NONFINITE_ACTION
        and fault.holds
        and "[1]" in fault.detail
    )
