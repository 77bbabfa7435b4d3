"""What a format has to say, and the loop over blocks that is the same for all."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.blocks import Block, blocks
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.options import ReadOptions
from dynrl.auctions.readers.rows import Account, decode

__all__ = ["Columns", "Parser", "in_order_of_time", "read_text", "require_columns", "require_ticks"]

Columns = dict[str, Any]
"""Arrays by name, every one `[N]` but `indices`."""


class Parser(ABC):
    """One text format.

    Attributes:
        account: of the rows of the file.
        lacking: what a file without any rows is said to have.
    """

    has_header = False

    def __init__(self, account: Account) -> None:
        self.account = account
        self.options = account.options
        self.lacking = "no rows"

    def read_header(self, line: bytes, number: int) -> None:
        """Takes the header, where the format has one; LogFormatError where columns are missing."""
        raise NotImplementedError

    @abstractmethod
    def parse(self, block: Block) -> Columns:
        """The columns of the good rows of a block, every array along its first axis."""

    @abstractmethod
    def finish(self, columns: Columns) -> AuctionLog:
        """The log, from the columns of the whole file."""


def read_text(path: Path, parser: Parser, progress: bool) -> AuctionLog:
    """Reads a whole file, block by block.

    Raises:
        LogFormatError: bad rows, or no rows at all.
    """
    columns: dict[str, _GrowingArray] = {}
    awaiting_header = parser.has_header
    for block in blocks(path, progress):
        if awaiting_header:
            found, block = _without_header(block, parser)
            awaiting_header = not found
            if awaiting_header:
                continue
        for name, column in parser.parse(block).items():
            if name in columns:
                columns[name].append(column)
            else:
                columns[name] = _GrowingArray(column)
    parser.account.require_few_bad()
    if parser.account.rows == 0:
        raise LogFormatError(
            f"{path} has {parser.lacking}: there is nothing to learn from; check that the export worked",
            str(path),
        )
    return parser.finish({name: column.finish() for name, column in columns.items()})


class _GrowingArray:
    """An array that takes parts at its end. Large ones grow in place (the allocator moves pages, it copies nothing),
    so that a log is never held twice, as it would be by collecting parts and joining them."""

    def __init__(self, first: NDArray[Any]) -> None:
        self._array = first.copy()
        self._length = len(first)

    def append(self, part: NDArray[Any]) -> None:
        end = self._length + len(part)
        if end > len(self._array):
            self._array.resize(end + end // 4, refcheck=False)
        self._array[self._length : end] = part
        self._length = end

    def finish(self) -> NDArray[Any]:
        self._array.resize(self._length, refcheck=False)
        return self._array


def require_columns(
    line: bytes, separator: bytes, expected: tuple[str, ...], path: str, number: int
) -> tuple[str, ...]:
    """The names in a header line, in their order.

    Raises:
        LogFormatError: one of the expected columns is absent, or one is there twice.
    """
    columns = tuple(decode(name).strip().strip('"') for name in line.split(separator))
    absent = [name for name in expected if name not in columns]
    if absent:
        raise LogFormatError(
            f"{path}, line {number}: the header has no column {', '.join(absent)}; expected {', '.join(expected)}",
            path,
            number,
            absent[0],
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise LogFormatError(
            f"{path}, line {number}: the header names column {twice!r} more than once, expected each once",
            path,
            number,
            twice,
        )
    return columns


def require_ticks(options: ReadOptions, name: str) -> None:
    """ValueError unless the money of one tick was given."""
    if options.ticks is None:
        raise ValueError(
            f"the prices of {name} logs are decimal numbers: pass ticks=, the money of one tick (e.g. the median "
            "price divided by 50), and delta_max=, the largest price in ticks"
        )


def in_order_of_time(log: AuctionLog, sort: bool, path: str) -> AuctionLog:
    """The log with `sort` applied; warns once where the rows are not in the order of their timestamps."""
    if log.timestamp is None:
        return log
    earlier = np.flatnonzero(np.diff(log.timestamp) < np.timedelta64(0, "ms"))
    if len(earlier) == 0:
        return log
    if sort:
        return log.take(np.argsort(log.timestamp, kind="stable"))
    warnings.warn(
        f"{path}: {len(earlier)} rows are earlier than the row before them (the first is row {earlier[0] + 2}); "
        "episodes follow the order of the rows, so read with sort=True to put them in order of time",
        stacklevel=3,
    )
    return log


def _without_header(block: Block, parser: Parser) -> tuple[bool, Block]:
    number, rest = block.line, block.text
    while rest:
        line, _, rest = rest.partition(b"\n")
        number += 1
        if line.strip():
            parser.lacking = "only a header"
            parser.read_header(line, number - 1)
            return True, Block(rest, number, block.complete)
    return False, Block(b"", number, block.complete)
