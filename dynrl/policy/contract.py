"""The contract of a policy: what it observes and commands, in which order and unit, how often, within which limits.

`policy.yaml` is this dataclass on disk. A `Contract` that exists is consistent: its constructor refuses the rest.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from dynrl.policy.consistency import check_contract
from dynrl.policy.errors import BundleContract
from dynrl.policy.kinds import ACTION, ACTION_KINDS, FORMAT, JOINT, MUSCLE, OBSERVATION_KINDS, SHAPES

Numbers = float | tuple[float, ...]
Scaling = float | tuple[float, ...] | Literal["default_pose"]


@dataclass(frozen=True)
class Control:
    """Attributes:
    period: seconds between two calls of the policy, 0.5 ms to 1 s.
    decimation: physics steps per call in training (information).
    """

    period: float
    decimation: int = 1

    @property
    def period_ns(self) -> int:
        """The period in whole nanoseconds."""
        return round(self.period * 1e9)


@dataclass(frozen=True)
class Model:
    """Attributes:
    file, sha256, opset: the graph.
    inputs, outputs: names in the graph of `observation` and `action`.
    """

    file: str
    sha256: str
    opset: int
    inputs: dict[str, str] = field(default_factory=lambda: {"observation": "observation"})
    outputs: dict[str, str] = field(default_factory=lambda: {"action": "action"})


@dataclass(frozen=True)
class RobotModel:
    """Attributes:
    name: of the robot that the policy was trained for.
    joints: canonical order, used by every joint term.
    """

    name: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class ObservationTerm:
    """One part of the observation: `clip((raw - offset) * scale)`, `history` samples of it.

    Attributes:
        name: unique in the observation.
        kind: one of `OBSERVATION_KINDS`.
        joints: names, in the order in which they enter; "all" for `robot.joints`.
        unit: of the raw value, one of `UNITS`.
        frame: of a body or command term (REP 105 name).
        offset, scale: a number, one per element, or (offset only, joint positions only) "default_pose".
        clip: (low, high) of the scaled value.
        shape: of one sample, for kinds that leave it open.
        history: number of samples, the current one included.
        history_order: which comes first.
        default: value of a command that nobody sends, in the raw unit.
        timeout: seconds after which a command counts as not sent; None for never.
        quaternion: order of a rotation in the observation. On the wire it is xyzw.
        canonical: whether rotations are flipped to w >= 0.
        period: seconds of one turn of `clock/phase`.
        noise_std: of training, in the scaled unit (information).
    """

    name: str
    kind: str
    joints: Literal["all"] | tuple[str, ...] = "all"
    unit: str = "1"
    frame: str | None = None
    offset: Scaling = 0.0
    scale: Numbers = 1.0
    clip: tuple[float, float] | None = None
    shape: tuple[int, ...] | None = None
    history: int = 1
    history_order: Literal["oldest_first", "newest_first"] = "oldest_first"
    default: tuple[float, ...] | None = None
    timeout: float | None = None
    quaternion: Literal["xyzw", "wxyz"] = "xyzw"
    canonical: bool = False
    period: float | None = None
    noise_std: float = 0.0


@dataclass(frozen=True)
class ActionTerm:
    """One part of the action: `clip(raw) * scale + offset (+ reference)`.

    Attributes:
        name: unique in the action.
        kind: one of `ACTION_KINDS`.
        joints: names, in the order of the action; "all" for `robot.joints`.
        unit: of the target.
        scale, offset: a number, one per element, or (offset only, joint positions only) "default_pose".
        clip: (low, high) of the raw action.
        mode: what is added: nothing, the measured value, or the previous command.
    """

    name: str
    kind: str
    joints: Literal["all"] | tuple[str, ...] = "all"
    unit: str = "1"
    scale: Numbers = 1.0
    offset: Scaling = 0.0
    clip: tuple[float, float] | None = None
    mode: Literal["absolute", "relative_to_measured", "relative_to_previous_command"] = "absolute"


@dataclass(frozen=True)
class Normalisation:
    """Attributes:
    where: "graph" inside the ONNX file, "yaml" by `mean` and `std` here, "none".
    mean, std: one number per element of the whole observation, for "yaml".
    clip: bound of the normalised observation; None for no bound.
    """

    where: Literal["graph", "yaml", "none"] = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    clip: float | None = None


@dataclass(frozen=True)
class Gains:
    """Attributes:
    kp, kd: of the position controller that training assumed, per joint; None for the driver's.
    """

    kp: tuple[float, ...] | None = None
    kd: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Limits:
    """Attributes:
    position: (low, high) per joint; None for a continuous joint.
    velocity, acceleration, effort: per joint, positive.
    jerk: must be null in this version.
    """

    position: tuple[tuple[float, float] | None, ...] | None = None
    velocity: tuple[float, ...] | None = None
    acceleration: tuple[float, ...] | None = None
    effort: tuple[float, ...] | None = None
    jerk: None = None


@dataclass(frozen=True)
class Workspace:
    """Attributes:
    frame, body: the origin of `body` stays in `box`, in metres, given in `frame`.
    box: (lowest corner, highest corner).
    """

    frame: str
    body: str
    box: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class StateTensor:
    """A recurrent tensor: what `output` gives, `input` takes at the next call.

    Attributes:
        input, output: names in the graph.
        shape: with the batch axis.
        initial: "zeros", or "state.safetensors": the tensor named like `input` there.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    initial: Literal["zeros", "state.safetensors"] = "zeros"


