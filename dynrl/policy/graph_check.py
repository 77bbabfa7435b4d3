"""What an ONNX graph must be before it is run: plain operators, fixed sizes, and the numbers that the terms name."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dynrl.policy.contract import Contract
from dynrl.policy.errors import BundleContract, BundleModel, BundleState

METADATA = "dynrl.policy"
OPSETS = range(17, 21)
NEWEST_IR = 10
ELEMENT_LIMIT = 2**26
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


def require_onnx() -> Any:
    """The package `onnx`.

    Raises:
        BundleModel: not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BundleModel(
            f"policy.onnx: found no package that reads it, expected onnx: pip install 'dynrl[export]' ({error})"
        ) from error
    return onnx


def parse_graph(content: bytes) -> Any:
    """The `onnx.ModelProto` in the bytes of a file.

    Raises:
        BundleModel: it is none.
    """
    onnx = require_onnx()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, TypeError) as error:
        raise BundleModel(f"policy.onnx: found no ONNX model ({_line(error)}), expected one") from error
    if not model.graph.node and not model.graph.output:
        raise BundleModel("policy.onnx: found an empty graph, expected a policy")
    for text in _texts(model):
        if not isinstance(text, str):  # protobuf gives what is not UTF-8 as bytes
            raise BundleModel(f"policy.onnx: found the name {text!a}, expected text in UTF-8")
    return model


def _texts(model: Any) -> Iterator[Any]:
    graph = model.graph
    for entry in model.opset_import:
        yield entry.domain
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            yield dimension.dim_param
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)


def check_graph(model: Any, contract: Contract, *, allow_control_flow: bool = False) -> None:
    """Refuses a graph that is not safe, not valid, or not the one that the contract describes.

    Args:
        model: an `onnx.ModelProto`.
        contract: with its `model`.
        allow_control_flow: whether If, Loop and Scan may be in it; their running time has no bound.

    Raises:
        BundleModel: unsafe or invalid; names, types or sizes that do not fit.
        BundleState: recurrent tensors that do not fit.
    """
    _check_versions(model)
    _check_nodes(model.graph, allow_control_flow)
    inferred = _check_valid(model)
    _check_sizes(inferred.graph)
    _check_signature(inferred.graph, contract)


