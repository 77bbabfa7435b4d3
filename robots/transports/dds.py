"""ROS 2 as DDS sees it: names, types made from message definitions, quality of service, who is there.

A message crosses CycloneDDS as CDR bytes that the type store of rosbags wrote or will read: its own Python marshalling
would only be done twice.
"""

from __future__ import annotations

import functools
from typing import Any

from dynrl.robots.messages import MessageError, MessageTypes, full_name
from dynrl.robots.transports.base import TransportError
from dynrl.robots.transports.qos import Qos

INFINITE = 2**63 - 1


def topic_name(topic: str) -> str:
    """DDS topic of the ROS topic `/ns/x`: `rt/ns/x`."""
    return f"rt{topic}"


def type_name(name: str) -> str:
    """DDS type of the ROS type `pkg/msg/T`: `pkg::msg::dds_::T_`."""
    package, kind, plain = name.split("/")
    return f"{package}::{kind}::dds_::{plain}_"


def ros_type(dds_type: str) -> str:
    """`pkg/msg/T` of `pkg::msg::dds_::T_`; a name of another form is returned as it is."""
    parts = dds_type.split("::")
    if len(parts) != 4 or parts[2] != "dds_" or not parts[3].endswith("_"):
        return dds_type
    return f"{parts[0]}/{parts[1]}/{parts[3][:-1]}"


def require_cyclonedds() -> None:
    """Raises `TransportError` where CycloneDDS is not installed."""
    try:
        import cyclonedds  # noqa: F401
    except ImportError as error:
        raise TransportError(
            "transport ros2 needs CycloneDDS or rclpy; neither is installed: pip install 'dynrl[ros]'"
        ) from error


def idl_struct(types: MessageTypes, name: str) -> type:
    """The CycloneDDS class of a message type, nested types included.

    Raises:
        MessageError: unknown type, or a field that DDS cannot carry.
    """
    from cyclonedds.idl import make_idl_struct

    fields = {field: _annotation(types, name, field, detail) for field, detail in types.fields(name)}
    dds_name = type_name(full_name(name))
    return make_idl_struct(dds_name.rpartition("::")[2], dds_name, fields)


def _annotation(types: MessageTypes, name: str, field: str, description: Any) -> Any:
    import cyclonedds.idl.types
    from rosbags.interfaces import Nodetype

    idl: Any = cyclonedds.idl.types
    kind, detail = description
    if kind == Nodetype.NAME:
        return idl_struct(types, detail)
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        inner, count = _annotation(types, name, field, detail[0]), detail[1]
        if kind == Nodetype.ARRAY:
            return idl.array[inner, count]
        return idl.sequence[inner, count] if count else idl.sequence[inner]
    base, bound = detail
    if base == "string":
        return idl.bounded_str[bound] if bound else str
    if base in ("byte", "char", "octet"):
        return idl.uint8
    if base == "bool":
        return bool
    if base == "float128":
        raise MessageError(f"{name} has the field {field} of 128 bits, which DDS cannot carry")
    return getattr(idl, base)


class Encoded:
    """Bytes of one sample as they came; CycloneDDS puts `sample_info` there."""

    __slots__ = ("raw", "sample_info")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


@functools.cache
def wire_type(types: MessageTypes, name: str) -> type:
    """The class of `idl_struct`, except that its instances are bytes already and are read as `Encoded`.

    Raises:
        MessageError: unknown type, or a field that DDS cannot carry.
    """
    struct: Any = idl_struct(types, name)
    struct.serialize = _bytes_of
    struct.deserialize = classmethod(_encoded)
    struct.deserialize_key = classmethod(_encoded)
    return struct


def new_sample(types: MessageTypes, name: str) -> Any:
    """An instance of the `wire_type`; give it the bytes as `raw` before it is written."""
    struct = wire_type(types, name)
    return object.__new__(struct)


def _bytes_of(self: Any, use_version_2: bool | None = None) -> bytes:
    return self.raw


def _encoded(cls: type, data: bytes) -> Encoded:
    return Encoded(data)


def dds_qos(qos: Qos, type_hash: str, max_blocking_ns: int = 0, writer: bool = False) -> Any:
    """The CycloneDDS quality of service; the type hash goes into the user data, where ROS looks for it."""
    from cyclonedds.qos import Policy
    from cyclonedds.qos import Qos as DdsQos

    history = Policy.History.KeepLast(qos.depth)
    policies = [
        Policy.Reliability.Reliable(max_blocking_ns)
        if qos.reliability == "reliable"
        else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal
        if qos.durability == "transient_local"
        else Policy.Durability.Volatile,
        history,
        Policy.Userdata(f"typehash={type_hash};".encode()),
    ]
    if writer:
        policies.append(Policy.WriterDataLifecycle(autodispose=False))
        if qos.lifespan is not None:
            policies.append(Policy.Lifespan(int(qos.lifespan * 1e9)))
        if qos.durability == "transient_local":
            policies.append(Policy.DurabilityService(0, history, -1, -1, -1))
    return DdsQos(*policies)


def qos_of(found: Any) -> Qos:
    """Reliability and durability of a discovered endpoint."""
    from cyclonedds.qos import Policy

    return Qos(
        "best_effort" if Policy.Reliability.BestEffort in found else "reliable",
        "volatile" if Policy.Durability.Volatile in found else "transient_local",
    )


POLICY_NAMES = {
    2: "durability",
    3: "presentation",
    4: "deadline",
    5: "latency budget",
    6: "ownership",
    8: "liveliness",
    10: "partition",
    11: "reliability",
    12: "destination order",
    23: "data representation",
}
