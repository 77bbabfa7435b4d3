"""Which format a log has, told from its first lines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from dynrl.auctions.readers import auctionnet, criteo
from dynrl.auctions.readers.blocks import first_lines
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.ipinyou_features import RAW_SCHEMA
from dynrl.auctions.readers.rows import decode

__all__ = ["Format", "detect"]

Format = Literal[
    "theta", "old_theta", "yzx", "ipinyou", "ipinyou_raw", "criteo", "auctionnet", "parquet", "arrow"
]

_BINARY: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}


def detect(path: Path) -> Format:
    """The format of a file.

    Raises:
        LogFormatError: unreadable, empty, or none of the formats; also iPinYou's season 1, which lacks columns.
    """
    lines = first_lines(path)
    if not lines:
        raise LogFormatError(
            f"{path} is empty: there is nothing to learn from; check that the export worked", str(path)
        )
    first = lines[0]
    for magic, format_ in _BINARY.items():
        if first.startswith(magic):
            return format_
    names = {decode(name).strip() for name in first.split(b"\t")}
    if {"click", "payprice"} <= names or {"bidid", "usertag"} <= names:
        return "ipinyou"
    if {"attribution", "cpo"} <= names or set(criteo.SCHEMA[:4]) <= names:
        return "criteo"
    columns = {decode(name).strip().strip('"') for name in first.split(b",")}
    if {"pvIndex", "pValue"} <= columns or set(auctionnet.SCHEMA[:2]) <= columns:
        return "auctionnet"
    fields = first.count(b"\t") + 1
    tabbed = first.split(b"\t")
    if fields > 2 and len(tabbed[1]) == 17 and tabbed[1].isdigit():
        return _raw_ipinyou(path, fields)
    tokens = first.split()
    if len(tokens) == 2 and all(token.isdigit() for token in tokens) and _is_number(lines[1:2]):
        return "old_theta"
    if len(tokens) >= 3 and b":" in tokens[2]:
        return "yzx"
    if len(tokens) == 3 or (len(tokens) <= 3 and _looks_numeric(tokens[0])):
        return "theta"
    shown = decode(first[:60])
    raise LogFormatError(
        f"{path}, line 1: cannot tell the format of {shown!r}, expected one of {', '.join(get_args(Format))}; "
        "pass format=, or read other tables with from_table()",
        str(path),
        1,
    )


def _raw_ipinyou(path: Path, fields: int) -> Format:
    if fields == len(RAW_SCHEMA):
        return "ipinyou_raw"
    hint = (
        "; season 1 has no advertiser and no user tags, use season 2 or 3" if fields < len(RAW_SCHEMA) else ""
    )
    raise LogFormatError(
        f"{path}, line 1: this looks like a raw iPinYou log with {fields} columns, expected {len(RAW_SCHEMA)}: "
        f"{', '.join(RAW_SCHEMA)}{hint}",
        str(path),
        1,
        RAW_SCHEMA[fields] if fields < len(RAW_SCHEMA) else None,
    )


def _is_number(lines: list[bytes]) -> bool:
    return bool(lines) and lines[0].strip().isdigit()


def _looks_numeric(token: bytes) -> bool:
    return token.strip().isdigit()
