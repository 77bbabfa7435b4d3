"""The standard feature set of iPinYou rows (spec section 7): one-hot columns, reduced browser, floor bucket, tags.

Every value, also a derived one, is a stretch of bytes in one buffer: derived values point into a small vocabulary
behind the block's text. One pass of fingerprints then serves all columns of all rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.readers.columns import NumberedTexts
from dynrl.auctions.readers.fingerprints import fingerprints
from dynrl.auctions.readers.numerals import PADDING, parse_integers
from dynrl.auctions.readers.rows import Rows, texts_at
from dynrl.auctions.readers.user_agents import USER_AGENTS, os_browser

__all__ = ["FEATURE_COLUMNS", "ONE_PER_ROW", "RAW_SCHEMA", "SCHEMA", "derive", "missing"]

RAW_SCHEMA = (
    *(
        "bidid",
        "timestamp",
        "logtype",
        "ipinyouid",
        "useragent",
        "IP",
        "region",
        "city",
        "adexchange",
        "domain",
    ),
    *("url", "urlid", "slotid", "slotwidth", "slotheight", "slotvisibility", "slotformat", "slotprice"),
    *("creative", "bidprice", "payprice", "keypage", "advertiser", "usertag"),
)
SCHEMA = ("click", "weekday", "hour", *RAW_SCHEMA)
"""Columns of the campaign log; a feature is named by the number of its column here, e.g. `9:216` for a region."""

AS_THEY_ARE = (
    *("weekday", "hour", "IP", "region", "city", "adexchange", "domain", "slotid", "slotwidth", "slotheight"),
    *("slotvisibility", "slotformat", "creative", "advertiser"),
)
ONE_PER_ROW = (*AS_THEY_ARE, "useragent", "slotprice")
FEATURE_COLUMNS = (*ONE_PER_ROW, "usertag")

FLOOR_BUCKETS = ((0, "0"), (10, "1-10"), (50, "11-50"), (100, "51-100"))
"""Largest floor price of each bucket; higher ones are `101+`."""

_BUCKETS = (*(name for _, name in FLOOR_BUCKETS), "101+")
_WEEKDAYS = tuple("0123456")
_VOCABULARY = ("null", *_WEEKDAYS, *_BUCKETS, *USER_AGENTS)
_WORDS = "".join(_VOCABULARY).encode()
_WORD_LENGTH = np.array([len(word) for word in _VOCABULARY])
_WORD_START = np.cumsum(_WORD_LENGTH) - _WORD_LENGTH
_NULL, _WEEKDAY, _BUCKET, _AGENT = 0, 1, 1 + len(_WEEKDAYS), 1 + len(_WEEKDAYS) + len(_BUCKETS)
_STAR, _DOT = b"*."


def missing(
    buffer: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Fields `[...]` that are empty or `null`."""
    words = np.ndarray(len(buffer) - 3, dtype="V4", buffer=buffer, strides=(1,))
    null = np.frombuffer(b"null", "V4")[0]
    return (length == 0) | ((length == 4) & (words[start] == null))


def derive(rows: Rows, agents: NumberedTexts) -> Rows:
    """The rows with derived values: /24 of the address, reduced browser, floor bucket, weekday and hour.

    Weekday and hour are taken from the timestamp where the log has no such columns. Empty fields become `null`.

    Args:
        agents: memory of the browsers seen, shared between blocks.
    """
    text = rows.buffer[:-PADDING]
    buffer = np.concatenate([text, np.frombuffer(_WORDS + bytes(PADDING), np.uint8)])
    columns = rows.columns
    start, length = rows.start.copy(), rows.length.copy()

    def point(column: str, words: NDArray[np.int64]) -> None:
        place = columns.index(column)
        start[:, place] = len(text) + _WORD_START[words]
        length[:, place] = _WORD_LENGTH[words]

    if "timestamp" in columns:
        for name in ("weekday", "hour"):
            if name not in columns:
                columns = (*columns, name)
                start, length = np.pad(start, ((0, 0), (0, 1))), np.pad(length, ((0, 0), (0, 1)))
                if name == "weekday":
                    point(name, _WEEKDAY + _weekdays(rows))
                else:
                    start[:, -1], length[:, -1] = rows.field("timestamp")[1] + 8, 2
    if "IP" in columns:
        place = columns.index("IP")
        length[:, place] = _mask_last_octet(buffer, start[:, place], length[:, place])
    if "useragent" in columns:
        point("useragent", _AGENT + _agents(rows, agents))
    if "slotprice" in columns:
        point("slotprice", _BUCKET + _floor_buckets(rows))
    empty = length == 0
    start[empty] = len(text) + _WORD_START[_NULL]
    length[empty] = _WORD_LENGTH[_NULL]
    return dataclasses.replace(rows, buffer=buffer, start=start, length=length, columns=columns)


def _mask_last_octet(
    buffer: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Overwrites the last number of an address by `*`, as in `1.2.3.*`; returns the new lengths."""
    end = start + length
    open_ended = (length >= len("1.2.3.4")) & (buffer[end - 1] != _STAR)
    length = length.copy()
    for digits in (1, 2, 3):
        dotted = np.flatnonzero(open_ended & (buffer[end - 1 - digits] == _DOT))
        buffer[end[dotted] - digits] = _STAR
        length[dotted] -= digits - 1
        open_ended[dotted] = False
    return length


def _agents(rows: Rows, agents: NumberedTexts) -> NDArray[np.int64]:
    buffer, start, length = rows.field("useragent")
    numbers = agents.numbers(
        fingerprints(buffer, start, length),
        lambda where: [os_browser(text) for text in texts_at(buffer, start[where], length[where])],
    )
    return np.array([USER_AGENTS.index(agent) for agent in agents.texts], np.int64)[numbers]


def _floor_buckets(rows: Rows) -> NDArray[np.int64]:
    floor, good = parse_integers(*rows.field("slotprice"))
    return np.searchsorted([limit for limit, _ in FLOOR_BUCKETS], np.where(good, floor, 0))


def _weekdays(rows: Rows) -> NDArray[np.int64]:
    """0 for Sunday, from the date of the timestamp."""
    buffer, start, _ = rows.field("timestamp")
    date, _ = parse_integers(buffer, start, np.full(len(start), 8))
    months = ((date // 10_000 - 1970) * 12 + date // 100 % 100 - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + date % 100 - 1
    return (days + 4) % 7  # 1 January 1970 was a Thursday
