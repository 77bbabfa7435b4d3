"""mjlab and whole-body tracking: one observation vector, its terms by name in comma-separated ONNX metadata.

The names are those of the manager-based environments; what they mean is known here for the common ones. Numbers in the
metadata have three decimals.
"""

from pathlib import Path
from typing import Any

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import ActionTerm, Contract, Control, Gains, ObservationTerm, RobotModel
from dynrl.policy.errors import BundleContract, BundleModel
from dynrl.policy.formats.graphs import (
    bundle_of,
    fold,
    load_graph,
    metadata_of,
    need_period,
    with_metadata,
)
from dynrl.policy.graph_check import parse_graph

TERMS: dict[str, dict[str, Any]] = {
    "joint_pos": {"kind": "state/joint/position", "unit": "rad", "offset": "default_pose"},
    "joint_vel": {"kind": "state/joint/velocity", "unit": "rad/s"},
    "base_lin_vel": {"kind": "state/body/linear_velocity", "unit": "m/s"},
    "base_ang_vel": {"kind": "state/body/angular_velocity", "unit": "rad/s"},
    "projected_gravity": {"kind": "state/body/projected_gravity"},
    "command": {"kind": "command/body/velocity", "unit": "m/s"},
    "actions": {"kind": "memory/action"},
}
"""Name -> term. Positions are relative to the default pose, velocities as they are."""
ALIASES = {
    "joint_pos_rel": "joint_pos",
    "joint_vel_rel": "joint_vel",
    "velocity_commands": "command",
    "generated_commands": "command",
    "last_action": "actions",
}
_REQUIRED = ("joint_names", "default_joint_pos", "observation_names", "action_scale")


def files(bundle: PolicyBundle) -> dict[str, bytes]:
    """Name -> content: `policy.onnx`.

    Raises:
        BundleContract: a term that is scaled or has a history, or a target that is none of joint positions.
    """
    contract = bundle.contract
    names = [observation_name(contract, index) for index in range(len(contract.observation))]
    term = position_target(contract)
    if term.clip is not None:
        raise BundleContract(
            f"action[0].clip: found {list(term.clip)}, expected none: the format does not clip"
        )
    gains = contract.gains or Gains()
    properties = {
        "run_path": contract.provenance.run or contract.name,
        "joint_names": ",".join(contract.robot.joints),
        "joint_stiffness": _csv(gains.kp or ()),
        "joint_damping": _csv(gains.kd or ()),
        "default_joint_pos": _csv(contract.default_pose or ()),
        "command_names": ",".join(t.name for t in contract.observation if t.kind.startswith("command/")),
        "observation_names": ",".join(names),
        "action_scale": _csv(term.scale if isinstance(term.scale, tuple) else (term.scale,)),
    }
    return {"policy.onnx": with_metadata(parse_graph(bundle.graph), properties)}


def read(path: Path, robot: str, period: float | None) -> tuple[PolicyBundle, list[str]]:
    """The bundle of an mjlab policy.

    Raises:
        BundleContract: metadata that are missing, or an observation that is not known by name.
        BundleFormat: no period was given.
        BundleModel: the graph has not one input and one output, or other sizes.
    """
    model = load_graph(path)
    properties = metadata_of(model)
    missing = [key for key in _REQUIRED if key not in properties]
    if missing:
        raise BundleContract(f"metadata {missing[0]}: found nothing, expected it: is this a policy of mjlab?")
    joints = tuple(properties["joint_names"].split(","))
    scale = _numbers("action_scale", properties["action_scale"])
    gains = [_numbers(key, properties.get(key, "")) or None for key in ("joint_stiffness", "joint_damping")]
    contract = Contract(
        name=path.stem,
        control=Control(need_period(period, "mjlab")),
        robot=RobotModel(robot, joints),
        observation=tuple(observation_term(name) for name in properties["observation_names"].split(",")),
        action=(joint_target(scale[0] if len(scale) == 1 else scale),),
        default_pose=_numbers("default_joint_pos", properties["default_joint_pos"]),
        gains=Gains(*gains),
    )
    warnings = [
        "default_joint_pos, action_scale and gains have three decimals in this format: compare them with the run"
    ]
    return bundle_of(single_input(model), contract), warnings


def single_input(model: Any) -> Any:
    """A graph with one input and one output, whatever their names, as `observation` and `action`.

    Raises:
        BundleModel: it has more.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    outputs = [value.name for value in model.graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleModel(f"found the inputs {inputs} and the outputs {outputs}, expected one of each")
    return fold(model, inputs, outputs, {})


def observation_term(name: str) -> ObservationTerm:
    """The term that a manager-based environment calls `name`.

    Raises:
        BundleContract: it is not known here.
    """
    known = TERMS.get(ALIASES.get(name, name))
    if known is None:
        raise BundleContract(
            f"observation {name!a}: found a term that is not known here, expected {', '.join([*TERMS, *ALIASES])}"
        )
    return ObservationTerm(name=name, **known)


def joint_target(scale: Any, offset: Any = "default_pose", clip: Any = None) -> ActionTerm:
    """Joint positions, as these environments command them."""
    return ActionTerm("joint_pos", "target/joint/position", unit="rad", scale=scale, offset=offset, clip=clip)


def observation_name(contract: Contract, index: int) -> str:
    """What a manager-based environment calls an observation term.

    Raises:
        BundleContract: it has no name for it.
    """
    term = contract.observation[index]
    for name, known in TERMS.items():
        if term.kind != known["kind"]:
            continue
        plain = (term.scale, term.history, term.clip, term.joints, term.canonical) == (
            1.0,
            1,
            None,
            "all",
            False,
        )
        if plain and term.offset == known.get("offset", 0.0):
            return name
    raise BundleContract(
        f"observation[{index}]: found {term.kind} with its scale, offset, clip or history, expected one of "
        f"{', '.join(TERMS)} as the format knows them; the native bundle and leapp can say more"
    )


def position_target(contract: Contract) -> ActionTerm:
    """The only action term, if it commands all joint positions around the default pose.

    Raises:
        BundleContract: it does not.
    """
    term = contract.action[0]
    shape = (term.kind, term.joints, term.offset, term.mode)
    if len(contract.action) > 1 or shape != ("target/joint/position", "all", "default_pose", "absolute"):
        raise BundleContract(
            "action: found other targets, expected all joint positions around the default pose"
        )
    if contract.normalisation.where == "yaml":
        raise BundleContract(
            "normalisation.where: found 'yaml', expected it in the graph: the format has no place for it"
        )
    if contract.state:
        raise BundleContract(
            "state: found recurrent tensors, expected none: the format has no place for them"
        )
    return term


def _csv(values: Any) -> str:
    return ",".join(f"{value:.3f}" for value in values)


def _numbers(key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.strip("[]() ").split(",") if part.strip())
    except ValueError as error:
        raise BundleContract(f"metadata {key}: found {text[:60]!a}, expected numbers and commas") from error
