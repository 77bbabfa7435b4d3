"""What the twin publishes: joint states, IMU, odometry, muscle pressures, clock and transforms, on the robot's wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynrl.errors import ConfigError
from dynrl.robots.description import Camera, Source
from dynrl.robots.safety.workspace import body_id
from dynrl.robots.twin.physics import Twin

if TYPE_CHECKING:
    from dynrl.robots.messages import MessageTypes

Make = Callable[[int], Any]
NANO = 1_000_000_000


class Sensors:
    """Messages about a twin.

    Args:
        twin: the twin.
        types: message types.
        shuffle: seed of the order in which joints are published; None for the order of the model.

    Attributes:
        makers: source name -> function from a stamp in nanoseconds to the message now. Sources that bring commands
            (goals) come from somebody else and are not among them.

    Raises:
        ConfigError: the robot file has a source that the twin cannot play.
    """

    def __init__(self, twin: Twin, types: MessageTypes, shuffle: int | None = None) -> None:
        self._twin, self._types = twin, types
        robot = twin.robot
        self._order = np.argsort([twin.model.joint(name).id for name in robot.names])
        if shuffle is not None:
            self._order = np.random.default_rng(shuffle).permutation(len(robot.joints))
        self._wire_names = [robot.wire_names[place] for place in self._order]
        self.makers: dict[str, Make] = {}
        for name, source in robot.sources.items():
            if not any(kind.startswith("command/") for kind in source.provides):
                self.makers[name] = self._maker(name, source)

    def clock(self, stamp_ns: int) -> Any:
        """`/clock`."""
        return self._types.new("rosgraph_msgs/msg/Clock", clock=self._time(stamp_ns))

    def transforms(self, stamp_ns: int) -> Any:
        """`/tf`: every body of the model in its parent's frame."""
        model, data = self._twin.model, self._twin.data
        transforms = []
        for body in range(1, model.nbody):
            parent = int(model.body_parentid[body])
            rotation = data.xmat[parent].reshape(3, 3).T
            place = rotation @ (data.xpos[body] - data.xpos[parent])
            turn = _multiply(_conjugate(data.xquat[parent]), data.xquat[body])
            transforms.append(
                self._types.new(
                    "geometry_msgs/msg/TransformStamped",
                    header=self._header(stamp_ns, model.body(parent).name),
                    child_frame_id=model.body(body).name,
                    transform=self._types.new(
                        "geometry_msgs/msg/Transform",
                        translation=self._vector(place),
                        rotation=self._quaternion(turn),
                    ),
                )
            )
        return self._types.new("tf2_msgs/msg/TFMessage", transforms=transforms)

    def _maker(self, name: str, source: Source) -> Make:
        match source.type:
            case "sensor_msgs/msg/JointState":
                return lambda stamp: self._joint_state(source, stamp)
            case "sensor_msgs/msg/Imu":
                body = body_id(self._twin.model, source.frame, self._twin.robot, f"sources.{name}.frame")
                return lambda stamp: self._imu(source, body, stamp)
            case "nav_msgs/msg/Odometry":
                return lambda stamp: self._odometry(source, stamp)
            case "std_msgs/msg/Float64MultiArray" if self._twin.robot.muscles:
                return lambda stamp: self._pressures()
            case "std_msgs/msg/Bool":
                return lambda stamp: self._types.new("std_msgs/msg/Bool", data=True)
            case "sensor_msgs/msg/Image" if source.camera is not None:
                look = _renderer(self._twin, name, source.camera)
                return lambda stamp: self._image(source, look(), stamp)
        raise ConfigError(f"sources.{name}: the twin cannot publish messages of type {source.type}")

    def _joint_state(self, source: Source, stamp_ns: int) -> Any:
        twin, robot, order = self._twin, self._twin.robot, self._order
        made = {
            "position": lambda: robot.position_to_wire(twin.position)[order],
            "velocity": lambda: robot.velocity_to_wire(twin.velocity)[order],
            "effort": lambda: robot.effort_to_wire(twin.effort)[order],
        }
        return self._types.new(
            "sensor_msgs/msg/JointState",
            header=self._header(stamp_ns, ""),
            name=self._wire_names,
            **{field: made[field]() for field in source.fields},
        )

    def _imu(self, source: Source, body: int, stamp_ns: int) -> Any:
        import mujoco

        model, data = self._twin.model, self._twin.data
        velocity, acceleration = np.zeros(6), np.zeros(6)
        mujoco.mj_rnePostConstraint(model, data)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 1)
        mujoco.mj_objectAcceleration(model, data, mujoco.mjtObj.mjOBJ_BODY, body, acceleration, 1)
        return self._types.new(
            source.type,
            header=self._header(stamp_ns, source.frame),
            orientation=self._quaternion(data.xquat[body]),
            angular_velocity=self._vector(velocity[:3]),
            linear_acceleration=self._vector(acceleration[3:]),
        )

    def _odometry(self, source: Source, stamp_ns: int) -> Any:
        x, y, yaw = self._twin.body_pose
        forward, left, turn = self._twin.target if self._twin.target.shape == (3,) else np.zeros(3)
        new = self._types.new
        pose = new(
            "geometry_msgs/msg/Pose",
            position=new("geometry_msgs/msg/Point", x=float(x), y=float(y)),
            orientation=self._quaternion(np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])),
        )
        twist = new(
            "geometry_msgs/msg/Twist",
            linear=self._vector(np.array([forward, left, 0.0])),
            angular=self._vector(np.array([0.0, 0.0, turn])),
        )
        return new(
            source.type,
            header=self._header(stamp_ns, "odom"),
            child_frame_id=source.frame,
            pose=new("geometry_msgs/msg/PoseWithCovariance", pose=pose),
            twist=new("geometry_msgs/msg/TwistWithCovariance", twist=twist),
        )

    def _image(self, source: Source, pixels: NDArray[np.uint8], stamp_ns: int) -> Any:
        height, width, channels = pixels.shape
        return self._types.new(
            source.type,
            header=self._header(stamp_ns, source.frame),
            height=height,
            width=width,
            encoding="rgb8",
            step=width * channels,
            data=pixels.reshape(-1),
        )

    def _pressures(self) -> Any:
        """Muscle by muscle in the order of the robot file, with labelled dimensions."""
        new, values = self._types.new, self._twin.pressures
        joints = len({muscle.joint for muscle in self._twin.robot.muscles})
        sides = len(values) // joints
        dimensions = [
            new("std_msgs/msg/MultiArrayDimension", label="joint", size=joints, stride=joints * sides),
            new("std_msgs/msg/MultiArrayDimension", label="muscle", size=sides, stride=sides),
        ]
        layout = new("std_msgs/msg/MultiArrayLayout", dim=dimensions)
        return new("std_msgs/msg/Float64MultiArray", layout=layout, data=values)

    def _header(self, stamp_ns: int, frame: str) -> Any:
        return self._types.new("std_msgs/msg/Header", stamp=self._time(stamp_ns), frame_id=frame)

    def _time(self, stamp_ns: int) -> Any:
        seconds, nanoseconds = divmod(stamp_ns, NANO)
        return self._types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)

    def _vector(self, xyz: NDArray[np.float64]) -> Any:
        x, y, z = (float(each) for each in xyz)
        return self._types.new("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _quaternion(self, wxyz: NDArray[np.float64]) -> Any:
        """ROS writes xyzw where MuJoCo writes wxyz."""
        w, x, y, z = (float(each) for each in wxyz)
        return self._types.new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _renderer(twin: Twin, name: str, camera: Camera) -> Callable[[], NDArray[np.uint8]]:
    """A function that takes a picture, uint8[height, width, 3]."""
    import mujoco

    if mujoco.mj_name2id(twin.model, mujoco.mjtObj.mjOBJ_CAMERA, camera.name) < 0:
        known = ", ".join(twin.model.camera(i).name for i in range(twin.model.ncam)) or "none"
        raise ConfigError(f"sources.{name}.camera: the model has no camera {camera.name!r}; it has {known}")
    try:
        renderer = mujoco.Renderer(twin.model, camera.height, camera.width)
    except Exception as error:  # each OpenGL platform fails in its own way
        raise ConfigError(
            f"sources.{name}.camera: pictures need OpenGL, which fails here ({type(error).__name__}: {error}); try "
            "MUJOCO_GL=egl or MUJOCO_GL=osmesa, or leave the source out"
        ) from error

    def look() -> NDArray[np.uint8]:
        renderer.update_scene(twin.data, camera.name)
        return renderer.render()

    return look


def _conjugate(wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    return wxyz * np.array([1.0, -1.0, -1.0, -1.0])


def _multiply(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    import mujoco

    product = np.zeros(4)
    mujoco.mju_mulQuat(product, a, b)
    return product
