"""Building ONNX graphs node by node."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from dynrl.policy.graph_check import require_onnx

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes of old robots."""


class GraphBuilder:
    """Collects nodes and weights; every value has a name.

    Args:
        name: of the graph.
        prefix: of the names that are made up, so that they do not meet those of another graph.
    """

    def __init__(self, name: str = "policy", prefix: str = "") -> None:
        self._onnx = require_onnx()
        self._name, self._prefix = name, prefix
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declares a float32 input and returns its name."""
        self._inputs.append(self._value(name, shape))
        return name

    def constant(self, value: Any) -> str:
        """Name of a weight; equal ones are stored once."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._fresh("constant")
            self._weights.append(
                self._onnx.numpy_helper.from_array(
                    np.ascontiguousarray(array).reshape(array.shape), self._constants[key]
                )
            )
        return self._constants[key]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        names = [self._fresh(operator.lower()) for _ in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def include(self, graph: Any, prefix: str, kept: Container[str] = ()) -> None:
        """Takes the nodes and weights of another graph over.

        Args:
            graph: an `onnx.GraphProto`.
            prefix: put before the names of its values; those that it reads must have been given such names.
            kept: values that keep their names.
        """
        for group, collection in ((graph.node, self._nodes), (graph.initializer, self._weights)):
            for original in group:
                copy = type(original)()
                copy.CopyFrom(original)
                collection.append(copy)
        for node in self._nodes[-len(graph.node) or len(self._nodes) :]:
            for side in (node.input, node.output):
                for index, name in enumerate(side):
                    if name and name not in kept:
                        side[index] = prefix + name
        for weight in self._weights[-len(graph.initializer) or len(self._weights) :]:
            weight.name = prefix + weight.name

    def name(self, value: str, name: str) -> None:
        """Gives a value a name of the caller's choice."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))

    def model(self, outputs: Mapping[str, tuple[str, Sequence[int]]], opset: int = OPSET) -> Any:
        """The finished `onnx.ModelProto`.

        Args:
            outputs: name of each float32 output -> (value that it gives, its shape).
            opset: that of a graph that was included.
        """
        helper = self._onnx.helper
        for name, (value, _) in outputs.items():
            if value != name:
                self.name(value, name)
        results = [self._value(name, shape) for name, (_, shape) in outputs.items()]
        used = {name for node in self._nodes for name in node.input}
        weights = [weight for weight in self._weights if weight.name in used]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, results, weights)
        imports = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="dynrl")

    def _value(self, name: str, shape: Sequence[int]) -> Any:
        onnx = self._onnx
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{self._prefix}{stem}_{self._count}"


def without_dead_nodes(model: Any) -> Any:
    """The model without nodes and weights that no output depends on."""
    copy = type(model)()
    copy.CopyFrom(model)
    graph = copy.graph
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    weights = [weight for weight in graph.initializer if weight.name in wanted]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
    return copy
