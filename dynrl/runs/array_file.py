"""Arrays on disk: one safetensors file with JSON metadata and a checksum, written whole or not at all."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynrl.errors import FileFormatError

FORMAT = 1
"""Version of the layout below; a file of another version is refused by name."""

KEY = "dynrl"
_KINDS = "biuf"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes `content` to `path`; whenever the machine stops, `path` holds the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names inside `folder` durable (a rename is only on disk once its folder is)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes named arrays (bool, integer or float, any shape) and JSON-able `meta` as one safetensors file.

    Raises TypeError when an array is of another kind or `meta` does not survive JSON.
    """
    from safetensors.numpy import save

    stored = {}
    for name, value in arrays.items():
        array = np.array(value, order="C", copy=None)  # safetensors writes the raw buffer, strides ignored
        if array.dtype.kind not in _KINDS:
            raise TypeError(
                f"array {name!r} has dtype {array.dtype}; only bool, integer and float are stored"
            )
        stored[name] = array
    text = json.dumps(meta, sort_keys=True)
    # One key only: safetensors writes several in random order, and equal content should give equal bytes.
    header = json.dumps({"format": FORMAT, "checksum": _checksum(stored, text), "meta": text})
    write_atomically(path, save(stored, metadata={KEY: header}))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `write_arrays` wrote: (arrays, meta).

    Raises FileFormatError when the file is missing, truncated, altered, or of another format version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if KEY not in metadata:
                raise FileFormatError(f"{path} is not a file that dynrl wrote")
            header = json.loads(metadata[KEY])
            if header["format"] != FORMAT:
                raise FileFormatError(
                    f"{path} has format {header['format']}, this version of dynrl reads format {FORMAT}"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise FileFormatError(f"{path} does not exist") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} is damaged or truncated ({_first_line(error)})") from error
    text = header.get("meta")
    if not isinstance(text, str) or header.get("checksum") != _checksum(arrays, text):
        raise FileFormatError(f"{path} is damaged (its content does not match its checksum)")
    return arrays, json.loads(text)


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
