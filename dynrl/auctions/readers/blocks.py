"""Files as blocks of whole lines, so that memory stays bounded: plain, gzip and bzip2, with a progress bar."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from dynrl.auctions.readers.errors import LogFormatError
from dynrl.runs.progress import Progress

__all__ = ["Block", "blocks", "first_lines"]

BLOCK = 4 << 20
"""Bytes per block: large enough that NumPy's fixed costs vanish, small enough that its temporaries stay in cache."""

LONGEST_LINE = 16 << 20
"""A line longer than this is not a line of a log; the bound keeps memory bounded on files that are not text."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Some lines of a file.

    Attributes:
        text: whole lines, each ended by LF (CRLF has been translated).
        line: 1-based number of the first.
        complete: False where the file ended without a line end, which was then added.
    """

    text: bytes
    line: int
    complete: bool


def blocks(path: Path, progress: bool = False, size: int = BLOCK) -> Iterator[Block]:
    """The lines of a file, in blocks of about `size` bytes.

    Raises:
        LogFormatError: cannot be read or decompressed, or has lines beyond any log's.
    """
    line, rest = 1, b""
    with _progress(path, progress) as bar, _open_raw(path) as raw:
        stream = _decompressed(path, raw)
        begin = True
        while data := _read(path, stream, size):
            bar.advance(raw.tell() - bar.done)
            if begin:
                data, begin = data.removeprefix(BYTE_ORDER_MARK), False
            cut = data.rfind(b"\n") + 1
            if not cut:
                rest += data
                if len(rest) > LONGEST_LINE:
                    raise LogFormatError(
                        f"{path}, line {line}: more than {LONGEST_LINE >> 20} MiB without a line end, expected a "
                        "text log with one row per line",
                        str(path),
                        line,
                    )
                continue
            text, rest = rest + data[:cut], data[cut:]
            yield Block(_unix_lines(text), line, True)
            line += text.count(b"\n")
    if rest.strip():
        yield Block(_unix_lines(rest + b"\n"), line, False)


def first_lines(path: Path, count: int = 3) -> list[bytes]:
    """The first lines that are not blank, without line ends (for telling formats apart)."""
    found: list[bytes] = []
    for block in blocks(path, size=1 << 16):
        found += [text for text in block.text.split(b"\n") if text.strip()]
        if len(found) >= count:
            break
    return found[:count]


def _unix_lines(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def _open_raw(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise LogFormatError(f"{path} cannot be read: {error.strerror}", str(path)) from error


def _decompressed(path: Path, raw: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw)
    return raw


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise LogFormatError(f"{path} cannot be decompressed or read: {error}", str(path)) from error


def _progress(path: Path, shown: bool) -> Progress:
    return Progress(path.stat().st_size if path.is_file() else 0, "bytes", shown=shown)
