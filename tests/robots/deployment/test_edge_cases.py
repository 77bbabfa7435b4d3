"""The table of odd cases, one test each; those of bundles are in tests/dynrl/policy, those of names, domains and
interfaces in tests/robots/transports, those of files, signals and full disks beside this file."""

import dataclasses
import time

import numpy as np
import pytest

from dynrl.policy import ActionTerm, Contract, Control, ObservationTerm, RobotModel
from dynrl.policy.errors import BundleRobot
from dynrl.robots.compatibility import check_robot
from dynrl.robots.contract_page import contract_page
from dynrl.robots.controller import Controller, TickInput
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import BodyLimits, Command, Joint, Rates, Robot, Source
from dynrl.robots.encoding import CommandEncoder
from dynrl.robots.messages import message_types
from dynrl.robots.safety import InputChecks
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.sources import Sources
from dynrl.robots.states import Event, State
from dynrl.robots.transports.base import Received

pytest.importorskip("rosbags", reason="messages need rosbags: pip install 'dynrl[ros]'")
JOINT_STATE = "sensor_msgs/msg/JointState"
MS = 1_000_000


def robot_of(*joints, **changes):
    values = {
        "name": "odd",
        "model": "",
        "joints": joints,
        "sources": {"joint_states": Source("joint_states", JOINT_STATE, rate=200)},
        "command": Command("joint_commands", JOINT_STATE),
        "rates": Rates(10, 500),
    }
    return Robot(**values | changes)


def joint_state(names, position, velocity=None, stamp=1):
    types = message_types()
    return types.new(
        JOINT_STATE,
        header=types.new("std_msgs/msg/Header", stamp=types.new("builtin_interfaces/msg/Time", sec=stamp)),
        name=list(names),
        position=np.array(position, float),
        velocity=np.array(np.zeros(len(position)) if velocity is None else velocity, float),
    )


def hinge(name, **changes):
    return Joint(name, **{"velocity": 2.0, "acceleration": 10.0, "position": (-1.0, 1.0)} | changes)


def test_one_joint(make_world):
    robot = robot_of(hinge("only"))
    world = make_world(bundle=sample_bundle(robot), robot=robot)
    world.until(State.ACTIVE)
    world.tick(100)
    assert world.judge() > 100 and len(world.mirror.commands[0][1]) == 1


def test_no_joint_at_all():
    """A base that drives: body velocities, no joints; zero is held, and sent within its limits."""
    robot = robot_of(
        sources={"goal": Source("goal", "geometry_msgs/msg/Twist", required=False)},
        command=Command("cmd_vel", "geometry_msgs/msg/Twist", mode="body_velocity"),
        body=BodyLimits((1.0, 0.5, 1.0), (2.0, 2.0, 4.0)),
    )
    contract = Contract(
        "drive",
        Control(0.02),
        RobotModel("odd", ()),
        (ObservationTerm("wanted", "command/body/velocity", unit="m/s", default=(0.0, 0.0, 0.0)),),
        (ActionTerm("velocity", "target/body/velocity", unit="m/s", scale=5.0),),
    )
    assert check_robot(contract, robot)
    action = np.array([1.0, -1.0, 1.0], np.float32)
    config = DeploymentConfig(ramp=0.0)
    controller = Controller(contract, robot, lambda observation: action, lambda: None, config)
    controller.handle(Event.CONFIGURE, 0)
    encode = CommandEncoder(contract, robot, message_types(), 20 * MS)
    sent = []
    for number in range(60):
        now = number * 20 * MS
        command = controller.tick(TickInput(number, now, now)).command
        if command is not None:
            twist = encode(command, now)
            sent.append([twist.linear.x, twist.linear.y, twist.angular.z])
    assert controller.machine.state is State.ACTIVE
    told = np.array(sent)
    np.testing.assert_array_equal(told[0], 0.0)
    np.testing.assert_allclose(told[-1], [1.0, -0.5, 1.0])
    assert (np.abs(np.diff(told, axis=0)) <= np.array([2.0, 2.0, 4.0]) * 0.02 + 1e-12).all()


def test_joints_split_over_several_publishers():
    robot = robot_of(
        hinge("a"),
        hinge("b"),
        sources={
            "left": Source("left", JOINT_STATE, rate=200),
            "right": Source("right", JOINT_STATE, rate=200),
        },
    )
    contract = sample_bundle(robot).contract
    checks = InputChecks(robot, contract)
    sources = Sources(contract, robot, checks.required)
    for step in range(1, 30):
        at = step * 5 * MS
        for name, joint, value in (("left", "a", 0.1), ("right", "b", -0.2)):
            message = joint_state([joint], [value], stamp=step)
            assert checks.check(name, message, at) is None
            sources.update(name, message, at)
    np.testing.assert_array_equal(sources.position, [0.1, -0.2])
    assert checks.stale(at + MS) is None
    for step in range(30, 60):
        at = step * 5 * MS
        message = joint_state(["a"], [0.1], stamp=step)
        checks.check("left", message, at)
        sources.update("left", message, at)
    assert sources.position_ns[0] - sources.position_ns[1] >= 150 * MS, "every joint has an age of its own"
    assert checks.stale(at).source == "right"


