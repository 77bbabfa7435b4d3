"""What the robot's MuJoCo model knows: the box that a body must not be commanded out of, and what carries the arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.errors import ConfigError
from dynrl.robots.description import Robot

if TYPE_CHECKING:
    from dynrl.policy.contract import Workspace

Floats = NDArray[np.float64]

TOLERANCE = 1e-6
PATIENCE = 5
"""Commands outside in a row after which the deployment holds."""


class WorkspaceCheck:
    """Forward kinematics of commanded poses, on data of its own, with the robot's MuJoCo model.

    Args:
        robot: the robot; joints that are not in `joints` stay in its home pose.
        workspace: frame, body and box of the bundle.
        joints: order of the commands.
        margin: metres that bodies which can collide must keep from each other; None does not look.

    Raises:
        ConfigError: the model cannot be loaded, or lacks a joint or a body; a box without inside.
    """

    def __init__(
        self, robot: Robot, workspace: Workspace, joints: Sequence[str], margin: float | None = None
    ) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = load_model(robot)
        self._data = mujoco.MjData(self._model)
        self._lower, self._upper = np.array(workspace.box[0]), np.array(workspace.box[1])
        if not np.all(self._lower < self._upper):
            raise ConfigError(f"workspace.box: {workspace.box}, expected the lowest corner, then the highest")
        self._body = body_id(self._model, workspace.body, robot, "workspace.body")
        self._frame = body_id(self._model, workspace.frame, robot, "workspace.frame")
        addresses = position_addresses(self._model, robot, robot.names)
        self._data.qpos[addresses] = robot.home_position
        self._addresses = position_addresses(self._model, robot, joints)
        self._margin = margin
        if margin is not None:
            self._model.geom_margin[:] = margin
        self._outside = 0
        self._last_excess = np.inf

    def reset(self) -> None:
        """Forget the commands before."""
        self._outside = 0
        self._last_excess = np.inf

    def place(self, command: Floats) -> Floats:
        """Position in metres of the body in the frame, float64[3], at the commanded pose float64[n]."""
        data = self._data
        data.qpos[self._addresses] = command
        self._mujoco.mj_kinematics(self._model, data)
        rotation = data.xmat[self._frame].reshape(3, 3)
        return rotation.T @ (data.xpos[self._body] - data.xpos[self._frame])

    def inside(self, command: Floats) -> bool:
        """Whether the body is in the box, to 1e-6 m, and nothing collides, at the commanded pose float64[n]."""
        return self._excess(command) <= TOLERANCE

    def update(self, command: Floats) -> Literal["ok", "brake", "hold"]:
        """What to do with a command: send it; brake instead; brake and hold for good (the fifth in a row).

        Outside the box a command passes that is on the way back in.
        """
        excess = self._excess(command)
        inside, returning = excess <= TOLERANCE, excess < self._last_excess < np.inf
        if inside or returning:
            self._last_excess = excess
            self._outside = 0
            return "ok"
        if not np.isfinite(self._last_excess):
            self._last_excess = excess  # it begins outside: from here it may only come nearer
        self._outside += 1
        return "hold" if self._outside >= PATIENCE else "brake"

    def _excess(self, command: Floats) -> float:
        """How far outside, metres; negative inside; infinite when something collides or a number is none."""
        place = self.place(command)
        excess = float(np.max(np.maximum(self._lower - place, place - self._upper)))
        if np.isnan(excess) or (self._margin is not None and self._collides()):
            return np.inf
        return excess

    def _collides(self) -> bool:
        self._mujoco.mj_collision(self._model, self._data)
        distances = self._data.contact.dist  # found within the margins of both bodies together
        return bool((distances < self._margin).any())


class GravityEffort:
    """The efforts that carry an arm at rest, by the robot's MuJoCo model: gravity and springs, less what is
    compensated.

    Args:
        robot: the robot; joints that are not in `joints` stay in its home pose.
        joints: order of positions and efforts.

    Raises:
        ConfigError: the model cannot be loaded, or lacks a joint.
    """

    def __init__(self, robot: Robot, joints: Sequence[str]) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = load_model(robot)
        self._data = mujoco.MjData(self._model)
        self._data.qpos[position_addresses(self._model, robot, robot.names)] = robot.home_position
        self._addresses = position_addresses(self._model, robot, joints)
        self._dofs = np.array([self._model.joint(name).dofadr[0] for name in joints], np.intp)

    def __call__(self, position: Floats) -> Floats:
        """Efforts float64[n] at positions float64[n]."""
        data = self._data
        data.qpos[self._addresses] = position
        self._mujoco.mj_fwdPosition(self._model, data)
        self._mujoco.mj_fwdVelocity(self._model, data)
        return (data.qfrc_bias - data.qfrc_passive)[self._dofs]


def load_model(robot: Robot) -> Any:
    """The robot's `mujoco.MjModel`.

    Raises:
        ConfigError: MuJoCo cannot read it.
    """
    import mujoco

    try:
        return mujoco.MjModel.from_xml_path(robot.model)
    except ValueError as error:
        raise ConfigError(f"{robot.model}: MuJoCo cannot load the robot's model: {error}") from error


def body_id(model: Any, name: str, robot: Robot, key: str) -> int:
    """Number of a body in the model.

    Raises:
        ConfigError: no such body.
    """
    import mujoco

    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    if found < 0:
        known = ", ".join(model.body(i).name for i in range(model.nbody))
        raise ConfigError(f"{key}: the model of robot {robot.name!r} has no body {name!r}; it has {known}")
    return found


def position_addresses(model: Any, robot: Robot, joints: Sequence[str]) -> NDArray[np.intp]:
    """Places of joints in `qpos` (and, for models of hinges and slides only, in `qvel`).

    Raises:
        ConfigError: the model lacks a joint, or has it as a ball or free joint.
    """
    import mujoco

    addresses = []
    for name in joints:
        joint = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
        if joint < 0:
            known = ", ".join(model.joint(i).name for i in range(model.njnt))
            raise ConfigError(f"the model of robot {robot.name!r} has no joint {name!r}; it has {known}")
        kinds = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
        if int(model.jnt_type[joint]) not in kinds:
            raise ConfigError(f"joint {name!r} of robot {robot.name!r} is neither a hinge nor a slide")
        addresses.append(model.jnt_qposadr[joint])
    return np.array(addresses, np.intp)
