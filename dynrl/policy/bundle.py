"""A policy bundle: contract, graph and examples, in a folder or a zip archive."""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from dynrl.policy import files as bundle_files
from dynrl.policy.contract import Contract, Model
from dynrl.policy.errors import (
    BundleContract,
    BundleFormat,
    BundleHash,
    BundleModel,
    BundleParity,
    BundlePath,
    BundleState,
)
from dynrl.policy.graph_check import METADATA, check_graph, check_metadata, embedded_values, parse_graph
from dynrl.policy.session import PolicySession
from dynrl.policy.yaml_text import read_contract, write_contract

EXAMPLE_STEPS = 32
PARITY_BAR = 1e-5


@dataclass(frozen=True)
class PolicyBundle:
    """A policy with everything that running it takes. Made by `load` or by the exporters.

    Attributes:
        contract: what its numbers mean.
        graph: the ONNX file.
        initial_state: the recurrent inputs at activation, by name.
        examples: recorded consecutive steps: `in.<input>` and `out.<output>`, each `[steps, ...]`.
    """

    contract: Contract
    graph: bytes
    initial_state: Mapping[str, np.ndarray]
    examples: Mapping[str, np.ndarray]

    @classmethod
    def load(cls, path: str | PathLike[str], *, allow_control_flow: bool = False) -> Self:
        """Reads, checks and tries a bundle; nothing is returned unless all of it is right.

        Args:
            path: a folder, or a zip archive.
            allow_control_flow: whether If, Loop and Scan may be in the graph.

        Raises:
            BundleError: a subclass says what is wrong, in one sentence.
        """
        files = bundle_files.read_files(Path(path))
        contract = read_contract(files[bundle_files.CONTRACT])
        bundle = cls._from_files(files, contract, allow_control_flow)
        bundle.verify()
        return bundle

    @classmethod
    def make(
        cls,
        model: Any,
        contract: Contract,
        examples: Mapping[str, np.ndarray],
        initial_state: Mapping[str, np.ndarray] | None = None,
    ) -> Self:
        """A bundle of a new graph; the contract gets its hash, the graph its copy of the contract.

        Args:
            model: an `onnx.ModelProto`.
            contract: without `model`, or with the names of inputs and outputs in it.
            examples: see the class.
            initial_state: of recurrent inputs that do not start at zero.

        Raises:
            BundleError: as `load`.
        """
        graph = _with_metadata(model, contract)
        names = contract.model or Model("policy.onnx", "0" * 64, 17)
        opset = max(entry.version for entry in model.opset_import)
        known = dataclasses.replace(names, sha256=bundle_files.sha256(graph), opset=opset)
        contract = dataclasses.replace(contract, model=known)
        files = {bundle_files.GRAPH: graph, bundle_files.EXAMPLES: _tensors_bytes(examples)}
        if initial_state:
            files[bundle_files.STATE] = _tensors_bytes(initial_state)
        bundle = cls._from_files(files, contract, allow_control_flow=False)
        bundle.verify()
        return bundle

    @classmethod
    def _from_files(cls, files: Mapping[str, bytes], contract: Contract, allow_control_flow: bool) -> Self:
        graph = files[bundle_files.GRAPH]
        if contract.model is None:
            raise BundleFormat("policy.yaml: model: found nothing, expected the graph's file and SHA-256")
        if contract.model.sha256 != bundle_files.sha256(graph):
            raise BundleHash(
                f"model.sha256: found {contract.model.sha256[:12]}…, expected that of policy.onnx, "
                f"{bundle_files.sha256(graph)[:12]}…: one of the two files was exchanged; export the policy again"
            )
        model = parse_graph(graph)
        check_graph(model, contract, allow_control_flow=allow_control_flow)
        opset = max(entry.version for entry in model.opset_import)
        if opset != contract.model.opset:
            raise BundleModel(
                f"model.opset: found {contract.model.opset}, expected that of policy.onnx, {opset}"
            )
        state = _initial_state(files, contract)
        examples = _examples(files[bundle_files.EXAMPLES], contract)
        check_metadata(model, contract)
        return cls(contract, graph, state, examples)

    def session(self) -> PolicySession:
        """The policy, ready to be called.

        Raises:
            BundleModel: ONNX Runtime is missing or refuses the graph.
        """
        return PolicySession(self.graph, self.contract, self.initial_state)

    def verify(self) -> float:
        """Runs the recorded steps on this machine; returns the largest difference of the action.

        Raises:
            BundleParity: it is above 1e-5 · max(1, largest action).
        """
        assert self.contract.model is not None
        session = self.session()
        observations = self.examples["in." + self.contract.model.inputs["observation"]]
        expected = self.examples["out." + self.contract.model.outputs["action"]]
        session.set_state(
            {tensor.input: self.examples[f"in.{tensor.input}"][0] for tensor in self.contract.state}
        )
        worst = 0.0
        for step, (observation, action) in enumerate(zip(observations, expected, strict=True)):
            difference = float(np.max(np.abs(session(observation[0]) - action[0]), initial=0.0))
            if not difference <= parity_bar(expected):
                raise BundleParity(
                    f"examples.safetensors: found an action at step {step} that differs by {difference:.3g} from the "
                    f"recorded one, expected at most {parity_bar(expected):.3g}"
                )
            worst = max(worst, difference)
        return worst

    def files(self) -> dict[str, bytes]:
        """Name -> content of every file of the bundle."""
        content = {
            bundle_files.CONTRACT: write_contract(self.contract).encode(),
            bundle_files.GRAPH: self.graph,
            bundle_files.EXAMPLES: _tensors_bytes(self.examples),
        }
        if any(tensor.initial != "zeros" for tensor in self.contract.state):
            content[bundle_files.STATE] = _tensors_bytes(self.initial_state)
        content[bundle_files.SUMS] = bundle_files.sums_text(content)
        return content

    def write(self, path: str | PathLike[str]) -> Path:
        """Writes the bundle, whole or not at all: a zip archive where `path` ends in `.zip`, else a folder.

        Raises:
            BundlePath: something is there already, or it cannot be written.
        """
        target = Path(path)
        if target.exists() or target.is_symlink():
            raise BundlePath(f"{target}: found something there, expected a free name; name another")
        content = self.files()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".zip":
                from dynrl.runs.array_file import write_atomically

                write_atomically(target, bundle_files.archive_bytes(content))
            else:
                _write_folder(target, content)
        except OSError as error:
            raise BundlePath(f"{target}: cannot be written: {error.strerror}") from error
        return target