@dataclass(frozen=True)
class Simulation:
    """Attributes:
    env, physics_dt, actuator, delay: what the policy was trained in (information).
    """

    env: str
    physics_dt: float | None = None
    actuator: str | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Provenance:
    """Attributes:
    run, config_sha256, git, dirty, versions, seed: of the training run.
    return_mean, return_iqm_ci: evaluation at export.
    """

    run: str | None = None
    config_sha256: str | None = None
    git: str | None = None
    dirty: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    return_mean: float | None = None
    return_iqm_ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class ParityRecord:
    """Attributes:
    framework: that trained the policy.
    steps: calls compared.
    max_abs_error: largest difference of the raw action.
    episodes: in which both got the same return; fewer than were played where the policy is chaotic.
    """

    framework: str
    steps: int
    max_abs_error: float
    episodes: int = 0


@dataclass(frozen=True)
class Contract:
    """All of `policy.yaml`. The spec of each part is the docstring of its class.

    Raises:
        BundleContract: the parts contradict each other.
        BundleState: a recurrent tensor is named twice.
    """

    name: str
    control: Control
    robot: RobotModel
    observation: tuple[ObservationTerm, ...]
    action: tuple[ActionTerm, ...]
    format: str = FORMAT
    created: str | None = None
    model: Model | None = None
    normalisation: Normalisation = Normalisation()
    default_pose: tuple[float, ...] | None = None
    gains: Gains | None = None
    limits: Limits = Limits()
    workspace: Workspace | None = None
    state: tuple[StateTensor, ...] = ()
    sim: Simulation | None = None
    provenance: Provenance = Provenance()
    parity: ParityRecord | None = None

    def __post_init__(self) -> None:
        check_contract(self)

    @property
    def observation_size(self) -> int:
        """Length of the observation."""
        return sum(math.prod(self.sample_shape(term)) * term.history for term in self.observation)

    @property
    def action_size(self) -> int:
        """Length of the raw action."""
        return sum(math.prod(self.sample_shape(term)) for term in self.action)

    def joints_of(self, term: ObservationTerm | ActionTerm) -> tuple[str, ...]:
        """The joints of a term, by name, in its order."""
        return self.robot.joints if term.joints == "all" else tuple(term.joints)

    def sample_shape(self, term: ObservationTerm | ActionTerm) -> tuple[int, ...]:
        """Shape of one sample of a term (history not counted)."""
        kinds = OBSERVATION_KINDS if isinstance(term, ObservationTerm) else ACTION_KINDS
        shape = kinds[term.kind]
        if isinstance(term, ObservationTerm) and term.shape is not None and term.kind in SHAPES:
            return term.shape
        if shape == JOINT:
            return (len(self.joints_of(term)),)
        if shape == MUSCLE:
            return (2 * len(self.joints_of(term)),)
        return (self.action_size,) if shape == ACTION else shape

    def term_sizes(self) -> dict[str, int]:
        """Length of each observation term, by name, history included."""
        return {term.name: math.prod(self.sample_shape(term)) * term.history for term in self.observation}

    def default_pose_of(self, term: ObservationTerm | ActionTerm) -> tuple[float, ...]:
        """The default pose of the joints of a term.

        Raises:
            BundleContract: the contract has none.
        """
        if self.default_pose is None:
            raise BundleContract("default_pose: nothing found, expected one number per joint of robot.joints")
        by_name = dict(zip(self.robot.joints, self.default_pose, strict=True))
        return tuple(by_name[joint] for joint in self.joints_of(term))
