"""Stable-Baselines3 and SBX algorithms in a run: made by name, their networks stored without pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dynrl.errors import ConfigError, FileFormatError
from dynrl.runs.array_file import read_arrays, write_arrays

PACKAGES = {"sb3": "stable_baselines3", "sbx": "sbx"}


def is_sb3_name(name: str) -> bool:
    """Whether `name` is like `sb3.PPO` or `sbx.SAC`."""
    return name.partition(".")[0] in PACKAGES and "." in name


def make_model(name: str, env: gym.Env, config: Mapping[str, Any], seed: int) -> Any:
    """The untrained algorithm.

    Raises:
        ConfigError: not installed, no such algorithm, or arguments it refuses.
    """
    import importlib

    package, _, algorithm = name.partition(".")
    try:
        module = importlib.import_module(PACKAGES[package])
    except ImportError as error:
        raise ConfigError(
            f"agent {name} needs the extra `sb3`: pip install 'dynrl[sb3]' ({error})"
        ) from error
    cls = getattr(module, algorithm, None)
    if not isinstance(cls, type):
        known = ", ".join(f"{package}.{item}" for item in dir(module) if item.isupper())
        raise ConfigError(f"agent: {name} is not known; there are {known}")
    arguments = {"policy": "MlpPolicy", "device": "cpu", **config}
    try:
        return cls(env=env, seed=seed, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"agent: {name} refuses this environment or config: {error}") from error


def save_policy(model: Any, name: str, path: Path) -> None:
    """Writes the networks (not the optimiser) as one safetensors file."""
    write_arrays(path, _networks(model, name), {"agent": name})


def load_policy(model: Any, name: str, path: Path) -> None:
    """Fills the networks of `model` from what `save_policy` wrote.

    Raises:
        FileFormatError: damaged file, another algorithm, other shapes.
    """
    arrays, meta = read_arrays(path)
    if meta.get("agent") != name:
        raise FileFormatError(f"{path} holds a {meta.get('agent')}, not a {name}")
    if name.startswith("sbx."):
        from dynrl.runs.checkpoint import unflatten_tree

        for part, train_state in _train_states(model).items():
            params = unflatten_tree(train_state.params, arrays, part)
            setattr(model.policy, part, train_state.replace(params=params))
        return
    import torch

    expected = {key: tuple(value.shape) for key, value in model.policy.state_dict().items()}
    if {key: value.shape for key, value in arrays.items()} != expected:
        raise FileFormatError(f"{path} does not fit the networks of this {name}")
    model.policy.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in arrays.items()})


def _networks(model: Any, name: str) -> dict[str, np.ndarray]:
    if not name.startswith("sbx."):
        return {key: value.detach().cpu().numpy() for key, value in model.policy.state_dict().items()}
    from dynrl.runs.checkpoint import flatten_tree

    arrays: dict[str, np.ndarray] = {}
    for part, train_state in _train_states(model).items():
        arrays |= flatten_tree(train_state.params, part)
    return arrays


def _train_states(model: Any) -> dict[str, Any]:
    """SBX keeps each network in a Flax train state that is an attribute of the policy."""
    parts = ("actor_state", "vf_state", "qf_state")
    return {part: vars(model.policy)[part] for part in parts if part in vars(model.policy)}
