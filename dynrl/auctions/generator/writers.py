"""Writers of the formats that the readers read; a file appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers.auctionnet import SCHEMA as AUCTIONNET
from dynrl.auctions.readers.criteo import SCHEMA as CRITEO
from dynrl.auctions.readers.ipinyou_features import SCHEMA as IPINYOU

__all__ = [
    "write_auctionnet",
    "write_criteo",
    "write_info_json",
    "write_ipinyou",
    "write_theta_text",
    "write_yzx",
]

_ROWS = 1 << 15
"""Rows formatted at a time."""

Texts = list[str]


def write_theta_text(path: str | PathLike[str], log: AuctionLog) -> None:
    """`click price theta` per row; probabilities with all their digits.

    Raises:
        ValueError: the log has no `theta`.
    """
    if log.theta is None:
        raise ValueError(
            "the log has no click probabilities: apply a click model first, or call with_theta()"
        )
    with _whole_file(path) as file:
        for rows in _slices(len(log)):
            columns = (log.click[rows], log.price[rows], log.theta[rows])
            for click, price, theta in zip(*(column.tolist() for column in columns), strict=True):
                file.write(f"{click} {price} {theta!r}\n".encode())


def write_yzx(path: str | PathLike[str], log: AuctionLog) -> None:
    """`click price index:1 ...` per row.

    Raises:
        ValueError: the log has no features.
    """
    if log.features is None:
        raise ValueError("the log has no features to write")
    with _whole_file(path) as file:
        for rows in _slices(len(log)):
            ends = log.features.indptr[rows.start : rows.stop + 1]
            tokens = [f" {index}:1" for index in log.features.indices[ends[0] : ends[-1]].tolist()]
            bounds = (ends - ends[0]).tolist()
            file.write(
                "".join(
                    f"{click} {price}{''.join(tokens[first:last])}\n"
                    for click, price, first, last in zip(
                        log.click[rows].tolist(),
                        log.price[rows].tolist(),
                        bounds[:-1],
                        bounds[1:],
                        strict=True,
                    )
                ).encode()
            )


def write_ipinyou(path: str | PathLike[str], logs: AuctionLog | Iterable[AuctionLog], seed: int = 0) -> None:
    """A prepared campaign log: header and 27 tab-separated columns; what the log does not have is `null`.

    Args:
        path: the file.
        logs: one log, or several that follow each other (for files larger than memory).
        seed: of the bid ids, which are made up.
    """
    rng = np.random.default_rng([seed, 27])
    with _whole_file(path) as file:
        file.write(("\t".join(IPINYOU) + "\n").encode())
        for log in [logs] if isinstance(logs, AuctionLog) else logs:
            for rows in _slices(len(log)):
                columns = _ipinyou_columns(log, rows, rng)
                file.write("".join(map("\t".join, zip(*columns, strict=True))).encode())


def write_criteo(path: str | PathLike[str], log: AuctionLog, seed: int = 0) -> None:
    """A Criteo attribution log: 22 tab-separated columns with a header; prices are ticks times the log's `tick`.

    The categories of the log become cat1 to cat9, in the order of their names; -1 where there are fewer.
    """
    rng = np.random.default_rng([seed, 22])
    names = sorted(name for name in log.categories if name != "usertag")[:9]
    with _whole_file(path) as file:
        file.write(("\t".join(CRITEO) + "\n").encode())
        for rows in _slices(len(log)):
            count = rows.stop - rows.start
            seconds = _numbers(rows)
            if log.timestamp is not None:
                seconds = (log.timestamp[rows] - log.timestamp.min()).astype(np.int64) // 1000
            click = log.click[rows]
            converted = (click > 0) & (rng.random(count) < 0.1)
            delay = rng.integers(60, 86_400, count)
            columns: dict[str, Texts] = {
                "timestamp": _texts(seconds),
                "uid": _texts(rng.integers(0, 1 << 24, count)),
                "campaign": _texts(_or(log.campaign, rows, 0)),
                "conversion": _texts(converted.astype(int)),
                "conversion_timestamp": _texts(np.where(converted, seconds + delay, -1)),
                "conversion_id": _texts(np.where(converted, _numbers(rows), -1)),
                "attribution": _texts(converted.astype(int)),
                "click": _texts(click),
                "click_pos": _texts(np.where(converted, 0, -1)),
                "click_nb": _texts(np.where(converted, 1, -1)),
                "cost": _texts(log.price[rows] * log.tick),
                "cpo": _texts(np.where(converted, 0.1, 0.0)),
                "time_since_last_click": ["-1"] * count,
            }
            for place, column in enumerate(CRITEO[-9:]):
                columns[column] = (
                    _category(log, names[place], rows, "-1") if place < len(names) else ["-1"] * count
                )
            lines = map("\t".join, zip(*(columns[name] for name in CRITEO), strict=True))
            file.write(("\n".join(lines) + "\n").encode())


def write_auctionnet(path: str | PathLike[str], log: AuctionLog, steps: int = 48) -> None:
    """An AuctionNet period of one advertiser; prices are ticks times the log's `tick`, a row is won where the bid
    reaches the price.

    Raises:
        ValueError: the log has no `theta`.
    """
    if log.theta is None:
        raise ValueError(
            "the log has no click probabilities: apply a click model first, or call with_theta()"
        )
    budget = float(log.price.sum() * log.tick)
    with _whole_file(path) as file:
        file.write((",".join(AUCTIONNET) + "\n").encode())
        for rows in _slices(len(log)):
            count = rows.stop - rows.start
            number = _numbers(rows)
            price = log.price[rows] * log.tick
            bid = _or(log.bid, rows, 0) * log.tick
            won = bid >= price
            columns: dict[str, Texts] = {
                "deliveryPeriodIndex": ["7"] * count,
                "advertiserNumber": _texts(_or(log.campaign, rows, 0)),
                "advertiserCategoryIndex": ["0"] * count,
                "budget": [repr(budget)] * count,
                "CPAConstraint": ["10.0"] * count,
                "timeStepIndex": _texts(number * steps // len(log)),
                "remainingBudget": [repr(budget)] * count,
                "pvIndex": _texts(number),
                "pValue": _texts(log.theta[rows]),
                "pValueSigma": ["0.001"] * count,
                "bid": _texts(bid),
                "xi": _texts(won.astype(int)),
                "adSlot": _texts(won.astype(int)),
                "cost": _texts(np.where(won, price, 0.0)),
                "isExposed": _texts(won.astype(int)),
                "conversionAction": _texts(log.click[rows]),
                "leastWinningCost": _texts(price),
                "isEnd": _texts((number == len(log) - 1).astype(int)),
            }
            lines = map(",".join, zip(*(columns[name] for name in AUCTIONNET), strict=True))
            file.write(("\n".join(lines) + "\n").encode())


def write_info_json(
    path: str | PathLike[str], train: AuctionLog, test: AuctionLog, delta_max: int = 300
) -> None:
    """The statistics file of the published experiments, which `Campaign.from_info` reads.

    Raises:
        ValueError: a training price above `delta_max`.
    """
    if (train.price > delta_max).any():
        raise ValueError(f"the training log has prices above delta_max = {delta_max}")
    nonzeros = 0 if train.features is None else int(np.diff(train.features.indptr).max(initial=0))
    info = {
        "imp_train": len(train),
        "clk_train": int(train.click.sum()),
        "cost_train": int(train.price.sum(dtype=np.int64)),
        "imp_test": len(test),
        "clk_test": int(test.click.sum()),
        "cost_test": int(test.price.sum(dtype=np.int64)),
        "dim": 0 if train.features is None else train.features.dimension,
        "field": nonzeros,
        "price_counter_train": np.bincount(train.price, minlength=delta_max + 1).tolist(),
    }
    with _whole_file(path) as file:
        file.write((json.dumps(info, indent=1) + "\n").encode())


@contextmanager
def _whole_file(path: str | PathLike[str]) -> Iterator[IO[bytes]]:
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _slices(rows: int) -> Iterator[slice]:
    for first in range(0, rows, _ROWS):
        yield slice(first, min(first + _ROWS, rows))


def _numbers(rows: slice) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop)


def _texts(values: NDArray[Any]) -> Texts:
    """Shortest texts that read back as the same numbers."""
    return list(map(repr, values.tolist()))


def _or(column: NDArray[Any] | None, rows: slice, default: int) -> NDArray[Any]:
    return np.full(rows.stop - rows.start, default) if column is None else column[rows]


def _category(log: AuctionLog, name: str, rows: slice, missing: str = "null") -> Texts:
    if name not in log.categories:
        return [missing] * (rows.stop - rows.start)
    column = log.categories[name]
    names = np.array([*column.names, missing], object)  # code -1 is the last
    return names[column.codes[rows]].tolist()


def _optional(column: NDArray[Any] | None, rows: slice) -> Texts:
    return ["null"] * (rows.stop - rows.start) if column is None else _texts(column[rows])


def _ipinyou_columns(log: AuctionLog, rows: slice, rng: np.random.Generator) -> list[Texts]:
    count = rows.stop - rows.start
    digits = rng.bytes(16 * count).hex()
    stamp = np.full(count, "null", object) if log.timestamp is None else _stamps(log.timestamp[rows])
    columns = {name: _category(log, name, rows) for name in IPINYOU}
    columns |= {
        "click": _texts(log.click[rows]),
        "bidid": [digits[first : first + 32] for first in range(0, 32 * count, 32)],
        "timestamp": stamp.tolist(),
        "logtype": ["1"] * count,
        "url": [digits[first : first + 32] for first in range(32 * count - 32, -1, -32)],
        "adexchange": _category(log, "exchange", rows),
        "slotprice": _optional(log.floor, rows),
        "bidprice": _optional(log.bid, rows),
        "payprice": _texts(log.price[rows]),
    }
    if "slot_size" in log.categories:
        sizes = [size.split("x") for size in _category(log, "slot_size", rows, "nullxnull")]
        columns["slotwidth"], columns["slotheight"] = map(list, zip(*sizes, strict=True))
    if log.campaign is not None:
        columns["advertiser"] = _texts(log.campaign[rows])
    columns["usertag"] = [f"{tags}\n" for tags in columns["usertag"]]
    return [columns[name] for name in IPINYOU]


def _stamps(times: NDArray[np.datetime64]) -> NDArray[Any]:
    """yyyyMMddHHmmssSSS."""
    months = times.astype("datetime64[M]")
    days = times.astype("datetime64[D]")
    month = months.astype(np.int64)
    date = (1970 + month // 12) * 10_000 + (month % 12 + 1) * 100 + (days - months).astype(np.int64) + 1
    clock = (times - days).astype(np.int64)
    hms = clock // 3_600_000 * 10_000 + clock // 60_000 % 60 * 100 + clock // 1000 % 60
    return np.array(list(map(repr, (date * 10**9 + hms * 1000 + clock % 1000).tolist())), object)
