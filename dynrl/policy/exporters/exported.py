"""What every exporter gives: a graph, and the trained policy beside it to compare with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dynrl.policy.contract import StateTensor

State = Mapping[str, np.ndarray]
Step = Callable[[np.ndarray, State], tuple[np.ndarray, State]]
"""`(observation [1, n], state by input name) -> (raw action [1, m], next state by input name)`, all float32."""


@dataclass(frozen=True)
class ExportedPolicy:
    """A policy in two forms.

    Attributes:
        framework: that trained it.
        model: `onnx.ModelProto` with the input `observation [1, n]` and the output `action [1, m]`.
        step: the trained policy itself, acting deterministically.
        state: recurrent tensors.
        initial_state: of those that do not start at zero.
    """

    framework: str
    model: Any
    step: Step
    state: tuple[StateTensor, ...] = ()
    initial_state: Mapping[str, np.ndarray] = field(default_factory=dict)

    def first_state(self) -> dict[str, np.ndarray]:
        """The recurrent inputs at activation."""
        zeros = {tensor.input: np.zeros(tensor.shape, np.float32) for tensor in self.state}
        return {
            **zeros,
            **{name: np.asarray(value, np.float32) for name, value in self.initial_state.items()},
        }


@runtime_checkable
class ExportingAgent(Protocol):
    """An agent that knows how to become a graph."""

    def exported_policy(self) -> ExportedPolicy:
        """Its deterministic policy, by one of `dynrl.policy.exporters`."""
        ...
