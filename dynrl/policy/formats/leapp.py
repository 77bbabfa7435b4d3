"""LEAPP: a YAML description of models with semantic inputs and outputs, run by Isaac Lab and Isaac ROS Deploy.

Written with the whole contract inside the graph, so that a LEAPP runtime only wires raw values to inputs: one input per
observation term, one output per target, everything remembered (recurrent state, last action, histories, clock) as
feedback. Read the other way, each LEAPP input becomes a term without scaling.
"""

import hashlib
import math
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
from dynrl.policy.errors import BundleContract, BundleFormat, BundleHash, BundlePath
from dynrl.policy.files import sha256
from dynrl.policy.formats.graphs import bundle_of, expand, fold, load_bytes, need_period
from dynrl.policy.graph_check import parse_graph
from dynrl.policy.kinds import ACTION_KINDS, JOINT, OBSERVATION_KINDS, closest
from dynrl.policy.yaml_text import dump_yaml, read_strict_yaml

_NODE = "policy"
_TO_LEAPP = {"command/pose": "command/body/pose"}
_FROM_LEAPP = {value: key for key, value in _TO_LEAPP.items()}
_FROM_LEAPP["target/joint/torques"] = "target/joint/effort"


def files(bundle: PolicyBundle) -> dict[str, bytes]:
    """Name -> content: `NAME.yaml`, `policy.onnx` and, for what is remembered, `NAME_initial_values.safetensors`.

    Raises:
        BundleContract: targets that are relative to something.
    """
    from safetensors.numpy import save

    contract, graph = bundle.contract, expand(bundle)
    content = graph.model.SerializeToString(deterministic=True)
    inputs = [_described(contract, name, term) for name, term in graph.inputs.items()]
    outputs = [_described(contract, name, term) for name, term in graph.outputs.items()]
    inputs += [_tensor(name, value.shape) for name, value in graph.initial.items()]
    outputs += [_tensor(name, graph.initial[target].shape) for name, target in graph.feedback.items()]
    gains = contract.gains or Gains()
    outputs[0] |= {key: list(gain) for key, gain in (("kp", gains.kp), ("kd", gains.kd)) if gain is not None}
    inputs = _in_order(inputs, graph.model.graph.input)
    outputs = _in_order(outputs, graph.model.graph.output)
    feedback = {f"{_NODE}/{name}": [f"{_NODE}/{target}"] for name, target in graph.feedback.items()}
    description: dict[str, Any] = {
        "models": {
            _NODE: {
                "formatting": {"input_format": "list", "output_format": "tuple"},
                "inputs": inputs,
                "outputs": outputs,
                "parameters": {
                    "model_path": "policy.onnx",
                    "backend": "onnx",
                    "device": "cpu",
                    "sha256sum": sha256(content),
                    "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                },
            }
        },
        "pipeline": {
            "inputs": {_NODE: list(graph.inputs)},
            "outputs": {_NODE: list(graph.outputs)},
            "data_flow": {},
            "feedback_flow": feedback,
            "feedback_connections": feedback,
            "frequency": 1.0 / contract.control.period,
        },
        "system information": {"exported_by": "dynrl", "robot": contract.robot.name, "policy": contract.name},
    }
    written = {"policy.onnx": content}
    if graph.initial:
        name = f"{_file_stem(contract.name)}_initial_values.safetensors"
        written[name] = save({f"{_NODE}/{key}": np.asarray(value) for key, value in graph.initial.items()})
        description["pipeline"]["initial_values"] = name
    text = dump_yaml(description)
    return {f"{_file_stem(contract.name)}.yaml": text.encode(), **written}


def read(path: Path, robot: str, period: float | None) -> tuple[PolicyBundle, list[str]]:
    """The bundle of a LEAPP description with one ONNX model.

    Raises:
        BundleFormat: not a LEAPP description, or more than one model.
        BundleContract: a kind that has no counterpart; the message lists the known ones.
        BundleHash, BundleModel, BundlePath: the graph.
    """
    values = read_strict_yaml(load_bytes(path), path.name)
    models = _mapping(values, "models", path.name)
    if len(models) != 1:
        raise BundleFormat(f"{path.name}: models: found {', '.join(models) or 'none'}, expected one model")
    ((node, model),) = models.items()
    pipeline = _mapping(values, "pipeline", path.name)
    parameters = _mapping(model, "parameters", f"{path.name}: models.{node}")
    if parameters.get("backend") != "onnx":
        raise BundleFormat(f"{path.name}: backend: found {parameters.get('backend')!r}, expected 'onnx'")
    content = _graph_beside(path, parameters)
    entries = {side: _entries(model, side, f"{path.name}: models.{node}") for side in ("inputs", "outputs")}
    state = _feedback(pipeline, node)
    free_inputs = {name: entry for name, entry in entries["inputs"].items() if name not in state}
    free_outputs = {name: entry for name, entry in entries["outputs"].items() if name not in state.values()}
    joints = _joints(free_outputs, free_inputs)
    warnings = []
    if period is None and "frequency" in pipeline:
        period = round(1.0 / float(pipeline["frequency"]), 9)
    initial = _initial(path, pipeline, node)
    contract = Contract(
        name=path.stem,
        control=Control(need_period(period, "LEAPP")),
        robot=RobotModel(robot, joints),
        observation=tuple(_observation(name, entry) for name, entry in free_inputs.items()),
        action=tuple(_action(name, entry) for name, entry in free_outputs.items()),
        state=tuple(
            StateTensor(
                name,
                output,
                tuple(entries["inputs"][name]["shape"]),
                "state.safetensors" if np.any(initial.get(name, 0.0)) else "zeros",
            )
            for name, output in state.items()
        ),
    )
    if not joints:
        warnings.append("no element_names: the joints of the policy are not known by name")
    folded = fold(parse_graph(content), list(free_inputs), list(free_outputs), state)
    stored = {name: value for name, value in initial.items() if name in state and np.any(value)}
    return bundle_of(folded, contract, stored), warnings


def _described(contract: Contract, name: str, term: ObservationTerm | ActionTerm) -> dict[str, Any]:
    shape = contract.sample_shape(term)
    entry = _tensor(name, (1, math.prod(shape)))
    entry["kind"] = _TO_LEAPP.get(term.kind, term.kind)
    kinds = OBSERVATION_KINDS if isinstance(term, ObservationTerm) else ACTION_KINDS
    if kinds[term.kind] == JOINT:
        entry["element_names"] = [list(contract.joints_of(term))]
    entry["unit"] = term.unit
    if isinstance(term, ObservationTerm) and term.frame is not None:
        entry["frame"] = term.frame
    return entry


def _tensor(name: str, shape: Any) -> dict[str, Any]:
    return {"name": name, "shape": [int(size) for size in shape], "dtype": "float32", "type": "tensor"}


def _in_order(entries: list[dict[str, Any]], values: Any) -> list[dict[str, Any]]:
    """The descriptions in the order of the graph: LEAPP's runtime passes values by position."""
    by_name = {entry["name"]: entry for entry in entries}
    return [by_name[value.name] for value in values]


def _mapping(values: Any, key: str, where: str) -> dict[str, Any]:
    found = values.get(key) if isinstance(values, dict) else None
    if not isinstance(found, dict):
        raise BundleFormat(f"{where}: {key}: found no mapping, expected one: is this a LEAPP description?")
    return found


def _entries(model: Any, side: str, where: str) -> dict[str, dict[str, Any]]:
    found = model.get(side)
    if not isinstance(found, list) or not found:
        raise BundleFormat(f"{where}.{side}: found no list, expected one entry per tensor")
    entries = {}
    for entry in found:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("name"), str)
            or not _is_shape(entry.get("shape"))
        ):
            raise BundleFormat(
                f"{where}.{side}: found {entry!r}, expected `name` and a `shape` of whole numbers"
            )
        if entry.get("history_length", entry.get("history", 0)) not in (0, None, False):
            raise BundleContract(
                f"{where}.{side}: {entry['name']} has a history that the runtime must keep; expected it inside the "
                "graph (as feedback), since formats differ in how it begins"
            )
        entries[entry["name"]] = entry
    return entries


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)


