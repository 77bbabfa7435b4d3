"""ROS message types, from the type store of rosbags: one definition for recorder, twin, ROS 1 and ROS 2.

Messages are the dataclasses of that store; on the wire and in bags they are CDR bytes with their encapsulation header.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynrl.errors import UserError
from dynrl.robots.joint_state_bytes import JOINT_STATE, JointStateBytes

DISTROS = ("humble", "iron", "jazzy", "kilted", "lyrical")
DEFAULT_DISTRO = "jazzy"
_DTYPES = {"byte": "uint8", "char": "uint8", "octet": "uint8"}


class MessageError(UserError):
    """A message type is unknown, or its definition cannot be used."""


class MalformedMessage(ValueError):
    """Bytes from the wire are not a message of the type that was expected."""


@dataclass(frozen=True)
class Malformed:
    """Stands in a `Received` for a message that could not be decoded.

    Attributes:
        reason: what was wrong, in words.
    """

    reason: str


class MessageTypes:
    """The message types of one ROS distribution, with custom ones added.

    Attributes:
        distro: name of the distribution, e.g. "jazzy".
        store: the type store of rosbags (what its bag writers want).
    """

    def __init__(self, distro: str, store: Any) -> None:
        self.distro = distro
        self.store = store
        self._joint_states = JointStateBytes(store)

    def __contains__(self, name: str) -> bool:
        return full_name(name) in self.store.types

    def fields(self, name: str) -> list[tuple[str, Any]]:
        """(field name, rosbags field description) in the order of the wire.

        Raises:
            MessageError: no such type.
        """
        return self.store.fielddefs[self._known(name)][1]

    def type(self, name: str) -> type:
        """The dataclass of a message.

        Raises:
            MessageError: no such type.
        """
        return self.store.types[self._known(name)]

    def new(self, name: str, /, **values: Any) -> Any:
        """A message with zeros, empty strings and empty sequences wherever `values` says nothing.

        Numbers in sequences become arrays of the field's own type.

        Raises:
            MessageError: no such type, or it has no such field.
        """
        described = dict(self.fields(name))
        for field in values:
            if field not in described:
                raise MessageError(f"{name} has no field {field!r}; it has {', '.join(described)}")
        return self.type(name)(
            **{
                field: self._coerced(description, values[field])
                if field in values
                else self._zero(description)
                for field, description in described.items()
            }
        )

    def serialize(self, message: Any) -> bytes:
        """CDR, little endian, with the encapsulation header."""
        name = message.__msgtype__
        if name != JOINT_STATE:
            return bytes(self.store.serialize_cdr(message, name, little_endian=True))
        raw = self._joint_states.write(message)
        if raw is None:
            raw = bytes(self.store.serialize_cdr(message, name, little_endian=True))
            self._joint_states.learn(message, raw)
        return raw

    def deserialize(self, raw: bytes | memoryview, name: str) -> Any:
        """The message that CDR bytes hold.

        Raises:
            MalformedMessage: the bytes hold no such message.
        """
        if name == JOINT_STATE and type(raw) is bytes:
            message = self._joint_states.read(raw)
            if message is None:
                message = self._deserialized(raw, name)
                self._joint_states.learn(message, raw)
            return message
        return self._deserialized(raw, name)

    def decode(self, raw: bytes | memoryview, name: str) -> Any:
        """The message that CDR bytes hold, or a `Malformed` that says why they hold none."""
        try:
            return self.deserialize(raw, name)
        except MalformedMessage as error:
            return Malformed(str(error))

    def _deserialized(self, raw: bytes | memoryview, name: str) -> Any:
        from rosbags.serde import SerdeError

        try:
            return self.store.deserialize_cdr(raw, name)
        except SerdeError as error:
            raise MalformedMessage(str(error)) from error

    def type_hash(self, name: str) -> str:
        """`RIHS01_` and 64 hexadecimal digits (REP 2016)."""
        return self.store.hash_rihs01(self._known(name))

    def definition(self, name: str) -> str:
        """The text of the `.msg` file, with those of nested types below."""
        return self.store.generate_msgdef(self._known(name), ros_version=2)[0]

    def _known(self, name: str) -> str:
        full = full_name(name)
        if full not in self.store.types:
            near = difflib.get_close_matches(full, self.store.types, n=3, cutoff=0.5)
            hint = f"; close to it are {', '.join(near)}" if near else ""
            raise MessageError(
                f"message type {full!r} is not among those of {self.distro}{hint}; give the folder of its .msg file "
                "with --messages FOLDER"
            )
        return full

    def _zero(self, description: Any) -> Any:
        import numpy as np
        from rosbags.interfaces import Nodetype

        kind, detail = description
        if kind == Nodetype.NAME:
            return self.new(detail)
        if kind == Nodetype.BASE:
            return {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(detail[0], 0)
        (inner, inner_detail), length = detail
        count = length if kind == Nodetype.ARRAY else 0
        if inner == Nodetype.BASE and inner_detail[0] != "string":
            return np.zeros(count, _dtype(inner_detail[0]))
        return [self._zero((inner, inner_detail)) for _ in range(count)]

    def _coerced(self, description: Any, value: Any) -> Any:
        import numpy as np
        from rosbags.interfaces import Nodetype

        kind, detail = description
        if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            inner, inner_detail = detail[0]
            if inner == Nodetype.BASE and inner_detail[0] != "string":
                return np.ascontiguousarray(value, _dtype(inner_detail[0]))
            return list(value)
        return value


def _dtype(base: str) -> str:
    return _DTYPES.get(base, base)


def full_name(name: str) -> str:
    """`pkg/msg/T` of both `pkg/T` and `pkg/msg/T`."""
    package, _, rest = name.partition("/")
    return name if "/" in rest or not rest else f"{package}/msg/{rest}"


def resolve_distro(distro: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The ROS 2 distribution of which to take the definitions: `distro`, else `ROS_DISTRO`, else jazzy.

    A ROS 1 name in `ROS_DISTRO` (noetic) says nothing about ROS 2 and counts as unset.

    Raises:
        MessageError: not a distribution whose definitions are known.
    """
    variable = (os.environ if environment is None else environment).get("ROS_DISTRO", "")
    source = "--ros-distro" if distro else "ROS_DISTRO"
    wanted = (distro or ("" if variable in ("noetic", "debian") else variable) or DEFAULT_DISTRO).lower()
    if wanted not in DISTROS:
        raise MessageError(f"{source} is {wanted!r}, expected one of {', '.join(DISTROS)}")
    return wanted


