"""Frames between the control loop and a bridge process: length, kind, payload. Standard library alone.

The bridge to ROS 1 runs in the system's interpreter, which sees neither dynrl nor NumPy, and imports this file as
`framing`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

SETUP, PUBLISH, FAILED, MESSAGE, STATUS = range(1, 6)
HEAD = struct.Struct("<IB")
PUBLISH_HEAD = struct.Struct("<H")  # number of the writer
MESSAGE_HEAD = struct.Struct("<Hq")  # number of the reader, time.monotonic_ns() of the arrival
LARGEST = 1 << 28
MALFORMED = b"\xff"  # no CDR begins so: what follows says why there is none


def frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    return HEAD.pack(len(payload), kind) + payload


def json_frame(kind: int, content: Any) -> bytes:
    """A frame whose payload is JSON."""
    return frame(kind, json.dumps(content).encode())


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(kind, payload) of every frame that `data` completes.

        Raises:
            ValueError: a frame is longer than any message may be.
        """
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            length, kind = HEAD.unpack_from(self._buffer)
            if length > LARGEST:
                raise ValueError(f"a frame of {length} bytes; at most {LARGEST} are expected")
            end = HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEAD.size : end])
            del self._buffer[:end]
            yield kind, payload


def frames(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """(kind, payload) of every frame until the other end closes; waits for them."""
    reader = FrameReader()
    while data := connection.recv(1 << 16):
        yield from reader.feed(data)
