"""Running a policy: ONNX Runtime on one thread, on arrays that are made once."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dynrl.policy.contract import Contract
from dynrl.policy.errors import BundleModel
from dynrl.policy.graph_check import batch_names, parse_graph

_QUIET = 3


class PolicySession:
    """A policy that is ready to be called.

    Args:
        graph: bytes of the ONNX file, checked.
        contract: names the inputs and outputs.
        initial_state: value of each recurrent input at activation.

    Attributes:
        observation: what the next call reads, float32 `[n]`.
        action: what the last call gave, float32 `[m]`.

    Raises:
        BundleModel: ONNX Runtime is not installed, or cannot run the graph.

    ONNX Runtime's own thread pool has the same median time and a worst case of 24 ms, so it is not used.
    """

    def __init__(self, graph: bytes, contract: Contract, initial_state: Mapping[str, np.ndarray]) -> None:
        assert contract.model is not None
        self._contract = contract
        self._initial = {name: np.array(value, np.float32) for name, value in initial_state.items()}
        self.observation = np.zeros(contract.observation_size, np.float32)
        self.action = np.zeros(contract.action_size, np.float32)
        self._state = {name: value.copy() for name, value in self._initial.items()}
        self._next = {tensor.output: np.zeros(tensor.shape, np.float32) for tensor in contract.state}
        self._pairs = [(self._state[tensor.input], self._next[tensor.output]) for tensor in contract.state]
        self._session = _open(graph)
        self._binding = self._session.io_binding()
        inputs = {contract.model.inputs["observation"]: self.observation[None], **self._state}
        outputs = {contract.model.outputs["action"]: self.action[None], **self._next}
        for name, array in inputs.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def reset(self) -> None:
        """Puts the recurrent state back to the start."""
        for name, value in self._initial.items():
            self._state[name][:] = value

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The raw action, float32 `[m]`, for an observation float32 `[n]`. The next call overwrites it."""
        self.observation[:] = observation
        self._session.run_with_iobinding(self._binding)
        for current, following in self._pairs:
            current[:] = following
        return self.action

    def rehearse(self) -> None:
        """Runs the network on the last observation once more, so that caches are warm; state and action stay."""
        kept = self.action.copy()
        self._session.run_with_iobinding(self._binding)
        self.action[:] = kept

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts the recurrent state to what `state()` gave."""
        for name, value in state.items():
            self._state[name][:] = value

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the recurrent state, by name of input."""
        return {name: value.copy() for name, value in self._state.items()}

    def warm_up(self, calls: int = 50) -> np.ndarray:
        """Calls the policy on zeros and forgets it; returns the seconds of each call `[calls]`."""
        seconds = np.zeros(calls)
        zeros = np.zeros_like(self.observation)
        for index in range(calls):
            before = time.perf_counter()
            self(zeros)
            seconds[index] = time.perf_counter() - before
        self.reset()
        self.action[:] = 0.0
        return seconds


def _open(graph: bytes) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures
    except ImportError as error:
        raise BundleModel(
            f"policy.onnx: found nothing that runs it, expected ONNX Runtime: pip install 'dynrl[export]' ({error})"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _QUIET
    for name in batch_names(parse_graph(graph)):
        options.add_free_dimension_override_by_name(name, 1)
    refusals = (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
        failures.RuntimeException,
    )
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleModel(f"policy.onnx: found a graph that ONNX Runtime cannot run ({reason})") from error