def test_no_velocities_is_an_error_with_its_remedy_before_anything_starts():
    robot = robot_of(
        hinge("a"),
        sources={"joint_states": Source("joint_states", JOINT_STATE, rate=200, fields=("position",))},
    )
    contract = sample_bundle(robot_of(hinge("a"))).contract
    with pytest.raises(BundleRobot, match=r"derive: {velocity: finite_difference}"):
        check_robot(contract, robot)


def test_velocities_derived_from_positions():
    source = Source(
        "joint_states", JOINT_STATE, rate=200, fields=("position",), derive={"velocity": "finite_difference"}
    )
    robot = robot_of(hinge("a"), sources={"joint_states": source})
    contract = sample_bundle(robot).contract
    check_robot(contract, robot)
    sources = Sources(contract, robot, ("joint_states",))
    for step in range(4):
        sources.update("joint_states", joint_state(["a"], [0.01 * step], []), (step + 1) * 5 * MS)
        expected = 0.0 if step == 0 else 2.0
        np.testing.assert_allclose(sources.values["state/joint/velocity"], [expected])


def test_prismatic_joints_are_in_metres(make_world):
    robot = robot_of(
        hinge(
            "lift", kind="prismatic", position=(0.0, 0.4), velocity=0.1, acceleration=0.5, unit_scale=0.001
        ),
        hinge("turn"),
    )
    world = make_world(bundle=sample_bundle(robot), robot=robot)
    world.until(State.ACTIVE)
    world.tick(100)
    world.judge()
    wire = world.mirror.robot.position_to_wire(world.mirror.commands[-1][1])
    assert abs(wire[0]) > 20, "millimetres on the wire"


def test_continuous_joints_unwrap():
    robot = robot_of(hinge("wheel", kind="continuous", position=None))
    contract = sample_bundle(robot_of(hinge("wheel"))).contract
    sources = Sources(contract, robot, ("joint_states",))
    angles = np.linspace(3.0, 3.0 + 4 * np.pi, 80)
    for step, angle in enumerate(angles):
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        sources.update("joint_states", joint_state(["wheel"], [wrapped]), step * 5 * MS)
        np.testing.assert_allclose(sources.position, angle, atol=1e-9)


def test_a_robot_that_stands_at_its_limit(make_world, arm):
    start = arm.home_position.copy()
    start[2] = arm.upper[2]
    world = make_world(start=start)
    world.until(State.ACTIVE)
    world.tick(100)
    assert world.judge() > 100
    np.testing.assert_allclose(world.mirror.commands[0][1], start, atol=1e-9)


def test_a_robot_beyond_its_limit_within_tolerance_comes_in(make_world, arm):
    start = arm.home_position.copy()
    start[2] = arm.upper[2] + 0.005
    world = make_world(start=start)
    world.until(State.ACTIVE)
    world.tick(150)
    assert world.mirror.commands[0][1][2] == pytest.approx(start[2], abs=1e-9)
    told = np.array([command[2] for _, command in world.mirror.commands])
    assert told.max() <= start[2] + 1e-9 and told[-1] < arm.upper[2]


def test_a_robot_far_beyond_its_limit_is_refused(make_world, arm):
    start = arm.home_position.copy()
    start[2] = arm.upper[2] + 0.05
    world = make_world(start=start)
    world.tick(50)
    assert world.state is State.INACTIVE and world.mirror.commands == []
    assert "'elbow' stands at" in world.deployment.controller.obstacle_now or "OUT_OF_RANGE" in str(
        world.deployment.controller.checks.counters
    )


def test_a_robot_that_moves_is_refused(make_world):
    world = make_world()

    def moving(message, now):
        message.velocity = np.array([0.5, 0.0, 0.0])
        return [message]

    world.mirror.mutate = moving
    world.tick(50)
    assert world.state is State.INACTIVE
    assert "'yaw' moves at 20% of its velocity limit" in world.deployment.controller.obstacle_now


def test_nobody_listens(make_world, arm, sway):
    world = make_world()
    real = world.deployment.transport.matched
    world.deployment.transport.matched = lambda: dataclasses.replace(real(), subscribers=0)
    world.tick(50)
    assert (
        world.state is State.INACTIVE
        and "--no-require-subscriber" in world.deployment.controller.obstacle_now
    )


