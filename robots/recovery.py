"""A bag whose recorder was killed, made whole again: all messages that can be read, with index and metadata.

MCAP is a sequence of records, each with its length in front, so a file that ends early can be read up to there. The
index at its end and `metadata.yaml` beside it are written only when a recording is closed.
"""

from __future__ import annotations

import json
import mmap
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynrl.robots.folder import INFO
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.recorder import BAG, RecordingError
from dynrl.robots.recording_process import STATUS

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
DAMAGED, WORKPLACE = "bag.damaged", "bag.recovered"
_RECORD, _MESSAGE = struct.Struct("<BQ"), struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQI")
_SHORT, _WORD, _LONG = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class Recovery:
    """What was saved.

    Attributes:
        messages: by topic.
        lost_bytes: at the end of the file, that belong to no whole message.
        damaged: where the bag as it was lies now.
    """

    messages: dict[str, int]
    lost_bytes: int
    damaged: Path


def recover(folder: Path) -> Recovery:
    """Makes the bag of a recorded run whole; the damaged one is kept beside it.

    Args:
        folder: that `--record` made (or the bag in it).

    Raises:
        RecordingError: no recording, one that is whole, empty, or damaged inside.
    """
    folder = folder.parent if folder.name == BAG else folder
    bag, damaged, workplace = folder / BAG, folder / DAMAGED, folder / WORKPLACE
    file = bag / f"{BAG}.mcap"
    if not file.exists():
        raise RecordingError(f"{folder} is not a recording (it has no {BAG}/{file.name})")
    if (bag / "metadata.yaml").exists():
        raise RecordingError(f"{bag} was closed as it should be: there is nothing to recover")
    if damaged.exists():
        raise RecordingError(f"{damaged} is there already: move it away first")
    if workplace.exists():
        shutil.rmtree(workplace)  # of an attempt that did not end
    workplace.mkdir()
    try:
        found = _rewrite(file, workplace / BAG, _types(folder))
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise RecordingError(f"{file} is damaged inside, not only cut off: {error!r}") from error
    bag.rename(damaged)
    (workplace / BAG).rename(bag)
    workplace.rmdir()
    total = sum(found.messages.values())
    status = {"messages": total, "complete": False, "recovered": True, "lost_bytes": found.lost_bytes}
    (folder / STATUS).write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
    return Recovery(dict(found.messages), found.lost_bytes, damaged)


def _types(folder: Path) -> MessageTypes:
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(f"{folder / INFO} cannot be read: {error}") from error
    return message_types(info["ros_distro"])


@dataclass
class _Found:
    """What has been read so far."""

    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, tuple[str, Any]] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
    lost_bytes: int = 0


def _rewrite(file: Path, bag: Path, types: MessageTypes) -> _Found:
    """Copies what can be read into a new bag."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    found = _Found()
    if file.stat().st_size <= len(MAGIC):
        raise RecordingError(f"{file} is empty: the recorder was killed before it had written anything")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: len(MAGIC)] != MAGIC:
            raise RecordingError(f"{file} is not an MCAP file")
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for op, body in _inside(data, found):
                if op == SCHEMA:
                    name, at = _string(body, 2)
                    _, at = _string(body, at)
                    definition, _ = _string(body, at)
                    found.schemas[_SHORT.unpack_from(body)[0]] = name, definition
                elif op == CHANNEL:
                    topic, _ = _string(body, 4)
                    type, definition = found.schemas[_SHORT.unpack_from(body, 2)[0]]
                    hash = types.type_hash(type)
                    connection = writer.add_connection(topic, type, msgdef=definition, rihs01=hash)
                    found.channels[_SHORT.unpack_from(body)[0]] = topic, connection
                elif op == MESSAGE:
                    channel, _, log_ns, _ = _MESSAGE.unpack_from(body)
                    topic, connection = found.channels[channel]
                    writer.write(connection, log_ns, body[_MESSAGE.size :])
                    found.messages[topic] += 1
    return found


def _inside(data: Any, found: _Found) -> Iterator[tuple[int, bytes]]:
    """The records of the data section, those inside chunks too, up to where the file breaks off."""
    for op, start, end in _records(data, len(MAGIC), len(data), found):
        if op == DATA_END:
            return
        if op != CHUNK:
            continue
        if end - start < _CHUNK.size + 4:
            found.lost_bytes += end - start
            return
        compression, at = _string(data, start + _CHUNK.size)
        if compression:
            raise RecordingError(
                f"the bag is compressed with {compression!r}, which this recorder never does"
            )
        for inner, first, last in _records(data, at + _LONG.size, end, found):
            yield inner, data[first:last]


def _records(data: Any, at: int, end: int, found: _Found) -> Iterator[tuple[int, int, int]]:
    """(kind, begin, end) of each record between `at` and `end`; where the last one is cut, only of a chunk."""
    while at < end:
        if at + _RECORD.size > end:
            found.lost_bytes += end - at
            return
        op, length = _RECORD.unpack_from(data, at)
        start = at + _RECORD.size
        at = start + length
        if at <= end:
            yield op, start, at
        elif op == CHUNK:
            yield op, start, end
        else:
            found.lost_bytes += end - (start - _RECORD.size)


def _string(data: Any, at: int) -> tuple[str, int]:
    """(text, where it ends)"""
    start = at + _WORD.size
    end = start + _WORD.unpack_from(data, at)[0]
    return data[start:end].decode(), end
