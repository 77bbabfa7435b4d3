"""The error of a log that is not what it should be: file, line, column, value, expectation."""

from __future__ import annotations

from dynrl.errors import FileFormatError

__all__ = ["LogFormatError"]


class LogFormatError(FileFormatError):
    """A log is damaged or holds something else than expected.

    Attributes:
        path: the file, or a name for a table in memory.
        line: 1-based line of the file (row of the table); None where the whole file is meant.
        column: name of the column; None where the whole line is meant.
        value: what stood there; None where nothing did.
    """

    def __init__(
        self,
        message: str,
        path: str = "",
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        super().__init__(message)
        self.path, self.line, self.column, self.value = path, line, column, value
