"""The body of the twin: MuJoCo, the driver's position controller, delay, backlash and muscles."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.errors import ConfigError
from dynrl.robots.description import Robot, TwinSettings
from dynrl.robots.safety.workspace import body_id

Floats = NDArray[np.float64]

LIMIT_TIME = 0.01
"""Time constant in seconds of the hard stops at the position limits."""
DEFAULT_KP, DEFAULT_KD = 100.0, 10.0


class Twin:
    """A robot that obeys commands, without any topics.

    Position mode: torque `kp·(c - q) - kd·q̇` of the driver, cut at the effort limit. Velocity mode: `kd·(c - q̇)`,
    cut. Effort mode: `c`, cut. Pressure mode: each pressure follows its command with the lag of the muscles, and turns
    its joint with `gain·(p_agonist - p_antagonist) - stiffness·(p_agonist + p_antagonist)·q`. Body velocities move
    nothing here but the pose that is published.

    Args:
        robot: its description; the model file has masses and shapes, limits and gains come from the description.
        settings: step, delay, backlash; the description's when absent.

    Attributes:
        robot: its description.
        settings: in use.
        time: simulated seconds since `reset`.
        target: command in effect, after delay and backlash: joints (robot order), muscles, or (x, y, yaw).

    Raises:
        ConfigError: MuJoCo cannot load the model, or it lacks a joint.
    """

    def __init__(self, robot: Robot, settings: TwinSettings | None = None) -> None:
        import mujoco

        self._mujoco = mujoco
        self.robot = robot
        self.settings = settings or robot.twin
        self.model = _build(robot, self.settings)
        self.data = mujoco.MjData(self.model)
        ids = [self.model.joint(joint.name).id for joint in robot.joints]
        self._qpos = self.model.jnt_qposadr[ids].astype(np.intp)
        self._qvel = self.model.jnt_dofadr[ids].astype(np.intp)
        self._ctrl = np.array([self.model.actuator(joint.name).id for joint in robot.joints], np.intp)
        self.base = body_id(self.model, robot.base_frame, robot, "base_frame")
        self._delay_steps = round(self.settings.delay / self.settings.physics_dt)
        self._muscle_joints = robot.index([muscle.joint for muscle in robot.muscles])
        self._muscle_signs = np.array([1.0 if m.side == "agonist" else -1.0 for m in robot.muscles])
        self.reset()

    def reset(self, position: ArrayLike | None = None) -> None:
        """Stand still at `position`, float64[n] in the robot's order; at home when absent."""
        self._mujoco.mj_resetData(self.model, self.data)
        start = self.robot.home_position if position is None else np.asarray(position, np.float64)
        self.data.qpos[self._qpos] = start
        self.pressures = np.array([float(muscle.safe) for muscle in self.robot.muscles])
        self.body_pose = np.zeros(3)
        self.target = self._resting_command(start)
        self._asked = self.target.copy()
        self._waiting: deque[Floats] = deque(self.target.copy() for _ in range(self._delay_steps))
        self.steps = 0
        self._mujoco.mj_forward(self.model, self.data)

    @property
    def time(self) -> float:
        return self.steps * self.settings.physics_dt

    @property
    def position(self) -> Floats:
        """Joint positions, float64[n], a copy."""
        return self.data.qpos[self._qpos]

    @property
    def velocity(self) -> Floats:
        """Joint velocities, float64[n], a copy."""
        return self.data.qvel[self._qvel]

    @property
    def effort(self) -> Floats:
        """Efforts of the drivers, float64[n], a copy."""
        return self.data.qfrc_actuator[self._qvel]

    def command(self, values: ArrayLike) -> None:
        """Obey `values` (joints in the robot's order, muscles, or (x, y, yaw)), once the delay is over.

        Raises:
            ValueError: an element is not finite, or there are too few or too many.
        """
        asked = np.array(values, np.float64)
        if asked.shape != self.target.shape or not np.isfinite(asked).all():
            raise ValueError(f"a command must be {self.target.size} finite numbers, got {asked.tolist()}")
        self._asked = asked

    def hold(self) -> None:
        """What the watchdog does: keep the target (position, pressure), stop (velocity, body), let go (effort)."""
        if self.robot.command.mode in ("velocity", "effort", "body_velocity"):
            self._asked = np.zeros_like(self.target)

    def step(self) -> None:
        """One physics step."""
        self._waiting.append(self._asked)
        self._follow(self._waiting.popleft())
        if self.robot.command.mode == "pressure":
            self.data.ctrl[self._ctrl] = self._muscle_torque()
        elif self.robot.command.mode == "body_velocity":
            self._drive()
        else:
            self.data.ctrl[self._ctrl] = self.target
        self._mujoco.mj_step(self.model, self.data)
        self.steps += 1

    def _resting_command(self, position: Floats) -> Floats:
        match self.robot.command.mode:
            case "position":
                return position.copy()
            case "pressure":
                return self.pressures.copy()
            case "body_velocity":
                return np.zeros(3)
        return np.zeros(len(self.robot.joints))

    def _follow(self, asked: Floats) -> None:
        """Backlash: the gear moves when the play is used up."""
        play = self.settings.backlash / 2 if self.robot.command.mode == "position" else 0.0
        np.clip(self.target, asked - play, asked + play, out=self.target)

    def _muscle_torque(self) -> Floats:
        dt, settings = self.settings.physics_dt, self.settings
        self.pressures += (self.target - self.pressures) * min(dt / settings.muscle_lag, 1.0)
        angles = self.position[self._muscle_joints]
        pull = self._muscle_signs * settings.muscle_gain * self.pressures
        pull -= settings.muscle_stiffness * self.pressures * angles
        torque = np.zeros(len(self.robot.joints))
        np.add.at(torque, self._muscle_joints, pull)
        return torque

    def _drive(self) -> None:
        dt, yaw = self.settings.physics_dt, self.body_pose[2]
        forward, left, turn = self.target
        self.body_pose[0] += (forward * np.cos(yaw) - left * np.sin(yaw)) * dt
        self.body_pose[1] += (forward * np.sin(yaw) + left * np.cos(yaw)) * dt
        self.body_pose[2] += turn * dt