def _feedback(pipeline: dict[str, Any], node: str) -> dict[str, str]:
    """Input -> output of what the model remembers."""
    flows = pipeline.get("feedback_flow") or pipeline.get("feedback_connections") or {}
    state = {}
    for source, targets in flows.items():
        for target in targets:
            names = [side.partition("/") for side in (source, target)]
            if any(name[0] != node for name in names):
                raise BundleFormat(f"feedback {source} -> {target}: found another model, expected {node}")
            state[names[1][2]] = names[0][2]
    return state


def _joints(outputs: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, ...]:
    """All joints named, those of the targets first."""
    names: dict[str, None] = {}
    for entry in (*outputs.values(), *inputs.values()):
        if "/joint/" in str(entry.get("kind", "")):
            names.update(dict.fromkeys(_element_names(entry)))
    return tuple(names)


def _element_names(entry: dict[str, Any]) -> tuple[str, ...]:
    given = entry.get("element_names")
    last = given[-1] if isinstance(given, list) and given else None
    if not isinstance(last, list) or len(last) != math.prod(entry["shape"]):
        raise BundleContract(
            f"{entry['name']}: found element_names {given!r}, expected the names of {math.prod(entry['shape'])} joints"
        )
    return tuple(str(name) for name in last)


def _kind(entry: dict[str, Any], kinds: dict[str, Any]) -> str:
    found = str(entry.get("kind"))
    kind = _FROM_LEAPP.get(found, found)
    if kind not in kinds:
        raise BundleContract(
            f"{entry['name']}.kind: found {found!r}, expected {', '.join(closest(kind, list(kinds)))}"
        )
    return kind


