"""Between one observation vector and one input per term: the formula of the contract as nodes of the graph."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import ActionTerm, Contract, Model, ObservationTerm
from dynrl.policy.errors import BundleContract, BundleFormat, BundleModel, BundleNotFound
from dynrl.policy.graph_check import NEWEST_IR, check_graph, parse_graph, require_onnx
from dynrl.policy.onnx_graph import GraphBuilder, without_dead_nodes
from dynrl.policy.session import PolicySession

RAW_ACTION = "raw_action"
_INNER = "inner_"
_EXAMPLES = 64


@dataclass
class TermGraph:
    """A policy that takes raw values and gives targets.

    Attributes:
        inputs: name -> term, one raw sample each `[1, size]`, in the order of the term's joints; rotations are xyzw.
        outputs: name -> term, the target `[1, size]`.
        feedback: output -> input of everything that the policy remembers.
        initial: value of each remembered input at the first call.
        model: `onnx.ModelProto`.
    """

    inputs: dict[str, ObservationTerm] = field(default_factory=dict)
    outputs: dict[str, ActionTerm] = field(default_factory=dict)
    feedback: dict[str, str] = field(default_factory=dict)
    initial: dict[str, np.ndarray] = field(default_factory=dict)
    model: Any = None


def expand(bundle: PolicyBundle, quaternion: Literal["xyzw", "wxyz"] = "xyzw") -> TermGraph:
    """The policy with the whole contract inside: offsets, scales, clips, histories, the last action, the clock.

    Args:
        bundle: the policy.
        quaternion: order in which rotations arrive.

    Raises:
        BundleContract: targets relative to something, which a graph without the loop cannot know.
    """
    return _Expansion(bundle, quaternion).run()


class _Expansion:
    """Builds a `TermGraph`."""

    def __init__(self, bundle: PolicyBundle, quaternion: str) -> None:
        self.bundle, self.contract = bundle, bundle.contract
        self.quaternion = quaternion
        self.builder = GraphBuilder(prefix="terms_")
        self.result = TermGraph()
        self.remembered: dict[str, tuple[str, Sequence[int]]] = {}

    def run(self) -> TermGraph:
        contract, builder = self.contract, self.builder
        assert contract.model is not None
        samples = [self._term(term) for term in contract.observation]
        observation = samples[0] if len(samples) == 1 else builder.add("Concat", *samples, axis=1)
        if contract.normalisation.where == "yaml":
            observation = self._normalised(observation)
        builder.name(observation, _INNER + contract.model.inputs["observation"])
        for tensor in contract.state:
            builder.input(tensor.input, tensor.shape)
            self.result.feedback[tensor.output] = tensor.input
            self.result.initial[tensor.input] = self.bundle.initial_state[tensor.input]
            self.remembered[tensor.output] = (tensor.output, tensor.shape)
        original = parse_graph(self.bundle.graph)
        kept = {name for tensor in contract.state for name in (tensor.input, tensor.output)}
        builder.include(original.graph, _INNER, kept)
        outputs = self._targets(_INNER + contract.model.outputs["action"])
        self.result.model = without_dead_nodes(
            builder.model({**outputs, **self.remembered}, contract.model.opset)
        )
        return self.result

    def _term(self, term: ObservationTerm) -> str:
        size = math.prod(self.contract.sample_shape(term))
        if term.kind == "memory/action":
            raw = self.builder.input(term.name, (1, size))
            self.result.feedback[RAW_ACTION] = term.name
            self.result.initial[term.name] = np.zeros((1, size), np.float32)
            assert self.contract.model is not None
            self.remembered[RAW_ACTION] = (_INNER + self.contract.model.outputs["action"], (1, size))
        elif term.kind == "clock/phase":
            raw = self._phase(term)
        else:
            raw = self.builder.input(term.name, (1, size))
            self.result.inputs[term.name] = term
            raw = self._rotated(term, raw, size)
        sample = self._scaled(term, raw, size)
        return sample if term.history == 1 else self._history(term, sample, size)

    def _numbers(self, value: Any) -> str:
        return self.builder.constant(np.asarray(value, np.float32))

    def _indices(self, *values: int) -> str:
        return self.builder.constant(np.asarray(values, np.int64))

    def _columns(self, value: str, start: int, stop: int) -> str:
        bounds = self._indices(start), self._indices(stop), self._indices(1)
        return self.builder.add("Slice", value, *bounds)

    def _remember(self, name: str, value: str, initial: np.ndarray) -> None:
        """The value that `NAME_in` takes at the next call."""
        self.result.feedback[f"{name}_out"] = f"{name}_in"
        self.result.initial[f"{name}_in"] = initial
        self.remembered[f"{name}_out"] = (value, initial.shape)

    def _phase(self, term: ObservationTerm) -> str:
        assert term.period is not None
        add, name = self.builder.add, f"{term.name}_count"
        count = self.builder.input(f"{name}_in", (1, 1))
        turns = add("Mul", count, self._numbers(self.contract.control.period / term.period))
        angle = add("Mul", add("Sub", turns, add("Floor", turns)), self._numbers(2 * math.pi))
        self._remember(name, add("Add", count, self._numbers(1.0)), np.zeros((1, 1), np.float32))
        return add("Concat", add("Sin", angle), add("Cos", angle), axis=1)

    def _rotated(self, term: ObservationTerm, raw: str, size: int) -> str:
        add = self.builder.add
        if term.canonical:
            first = size - 1 if self.quaternion == "xyzw" else size - 4
            w = self._columns(raw, first, first + 1)
            signs = np.ones((1, size), np.float32)
            signs[0, -4:] = -1
            raw = add("Where", add("Less", w, self._numbers(0.0)), add("Mul", raw, self._numbers(signs)), raw)
        if _is_rotation(term, size) and term.quaternion != self.quaternion:
            turned = (3, 0, 1, 2) if term.quaternion == "wxyz" else (1, 2, 3, 0)
            order = [*range(size - 4), *(size - 4 + index for index in turned)]
            raw = add("Gather", raw, self._indices(*order), axis=1)
        return raw

    def _scaled(self, term: ObservationTerm, raw: str, size: int) -> str:
        add = self.builder.add
        offset = self.contract.default_pose_of(term) if term.offset == "default_pose" else term.offset
        for operator, value, neutral in (("Sub", offset, 0.0), ("Mul", term.scale, 1.0)):
            if value != neutral:
                raw = add(operator, raw, self._numbers(np.broadcast_to(value, (1, size))))
        return raw if term.clip is None else self._clipped(raw, term.clip)

    def _clipped(self, value: str, bounds: tuple[float, float]) -> str:
        return self.builder.add("Clip", value, *(self._numbers(bound) for bound in bounds))

    def _history(self, term: ObservationTerm, sample: str, size: int) -> str:
        add, name, past = self.builder.add, f"{term.name}_history", size * (term.history - 1)
        remembered = self.builder.input(f"{name}_in", (1, past))
        started = self.builder.input(f"{term.name}_started_in", (1, 1))
        self._remember(f"{term.name}_started", self._numbers([[1.0]]), np.zeros((1, 1), np.float32))
        first = add("Tile", sample, self._indices(1, term.history - 1))
        older = add("Where", add("Greater", started, self._numbers(0.5)), remembered, first)
        newest_last = term.history_order == "oldest_first"
        whole = add("Concat", *((older, sample) if newest_last else (sample, older)), axis=1)
        kept = (size, size + past) if newest_last else (0, past)
        self._remember(name, self._columns(whole, *kept), np.zeros((1, past), np.float32))
        return whole

    def _normalised(self, observation: str) -> str:
        given, add = self.contract.normalisation, self.builder.add
        centred = add("Sub", observation, self._numbers([given.mean]))
        scaled = add("Div", centred, self._numbers([given.std]))
        return scaled if given.clip is None else self._clipped(scaled, (-given.clip, given.clip))

    def _targets(self, action: str) -> dict[str, tuple[str, Sequence[int]]]:
        add, start = self.builder.add, 0
        outputs: dict[str, tuple[str, Sequence[int]]] = {}
        for index, term in enumerate(self.contract.action):
            if term.mode != "absolute":
                raise BundleContract(
                    f"action[{index}].mode: found {term.mode!r}, expected 'absolute', the only one in other formats"
                )
            size = math.prod(self.contract.sample_shape(term))
            value = self._columns(action, start, start + size)
            start += size
            if term.clip is not None:
                value = self._clipped(value, term.clip)
            offset = self.contract.default_pose_of(term) if term.offset == "default_pose" else term.offset
            for operator, number, neutral in (("Mul", term.scale, 1.0), ("Add", offset, 0.0)):
                if number != neutral:
                    value = add(operator, value, self._numbers(np.broadcast_to(number, (1, size))))
            taken = {*self.result.inputs, *self.result.initial, *self.remembered, *outputs}
            name = f"{term.name}_target" if term.name in taken else term.name
            outputs[name] = (value, (1, size))
            self.result.outputs[name] = term
        return outputs


def _is_rotation(term: ObservationTerm, size: int) -> bool:
    return term.kind == "state/body/rotation" or (term.kind.endswith("pose") and size == 7)


def fold(model: Any, inputs: Sequence[str], outputs: Sequence[str], state: dict[str, str]) -> Any:
    """A graph with several inputs and outputs as one with `observation` and `action`, theirs one after the other.

    Args:
        model: `onnx.ModelProto`.
        inputs, outputs: names, in order.
        state: input -> output that stay as they are.

    Raises:
        BundleModel: a name that the graph has not, or one that is left over.
    """
    shapes_in, shapes_out = _float_values(model.graph.input), _float_values(model.graph.output)
    for names, shapes, kept in (
        (inputs, shapes_in, list(state)),
        (outputs, shapes_out, list(state.values())),
    ):
        for name in (*names, *kept):
            if name not in shapes:
                raise BundleModel(
                    f"the graph has no float32 value {name!r} with fixed axes; it has {', '.join(shapes)}"
                )
    left = [name for name in shapes_in if name not in inputs and name not in state]
    if left:
        raise BundleModel(f"the graph has the input {left[0]!r}, which the description does not name")
    builder = GraphBuilder(prefix="fold_")
    sizes = [math.prod(shapes_in[name]) for name in inputs]
    observation = builder.input("observation", (1, sum(sizes)))
    start = 0
    for name, size in zip(inputs, sizes, strict=True):
        bounds = [builder.constant(np.array([number], np.int64)) for number in (start, start + size, 1)]
        part = builder.add("Slice", observation, *bounds)
        shaped = builder.add("Reshape", part, builder.constant(np.array(shapes_in[name], np.int64)))
        builder.name(shaped, _INNER + name)
        start += size
    for name in state:
        builder.input(name, shapes_in[name])
    builder.include(model.graph, _INNER, {*state, *state.values()})
    flat = builder.constant(np.array([1, -1], np.int64))
    parts = [builder.add("Reshape", _INNER + name, flat) for name in outputs]
    total = sum(math.prod(shapes_out[name]) for name in outputs)
    results: dict[str, tuple[str, Sequence[int]]] = {
        "action": (builder.add("Concat", *parts, axis=1), (1, total))
    }
    results |= {name: (name, shapes_out[name]) for name in state.values()}
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    folded = without_dead_nodes(builder.model(results, opset))
    folded.ir_version = min(model.ir_version, NEWEST_IR)
    return folded


def bundle_of(model: Any, contract: Contract, initial: dict[str, np.ndarray] | None = None) -> PolicyBundle:
    """A bundle of a graph that came without recorded steps: the graph itself records them here.

    Raises:
        BundleError: the graph does not fit the contract.
    """
    digits = "0" * 64
    opset = max(entry.version for entry in model.opset_import)
    named = dataclasses.replace(contract, model=Model("policy.onnx", digits, opset))
    check_graph(model, named)
    zeros = {tensor.input: np.zeros(tensor.shape, np.float32) for tensor in named.state}
    session = PolicySession(model.SerializeToString(), named, {**zeros, **(initial or {})})
    rng, rows = np.random.default_rng(0), []
    for _ in range(_EXAMPLES):
        observation = rng.normal(size=named.observation_size).astype(np.float32)
        before = session.state()
        action = session(observation).copy()
        row = {"in.observation": observation[None], "out.action": action[None]}
        after = session.state()
        for tensor in named.state:
            row |= {f"in.{tensor.input}": before[tensor.input], f"out.{tensor.output}": after[tensor.input]}
        rows.append(row)
    if not all(np.isfinite(value).all() for row in rows for value in row.values()):
        raise BundleModel(
            "the graph gives numbers that are not finite for a random observation, expected finite ones"
        )
    examples = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return PolicyBundle.make(model, named, examples, initial)


def load_graph(path: Path) -> Any:
    """The `onnx.ModelProto` of a file.

    Raises:
        BundleNotFound: no such file.
        BundleModel: it is no ONNX model.
    """
    return parse_graph(load_bytes(path))


def load_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        BundleNotFound: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleNotFound(f"{path}: cannot be read: {error.strerror}") from error


def with_metadata(model: Any, properties: dict[str, str]) -> bytes:
    """The bytes of a model whose metadata are `properties`."""
    copy = type(model)()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    for key, value in properties.items():
        copy.metadata_props.add(key=key, value=value)
    return copy.SerializeToString(deterministic=True)


def metadata_of(model: Any) -> dict[str, str]:
    """The metadata of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


def need_period(period: float | None, format: str) -> float:
    """The period that the user must give.

    Raises:
        BundleFormat: it is missing.
    """
    if period is None:
        raise BundleFormat(
            f"a {format} policy does not say how often it is called: give its period in seconds"
        )
    return period


def _float_values(values: Any) -> dict[str, list[int]]:
    onnx = require_onnx()
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        sizes = [dimension.dim_value for dimension in tensor.shape.dim]
        if sizes and sizes[0] == 0 and tensor.shape.dim[0].HasField("dim_param"):
            sizes[0] = 1
        if tensor.elem_type == onnx.TensorProto.FLOAT and 0 not in sizes:
            found[value.name] = sizes
    return found
