"""Policies of Stable-Baselines3 (PyTorch) and SBX (JAX), with what their `predict` adds around the network."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from dynrl.policy.errors import BundleModel
from dynrl.policy.exporters.equinox import export_batched_jax
from dynrl.policy.exporters.exported import ExportedPolicy, State
from dynrl.policy.onnx_graph import IR_VERSION, OPSET, without_dead_nodes


def export_sb3(model: Any) -> ExportedPolicy:
    """The deterministic policy of a Stable-Baselines3 algorithm: `VecNormalize` statistics of its environment, network,
    and rescaling (or clipping) to the action space, all in the graph.

    Args:
        model: a trained algorithm with Box spaces; its environment may be wrapped in `VecNormalize`.

    Raises:
        BundleModel: spaces other than flat boxes, stacked frames, or a policy that cannot be traced.
    """
    import torch

    parts = _around(model)
    network = _deterministic_module(model.policy, parts)
    size = int(np.prod(model.observation_space.shape))
    training = model.policy.training
    model.policy.set_training_mode(False)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            target = Path(folder) / "policy.onnx"
            warnings.simplefilter("ignore")  # the tracer warns of every Python value that it makes a constant
            torch.onnx.export(
                network,
                (torch.zeros(1, size),),
                target,
                dynamo=False,
                opset_version=OPSET,
                input_names=["observation"],
                output_names=["action"],
            )
            content = target.read_bytes()
    except torch.onnx.errors.OnnxExporterError as error:
        raise BundleModel(f"the policy of this {type(model).__name__} cannot be traced: {error}") from error
    finally:
        model.policy.set_training_mode(training)
    return ExportedPolicy("sb3", _parsed(content), _predictor(model, parts))


def export_sbx(model: Any) -> ExportedPolicy:
    """The same of an SBX algorithm.

    Raises:
        BundleModel: as `export_sb3`, or a primitive that has no ONNX counterpart here.
    """
    import jax.numpy as jnp

    parts = _around(model)

    def act(observations: Any) -> Any:
        if parts.mean is not None:
            observations = jnp.clip((observations - parts.mean) / parts.deviation, -parts.bound, parts.bound)
        actions = model.policy._predict(observations, deterministic=True)
        actions = actions.reshape(len(observations), -1)
        if parts.squashed:
            return parts.low + 0.5 * (jnp.clip(actions, -1.0, 1.0) + 1.0) * (parts.high - parts.low)
        return jnp.clip(actions, parts.low, parts.high)

    size = int(np.prod(model.observation_space.shape))
    exported = export_batched_jax(act, size, "sbx")
    return ExportedPolicy("sbx", exported.model, _predictor(model, parts))


@dataclass(frozen=True)
class _Around:
    """What stands around the network: statistics of the observation (None: none) and bounds of the action `[m]`."""

    mean: np.ndarray | None
    deviation: np.ndarray | None
    bound: float
    low: np.ndarray
    high: np.ndarray
    squashed: bool
    normalise: Any


def _around(model: Any) -> _Around:
    from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

    name = type(model).__name__
    if not isinstance(model.action_space, spaces.Box):
        raise BundleModel(f"this {name} acts in {model.action_space}, expected a Box: a robot takes numbers")
    space = model.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise BundleModel(
            f"this {name} observes {space}, expected a Box with one axis: the terms of a contract"
        )
    normaliser, env = None, model.get_env()
    while env is not None:
        if isinstance(env, VecFrameStack):
            raise BundleModel(
                "the environment is wrapped in VecFrameStack, which starts with frames of zeros; expected the history "
                "of the contract's terms, which starts with the first sample: train with history in the environment"
            )
        if isinstance(env, VecNormalize) and env.norm_obs:
            normaliser = env
        env = getattr(env, "venv", None)
    low, high = (
        bound.reshape(-1).astype(np.float32) for bound in (model.action_space.low, model.action_space.high)
    )
    squashed = bool(model.policy.squash_output)
    if normaliser is None:
        return _Around(None, None, np.inf, low, high, squashed, None)
    statistics: Any = normaliser.obs_rms
    return _Around(
        statistics.mean.astype(np.float32),
        np.sqrt(statistics.var + normaliser.epsilon).astype(np.float32),
        float(normaliser.clip_obs),
        low,
        high,
        squashed,
        normaliser.normalize_obs,
    )


def _predictor(model: Any, parts: _Around) -> Any:
    """The algorithm's own `predict`, as it would be used without a bundle."""

    def step(observation: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        seen = observation if parts.normalise is None else parts.normalise(observation)
        action, _ = model.predict(seen, deterministic=True)
        return np.asarray(action, np.float32).reshape(1, -1), state

    return step


def _deterministic_module(policy: Any, parts: _Around) -> Any:
    import torch

    class Deterministic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy
            self.low, self.high = torch.tensor(parts.low), torch.tensor(parts.high)

        def forward(self, observation: Any) -> Any:
            if parts.mean is not None:
                scaled = (observation - torch.tensor(parts.mean)) / torch.tensor(parts.deviation)
                observation = torch.clip(scaled, -parts.bound, parts.bound)
            action = self.policy._predict(observation, deterministic=True).reshape(1, -1)
            if parts.squashed:
                return self.low + 0.5 * (action + 1.0) * (self.high - self.low)
            return torch.maximum(torch.minimum(action, self.high), self.low)

    return Deterministic().eval()


def _parsed(content: bytes) -> Any:
    import onnx

    model = without_dead_nodes(onnx.load_model_from_string(content))
    model.ir_version = min(model.ir_version, IR_VERSION)
    return model
