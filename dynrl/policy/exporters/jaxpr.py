"""JAX functions as ONNX graphs: each primitive of the function's jaxpr becomes an operator or two.

The list of primitives is that of policies: dense and recurrent networks, distributions' modes, normalisation. A
function that uses another one is refused by name; what does not depend on the inputs is computed here and stored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend
import numpy as np

from dynrl.policy.errors import BundleModel
from dynrl.policy.onnx_graph import GraphBuilder, without_dead_nodes

Value = str | np.ndarray
"""A value of the graph by name, or a constant that is known now."""

_DIRECT = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "copy": "Identity",
    "copy_p": "Identity",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
}
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("scan", "while", "cond")


def jax_graph(
    function: Callable[..., Any], inputs: Mapping[str, Sequence[int]], outputs: Sequence[str]
) -> Any:
    """The `onnx.ModelProto` of a pure float32 function.

    Args:
        function: takes one array per input, in order, and returns one array, or a tuple of one per output.
        inputs: name -> shape of each.
        outputs: names.

    Raises:
        BundleModel: a primitive or a dtype that has no counterpart here.
    """
    with jax.enable_x64(False):
        shapes = [jax.ShapeDtypeStruct(tuple(shape), np.float32) for shape in inputs.values()]
        closed = jax.make_jaxpr(lambda *arrays: _as_tuple(function(*arrays)))(*shapes)
        builder = GraphBuilder()
        arguments: list[Value] = [builder.input(name, shape) for name, shape in inputs.items()]
        results = _Translation(builder).run(
            closed.jaxpr, [np.asarray(const) for const in closed.consts], arguments
        )
    if len(results) != len(outputs):
        raise BundleModel(
            f"the function returns {len(results)} arrays, expected {len(outputs)}: {', '.join(outputs)}"
        )
    named = {}
    for name, result, variable in zip(outputs, results, closed.jaxpr.outvars, strict=True):
        if variable.aval.dtype != np.float32:
            raise BundleModel(
                f"the output {name!r} of the function is {variable.aval.dtype}, expected float32"
            )
        value = builder.constant(result) if isinstance(result, np.ndarray) else result
        named[name] = (value, variable.aval.shape)
    return without_dead_nodes(builder.model(named))


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


class _Translation:
    """Walks a jaxpr."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    def run(self, jaxpr: Any, consts: Sequence[Value], arguments: Sequence[Value]) -> list[Value]:
        """Values of the outputs of `jaxpr`."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Value:
            if isinstance(atom, jax.extend.core.Literal):
                literal: Any = atom
                return np.asarray(literal.val, literal.aval.dtype)
            return known[atom]

        for equation in jaxpr.eqns:
            values = [read(atom) for atom in equation.invars]
            results = self._equation(equation, values)
            known |= dict(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, values: list[Value]) -> list[Value]:
        name, parameters = equation.primitive.name, equation.params
        inner = next((parameters[key] for key in _INNER if key in parameters), None)
        if inner is not None and name not in _LOOPS:
            jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
            return self.run(jaxpr, [np.asarray(const) for const in consts], values)
        if all(isinstance(value, np.ndarray) for value in values):
            return self._fold(equation, values)
        names = [self._name(value) for value in values]
        if name in _DIRECT:
            return [self.builder.add(_DIRECT[name], *names)]
        translate = _TRANSLATIONS.get(name)
        if translate is None:
            raise BundleModel(
                f"the policy uses the JAX primitive {name!r}, which has no ONNX counterpart here; expected those of "
                f"feed-forward and recurrent networks: {', '.join(sorted([*_DIRECT, *_TRANSLATIONS]))}"
            )
        return translate(self.builder, names, values, equation)

    def _fold(self, equation: Any, values: list[Value]) -> list[Value]:
        results = equation.primitive.bind(*values, **equation.params)
        if not equation.primitive.multiple_results:
            results = [results]
        return [np.asarray(result) for result in results]

    def _name(self, value: Value) -> str:
        return value if isinstance(value, str) else self.builder.constant(value)


def _integers(builder: GraphBuilder, values: Sequence[int]) -> str:
    return builder.constant(np.asarray(values, np.int64))


def _one(dtype: Any) -> np.ndarray:
    return np.ones((), dtype)


def _reshape(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Reshape", names[0], _integers(builder, equation.outvars[0].aval.shape))]


def _broadcast(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    shape, source = equation.params["shape"], equation.invars[0].aval.shape
    aligned = [1] * len(shape)
    for axis, size in zip(equation.params["broadcast_dimensions"], source, strict=True):
        aligned[axis] = size
    name = names[0]
    if tuple(aligned) != source:
        name = builder.add("Reshape", name, _integers(builder, aligned))
    if tuple(aligned) != tuple(shape):
        name = builder.add("Expand", name, _integers(builder, shape))
    return [name]


def _dot(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    ranks = [len(atom.aval.shape) for atom in equation.invars]
    if not left_batch and len(left) == 1 and ranks == [2, 2]:
        return [_matrix_product(builder, values, left[0], right[0])]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ranks[0])]
    second = [next(letters) for _ in range(ranks[1])]
    for mine, other in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        second[other] = first[mine]
    batch = [first[axis] for axis in left_batch]
    free = [letter for axis, letter in enumerate(first) if axis not in (*left, *left_batch)]
    free += [letter for axis, letter in enumerate(second) if axis not in (*right, *right_batch)]
    return [
        builder.add("Einsum", *names, equation=f"{''.join(first)},{''.join(second)}->{''.join(batch + free)}")
    ]


def _matrix_product(builder: GraphBuilder, values: list[Value], left: int, right: int) -> Value:
    """The product of two matrices over an axis of each; `W x` becomes `(x^T W^T)^T`, as runtimes like it."""
    if isinstance(values[0], np.ndarray):
        swapped = _matrix_product(builder, values[::-1], right, left)
        assert isinstance(swapped, str)
        return builder.add("Transpose", swapped, perm=[1, 0])
    first, second = values
    assert isinstance(first, str)
    name = first if left == 1 else builder.add("Transpose", first, perm=[1, 0])
    if isinstance(second, np.ndarray):
        return builder.add("MatMul", name, builder.constant(second if right == 0 else second.T))
    return builder.add(
        "MatMul", name, second if right == 0 else builder.add("Transpose", second, perm=[1, 0])
    )


def _power(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    exponent = equation.params["y"]
    if exponent == 2:
        return [builder.add("Mul", names[0], names[0])]
    return [builder.add("Pow", names[0], builder.constant(np.asarray(exponent, np.float32)))]


def _square(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Mul", names[0], names[0])]


def _rsqrt(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Reciprocal", builder.add("Sqrt", names[0]))]


def _exp2(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Pow", builder.constant(np.float32(2.0)), names[0])]


def _log1p(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Log", builder.add("Add", names[0], builder.constant(_one(np.float32))))]


def _expm1(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Sub", builder.add("Exp", names[0]), builder.constant(_one(np.float32)))]


def _different(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Not", builder.add("Equal", *names))]


def _finite(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    bad = builder.add("Or", builder.add("IsNaN", names[0]), builder.add("IsInf", names[0]))
    return [builder.add("Not", bad)]


def _clamp(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    low, middle, high = names
    return [builder.add("Min", builder.add("Max", middle, low), high)]


def _select(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    if len(names) != 3 or equation.invars[0].aval.dtype != np.bool_:
        raise BundleModel("the policy selects between more than two cases, expected `where(condition, a, b)`")
    return [builder.add("Where", names[0], names[2], names[1])]


def _cast(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    from onnx import TensorProto

    kinds = {
        "float32": TensorProto.FLOAT,
        "bool": TensorProto.BOOL,
        "int32": TensorProto.INT32,
        "int64": TensorProto.INT64,
    }
    wanted = str(equation.params["new_dtype"])
    if wanted not in kinds:
        raise BundleModel(f"the policy computes in {wanted}, expected {', '.join(kinds)}")
    return [builder.add("Cast", names[0], to=kinds[wanted])]


def _transpose(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Transpose", names[0], perm=list(equation.params["permutation"]))]


def _concatenate(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("Concat", *names, axis=equation.params["dimension"])]


def _stack(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    axis = equation.params["axis"]
    rows = list(equation.outvars[0].aval.shape)
    rows[axis] = 1
    parts = [builder.add("Reshape", name, _integers(builder, rows)) for name in names]
    return [builder.add("Concat", *parts, axis=axis)]


def _slice(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    start, stop = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or (1,) * len(start)
    bounds = [_integers(builder, part) for part in (start, stop, range(len(start)), steps)]
    return [builder.add("Slice", names[0], *bounds)]


def _split(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    sizes = _integers(builder, equation.params["sizes"])
    pieces = builder.add_many("Split", [names[0], sizes], len(equation.outvars), axis=equation.params["axis"])
    return list(pieces)


def _sum(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    return [builder.add("ReduceSum", names[0], _integers(builder, equation.params["axes"]), keepdims=0)]


def _reduction(operator: str) -> Callable[..., list[Value]]:
    def translate(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
        return [builder.add(operator, names[0], axes=list(equation.params["axes"]), keepdims=0)]

    return translate


def _argmax(builder: GraphBuilder, names: list[str], values: list[Value], equation: Any) -> list[Value]:
    from onnx import TensorProto

    (axis,) = equation.params["axes"]
    index = builder.add("ArgMax", names[0], axis=axis, keepdims=0)
    return [builder.add("Cast", index, to=TensorProto.INT32)]


_TRANSLATIONS: dict[str, Callable[..., list[Value]]] = {
    "argmax": _argmax,
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "convert_element_type": _cast,
    "dot_general": _dot,
    "exp2": _exp2,
    "expand_dims": _reshape,
    "expm1": _expm1,
    "integer_pow": _power,
    "is_finite": _finite,
    "log1p": _log1p,
    "ne": _different,
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_prod": _reduction("ReduceProd"),
    "reduce_sum": _sum,
    "reshape": _reshape,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "stack": _stack,
    "squeeze": _reshape,
    "transpose": _transpose,
}
