"""Joint states to CDR bytes and back, quickly: from one to the next only stamp and numbers change.

Nearly all the time that the type store of rosbags takes for a joint state goes into the names of the joints. Here the
bytes in between the numbers are kept from the first message that has them; whatever differs from what is known goes
through the type store and becomes known. The bytes are the type store's, and so are the messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

JOINT_STATE = "sensor_msgs/msg/JointState"
_KEPT = 64  # layouts; a peer that invents names must not fill our memory
_STAMP = struct.Struct("<iI")
_STAMP_AT, _HEAD_AT = 4, 12
_FLOATS = np.dtype(np.float64)
_WORD = struct.Struct("<I")
_LITTLE_ENDIAN = b"\x00\x01"
_NO_NUMBERS = np.frombuffer(b"", _FLOATS)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Joint states with certain names and numbers of numbers.

    Attributes:
        frame_id, names: of the message.
        counts: of numbers in position, velocity and effort.
        start: the bytes before the stamp.
        fixed: the bytes before the numbers of each array, from the last thing that changes on, and where they begin.
        numbers_at: where the numbers begin.
        size: of the message.
    """

    frame_id: str
    names: list[str]
    counts: tuple[int, int, int]
    start: bytes
    fixed: tuple[tuple[int, bytes], ...]
    numbers_at: tuple[int, ...]
    size: int


class JointStateBytes:
    """Writes and reads joint states whose layout is known.

    Args:
        store: type store of rosbags.
    """

    def __init__(self, store: Any) -> None:
        self._message = store.types[JOINT_STATE]
        self._header = store.types["std_msgs/msg/Header"]
        self._time = store.types["builtin_interfaces/msg/Time"]
        self._by_counts: dict[tuple[int, ...], _Layout] = {}
        self._by_size: dict[int, _Layout] = {}

    def write(self, message: Any) -> bytes | None:
        """CDR bytes, little endian; None where the layout is not known."""
        position, velocity, effort = message.position, message.velocity, message.effort
        layout = self._by_counts.get((len(message.name), len(position), len(velocity), len(effort)))
        header = message.header
        if layout is None or layout.names != message.name or layout.frame_id != header.frame_id:
            return None
        if not (_are_floats(position) and _are_floats(velocity) and _are_floats(effort)):
            return None
        (_, before_position), (_, before_velocity), (_, before_effort) = layout.fixed
        stamp = _STAMP.pack(header.stamp.sec, header.stamp.nanosec)
        return b"".join(
            (
                layout.start,
                stamp,
                before_position,
                position.tobytes(),
                before_velocity,
                velocity.tobytes(),
                before_effort,
                effort.tobytes(),
            )
        )

    def read(self, raw: bytes) -> Any:
        """The message; None where the layout is not known."""
        layout = self._by_size.get(len(raw))
        if layout is None or not raw.startswith(layout.start):
            return None
        for at, fixed in layout.fixed:
            if not raw.startswith(fixed, at):
                return None
        arrays = [
            np.frombuffer(raw, _FLOATS, count, at) if count else _NO_NUMBERS
            for count, at in zip(layout.counts, layout.numbers_at)  # noqa: B905 (three each)
        ]
        header = self._header(self._time(*_STAMP.unpack_from(raw, _STAMP_AT)), layout.frame_id)
        return self._message(header, list(layout.names), *arrays)

    def learn(self, message: Any, raw: bytes) -> None:
        """Takes in the layout of a message and its bytes, which the type store wrote or read.

        Bytes that do not say all that the message says, such as a string without its end, stay unknown.
        """
        layout = _layout(message, raw)
        if layout is None:
            return
        for known in (self._by_counts, self._by_size):
            if len(known) >= _KEPT:
                known.clear()
        self._by_counts[(len(layout.names), *layout.counts)] = layout
        self._by_size[layout.size] = layout


def _are_floats(array: Any) -> bool:
    return type(array) is np.ndarray and array.dtype == _FLOATS


def _layout(message: Any, raw: bytes) -> _Layout | None:
    """The layout, where every length in the bytes is the one that follows from the message."""
    if raw[:2] != _LITTLE_ENDIAN:
        return None
    counts = len(message.position), len(message.velocity), len(message.effort)
    words = []  # (where a length stands, what it must be)
    at = _HEAD_AT
    for text in (message.header.frame_id, None, *message.name):
        at = _aligned(at, 4)
        length = len(message.name) if text is None else len(text.encode()) + 1
        words.append((at, length))
        at += 4 if text is None else 4 + length
    at = _aligned(at, 4)
    numbers_at = []
    for count in counts:
        words.append((at, count))
        at = _aligned(at + 4, 8) if count else at + 4
        numbers_at.append(at)
        at += 8 * count
    if at != len(raw) or any(_WORD.unpack_from(raw, where) != (length,) for where, length in words):
        return None
    begins = (_HEAD_AT, *(at + 8 * count for at, count in zip(numbers_at, counts, strict=True)))
    fixed = [(begin, raw[begin:end]) for begin, end in zip(begins, numbers_at, strict=False)]
    return _Layout(
        message.header.frame_id,
        list(message.name),
        counts,
        raw[:_STAMP_AT],
        tuple(fixed),
        tuple(numbers_at),
        at,
    )


def _aligned(at: int, to: int) -> int:
    """The next place that is a multiple of `to` behind the encapsulation header."""
    return 4 + -(-(at - 4) // to) * to
