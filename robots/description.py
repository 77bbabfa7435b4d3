"""Robot files: joints and limits, what the robot publishes, what it obeys, how the wire differs from the model.

Inside dynrl every joint quantity is a *model* quantity: SI units, the sign of the MJCF model, the order of the robot
file. The wire has its own names, signs, zero points and units; the robot file states them once, and here is the only
place that applies them:

    model position = sign · unit_scale · wire position + offset        [rad or m]
    model velocity = sign · unit_scale · wire velocity                 [rad/s or m/s]
    model effort   = sign · effort_scale · wire effort                 [N m or N]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.config import from_mapping, parse_yaml
from dynrl.errors import ConfigError

Floats = NDArray[np.float64]
Mode = Literal["position", "velocity", "effort", "pressure", "body_velocity"]

DESCRIPTIONS = Path(__file__).parent / "descriptions"

JOINT_FIELDS = ("position", "velocity", "effort")
KINDS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "sensor_msgs/msg/Imu": (
        "state/body/rotation",
        "state/body/angular_velocity",
        "state/body/linear_acceleration",
        "state/body/projected_gravity",
    ),
    "nav_msgs/msg/Odometry": (
        "state/body/pose",
        "state/body/rotation",
        "state/body/linear_velocity",
        "state/body/angular_velocity",
    ),
    "geometry_msgs/msg/PoseStamped": ("command/pose",),
    "geometry_msgs/msg/Twist": ("command/body/velocity",),
    "geometry_msgs/msg/TwistStamped": ("command/body/velocity",),
    "std_msgs/msg/Float64": ("command/scalar",),
    "std_msgs/msg/Float64MultiArray": ("state/muscle/pressure",),
    "sensor_msgs/msg/Image": ("state/camera/image",),
}


@dataclasses.dataclass(frozen=True)
class Joint:
    """One joint.

    Attributes:
        name: name in the model and in bundles.
        wire: name in messages; without a namespace (see `Robot.with_wire_prefix`).
        sign, offset, unit_scale, effort_scale: wire to model, see the top of this file.
        kind: `revolute` (rad), `prismatic` (m), or `continuous` (rad, without position limits).
        position: lower and upper limit, model units; None for a continuous joint only.
        velocity: largest speed, model units per second.
        acceleration: largest change of speed that a command may ask for, model units per second squared.
        effort: largest torque (N m) or force (N); None where the driver does not tell.
        effort_rate: largest change of a commanded effort, per second; None for full effort in 0.1 s.
        kp, kd: gains of the driver's position controller (N m/rad, N m s/rad); None where unknown.
    """

    name: str
    velocity: float
    acceleration: float
    position: tuple[float, float] | None = None
    effort: float | None = None
    effort_rate: float | None = None
    wire: str = ""
    sign: Literal[-1, 1] = 1
    offset: float = 0.0
    unit_scale: float = 1.0
    effort_scale: float = 1.0
    kind: Literal["revolute", "prismatic", "continuous"] = "revolute"
    kp: float | None = None
    kd: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a joint needs a name")
        if not self.wire:
            object.__setattr__(self, "wire", self.name)
        who = f"joint {self.name!r}"
        _need_finite(who, offset=self.offset)
        _need_positive(
            who,
            velocity=self.velocity,
            acceleration=self.acceleration,
            unit_scale=self.unit_scale,
            effort_scale=self.effort_scale,
        )
        if self.effort is not None:
            _need_positive(who, effort=self.effort)
        if self.effort_rate is not None:
            _need_positive(who, effort_rate=self.effort_rate)
        if (self.kp is None) != (self.kd is None):
            raise ValueError(f"{who}: kp and kd come together, or neither is given")
        if (
            self.kp is not None
            and self.kd is not None
            and not (0 < self.kp < math.inf and 0 <= self.kd < math.inf)
        ):
            raise ValueError(
                f"{who}: kp is {self.kp}, kd is {self.kd}; expected kp > 0 and kd >= 0, both finite"
            )
        if (self.position is None) != (self.kind == "continuous"):
            raise ValueError(f"{who}: position limits are needed, except of a joint of kind continuous")
        if self.position is not None:
            _need_range(who, "position", self.position)


@dataclasses.dataclass(frozen=True)
class Muscle:
    """One pneumatic muscle. Pressures are in the robot's own unit (unit "1" in bundles): it knows no pascals.

    Attributes:
        name: name in commands and terms.
        joint: the joint that it turns.
        side: `agonist` turns the joint the positive way, `antagonist` the negative way.
        pressure: smallest and largest pressure that may be commanded.
        rate: largest change of the commanded pressure, per second; the driver checks none, so it is mandatory.
        safe: pressure that an emergency stop goes to.
    """

    name: str
    joint: str
    side: Literal["agonist", "antagonist"]
    pressure: tuple[float, float]
    rate: float
    safe: float

    def __post_init__(self) -> None:
        who = f"muscle {self.name!r}"
        _need_range(who, "pressure", self.pressure)
        _need_positive(who, rate=self.rate)
        if not self.pressure[0] <= self.safe <= self.pressure[1]:
            raise ValueError(f"{who}: safe pressure {self.safe} is outside its limits {list(self.pressure)}")


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera of the model, for the twin.

    Attributes:
        name: in the MJCF.
        width, height: of its pictures, in pixels.
    """

    name: str
    width: int
    height: int

    def __post_init__(self) -> None:
        _need_positive(f"camera {self.name!r}", width=self.width, height=self.height)


