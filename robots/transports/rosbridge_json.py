"""Messages as rosbridge writes them in JSON and CBOR (protocol version 2.0).

JSON has no NaN: servers write null for it, and we refuse to send what is not finite. Arrays of octets are base64.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from dynrl.robots.messages import MalformedMessage, MessageTypes
from dynrl.robots.transports.base import TransportError

_OCTETS = ("uint8", "byte", "char", "octet")
_FLOATS = ("float32", "float64")
_TIMES = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")
_ROS1_TIME = {"sec": "secs", "nanosec": "nsecs"}


def to_json(types: MessageTypes, message: Any, ros1: bool = False) -> dict[str, Any]:
    """The message as JSON values.

    Args:
        ros1: write times as ROS 1 does.

    Raises:
        TransportError: a number is not finite.
    """
    name = message.__msgtype__
    return {
        _key(name, field, ros1): _value_to_json(
            types, description, getattr(message, field), ros1, f"{name}: {field}"
        )
        for field, description in types.fields(name)
        if field != "structure_needs_at_least_one_member"
    }


def from_json(types: MessageTypes, name: str, content: Any, ros1: bool = False) -> Any:
    """The message that JSON or CBOR values describe; an absent field is zero.

    Args:
        ros1: times are written as ROS 1 does.

    Raises:
        MalformedMessage: a field that the type does not have, or a value of another kind.
    """
    if not isinstance(content, dict):
        raise MalformedMessage(f"{name}: expected an object, found {content!r:.80}")
    described = {_key(name, field, ros1): (field, what) for field, what in types.fields(name)}
    values = {}
    for key, value in content.items():
        if key not in described:
            if key == "seq" and name == "std_msgs/msg/Header":
                continue
            raise MalformedMessage(f"{name} has no field {key!a}; it has {', '.join(described)}")
        field, description = described[key]
        values[field] = _value_from_json(types, description, value, ros1, f"{name}: {field}")
    return types.new(name, **values)


def _key(name: str, field: str, ros1: bool) -> str:
    return _ROS1_TIME[field] if ros1 and name in _TIMES else field


def _value_to_json(types: MessageTypes, description: Any, value: Any, ros1: bool, where: str) -> Any:
    from rosbags.interfaces import Nodetype

    kind, detail = description
    if kind == Nodetype.NAME:
        return to_json(types, value, ros1)
    if kind == Nodetype.BASE:
        return _finite(value, where) if detail[0] in _FLOATS else value
    inner, inner_detail = detail[0]
    if inner == Nodetype.BASE:
        if inner_detail[0] in _OCTETS:
            return base64.b64encode(np.asarray(value, np.uint8).tobytes()).decode()
        if inner_detail[0] in _FLOATS and not np.isfinite(value).all():
            raise TransportError(
                f"{where} holds a number that is not finite, which rosbridge cannot carry: {value}"
            )
        return value.tolist() if isinstance(value, np.ndarray) else list(value)
    return [to_json(types, item, ros1) for item in value]


def _finite(value: Any, where: str) -> float:
    if not math.isfinite(value):
        raise TransportError(f"{where} is {value}, which rosbridge cannot carry")
    return float(value)


def _value_from_json(types: MessageTypes, description: Any, value: Any, ros1: bool, where: str) -> Any:
    from rosbags.interfaces import Nodetype

    kind, detail = description
    if kind == Nodetype.NAME:
        return from_json(types, detail, value, ros1)
    if kind == Nodetype.BASE:
        return _scalar(detail[0], value, where)
    (inner, inner_detail), length = detail
    if inner == Nodetype.BASE and inner_detail[0] != "string":
        array = _numbers(inner_detail[0], value, where)
        if kind == Nodetype.ARRAY and array.size != length:
            raise MalformedMessage(f"{where}: {array.size} numbers, expected {length}")
        return array
    if not isinstance(value, list) or (kind == Nodetype.ARRAY and len(value) != length):
        raise MalformedMessage(f"{where}: expected a list, found {value!r:.80}")
    return [_value_from_json(types, detail[0], item, ros1, where) for item in value]


def _scalar(base: str, value: Any, where: str) -> Any:
    if base == "string":
        accepted: tuple[type, ...] = (str,)
    elif base == "bool":
        accepted = (bool,)
    elif base in _FLOATS:
        if value is None:
            return math.nan
        accepted = (int, float)
    else:
        accepted = (int,)
    number: Any = value
    if not isinstance(value, accepted) or (isinstance(value, bool) and base != "bool"):
        raise MalformedMessage(f"{where}: expected {base}, found {value!r:.80}")
    if accepted == (int,):
        limits = np.iinfo("uint8" if base in _OCTETS else base)
        if not limits.min <= number <= limits.max:
            raise MalformedMessage(f"{where}: {value} does not fit {base}")
    return float(number) if base in _FLOATS else value


def _numbers(base: str, value: Any, where: str) -> np.ndarray:
    dtype = np.dtype("uint8" if base in _OCTETS else base)
    if base in _OCTETS and isinstance(value, str):
        try:
            return np.frombuffer(base64.b64decode(value, validate=True), np.uint8)
        except ValueError as error:  # binascii.Error is one, and so is what is not ASCII
            raise MalformedMessage(f"{where}: not base64: {error}") from error
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    if isinstance(value, np.ndarray):
        if value.dtype.kind != dtype.kind or value.ndim != 1:
            raise MalformedMessage(f"{where}: expected {base}, found an array of {value.dtype}")
        return value.astype(dtype)
    if not isinstance(value, list):
        raise MalformedMessage(f"{where}: expected a list of {base}, found {value!r:.80}")
    return np.array([_scalar(base, item, where) for item in value], dtype)
