"""The process that writes a recording: reads frames from a pipe, writes a rosbag2 folder (MCAP).

It ends when the pipe does, and then closes the bag: also after a `kill -9` of the deployment the bag is whole. Started
by `dynrl.robots.recorder.Recorder` as `python -m dynrl.robots.recording_process FD FOLDER`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<HqI")
"""Before each payload: number of the connection, log time in ns, length in bytes."""
DECLARE, END = 0xFFFF, 0xFFFE
"""Instead of a connection: the payload declares one (JSON), or ends the recording (JSON of figures to keep)."""
LOW_SPACE = int(os.environ.get("DYNRL_LOW_SPACE", 1 << 30))
"""Bytes that are left free on the disk: 1 GiB unless the environment says otherwise."""
CHECK_EVERY = 1.0
STATUS = "recording.json"


def main(descriptor: int, folder: Path) -> int:
    """Writes until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    status: dict[str, Any] = {"messages": 0, "disk_low": False, "complete": False}
    bag = _Bag(folder)
    try:
        os.write(descriptor, b"r")
        os.nice(10)
        with open(descriptor, "rb") as pipe:
            _copy(pipe, bag, status)
    finally:
        bag.close()
        (folder.parent / STATUS).write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
    return 0


def _copy(pipe: BinaryIO, bag: _Bag, status: dict[str, Any]) -> None:
    checked = 0.0
    while len(header := pipe.read(HEADER.size)) == HEADER.size:
        connection, log_ns, length = HEADER.unpack(header)
        payload = pipe.read(length)
        if len(payload) < length:
            return
        if connection == DECLARE:
            bag.declare(**json.loads(payload))
        elif connection == END:
            status.update(json.loads(payload), complete=True)
        elif not status["disk_low"]:
            bag.write(connection, log_ns, payload)
            status["messages"] += 1
        now = time.monotonic()
        if now - checked >= CHECK_EVERY:
            checked = now
            status["disk_low"] = status["disk_low"] or shutil.disk_usage(bag.folder).free < LOW_SPACE


class _Bag:
    """A rosbag2 folder being written."""

    def __init__(self, folder: Path) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        self.folder = folder
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[int, Any] = {}

    def declare(self, number: int, topic: str, type: str, definition: str, hash: str) -> None:
        """Makes the connection `number`."""
        self._connections[number] = self._writer.add_connection(topic, type, msgdef=definition, rihs01=hash)

    def write(self, number: int, log_ns: int, payload: bytes) -> None:
        """Adds a message, CDR bytes."""
        self._writer.write(self._connections[number], log_ns, payload)

    def close(self) -> None:
        """Writes index and metadata."""
        self._writer.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