def check_metadata(model: Any, contract: Contract) -> None:
    """Refuses a graph that was exported with another contract.

    Raises:
        BundleContract: it says something else than `policy.yaml`, or nothing.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA not in properties:
        raise BundleContract(
            f"policy.onnx: found no copy of the contract ({METADATA} in its metadata), expected that of policy.yaml: "
            "the graph was exchanged"
        )
    try:
        copy = json.loads(properties[METADATA])
    except ValueError as error:
        raise BundleContract(
            f"policy.onnx: {METADATA}: found no JSON ({error}), expected the contract"
        ) from error
    expected = json.loads(json.dumps(embedded_values(contract)))
    if copy != expected:
        keys = [key for key in {**expected, **copy} if copy.get(key) != expected.get(key)]
        raise BundleContract(
            f"policy.yaml and the copy in policy.onnx differ in {', '.join(keys)}, expected the same: one of the two "
            "files was exchanged or edited; export the policy again"
        )


def embedded_values(contract: Contract) -> dict[str, Any]:
    """The part of the contract that travels inside the graph: all but what is only known once the graph exists."""
    from dynrl.policy.yaml_text import plain_values

    values = plain_values(contract)
    for key in ("model", "parity", "provenance", "created"):
        values.pop(key, None)
    return values


def _check_versions(model: Any) -> None:
    if not 1 <= model.ir_version <= NEWEST_IR:
        raise BundleModel(f"policy.onnx: found IR version {model.ir_version}, expected at most {NEWEST_IR}")
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            raise BundleModel(
                f"policy.onnx: found operators of the domain {entry.domain!r}, expected those of ONNX itself"
            )
        if entry.version not in OPSETS:
            raise BundleModel(
                f"policy.onnx: found opset {entry.version}, expected {OPSETS[0]} to {OPSETS[-1]}"
            )
    if model.functions:
        raise BundleModel(
            f"policy.onnx: found the function {model.functions[0].name!r}, expected plain operators"
        )


def _check_nodes(graph: Any, allow_control_flow: bool) -> None:
    for tensor in graph.initializer:
        _check_inline(tensor)
    if graph.sparse_initializer:
        raise BundleModel("policy.onnx: found sparse weights, expected dense ones")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise BundleModel(
                f"policy.onnx: found the operator {node.op_type} of the domain {node.domain!r}, expected operators of "
                "ONNX itself"
            )
        if node.op_type in _RANDOM:
            raise BundleModel(f"policy.onnx: found the random operator {node.op_type}, expected none")
        if node.op_type in _CONTROL_FLOW and not allow_control_flow:
            raise BundleModel(
                f"policy.onnx: found the operator {node.op_type}, whose running time has no bound; expected none "
                "(--allow-control-flow takes it)"
            )
        for attribute in node.attribute:
            _check_inline(attribute.t)
            for tensor in attribute.tensors:
                _check_inline(tensor)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    _check_nodes(inner, allow_control_flow)


def _check_inline(tensor: Any) -> None:
    onnx = require_onnx()
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise BundleModel(
            f"policy.onnx: found weights of {tensor.name!r} in another file, expected them inside: no external data"
        )


def _check_valid(model: Any) -> Any:
    """The model with the shapes of all its values."""
    onnx = require_onnx()
    try:
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(_with_batch_of_one(model), strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleModel(
            f"policy.onnx: found an invalid graph ({_line(error)}), expected a valid one"
        ) from error
    except (RuntimeError, ValueError, TypeError) as error:  # what the C++ checker raises for the rest
        raise BundleModel(
            f"policy.onnx: found an invalid graph ({_line(error)}), expected a valid one"
        ) from error


def batch_names(model: Any) -> list[str]:
    """Names of the open first axes of the inputs, which are bound to 1."""
    names = []
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and dimensions[0].HasField("dim_param"):
            names.append(dimensions[0].dim_param)
    return sorted(set(names))


def _with_batch_of_one(model: Any) -> Any:
    bound = batch_names(model)
    copy = type(model)()
    copy.CopyFrom(model)
    for value in [*copy.graph.input, *copy.graph.output, *copy.graph.value_info]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param") and dimension.dim_param in bound:
                dimension.dim_value = 1
    return copy


def _check_sizes(graph: Any) -> None:
    """A value that could grow without bound would take the memory of the machine."""
    shapes = {value.name: _shape(value) for value in [*graph.value_info, *graph.output]}
    for node in graph.node:
        for name in node.output:
            if not name:
                continue
            shape = shapes.get(name)
            if shape is None or None in shape:
                raise BundleModel(
                    f"policy.onnx: found the value {name!r} (of {node.op_type}) without a fixed shape, expected all "
                    "shapes to follow from the inputs"
                )
            if math.prod(size for size in shape if size is not None) > ELEMENT_LIMIT:
                raise BundleModel(
                    f"policy.onnx: found the value {name!r} of shape {shape}, expected at most {ELEMENT_LIMIT} elements"
                )


def _check_signature(graph: Any, contract: Contract) -> None:
    assert contract.model is not None
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    outputs = {value.name: value for value in graph.output}
    observation, action = contract.model.inputs["observation"], contract.model.outputs["action"]
    for side, name, values in (("input", observation, inputs), ("output", action, outputs)):
        if name not in values:
            raise BundleModel(
                f"model.{side}s: found no {side} {name!r} in policy.onnx, expected it; the graph has "
                f"{', '.join(map(repr, values)) or 'none'}"
            )
    _check_state(contract, inputs, outputs, {observation}, {action})
    action_sizes = {term.name: math.prod(contract.sample_shape(term)) for term in contract.action}
    _check_vector(inputs[observation], contract.observation_size, contract.term_sizes(), "input")
    _check_vector(outputs[action], contract.action_size, action_sizes, "output")


def _check_vector(value: Any, size: int, terms: Mapping[str, int], side: str) -> None:
    _check_float32(value)
    shape = _shape(value)
    if len(shape) == 2 and shape[0] == 1 and shape[1] == size:
        return
    sum_of_terms = " + ".join(f"{name} {length}" for name, length in terms.items())
    last = shape[-1] if shape else None
    raise BundleModel(
        f"policy.onnx: found the {side} {value.name!r} of shape {_written(shape)}, that is {last} numbers, expected "
        f"[1, {size}]: the terms give {sum_of_terms} = {size}"
    )


def _check_state(
    contract: Contract, inputs: Mapping[str, Any], outputs: Mapping[str, Any], used: set[str], given: set[str]
) -> None:
    for index, tensor in enumerate(contract.state):
        for side, name, values in (("input", tensor.input, inputs), ("output", tensor.output, outputs)):
            if name not in values:
                raise BundleState(
                    f"state[{index}].{side}: found no {side} {name!r} in policy.onnx, expected one; it has "
                    f"{', '.join(map(repr, values))}"
                )
            _check_float32(values[name])
            if _shape(values[name]) != list(tensor.shape):
                raise BundleState(
                    f"state[{index}].shape: found {list(tensor.shape)}, expected that of the {side} {name!r} of "
                    f"policy.onnx: {_written(_shape(values[name]))}"
                )
        used.add(tensor.input)
        given.add(tensor.output)
    for side, values, known in (("input", inputs, used), ("output", outputs, given)):
        for name in values:
            if name not in known:
                raise BundleState(
                    f"policy.onnx: found the {side} {name!r}, which policy.yaml does not name; expected it under "
                    "`state`, with its pair"
                )


def _check_float32(value: Any) -> None:
    onnx = require_onnx()
    found = value.type.tensor_type.elem_type
    if found != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(found).lower()
        raise BundleModel(f"policy.onnx: found {value.name!r} of type {name}, expected float (32 bit)")


def _shape(value: Any) -> list[int | None]:
    return [
        dimension.dim_value if dimension.HasField("dim_value") else None
        for dimension in value.type.tensor_type.shape.dim
    ]


def _written(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return ascii(text[:200])[1:-1] or type(error).__name__