def message_types(distro: str | None = None, folders: tuple[Path, ...] = ()) -> MessageTypes:
    """The types of a distribution, with those of the `.msg` files below `folders` added.

    A file `pkg/msg/T.msg` or `pkg/T.msg` defines `pkg/msg/T`.

    Raises:
        MessageError: unknown distribution, rosbags is not installed, or a definition that cannot be used.
    """
    return _message_types(resolve_distro(distro), tuple(Path(folder) for folder in folders))


@functools.lru_cache(maxsize=8)
def _message_types(distro: str, folders: tuple[Path, ...]) -> MessageTypes:
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise MessageError(
            "ROS messages need rosbags, which is not installed: pip install 'dynrl[ros]'"
        ) from error
    types = MessageTypes(distro, get_typestore(Stores(f"ros2_{distro}")))
    for folder in folders:
        _register(types, folder)
    return types


def _register(types: MessageTypes, folder: Path) -> None:
    from rosbags.typesys import TypesysError, get_types_from_msg

    files = sorted(folder.rglob("*.msg"))
    if not files:
        raise MessageError(
            f"--messages {folder}: no .msg file there; expected e.g. {folder}/my_package/msg/T.msg"
        )
    added: dict[str, Any] = {}
    for path in files:
        package = path.parent.parent if path.parent.name == "msg" else path.parent
        try:
            added |= get_types_from_msg(path.read_text(), f"{package.resolve().name}/msg/{path.stem}")
        except (TypesysError, UnicodeDecodeError) as error:
            raise MessageError(f"{path} is not a message definition: {error}") from error
    _check_nested(added, types, folder)
    try:
        types.store.register(added)
    except TypesysError as error:
        raise MessageError(f"--messages {folder}: {error}") from error


def _check_nested(added: dict[str, Any], types: MessageTypes, folder: Path) -> None:
    from rosbags.interfaces import Nodetype

    for name, (_, fields) in added.items():
        for field, (kind, detail) in fields:
            inner, of = (kind, detail) if kind in (Nodetype.BASE, Nodetype.NAME) else detail[0]
            if inner == Nodetype.NAME and of not in added and of not in types:
                raise MessageError(
                    f"{name} in {folder} has the field {field} of type {of}, which is neither there nor in "
                    f"{types.distro}: add its .msg file"
                )