@dataclasses.dataclass(frozen=True)
class Source:
    """One topic that the robot publishes.

    Attributes:
        topic: ROS name, without a leading slash it is relative to the namespace of the deployment.
        type: ROS type, `pkg/msg/Name`.
        rate: messages per second that the robot promises; 0 for sources that come when they please (goals).
        qos: name of the quality-of-service profile.
        required: a bundle cannot run when it is silent. Sources that a bundle does not use are never waited for.
        timeout: age in seconds at which it is stale; None takes the rule of the deployment.
        fields: of a `JointState`, the arrays that are filled.
        derive: of a `JointState`, how the arrays that are not filled are made.
        frame: frame of its vectors.
        kind: the term kind that a message of a type with several meanings stands for.
        camera: of an `Image`, what the twin looks with.
    """

    topic: str
    type: str
    rate: float = 0.0
    qos: Literal["sensor", "default", "command", "latched"] = "sensor"
    required: bool = True
    timeout: float | None = None
    fields: tuple[Literal["position", "velocity", "effort"], ...] = ("position", "velocity")
    derive: dict[Literal["velocity"], Literal["finite_difference"]] = dataclasses.field(default_factory=dict)
    frame: str = "base_link"
    kind: str | None = None
    camera: Camera | None = None

    def __post_init__(self) -> None:
        who = f"source on topic {self.topic!r}"
        _need_type(who, self.type)
        if not 0 <= self.rate < math.inf:
            raise ValueError(
                f"{who}: rate is {self.rate}, expected messages per second, or 0 for no fixed rate"
            )
        if self.timeout is not None:
            _need_positive(who, timeout=self.timeout)

    @property
    def provides(self) -> tuple[str, ...]:
        """Term kinds (of policy bundles) that can be read from this source."""
        if self.kind is not None:
            return (self.kind,)
        if self.type == "sensor_msgs/msg/JointState":
            filled = [name for name in JOINT_FIELDS if name in self.fields or name in self.derive]
            return tuple(f"state/joint/{name}" for name in filled)
        return KINDS_OF_TYPE.get(self.type, ())


@dataclasses.dataclass(frozen=True)
class Command:
    """The topic that the robot obeys.

    Attributes:
        topic, type, qos: as of a `Source`.
        mode: the quantity that is commanded.
        fields: of a `JointState`, the array that carries the command.
        order: wire names in the order of the numbers; mandatory for `Float64MultiArray`, which has no names.
        watchdog: seconds without a command after which the robot holds by itself.
        time_from_start: of a `JointTrajectory`, in control periods.
        gains: the command carries gains, so that stop mode `damp` is possible.
        frame: frame of a body velocity.
    """

    topic: str
    type: str
    mode: Mode = "position"
    fields: tuple[Literal["position", "velocity", "effort"], ...] = ("position",)
    order: tuple[str, ...] = ()
    qos: Literal["command", "default", "sensor"] = "command"
    watchdog: float = 0.1
    time_from_start: float = 1.0
    gains: bool = False
    frame: str = "base_link"

    def __post_init__(self) -> None:
        who = f"command on topic {self.topic!r}"
        _need_type(who, self.type)
        _need_positive(who, watchdog=self.watchdog)
        if self.type == "std_msgs/msg/Float64MultiArray" and not self.order:
            raise ValueError(
                f"{who}: {self.type} has no names, so `order` (wire names in order) is mandatory"
            )
        if len(set(self.order)) != len(self.order):
            raise ValueError(f"{who}: a name stands twice in `order`: {list(self.order)}")
        if not 1 <= self.time_from_start <= 2:
            raise ValueError(
                f"{who}: time_from_start is {self.time_from_start}, expected 1 to 2 control periods"
            )