def _observation(name: str, entry: dict[str, Any]) -> ObservationTerm:
    kind, size = _kind(entry, OBSERVATION_KINDS), math.prod(entry["shape"])
    shape = (size,) if kind in ("command/pose", "command/scalar", "state/camera/image") else None
    return ObservationTerm(
        name,
        kind,
        joints=_element_names(entry) if OBSERVATION_KINDS[kind] == JOINT else "all",
        unit=str(entry.get("unit", "1")),
        frame=entry.get("frame"),
        shape=shape,
    )


def _action(name: str, entry: dict[str, Any]) -> ActionTerm:
    kind = _kind(entry, ACTION_KINDS)
    named: Any = _element_names(entry) if ACTION_KINDS[kind] == JOINT else "all"
    return ActionTerm(name, kind, joints=named, unit=str(entry.get("unit", "1")))


def _graph_beside(path: Path, parameters: dict[str, Any]) -> bytes:
    name = str(parameters.get("model_path"))
    if name != Path(name).name or name in ("", ".", ".."):
        raise BundlePath(f"model_path: found {name!a}, expected the name of a file beside {path.name}")
    content = load_bytes(path.parent / name)
    digest = parameters.get("sha256sum")
    if digest is not None and digest != sha256(content):
        raise BundleHash(
            f"{name}: found another file than the one that {path.name} describes (sha256sum differs)"
        )
    return content


def _initial(path: Path, pipeline: dict[str, Any], node: str) -> dict[str, np.ndarray]:
    from dynrl.policy.bundle import read_tensors

    name = pipeline.get("initial_values")
    if name is None:
        return {}
    if str(name) != Path(str(name)).name:
        raise BundlePath(f"initial_values: found {name!a}, expected the name of a file beside {path.name}")
    tensors = read_tensors(load_bytes(path.parent / str(name)), str(name))
    return {key.removeprefix(f"{node}/"): value for key, value in tensors.items()}


def _file_stem(name: str) -> str:
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    return stem or "policy"
