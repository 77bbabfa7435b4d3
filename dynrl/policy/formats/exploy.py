"""exploy: everything in the ONNX file, the meaning of its inputs and outputs in their names and in JSON metadata."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import (
    ActionTerm,
    Contract,
    Control,
    Gains,
    ObservationTerm,
    RobotModel,
    StateTensor,
)
from dynrl.policy.errors import BundleContract, BundleFormat
from dynrl.policy.formats.graphs import (
    bundle_of,
    expand,
    fold,
    load_graph,
    metadata_of,
    need_period,
    with_metadata,
)

_INPUTS = {
    r"obj\.[^.]+\.joints?\.pos": ("state/joint/position", "rad"),
    r"obj\.[^.]+\.joints?\.vel": ("state/joint/velocity", "rad/s"),
    r"obj\.[^.]+\.base\.(w_Q_b|world_Q_body)": ("state/body/rotation", "1"),
    r"obj\.[^.]+\.base\.(lin_vel_b_rt_w_in_b|lin_vel_body_in_body)": ("state/body/linear_velocity", "m/s"),
    r"obj\.[^.]+\.base\.(ang_vel_b_rt_w_in_b|ang_vel_body_in_body)": ("state/body/angular_velocity", "rad/s"),
    r"sensor\.imu\.[^.]+\.(w_Q_b|world_Q_body)": ("state/body/rotation", "1"),
    r"sensor\.imu\.[^.]+\.(ang_vel_b_rt_w_in_b|ang_vel_body)": ("state/body/angular_velocity", "rad/s"),
    r"cmd\.se2_velocity\..+": ("command/body/velocity", "m/s"),
    r"cmd\.se3_pose\..+": ("command/pose", "m"),
    r"cmd\.joint_pos\..+": ("command/joint/position", "rad"),
    r"cmd\.float\..+": ("command/scalar", "1"),
}
_OUTPUT = re.compile(r"output\.joint_targets\.(?:([^.]+)\.)?(pos|vel|effort)")
_TARGETS = {
    "pos": ("target/joint/position", "rad"),
    "vel": ("target/joint/velocity", "rad/s"),
    "effort": ("target/joint/effort", "N.m"),
}
_ATTRIBUTE = {kind: attribute for attribute, (kind, _) in _TARGETS.items()}
_NAMES = {
    "state/joint/position": "obj.{robot}.joints.pos",
    "state/joint/velocity": "obj.{robot}.joints.vel",
    "state/body/rotation": "obj.{robot}.base.w_Q_b",
    "state/body/linear_velocity": "obj.{robot}.base.lin_vel_b_rt_w_in_b",
    "state/body/angular_velocity": "obj.{robot}.base.ang_vel_b_rt_w_in_b",
    "command/body/velocity": "cmd.se2_velocity.{term}",
    "command/pose": "cmd.se3_pose.{term}",
    "command/joint/position": "cmd.joint_pos.{term}",
    "command/scalar": "cmd.float.{term}",
}
_WXYZ = {"quaternion": "wxyz"}  # exploy's rotations


def files(bundle: PolicyBundle) -> dict[str, bytes]:
    """Name -> content: `policy.onnx`, with the whole contract inside.

    Raises:
        BundleContract: a term that exploy has no name for, or a target that is none of joints.
    """
    contract, graph = bundle.contract, expand(bundle, "wxyz")
    renamed: dict[str, str] = {}
    for name, input_term in graph.inputs.items():
        renamed[name] = _input_name(contract, input_term, renamed)
    for name, output_term in graph.outputs.items():
        if output_term.kind not in _ATTRIBUTE:
            raise BundleContract(f"action term {name!r}: found {output_term.kind}, expected joint targets")
        renamed[name] = f"output.joint_targets.{name}.{_ATTRIBUTE[output_term.kind]}"
    for output, target in graph.feedback.items():
        renamed[target], renamed[output] = f"memory.{target}.in", f"memory.{target}.out"
    properties: dict[str, Any] = {
        "update_rate": 1.0 / contract.control.period,
        "decimation": contract.control.decimation,
        "model_source": contract.name,
        f"obj.{contract.robot.name}.joints": {"joint_names": list(contract.robot.joints)},
    }
    for name, output_term in graph.outputs.items():
        properties[f"output.joint_targets.{name}"] = _target_metadata(contract, output_term)
    initial = {f"memory.{name}.in": value.reshape(-1).tolist() for name, value in graph.initial.items()}
    if any(np.any(value) for value in graph.initial.values()):
        properties["dynrl.initial"] = initial
    _rename(graph.model.graph, renamed)
    return {
        "policy.onnx": with_metadata(
            graph.model, {key: json.dumps(value) for key, value in properties.items()}
        )
    }


def read(path: Path, robot: str, period: float | None) -> tuple[PolicyBundle, list[str]]:
    """The bundle of an exploy graph with joint targets.

    Raises:
        BundleContract: an input or output of a group that has no counterpart.
        BundleFormat: metadata that are no JSON, or no update rate.
        BundleModel: the graph.
    """
    model = load_graph(path)
    properties = {
        key: _json(key, value) for key, value in metadata_of(model).items() if key != "dynrl.policy"
    }
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    outputs = [value.name for value in model.graph.output]
    state = {name: _partner(name, outputs) for name in inputs if name.startswith("memory.")}
    targets = [name for name in outputs if _OUTPUT.fullmatch(name)]
    known = {*targets, *state.values(), "actions", "obs"}
    unknown = [name for name in outputs if name not in known]
    if unknown or not targets:
        found = unknown[0] if unknown else "no target"
        raise BundleContract(
            f"outputs: found {found!r}, expected output.joint_targets.NAME.pos, .vel or .effort"
        )
    joints, gains = _joints_and_gains(targets, properties)
    all_joints = _robot_joints(inputs, properties, joints)
    shapes = {
        value.name: [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    initial = {
        name: np.array(numbers, np.float32).reshape(shapes[name])
        for name, numbers in (properties.get("dynrl.initial") or {}).items()
        if name in state and np.any(numbers)
    }
    if period is None and "update_rate" in properties:
        period = round(1.0 / float(properties["update_rate"]), 9)
    free = [name for name in inputs if name not in state]
    contract = Contract(
        name=path.stem,
        control=Control(need_period(period, "exploy"), int(properties.get("decimation", 1))),
        robot=RobotModel(robot, all_joints),
        observation=tuple(_observation(name, shapes[name], properties, all_joints) for name in free),
        action=tuple(_action(name, joints[name]) for name in targets),
        gains=gains if len(targets) == 1 and joints[targets[0]] == all_joints else None,
        state=tuple(
            StateTensor(
                name, output, tuple(shapes[name]), "state.safetensors" if name in initial else "zeros"
            )
            for name, output in state.items()
        ),
    )
    folded = fold(model, free, targets, state)
    return bundle_of(folded, contract, initial), []


def _input_name(contract: Contract, term: ObservationTerm, taken: dict[str, str]) -> str:
    if term.kind not in _NAMES:
        raise BundleContract(f"observation term {term.name!r}: exploy has no name for {term.kind}")
    if term.kind.startswith("state/joint") and contract.joints_of(term) != contract.robot.joints:
        raise BundleContract(
            f"observation term {term.name!r}: found some joints, expected all, as exploy gives them"
        )
    name = _NAMES[term.kind].format(robot=contract.robot.name, term=term.name)
    if name in taken.values():
        raise BundleContract(
            f"observation term {term.name!r}: found {term.kind} a second time, expected it once"
        )
    return name


def _target_metadata(contract: Contract, term: ActionTerm) -> dict[str, Any]:
    names = contract.joints_of(term)
    gains = contract.gains or Gains()
    found: dict[str, Any] = {"type": "joint_targets", "names": list(names)}
    for key, values in (("stiffness", gains.kp), ("damping", gains.kd)):
        by_name = dict(zip(contract.robot.joints, values or (), strict=False))
        found[key] = [by_name.get(name, 0.0) for name in names]
    return found


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for side in (node.input, node.output):
            for index, name in enumerate(side):
                side[index] = names.get(name, name)


def _json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BundleFormat(
            f"metadata {key!a}: found no JSON ({error}), expected the values of exploy"
        ) from error


def _partner(name: str, outputs: list[str]) -> str:
    output = f"{name.removesuffix('.in')}.out"
    if not name.endswith(".in") or output not in outputs:
        raise BundleContract(
            f"{name!r}: found no output {output!r}, expected one: what is remembered comes back"
        )
    return output


def _joints_and_gains(
    targets: list[str], properties: dict[str, Any]
) -> tuple[dict[str, tuple[str, ...]], Gains]:
    joints, gains = {}, Gains()
    for name in targets:
        about = properties.get(name.rpartition(".")[0])
        if not isinstance(about, dict) or not isinstance(about.get("names"), list):
            raise BundleContract(
                f"metadata {name.rpartition('.')[0]!r}: found no names, expected those of the joints"
            )
        joints[name] = tuple(str(joint) for joint in about["names"])
        pairs = [about.get(key) for key in ("stiffness", "damping")]
        kp, kd = (tuple(float(x) for x in values) if values else None for values in pairs)
        gains = Gains(kp, kd)
    return joints, gains


def _robot_joints(
    inputs: list[str], properties: dict[str, Any], targets: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for name in inputs:
        if re.fullmatch(r"obj\.[^.]+\.joints?\.(pos|vel)", name):
            names.update(dict.fromkeys(_input_joints(name, properties)))
    for joints in targets.values():
        names.update(dict.fromkeys(joints))
    return tuple(names)


def _input_joints(name: str, properties: dict[str, Any]) -> tuple[str, ...]:
    about = properties.get(name.rpartition(".")[0]) or properties.get(name) or {}
    given = about.get("joint_names", about.get("names"))
    if not isinstance(given, list):
        raise BundleContract(
            f"metadata {name.rpartition('.')[0]!r}: found no joint_names, expected those of the joints"
        )
    return tuple(str(joint) for joint in given)


def _observation(
    name: str, shape: list[int], properties: dict[str, Any], joints: tuple[str, ...]
) -> ObservationTerm:
    for pattern, (kind, unit) in _INPUTS.items():
        if not re.fullmatch(pattern, name):
            continue
        size = math.prod(shape)
        named: Any = _input_joints(name, properties) if kind.startswith("state/joint") else "all"
        return ObservationTerm(
            name,
            kind,
            joints=named,
            unit=unit,
            shape=(size,) if kind in ("command/pose", "command/scalar") else None,
            **(_WXYZ if kind == "state/body/rotation" or (kind == "command/pose" and size == 7) else {}),  # type: ignore[arg-type]
        )
    raise BundleContract(
        f"input {name!r}: exploy's group {name.rpartition('.')[0]!r} has no counterpart in a bundle"
    )


def _action(name: str, joints: tuple[str, ...]) -> ActionTerm:
    match = _OUTPUT.fullmatch(name)
    assert match is not None
    kind, unit = _TARGETS[match[2]]
    return ActionTerm(match[1] or "joint_targets", kind, joints=joints, unit=unit)