@dataclasses.dataclass(frozen=True)
class BodyLimits:
    """Limits of a commanded body velocity `(x, y, yaw)`, in m/s, m/s and rad/s.

    Attributes:
        velocity: largest absolute value of each.
        acceleration: largest change per second of each.
        timeout: seconds without a fresh target after which the target is zero.
    """

    velocity: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    timeout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("velocity", "acceleration"):
            _need_positive("body", **{f"{name}[{i}]": value for i, value in enumerate(getattr(self, name))})
        _need_positive("body", timeout=self.timeout)


@dataclasses.dataclass(frozen=True)
class Rates:
    """Control rates in Hz that the robot takes."""

    min: float
    max: float

    def __post_init__(self) -> None:
        _need_range("rates", "[min, max]", (self.min, self.max))
        _need_positive("rates", min=self.min)


@dataclasses.dataclass(frozen=True)
class TwinSettings:
    """How the simulated twin differs from an ideal robot.

    Attributes:
        physics_dt: MuJoCo step in seconds.
        delay: seconds between a command's arrival and its effect.
        backlash: play between command and joint, in rad (or m).
        muscle_gain, muscle_stiffness: N m per unit of pressure (and per rad) of each muscle.
        muscle_lag: seconds in which a pressure comes 63 % of the way to its command.
    """

    physics_dt: float = 0.002
    delay: float = 0.0
    backlash: float = 0.0
    muscle_gain: float = 1e-3
    muscle_stiffness: float = 1e-3
    muscle_lag: float = 0.05

    def __post_init__(self) -> None:
        _need_positive("twin", physics_dt=self.physics_dt, muscle_lag=self.muscle_lag)
        _need_finite("twin", muscle_gain=self.muscle_gain, muscle_stiffness=self.muscle_stiffness)
        if not (0 <= self.delay < math.inf and 0 <= self.backlash < math.inf):
            raise ValueError(
                f"twin: delay is {self.delay}, backlash is {self.backlash}; expected finite, at least 0"
            )