def parity_bar(actions: np.ndarray) -> float:
    """Largest difference of raw actions that counts as equal."""
    return PARITY_BAR * max(1.0, float(np.max(np.abs(actions), initial=0.0)))


def _write_folder(target: Path, content: Mapping[str, bytes]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, data in content.items():
            with open(temporary / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _with_metadata(model: Any, contract: Contract) -> bytes:
    copy = type(model)()
    copy.CopyFrom(model)
    properties = {entry.key: entry.value for entry in copy.metadata_props}
    properties[METADATA] = json.dumps(embedded_values(contract), sort_keys=True)
    properties["joint_names"] = ",".join(contract.robot.joints)
    if contract.default_pose is not None:
        properties["default_joint_pos"] = ",".join(map(repr, contract.default_pose))
    scale = contract.action[0].scale
    properties["action_scale"] = ",".join(map(repr, scale if isinstance(scale, tuple) else (scale,)))
    del copy.metadata_props[:]
    for key in sorted(properties):
        copy.metadata_props.add(key=key, value=properties[key])
    return copy.SerializeToString(deterministic=True)


def _tensors_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(tensors[name], np.float32) for name in sorted(tensors)})


def read_tensors(content: bytes, source: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleFormat(
            f"{source}: found no file of tensors ({reason!a}), expected safetensors"
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise BundleFormat(f"{source}: {name}: found {tensor.dtype}, expected float32")
        if not np.isfinite(tensor).all():
            raise BundleFormat(f"{source}: {name}: found a number that is not finite, expected finite ones")
    return tensors


def _initial_state(files: Mapping[str, bytes], contract: Contract) -> dict[str, np.ndarray]:
    stored = [tensor for tensor in contract.state if tensor.initial != "zeros"]
    content = files.get(bundle_files.STATE)
    if stored and content is None:
        raise BundleState(
            f"state.safetensors: found no such file, expected the initial {stored[0].input!r} in it"
        )
    if content is not None and not stored:
        raise BundleState(
            "state.safetensors: found a file, expected none: no tensor of `state` starts from it"
        )
    given = {} if content is None else read_tensors(content, bundle_files.STATE)
    state = {}
    for index, tensor in enumerate(contract.state):
        if tensor.initial == "zeros":
            state[tensor.input] = np.zeros(tensor.shape, np.float32)
            continue
        if tensor.input not in given:
            raise BundleState(f"state.safetensors: found no {tensor.input!r}, expected it for state[{index}]")
        if given[tensor.input].shape != tensor.shape:
            raise BundleState(
                f"state.safetensors: {tensor.input}: found the shape {list(given[tensor.input].shape)}, expected "
                f"{list(tensor.shape)}"
            )
        state[tensor.input] = given[tensor.input]
    return state


def _examples(content: bytes, contract: Contract) -> dict[str, np.ndarray]:
    assert contract.model is not None
    tensors = read_tensors(content, bundle_files.EXAMPLES)
    expected: dict[str, tuple[int, ...]] = {
        "in." + contract.model.inputs["observation"]: (1, contract.observation_size),
        "out." + contract.model.outputs["action"]: (1, contract.action_size),
    }
    for state in contract.state:
        expected |= {f"in.{state.input}": tuple(state.shape), f"out.{state.output}": tuple(state.shape)}
    if set(tensors) != set(expected):
        raise BundleFormat(f"examples.safetensors: found {sorted(tensors)}, expected {sorted(expected)}")
    steps = {len(tensor) if tensor.ndim else 0 for tensor in tensors.values()}
    if len(steps) > 1 or min(steps) < EXAMPLE_STEPS:
        raise BundleFormat(
            f"examples.safetensors: found {sorted(steps)} steps, expected the same number, at least {EXAMPLE_STEPS}, "
            "in every tensor"
        )
    for name, shape in expected.items():
        if tensors[name].shape[1:] != shape:
            raise BundleContract(
                f"examples.safetensors: {name}: found the shape {list(tensors[name].shape)}, expected [steps, "
                f"{', '.join(map(str, shape))}]"
            )
    return tensors