def _build(robot: Robot, settings: TwinSettings) -> Any:
    """The MJCF with the description's limits and one actuator per joint."""
    import mujoco

    try:
        spec = mujoco.MjSpec.from_file(robot.model)
        spec.option.timestep = settings.physics_dt
        for joint in robot.joints:
            limited = spec.joint(joint.name)
            if limited is None:
                known = ", ".join(each.name for each in spec.joints)
                raise ConfigError(
                    f"the model of robot {robot.name!r} has no joint {joint.name!r}; it has {known}"
                )
            if joint.position is not None:
                limited.range = list(joint.position)
                limited.limited = True
                limited.solref_limit = [max(LIMIT_TIME, 2 * settings.physics_dt), 1.0]
            _add_actuator(spec, joint, robot.command.mode)
        return spec.compile()
    except ValueError as error:
        raise ConfigError(f"{robot.model}: MuJoCo cannot load the robot's model: {error}") from error


def _add_actuator(spec: Any, joint: Any, mode: str) -> None:
    import mujoco

    actuator = spec.add_actuator(name=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT, target=joint.name)
    kp = DEFAULT_KP if joint.kp is None else joint.kp
    kd = DEFAULT_KD if joint.kd is None else joint.kd
    if mode == "position":
        actuator.set_to_position(kp=kp, kv=kd)
    elif mode == "velocity":
        actuator.set_to_velocity(kv=kd)
    else:
        actuator.set_to_motor()
    if joint.effort is not None:
        actuator.forcerange = [-joint.effort, joint.effort]
        actuator.forcelimited = True
