"""IDL of a ROS message and all that it holds, from the type store: what `fastddsgen` makes C++ from.

Usage: python generate_idl.py sensor_msgs/msg/JointState > JointState.idl
"""

import sys
from typing import Any

from rosbags.interfaces import Nodetype

from dynrl.robots.messages import MessageTypes, message_types

BASES = {
    "bool": "boolean",
    "byte": "octet",
    "char": "octet",
    "uint8": "octet",
    "int8": "char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "long",
    "uint32": "unsigned long",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}


def idl(types: MessageTypes, name: str) -> str:
    """The IDL of a message type, nested types first."""
    structs: dict[str, str] = {}
    _collect(types, name, structs)
    return "\n".join(structs.values())


def _collect(types: MessageTypes, name: str, structs: dict[str, str]) -> None:
    if name in structs:
        return
    members = []
    for field, (kind, detail) in types.fields(name):
        inner = (kind, detail) if kind in (Nodetype.BASE, Nodetype.NAME) else detail[0]
        if inner[0] == Nodetype.NAME:
            _collect(types, inner[1], structs)
        spelled = _spelled(inner)
        if kind == Nodetype.SEQUENCE:
            bound = f", {detail[1]}" if detail[1] else ""
            members.append(f"sequence<{spelled}{bound}> {field};")
        elif kind == Nodetype.ARRAY:
            members.append(f"{spelled} {field}[{detail[1]}];")
        else:
            members.append(f"{spelled} {field};")
    package, _, plain = name.split("/")
    body = " ".join(members)
    structs[name] = (
        f"module {package} {{ module msg {{ module dds_ {{ struct {plain}_ {{ {body} }}; }}; }}; }};"
    )


def _spelled(description: Any) -> str:
    kind, detail = description
    if kind == Nodetype.NAME:
        package, _, plain = detail.split("/")
        return f"{package}::msg::dds_::{plain}_"
    base, bound = detail
    if base == "string":
        return f"string<{bound}>" if bound else "string"
    return BASES[base]


if __name__ == "__main__":
    print(idl(message_types(), sys.argv[1]))