@dataclasses.dataclass(frozen=True)
class Robot:
    """A robot as its file describes it.

    Attributes:
        name: name of the robot.
        model: path of the MJCF model; in the file, relative to the file's folder and inside it.
        joints: in the order of the file, which is the order of every array here.
        sources: by name.
        command: the topic that it obeys.
        rates: control rates that it takes.
        muscles: of a muscle robot, in the order of its commands.
        stop: what an emergency stop does by default.
        estimated: term kinds that the robot can only estimate.
        activation: names of `std_msgs/msg/Bool` sources that must be true before a deployment may start.
        home: a pose to start from, per joint; the middle of the limits where absent.
        body: limits of body velocity commands.
        tracking: largest distance between command and measured position (rad or m) ...
        tracking_time: ... for longer than this many seconds.
        base_frame: frame of the model's root.
        twin: settings of the simulated twin.
    """

    name: str
    model: str
    joints: tuple[Joint, ...]
    sources: dict[str, Source]
    command: Command
    rates: Rates
    muscles: tuple[Muscle, ...] = ()
    stop: Literal["hold", "damp", "zero_effort", "silent"] = "hold"
    estimated: tuple[str, ...] = ()
    activation: tuple[str, ...] = ()
    home: tuple[float, ...] = ()
    body: BodyLimits | None = None
    tracking: float = 0.3
    tracking_time: float = 0.1
    base_frame: str = "base_link"
    twin: TwinSettings = dataclasses.field(default_factory=TwinSettings)

    def __post_init__(self) -> None:
        _need_unique("joint", [joint.name for joint in self.joints])
        _need_unique("wire joint", [joint.wire for joint in self.joints])
        _need_unique("muscle", [muscle.name for muscle in self.muscles])
        _need_positive("tracking leash", tracking=self.tracking, tracking_time=self.tracking_time)
        for muscle in self.muscles:
            if muscle.joint not in self.names:
                raise ValueError(f"muscle {muscle.name!r}: {_unknown('joint', muscle.joint, self.names)}")
        for name in self.activation:
            if name not in self.sources:
                raise ValueError(f"activation: {_unknown('source', name, self.sources)}")
            if self.sources[name].type != "std_msgs/msg/Bool":
                raise ValueError(f"activation: source {name!r} must be of type std_msgs/msg/Bool")
        if self.stop == "damp" and not self.command.gains:
            raise ValueError("stop: damp needs a command type that carries gains (command.gains: true)")
        if self.command.mode == "pressure" and not self.muscles:
            raise ValueError("command.mode: pressure needs `muscles`")
        if self.command.mode == "body_velocity" and self.body is None:
            raise ValueError("command.mode: body_velocity needs the limits in `body`")
        if self.home and len(self.home) != len(self.joints):
            raise ValueError(f"home: {len(self.home)} numbers for {len(self.joints)} joints")
        outside = [
            joint.name
            for joint, angle in zip(self.joints, self.home, strict=False)
            if joint.position is not None and not joint.position[0] <= angle <= joint.position[1]
        ]
        if outside:
            raise ValueError(f"home: outside the position limits of {', '.join(outside)}")
        self._check_order()

    def _check_order(self) -> None:
        if not self.command.order:
            return
        wanted = [m.name for m in self.muscles] if self.command.mode == "pressure" else list(self.wire_names)
        unknown = [name for name in self.command.order if name not in wanted]
        missing = [name for name in wanted if name not in self.command.order]
        if unknown or missing:
            raise ValueError(
                f"command.order: expected each of {wanted} once; unknown {unknown}, missing {missing}"
            )

    @classmethod
    def load(cls, name: str | Path, wire_prefix: str = "") -> Robot:
        """The robot of an installed name (`arm`, `spot_arm`, `pamy`), a folder with a `robot.yaml`, or such a file.

        Args:
            wire_prefix: put before every wire name of a joint, e.g. "Robot/".

        Raises:
            ConfigError: no such robot; a mistake in its file: one line with the key, what came and what was expected.
        """
        path = _find(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: the robot file cannot be read: {error}") from error
        values = parse_yaml(text, str(path))
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected `key: value` lines at the top level")
        robot = from_mapping(cls, values, str(path))
        robot = dataclasses.replace(robot, model=str(_model_inside(path, robot.model)))
        return robot.with_wire_prefix(wire_prefix) if wire_prefix else robot

    def with_wire_prefix(self, prefix: str) -> Robot:
        """The same robot with `prefix` before every wire name of a joint (namespaced joints: `Robot/arm_sh0`)."""
        joints = tuple(dataclasses.replace(joint, wire=prefix + joint.wire) for joint in self.joints)
        order = self.command.order
        if self.command.mode != "pressure":
            order = tuple(prefix + name for name in order)
        return dataclasses.replace(
            self, joints=joints, command=dataclasses.replace(self.command, order=order)
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Model names of the joints."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def wire_names(self) -> tuple[str, ...]:
        """Wire names of the joints."""
        return tuple(joint.wire for joint in self.joints)

    @cached_property
    def lower(self) -> Floats:
        """Lower position limits, rad or m, float64[n]; -inf for continuous joints."""
        return np.array([joint.position[0] if joint.position else -np.inf for joint in self.joints])

    @cached_property
    def upper(self) -> Floats:
        """Upper position limits, rad or m, float64[n]; inf for continuous joints."""
        return np.array([joint.position[1] if joint.position else np.inf for joint in self.joints])

    @cached_property
    def velocity_limit(self) -> Floats:
        """Largest speeds, float64[n]."""
        return np.array([joint.velocity for joint in self.joints])

    @cached_property
    def acceleration_limit(self) -> Floats:
        """Largest accelerations of commands, float64[n]."""
        return np.array([joint.acceleration for joint in self.joints])

    @cached_property
    def effort_limit(self) -> Floats:
        """Largest efforts, float64[n]; inf where the file gives none."""
        return np.array([np.inf if joint.effort is None else joint.effort for joint in self.joints])

    @cached_property
    def kp(self) -> Floats:
        """Proportional gains of the driver, float64[n]; nan where the file gives none."""
        return np.array([np.nan if joint.kp is None else joint.kp for joint in self.joints])

    @cached_property
    def kd(self) -> Floats:
        """Derivative gains of the driver, float64[n]; nan where the file gives none."""
        return np.array([np.nan if joint.kd is None else joint.kd for joint in self.joints])

    @cached_property
    def tolerance(self) -> Floats:
        """How far beyond its limits a measured position may lie, float64[n]: half a degree, or 1 cm."""
        return np.array([0.01 if joint.kind == "prismatic" else 0.0087 for joint in self.joints])

    @cached_property
    def home_position(self) -> Floats:
        """The pose to start from, float64[n]: `home`, or the middle of the limits."""
        if self.home:
            return np.array(self.home)
        return np.array([sum(joint.position) / 2 if joint.position else 0.0 for joint in self.joints])

    @cached_property
    def provides(self) -> dict[str, str]:
        """Term kind -> name of the first source that provides it."""
        found: dict[str, str] = {}
        for name, source in self.sources.items():
            for kind in source.provides:
                found.setdefault(kind, name)
        return found

    def index(self, names: Iterable[str]) -> NDArray[np.intp]:
        """Places of the joints `names` (model names) in this robot's order.

        Raises:
            ConfigError: a joint that the robot lacks.
        """
        places = {name: place for place, name in enumerate(self.names)}
        wanted = list(names)
        for name in wanted:
            if name not in places:
                raise ConfigError(f"robot {self.name!r}: {_unknown('joint', name, self.names)}")
        return np.array([places[name] for name in wanted], np.intp)

    @cached_property
    def _sign_scale(self) -> Floats:
        return np.array([joint.sign * joint.unit_scale for joint in self.joints])

    @cached_property
    def _offset(self) -> Floats:
        return np.array([joint.offset for joint in self.joints])

    @cached_property
    def _effort_sign_scale(self) -> Floats:
        return np.array([joint.sign * joint.effort_scale for joint in self.joints])

    def position_to_model(self, wire: Floats, out: Floats | None = None) -> Floats:
        """Model positions of wire positions, float64[..., n], both in the order of the robot file."""
        out = np.multiply(wire, self._sign_scale, out=out)
        return np.add(out, self._offset, out=out)

    def position_to_wire(self, model: Floats, out: Floats | None = None) -> Floats:
        """Wire positions of model positions, float64[..., n]."""
        out = np.subtract(model, self._offset, out=out)
        return np.divide(out, self._sign_scale, out=out)

    def velocity_to_model(self, wire: Floats, out: Floats | None = None) -> Floats:
        """Model velocities of wire velocities, float64[..., n]."""
        return np.multiply(wire, self._sign_scale, out=out)

    def velocity_to_wire(self, model: Floats, out: Floats | None = None) -> Floats:
        """Wire velocities of model velocities, float64[..., n]."""
        return np.divide(model, self._sign_scale, out=out)

    def effort_to_model(self, wire: Floats, out: Floats | None = None) -> Floats:
        """Model efforts of wire efforts, float64[..., n]."""
        return np.multiply(wire, self._effort_sign_scale, out=out)

    def effort_to_wire(self, model: Floats, out: Floats | None = None) -> Floats:
        """Wire efforts of model efforts, float64[..., n]."""
        return np.divide(model, self._effort_sign_scale, out=out)


def installed_robots() -> list[str]:
    """Names of the robots that come with the package."""
    return sorted(path.parent.name for path in DESCRIPTIONS.glob("*/robot.yaml"))


def _find(name: str | Path) -> Path:
    if isinstance(name, str) and name in installed_robots():
        return DESCRIPTIONS / name / "robot.yaml"
    path = Path(name)
    if path.is_dir() and (path / "robot.yaml").is_file():
        return path / "robot.yaml"
    if path.is_file():
        return path
    raise ConfigError(
        f"no robot {str(name)!r}: expected an installed robot ({', '.join(installed_robots())}), a robot.yaml, or a "
        "folder that holds one"
    )


def _model_inside(robot_file: Path, model: str) -> Path:
    relative = PurePosixPath(model)
    folder = robot_file.parent.resolve()
    path = (folder / relative).resolve()
    if relative.is_absolute() or not path.is_relative_to(folder):
        raise ConfigError(
            f"{robot_file}: model: {model!r} leaves the robot's folder; expected a path inside it"
        )
    if not path.is_file():
        raise ConfigError(f"{robot_file}: model: there is no file {model!r} beside the robot file")
    return path


def _need_finite(who: str, **values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{who}: {name} is {value}, expected a finite number")


def _need_positive(who: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{who}: {name} is {value}, expected a finite number above 0")


def _need_range(who: str, name: str, limits: tuple[float, float]) -> None:
    lower, upper = limits
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"{who}: {name} is [{lower}, {upper}], expected finite limits, the lower one first")


def _need_type(who: str, name: str) -> None:
    parts = name.split("/")
    if len(parts) != 3 or parts[1] != "msg" or not all(parts):
        raise ValueError(f"{who}: type is {name!r}, expected pkg/msg/Name, e.g. sensor_msgs/msg/JointState")


def _need_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} {', '.join(map(repr, twice))} is given twice")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {what} {name!r}; known: {', '.join(known) or 'none'}"
