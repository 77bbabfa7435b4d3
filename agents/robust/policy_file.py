"""Policies on disk: their arrays as safetensors, their structure as JSON. Only classes of dynrl are rebuilt."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dynrl.errors import FileFormatError
from dynrl.runs.array_file import read_arrays, write_arrays

__all__ = ["load_policy", "save_policy"]

FUNCTIONS: dict[str, Callable[..., Any]] = {"relu": jax.nn.relu, "tanh": jnp.tanh, "elu": jax.nn.elu}


def save_policy(policy: Any, path: Path) -> Path:
    """Writes a policy made of Equinox modules of dynrl, whole or not at all; returns `path`.

    Raises:
        TypeError: something in it is neither a module of dynrl, an array, a tuple nor a plain value.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = _describe(policy, "policy", arrays)
    write_arrays(path, arrays, {"policy": structure})
    return path


def load_policy(path: Path) -> Any:
    """The policy that `save_policy` wrote.

    Raises:
        FileFormatError: the file is missing, damaged, or names a class that dynrl does not have.
    """
    arrays, meta = read_arrays(path)
    if "policy" not in meta:
        raise FileFormatError(f"{path} does not hold a policy")
    return _rebuild(meta["policy"], arrays, path)


def _describe(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, eqx.Module) and type(value).__module__.startswith("dynrl."):
        fields = {
            field.name: _describe(getattr(value, field.name), f"{name}/{field.name}", arrays)
            for field in dataclasses.fields(value)
        }
        return {"class": f"{type(value).__module__}:{type(value).__name__}", "fields": fields}
    if isinstance(value, (jax.Array, np.ndarray)):
        arrays[name] = np.asarray(value)
        return {"array": name}
    if isinstance(value, tuple):
        return {"tuple": [_describe(part, f"{name}/{number}", arrays) for number, part in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    for known, function in FUNCTIONS.items():
        if value is function:
            return {"function": known}
    raise TypeError(f"{name} of the policy is a {type(value).__name__}, which cannot be saved")


def _rebuild(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path) -> Any:
    if "array" in described:
        return jnp.asarray(arrays[described["array"]])
    if "tuple" in described:
        return tuple(_rebuild(part, arrays, path) for part in described["tuple"])
    if "value" in described:
        return described["value"]
    if "function" in described:
        return FUNCTIONS[described["function"]]
    module_name, _, class_name = described["class"].partition(":")
    kind = (
        getattr(importlib.import_module(module_name), class_name, None)
        if module_name.startswith("dynrl.")
        else None
    )
    if not (isinstance(kind, type) and issubclass(kind, eqx.Module)):
        raise FileFormatError(
            f"{path}: {described['class']!r} is not a policy class of this version of dynrl"
        )
    known = {field.name for field in dataclasses.fields(kind)}
    if known != set(described["fields"]):
        raise FileFormatError(f"{path}: {class_name} has other fields in this version of dynrl")
    module = object.__new__(kind)
    for field, part in described["fields"].items():
        object.__setattr__(module, field, _rebuild(part, arrays, path))
    return module
