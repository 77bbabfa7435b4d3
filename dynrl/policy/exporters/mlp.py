"""Plain multi-layer perceptrons from their weights, written node by node."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dynrl.policy.errors import BundleModel
from dynrl.policy.exporters.exported import ExportedPolicy, State
from dynrl.policy.onnx_graph import GraphBuilder

Layer = tuple[np.ndarray, np.ndarray]
"""(weights `[out, in]`, bias `[out]`)."""

_ACTIVATIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "identity": ("Identity", lambda x: x),
    "relu": ("Relu", lambda x: np.maximum(x, 0)),
    "tanh": ("Tanh", np.tanh),
    "sigmoid": ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    "elu": ("Elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "softplus": ("Softplus", lambda x: np.logaddexp(x, 0)),
}


def export_mlp(layers: Sequence[Layer], activation: str = "tanh", final: str = "identity") -> ExportedPolicy:
    """A policy that is an MLP.

    Args:
        layers: from the observation to the action.
        activation, final: after every layer but the last, and after the last: identity, relu, tanh, sigmoid, elu,
            softplus.

    Raises:
        BundleModel: no layer, layers that do not fit, or another activation.
    """
    arrays = [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in layers]
    _check(arrays, activation, final)
    names = [activation] * (len(arrays) - 1) + [final]
    builder = GraphBuilder()
    value = builder.input("observation", (1, arrays[0][0].shape[1]))
    for (weights, bias), name in zip(arrays, names, strict=True):
        value = builder.add("Gemm", value, builder.constant(weights), builder.constant(bias), transB=1)
        value = builder.add(_ACTIVATIONS[name][0], value)
    model = builder.model({"action": (value, (1, len(arrays[-1][1])))})

    def step(observation: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        result: Any = observation
        for (weights, bias), name in zip(arrays, names, strict=True):
            result = _ACTIVATIONS[name][1](result @ weights.T + bias)
        return np.asarray(result, np.float32), state

    return ExportedPolicy("numpy", model, step)


def _check(layers: Sequence[Layer], activation: str, final: str) -> None:
    for name in (activation, final):
        if name not in _ACTIVATIONS:
            raise BundleModel(f"activation: found {name!r}, expected one of {', '.join(_ACTIVATIONS)}")
    if not layers:
        raise BundleModel("layers: found none, expected at least one")
    width = None
    for index, (weights, bias) in enumerate(layers):
        fits = weights.ndim == 2 and bias.shape == weights.shape[:1] and width in (None, weights.shape[1])
        if not fits:
            raise BundleModel(
                f"layers[{index}]: found weights {weights.shape} and bias {bias.shape}, expected [out, in] and [out] "
                f"with in = {width if width is not None else 'the length of the observation'}"
            )
        width = len(bias)
