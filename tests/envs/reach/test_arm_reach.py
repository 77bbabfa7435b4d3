"""The arm obeys MuJoCo, its commands obey the limits, and its observation is what the contract says."""

from pathlib import Path

import gymnasium as gym
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynrl.robots
from dynrl.envs.reach import ArmReach, command_step, physics_step, tool_position
from dynrl.envs.reach.arm import JOINTS, default_arm
from dynrl.envs.reach.environment import PERIOD, PHYSICS_DT
from dynrl.policy import ActionDecoder, ObservationAssembler
from dynrl.policy.yaml_text import read_contract, write_contract

MODEL = Path(dynrl.robots.__path__[0]) / "descriptions" / "arm" / "model.xml"
ARM = default_arm()


@pytest.fixture(scope="module")
def model():
    """The robot's own model, with the position controller that the environment assumes."""
    spec = mujoco.MjSpec.from_file(str(MODEL))
    for index, joint in enumerate(JOINTS):
        actuator = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        actuator.gainprm[0], actuator.biasprm[1] = ARM.kp[index], -ARM.kp[index]
        actuator.biasprm[2] = -ARM.kd[index]
        actuator.forcelimited = True
        actuator.forcerange = [-ARM.effort[index], ARM.effort[index]]
    return spec.compile()


def test_a_step_is_a_step_of_mujoco(model):
    """One step from anywhere: the same accelerations, limits of effort included, to the rounding of the constants."""
    assert model.opt.timestep == PHYSICS_DT
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    with jax.enable_x64(True):
        step = jax.jit(lambda q, v, c: physics_step(q, v, c, PHYSICS_DT, ARM))
        saturated = 0
        for _ in range(300):
            position = ARM.default_pose + rng.uniform(-0.8, 0.8, 3)
            velocity, command = rng.uniform(-3, 3, 3), position + rng.uniform(-0.6, 0.6, 3)
            data.qpos[:], data.qvel[:], data.ctrl[:] = position, velocity, command
            mujoco.mj_step(model, data)
            found = step(position, velocity, command)
            saturated += bool((np.abs(data.actuator_force) >= ARM.effort * (1 - 1e-9)).any())
            np.testing.assert_allclose(found[1], data.qvel, atol=2e-6)
            np.testing.assert_allclose(found[0], data.qpos, atol=1e-7)
    assert 20 < saturated < 280


def test_the_tool_is_where_mujoco_has_it(model):
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    for _ in range(100):
        data.qpos[:] = rng.uniform(ARM.low, ARM.high)
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(
            tool_position(jnp.asarray(data.qpos), ARM), data.body("tool").xpos, atol=1e-6
        )


def test_the_robot_file_has_the_same_numbers():
    from dynrl.robots.description import Robot

    robot, contract = Robot.load("arm"), ArmReach().policy_contract()
    assert tuple(joint.name for joint in robot.joints) == contract.robot.joints
    for index, joint in enumerate(robot.joints):
        assert tuple(joint.position) == contract.limits.position[index]
        assert joint.velocity == contract.limits.velocity[index]
        assert joint.acceleration == contract.limits.acceleration[index]
        assert joint.effort == contract.limits.effort[index]
        assert (joint.kp, joint.kd) == (contract.gains.kp[index], contract.gains.kd[index])


compiled_command_step = jax.jit(
    lambda desired, command, speed: command_step(desired, command, speed, PERIOD, ARM)
)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=40))
def test_commands_keep_all_limits(desired):
    with jax.enable_x64(True):
        step = compiled_command_step
        command, speed = np.asarray(ARM.default_pose, float), np.zeros(3)
        for wanted in desired:
            following, faster = (np.asarray(part) for part in step(np.array(wanted), command, speed))
            assert (following >= ARM.low - 1e-9).all() and (following <= ARM.high + 1e-9).all()
            assert (np.abs(faster) <= ARM.velocity * (1 + 1e-9)).all()
            assert (np.abs(faster - speed) <= ARM.acceleration * PERIOD * (1 + 1e-9) + 1e-9).all()
            np.testing.assert_allclose(following, command + faster * PERIOD, atol=1e-12)
            command, speed = following, faster


def test_commands_move_as_the_safety_filter_of_a_deployment_does():
    """Training and deployment use two pieces of code for the same rule; they give the same commands."""
    from dynrl.robots.description import Robot
    from dynrl.robots.safety import make_filter

    contract, rng = ArmReach().policy_contract(), np.random.default_rng(0)
    safety = make_filter(Robot.load("arm"), contract)
    start = np.array(contract.default_pose)
    safety.start(start)
    with jax.enable_x64(True):
        step = compiled_command_step
        command, speed = start, np.zeros(3)
        for tick in range(500):
            if tick % 20 == 0:
                desired = rng.uniform(ARM.low - 0.5, ARM.high + 0.5)
            command, speed = step(desired, command, speed)
            safety.measured(np.asarray(command), np.asarray(speed))
            np.testing.assert_allclose(safety(desired), command, atol=1e-5)


def test_the_contract_assembles_the_observation_of_the_environment():
    """1000 random steps: the terms from raw joint states are what the environment shows, and its action decodes to the
    target that the environment pursues."""
    env = gym.make("dynrl/ArmReach-v0")
    contract = env.unwrapped.func_env.policy_contract()
    assemble, decode = ObservationAssembler(contract), ActionDecoder(contract)
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    action = np.zeros(3, np.float32)
    for _ in range(1000):
        state = jax.device_get(env.unwrapped._episode.state)
        values = {
            "state/joint/position": state.position,
            "state/joint/velocity": state.velocity,
            "goal": state.goal,
        }
        np.testing.assert_allclose(assemble(values, action, 0.0), observation, atol=1e-6)
        action = env.action_space.sample()
        target = decode(action)["joint_target"]
        np.testing.assert_allclose(target, ARM.default_pose + action * ARM.action_scale, atol=1e-6)
        observation, _, _, truncated, _ = env.step(action)
        if truncated:
            observation, _ = env.reset()
            action = np.zeros(3, np.float32)


def test_the_contract_survives_its_file():
    contract = ArmReach().policy_contract()
    assert read_contract(write_contract(contract).encode()) == contract


def test_the_right_pose_reaches_the_goal_and_pays():
    """Commanding the pose whose tool position is the goal brings the tool there, but for the sag under gravity."""
    env = gym.make("dynrl/ArmReach-v0")
    for seed in range(5):
        env.reset(seed=seed)
        state, params = jax.device_get(env.unwrapped._episode.state), env.unwrapped.params
        pose = _inverse(np.asarray(state.goal, float), params)
        action = ((pose - params.default_pose) / params.action_scale).astype(np.float32)
        rewards = []
        for _ in range(75):
            _, reward, _, _, info = env.step(np.clip(action, -1, 1))
            rewards.append(reward)
        assert info["distance"] < 0.04
        assert rewards[-1] > 0.8
        assert np.mean(rewards) > 0.5


def _inverse(goal, params):
    """Joint positions of a tool position, elbow bent downwards."""
    upper, forearm = params.length[1:]
    radius, height = np.hypot(goal[0], goal[1]), goal[2] - params.length[0]
    bend = np.arccos((radius**2 + height**2 - upper**2 - forearm**2) / (2 * upper * forearm))
    lift = np.arctan2(height, radius) + np.arctan2(forearm * np.sin(bend), upper + forearm * np.cos(bend))
    return np.array([np.arctan2(goal[1], goal[0]), -lift, bend])


def test_bad_horizons_are_refused():
    with pytest.raises(ValueError, match="horizon is 0"):
        ArmReach(horizon=0)
