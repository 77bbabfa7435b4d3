"""A block of lines cut into fields, and the account of its bad rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import IngestReport
from dynrl.auctions.readers.blocks import Block
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.numerals import PADDING
from dynrl.auctions.readers.options import ReadOptions

__all__ = ["NO_LINE_END", "Account", "Check", "Rows", "decode", "split_fields", "split_tokens", "texts_at"]

NO_LINE_END = (
    "the last line has no line end, so it may be cut short; expected LF at the end of the file (add it, or accept "
    'the line with last_line="keep")'
)

_NEWLINE = 10
_MESSAGES = 5
_ENOUGH_ROWS = 10_000
"""Rows after which too large a share of bad ones stops the reading at once."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a block: where every field lies.

    Attributes:
        buffer: uint8, the text of the block with some zero bytes after it.
        start, length: int64 `[N, F]`, in bytes.
        line: int64 `[N]`, 1-based line of the file.
        columns: names of the F fields.
    """

    buffer: NDArray[np.uint8]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    line: NDArray[np.int64]
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.line)

    def take(self, rows: NDArray[np.bool_]) -> Rows:
        """Some rows, by mask."""
        if rows.all():
            return self
        return Rows(self.buffer, self.start[rows], self.length[rows], self.line[rows], self.columns)

    def field(self, column: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """(buffer, start `[N]`, length `[N]`) of a column."""
        place = self.columns.index(column)
        return self.buffer, self.start[:, place], self.length[:, place]

    def text(self, row: int, column: str) -> str:
        """One field as text."""
        place = self.columns.index(column)
        start = self.start[row, place]
        return decode(self.buffer[start : start + self.length[row, place]].tobytes())


def decode(text: bytes) -> str:
    """UTF-8, and what is not UTF-8 as backslash escapes, so that different bytes stay different."""
    return text.decode("utf-8", "backslashreplace")


def texts_at(buffer: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]) -> list[str]:
    """Fields `[N]` as texts that keep bytes which are not UTF-8 (as surrogate escapes)."""
    data = buffer.data
    return [
        bytes(data[begin : begin + count]).decode("utf-8", "surrogateescape")
        for begin, count in zip(start.tolist(), length.tolist(), strict=True)
    ]


class Account:
    """Counts rows over a whole file, and raises or records complaints as the options say."""

    def __init__(self, path: str, options: ReadOptions) -> None:
        self.path, self.options = path, options
        self.rows = self.skipped = self.clipped = self.duplicates = 0
        self.messages: list[str] = []

    def check(self) -> Check:
        """A check for the next block."""
        return Check(self.path)

    def settle(self, check: Check) -> NDArray[np.bool_]:
        """The good rows of a checked block as a mask `[N]`.

        Raises:
            LogFormatError: the first bad row (`on_bad="raise"`), or too many of them (`"skip"`).
        """
        complaints = sorted(check.complaints, key=lambda error: error.line or 0)
        if complaints and self.options.on_bad == "raise":
            raise complaints[0]
        self.messages += [str(error) for error in complaints[: _MESSAGES - len(self.messages)]]
        self.skipped += check.unreadable + int(check.bad.sum())
        self.rows += int((~check.bad).sum())
        if self.rows + self.skipped >= _ENOUGH_ROWS:
            self.require_few_bad()
        return ~check.bad

    def require_few_bad(self) -> None:
        """LogFormatError where more than `max_bad_fraction` of the rows so far were bad."""
        share = self.skipped / max(self.rows + self.skipped, 1)
        if share > self.options.max_bad_fraction:
            raise LogFormatError(
                f"{self.path}: {self.skipped} of {self.rows + self.skipped} rows are bad ({100 * share:.3g} %), more "
                f"than max_bad_fraction = {100 * self.options.max_bad_fraction:.3g} %; the first: {self.messages[0]}",
                self.path,
            )

    def report(self) -> IngestReport:
        """What was counted."""
        return IngestReport(
            rows=self.rows,
            skipped=self.skipped,
            clipped=self.clipped,
            duplicates=self.duplicates,
            messages=tuple(self.messages),
        )


class Located(Protocol):
    """Rows that complaints can point at."""

    @property
    def line(self) -> NDArray[np.int64]:
        """1-based line of each row `[N]`."""
        ...

    def text(self, row: int, column: str) -> str:
        """One field as text."""
        ...


class Check:
    """The bad rows of one block.

    Attributes:
        bad: bool `[N]`, rows with a complaint.
        unreadable: lines that did not even become rows.
        complaints: the first few, as errors.
    """

    def __init__(self, path: str, unit: str = "line") -> None:
        self.path, self._unit = path, unit
        self.bad = np.zeros(0, bool)
        self.unreadable = 0
        self.complaints: list[LogFormatError] = []

    def begin(self, rows: int) -> None:
        """Starts the check of a block of `rows` rows."""
        self.bad = np.zeros(rows, bool)

    def complain(self, line: int, column: str | None, value: str | None, text: str) -> None:
        """Records a complaint about a line that is not one of the rows."""
        where = f"{self.path}, {self._unit} {line}" + ("" if column is None else f", column {column}")
        self.complaints.append(LogFormatError(f"{where}: {text}", self.path, line, column, value))

    def require(self, good: NDArray[np.bool_], rows: Located, column: str, expected: str) -> None:
        """Rows `[N]` that are not good get a complaint, unless they have one already."""
        wrong = ~good & ~self.bad
        if not wrong.any():
            return
        self.bad |= wrong
        for row in np.flatnonzero(wrong)[:_MESSAGES]:
            value = rows.text(row, column)
            shown = value if len(value) <= 60 else value[:57] + "..."
            self.complain(int(rows.line[row]), column, value, f"got {shown!r}, expected {expected}")

    def absorb(self, inner: Check, owner: NDArray[np.int64]) -> None:
        """Takes over the complaints about parts of rows; `owner` `[parts]` says which row each part belongs to."""
        self.bad[owner[inner.bad]] = True
        self.complaints += inner.complaints


def split_fields(
    block: Block,
    separator: bytes,
    columns: tuple[str, ...],
    check: Check,
    last_line: str,
    other_counts: tuple[int, ...] = (),
) -> tuple[Rows, Rows]:
    """Cuts the lines of a block at a separator; blank lines are left out.

    Args:
        separator: one byte; a space stands for any run of spaces and tabs.
        last_line: what to do with a line that the file does not end (`ReadOptions.last_line`).
        other_counts: numbers of fields that other kinds of lines may have.

    Returns:
        (rows with all the columns, rows with one of the other numbers of fields: only their first field is kept).
    """
    buffer, starts, ends, first, count = split_tokens(block, separator)
    line = block.line + np.arange(len(count))
    last = first + count - 1
    blank = (count == 1) & (ends[first] == starts[first])
    trailing = (count == len(columns) + 1) & (ends[last] == starts[last])
    fits = (count == len(columns)) | trailing
    other = np.isin(count, other_counts) & ~blank
    if len(count) and not block.complete and last_line == "error":
        fits[-1] = other[-1] = False
    wrong = ~(fits | other | blank)
    for row in np.flatnonzero(wrong)[:_MESSAGES]:
        cut = not block.complete and row == len(count) - 1
        _complain_of_count(check, int(line[row]), int(count[row]), columns, cut)
    check.unreadable += int(wrong.sum())
    check.begin(int(fits.sum()))
    return (
        _rows(buffer, starts, ends, first[fits], line[fits], columns),
        _rows(buffer, starts, ends, first[other], line[other], columns[:1]),
    )


def split_tokens(
    block: Block, separator: bytes
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The tokens of a block: (padded buffer, start and end of each token, first token and count of each line)."""
    text = _tidy(block.text, separator)
    buffer = np.frombuffer(text + bytes(PADDING), np.uint8)
    body = buffer[: len(text)]
    ends = np.flatnonzero((body == separator[0]) | (body == _NEWLINE))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    newline = np.flatnonzero(body[ends] == _NEWLINE)
    first = np.concatenate([np.zeros(1, np.int64), newline[:-1] + 1])[: len(newline)]
    return buffer, starts, ends, first, newline - first + 1


def _tidy(text: bytes, separator: bytes) -> bytes:
    if separator != b" ":
        return re.sub(rb" +\n", b"\n", text) if b" \n" in text else text
    text = text.replace(b"\t", b" ")
    if b"  " in text:
        text = re.sub(rb" +", b" ", text)
    return text.replace(b" \n", b"\n").replace(b"\n ", b"\n").removeprefix(b" ")


def _rows(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first: NDArray[np.int64],
    line: NDArray[np.int64],
    columns: tuple[str, ...],
) -> Rows:
    places = first[:, None] + np.arange(len(columns))
    start = starts[places]
    return Rows(buffer, start, ends[places] - start, line, columns)


def _complain_of_count(check: Check, line: int, count: int, columns: tuple[str, ...], cut: bool) -> None:
    names = ", ".join(columns)
    if cut and count >= len(columns):
        check.complain(line, columns[-1], None, NO_LINE_END)
    elif count < len(columns):
        where = "the file ends inside the line: " if cut else ""
        check.complain(
            line,
            columns[count],
            None,
            f"{where}the field is missing: got {count} field{'s' * (count != 1)}, expected {len(columns)}: {names}",
        )
    else:
        check.complain(line, None, None, f"got {count} fields, expected {len(columns)}: {names}")