def test_a_source_slower_than_the_policy(make_world, arm):
    """30 Hz against 50 Hz: older than a period, and never stale."""
    sources = {"joint_states": dataclasses.replace(arm.sources["joint_states"], rate=30.0)}
    robot = dataclasses.replace(arm, sources=sources)
    world = make_world(bundle=sample_bundle(robot), robot=robot)
    beats = iter(range(10**9))
    world.mirror.mutate = lambda message, now: [message] if next(beats) % 7 == 0 else []
    world.until(State.ACTIVE, 200)
    world.tick(150)
    assert world.state is State.ACTIVE
    world.judge()


def test_a_policy_slower_than_its_period_is_refused(arm, sway, monkeypatch):
    monkeypatch.setattr("dynrl.policy.PolicySession.warm_up", lambda self, calls: np.full(calls, 0.011))
    with pytest.raises(BundleRobot, match=r"11.0 ms .* more than half of control.period 20 ms"):
        Deployment(sway, arm, None)


def test_the_wall_clock_is_set_during_a_run(make_world, monkeypatch):
    streams = []
    for shift in (0, -3600 * 10**9):
        world = make_world()
        world.until(State.ACTIVE)
        now = time.time_ns
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda now=now, shift=shift: now() + shift)
            world.tick(60)
        streams.append([command for _, command in world.mirror.commands])
    np.testing.assert_array_equal(*streams)


def test_unicode_joint_names(make_world, arm):
    joints = tuple(
        dataclasses.replace(joint, name=f"{joint.name}_ü\u202e", wire=f"{joint.wire}_關")
        for joint in arm.joints
    )
    robot = dataclasses.replace(arm, joints=joints)
    bundle = sample_bundle(robot)
    world = make_world(bundle=bundle, robot=robot)
    world.until(State.ACTIVE)
    world.tick(20)
    world.judge()
    page = contract_page(bundle.contract)
    assert page.isascii() or "\u202e" not in page
    assert "yaw_\\xfc\\u202e" in page


def test_a_goal_in_another_order_and_its_timeout(arm):
    term = ObservationTerm("goal", "command/scalar", shape=(1,), default=(7.0,), timeout=0.1)
    sources = {**arm.sources, "level": Source("level", "std_msgs/msg/Float64", required=False)}
    robot = dataclasses.replace(arm, sources=sources)
    contract = sample_bundle(robot, extra_terms=(term,)).contract
    known = Sources(contract, robot, ())
    known.update("level", message_types().new("std_msgs/msg/Float64", data=3.0), 50 * MS)
    known.expire(140 * MS)
    np.testing.assert_array_equal(known.values["command/scalar"], [3.0])
    known.expire(151 * MS)
    assert "command/scalar" not in known.values, "the default takes its place"


def test_a_robot_that_must_say_that_it_is_ready(make_world, arm):
    """The reference mark of an encoder, say: no activation before, and a false later refuses the next one."""
    sources = {**arm.sources, "ready": Source("ready", "std_msgs/msg/Bool", required=False)}
    robot = dataclasses.replace(arm, sources=sources, activation=("ready",))
    world = make_world(bundle=sample_bundle(robot), robot=robot)
    types = world.types
    world.tick(50)
    assert world.state is State.INACTIVE
    world.mirror.side.publish("ready", types.new("std_msgs/msg/Bool", data=False))
    world.tick(20)
    assert (
        world.state is State.INACTIVE and "'ready' must be true" in world.deployment.controller.obstacle_now
    )
    world.mirror.side.publish("ready", types.new("std_msgs/msg/Bool", data=True))
    world.until(State.ACTIVE, 100)


def test_a_control_word_that_is_none(make_world):
    world = make_world()
    world.say("control", data="explode\n\x1b[31m")
    world.tick(3)
    line = next(line for line in world.lines if "not understood" in line)
    assert "\x1b" not in line and "activate" in line


def test_a_broken_message_of_a_reader_is_a_fault_and_no_crash(arm, sway):
    """A message that the checks let pass and the reader cannot read."""
    config = DeploymentConfig()
    controller = Controller(
        sway.contract, arm, lambda observation: np.zeros(3, np.float32), lambda: None, config
    )
    controller.handle(Event.CONFIGURE, 0)
    controller.checks.check = lambda *arguments: None
    out = controller.tick(TickInput(0, 0, 0, [Received("joint_states", 0, object(), b"")]))
    assert out.faults[0].kind.value == "EXCEPTION" and "AttributeError" in controller.traceback
