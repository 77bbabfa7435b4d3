"""Isaac Lab's IO descriptors: a YAML file that describes the managers of an environment, beside an ONNX policy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import ActionTerm, Contract, Control, Gains, Limits, ObservationTerm, RobotModel
from dynrl.policy.errors import BundleContract, BundleFormat
from dynrl.policy.formats import mjlab
from dynrl.policy.formats.graphs import bundle_of, load_bytes, load_graph, with_metadata
from dynrl.policy.graph_check import parse_graph
from dynrl.policy.yaml_text import dump_yaml, read_strict_yaml

_DESCRIPTION, _GRAPH = "IO_descriptors.yaml", "policy.onnx"


def files(bundle: PolicyBundle) -> dict[str, bytes]:
    """Name -> content: `IO_descriptors.yaml` and `policy.onnx`.

    Raises:
        BundleContract: a term that is scaled or has a history, or a target that is none of joint positions.
    """
    contract = bundle.contract
    term = mjlab.position_target(contract)
    joints = list(contract.robot.joints)
    gains = contract.gains or Gains()
    observations = []
    for index, observation in enumerate(contract.observation):
        entry: dict[str, Any] = {
            "name": mjlab.observation_name(contract, index),
            "shape": list(contract.sample_shape(observation)),
            "dtype": "torch.float32",
            "overloads": {"clip": None, "scale": None, "history_length": 0},
        }
        if observation.kind.startswith("state/joint"):
            entry["joint_names"] = list(joints)
        observations.append(entry)
    articulation = {
        "joint_names": list(joints),
        "default_joint_pos": list(contract.default_pose or ()),
        "default_joint_stiffness": list(gains.kp or ()),
        "default_joint_damping": list(gains.kd or ()),
    }
    if contract.limits.position is not None and None not in contract.limits.position:
        articulation["default_joint_pos_limits"] = [list(pair) for pair in contract.limits.position if pair]
    action = {
        "name": "joint_position_action",
        "joint_names": list(joints),
        "scale": list(term.scale) if isinstance(term.scale, tuple) else term.scale,
        "offset": list(contract.default_pose or ()),
        "clip": _target_clip(contract, term),
        "shape": [len(joints)],
    }
    physics_dt = contract.control.period / contract.control.decimation
    description = {
        "actions": [action],
        "articulations": {"robot": articulation},
        "observations": {"policy": observations},
        "scene": {
            "dt": contract.control.period,
            "physics_dt": physics_dt,
            "decimation": contract.control.decimation,
        },
    }
    return {
        _DESCRIPTION: dump_yaml(description).encode(),
        _GRAPH: with_metadata(parse_graph(bundle.graph), {}),
    }


def read(path: Path, robot: str, period: float | None) -> tuple[PolicyBundle, list[str]]:
    """The bundle of an IO description and of the one ONNX file beside it.

    Raises:
        BundleFormat: not an IO description, or no ONNX file beside it.
        BundleContract: terms that have no counterpart.
        BundleModel: the graph.
    """
    values = read_strict_yaml(load_bytes(path), path.name)
    if not isinstance(values, dict) or not {"actions", "articulations", "observations"} <= set(values):
        raise BundleFormat(
            f"{path.name}: found no actions, articulations and observations: is this an IO description?"
        )
    graphs = sorted(path.parent.glob("*.onnx"))
    if len(graphs) != 1:
        found = ", ".join(graph.name for graph in graphs) or "none"
        raise BundleFormat(f"{path.parent}: found {found}, expected one .onnx file beside {path.name}")
    articulation = values["articulations"].get("robot")
    if not isinstance(articulation, dict):
        raise BundleFormat(
            f"{path.name}: articulations.robot: found nothing, expected the robot's default pose"
        )
    joints = tuple(str(joint) for joint in articulation.get("joint_names", ()))
    scene = values.get("scene") or {}
    if period is None:
        period = _period(path.name, scene)
    gains = [_row(articulation.get(f"default_joint_{name}")) for name in ("stiffness", "damping")]
    limits = articulation.get("default_joint_pos_limits")
    pairs = None if not limits else tuple((float(low), float(high)) for low, high in limits)
    contract = Contract(
        name=path.parent.resolve().name or "policy",
        control=Control(period, int(scene.get("decimation", 1))),
        robot=RobotModel(robot, joints),
        observation=tuple(_observation(entry) for entry in _policy_group(path.name, values["observations"])),
        action=(_action(path.name, values["actions"], joints),),
        default_pose=_row(articulation.get("default_joint_pos")),
        gains=Gains(*gains),
        limits=Limits(position=pairs),
    )
    return bundle_of(mjlab.single_input(load_graph(graphs[0])), contract), []


def _period(name: str, scene: dict[str, Any]) -> float:
    if "dt" in scene:
        return float(scene["dt"])
    if "physics_dt" in scene and "decimation" in scene:
        return float(scene["physics_dt"]) * int(scene["decimation"])
    raise BundleFormat(
        f"{name}: scene: found no dt, expected the seconds between two calls; give the period yourself"
    )


def _policy_group(name: str, observations: Any) -> list[dict[str, Any]]:
    group = observations.get("policy") if isinstance(observations, dict) else observations
    if not isinstance(group, list):
        raise BundleFormat(f"{name}: observations.policy: found no list, expected one entry per term")
    return group


def _observation(entry: dict[str, Any]) -> ObservationTerm:
    term = mjlab.observation_term(str(entry.get("name")))
    settings = entry.get("overloads") or {}
    if settings.get("history_length"):
        raise BundleContract(
            f"observation {term.name!r}: found a history of {settings['history_length']}, expected none: Isaac Lab's "
            "begins with the first sample, but its layout is not in the description"
        )
    scale, clip = settings.get("scale"), settings.get("clip")
    if clip is not None and scale is not None:
        raise BundleContract(
            f"observation {term.name!r}: found clip and scale, expected one of them: Isaac Lab clips before it scales"
        )
    changes: dict[str, Any] = {}
    if scale is not None:
        changes["scale"] = tuple(map(float, scale)) if isinstance(scale, list) else float(scale)
    if clip is not None:
        changes["clip"] = (float(clip[0]), float(clip[1]))
    return dataclasses.replace(term, **changes)


def _action(name: str, actions: Any, joints: tuple[str, ...]) -> Any:
    if not isinstance(actions, list) or len(actions) != 1:
        raise BundleContract(f"{name}: actions: found {len(actions or [])}, expected one: joint positions")
    (entry,) = actions
    if "position" not in str(entry.get("name", "")).lower():
        raise BundleContract(
            f"{name}: actions[0].name: found {entry.get('name')!r}, expected a joint position action"
        )
    scale, offset = entry.get("scale", 1.0), entry.get("offset", 0.0)
    term = mjlab.joint_target(
        _row(scale) if isinstance(scale, list) else float(scale),
        _row(offset) if isinstance(offset, list) else float(offset),
        _raw_clip(name, entry, scale, offset),
    )
    named = tuple(str(joint) for joint in entry.get("joint_names", joints))
    return term if named == joints else dataclasses.replace(term, joints=named)


def _target_clip(contract: Contract, term: ActionTerm) -> list[list[float]] | None:
    """Isaac Lab clips the target where a bundle clips the raw action: the same bounds, scaled and shifted."""
    if term.clip is None:
        return None
    size = len(contract.robot.joints)
    scale, offset = np.broadcast_to(term.scale, size), np.asarray(contract.default_pose, float)
    ends = np.array(term.clip)[:, None] * scale + offset
    return np.sort(ends, axis=0).T.tolist()


def _raw_clip(name: str, entry: dict[str, Any], scale: Any, offset: Any) -> tuple[float, float] | None:
    clip = entry.get("clip")
    if not clip:
        return None
    targets = np.array(clip, float).T
    raw = np.sort((targets - np.asarray(offset, float)) / np.asarray(scale, float), axis=0)
    low, high = raw.mean(axis=1)
    if not np.allclose(raw, [[low], [high]], rtol=1e-6, atol=1e-9):
        raise BundleContract(
            f"{name}: actions[0].clip: found bounds of the targets that are none of the raw action, expected the same "
            "ones for every joint before scale and offset; put the others into `limits.position` of the contract"
        )
    return float(low), float(high)


def _row(values: Any) -> Any:
    """A list of numbers as a tuple; None for nothing."""
    return tuple(float(value) for value in values) if values else None
