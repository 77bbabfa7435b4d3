"""`read_log`: any supported file to an `AuctionLog`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.readers import cache as cached_logs
from dynrl.auctions.readers.auctionnet import AuctionNet
from dynrl.auctions.readers.criteo import Criteo
from dynrl.auctions.readers.detect import Format, detect
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.features import FeatureBuilder, FeatureNumbers, HashedFeatures
from dynrl.auctions.readers.ipinyou import IPinYou, RawIPinYou
from dynrl.auctions.readers.options import ReadOptions
from dynrl.auctions.readers.parser import Parser, in_order_of_time, read_text
from dynrl.auctions.readers.rows import Account
from dynrl.auctions.readers.table import from_table, open_table
from dynrl.auctions.readers.theta_text import OldThetaText, ThetaText
from dynrl.auctions.readers.yzx import Yzx

__all__ = ["read_log"]

LARGE = 64 << 20
"""Bytes from which a file is cached and shows its progress unless told otherwise."""


def read_log(
    path: str | PathLike[str],
    format: Format | None = None,
    *,
    features: FeatureNumbers | None = HashedFeatures(),  # noqa: B008 (frozen)
    click_log: str | PathLike[str] | None = None,
    advertiser: int | None = None,
    columns: Mapping[str, str] | None = None,
    delta_max: int | None = DELTA_MAX,
    above: Literal["error", "clip", "tail"] = "error",
    clicks: Literal["strict", "binary", "count"] = "strict",
    on_bad: Literal["raise", "skip"] = "raise",
    max_bad_fraction: float = 0.01,
    ticks: float | None = None,
    sort: bool = False,
    duplicates: Literal["drop", "keep"] = "drop",
    dimension: int | None = None,
    last_line: Literal["error", "keep"] = "error",
    cache: str | PathLike[str] | Literal["auto"] | None = "auto",
    progress: bool | None = None,
) -> AuctionLog:
    """Reads a log of auctions; `.gz` and `.bz2` are decompressed. Memory grows with the result, not with the text.

    Args:
        path: the file.
        format: `"theta"` (click price theta), `"old_theta"` (with a first line `dimension T` and lines with the
            number of the episode), `"yzx"`, `"ipinyou"` (prepared campaign log), `"ipinyou_raw"` (impression log, 24
            columns), `"criteo"`, `"auctionnet"`, `"parquet"`, `"arrow"`; None to tell it from the content.
        features: numbers the features of iPinYou and Criteo rows: `HashedFeatures(bits)`, a `FeatureMap` built on
            training rows, or a `FeatureBuilder` that builds one from these rows; None to leave them out.
        click_log: clicks that belong to a raw iPinYou impression log.
        advertiser: AuctionNet: only the rows of this advertiser.
        columns: Parquet and Arrow: which column is what, as in `from_table`.
        delta_max, above, clicks, on_bad, max_bad_fraction, ticks, sort, duplicates, dimension, last_line: see
            `ReadOptions`.
        cache: folder that keeps the result for the next reading of the same content with the same settings;
            `"auto"` keeps files above 64 MB in `default_folder()`; None never.
        progress: whether progress is shown; None for files above 64 MB.

    Returns:
        The log; its `report` counts what was left out. Categories of iPinYou rows: exchange, slot_size, hour,
        weekday, region, advertiser.

    Raises:
        LogFormatError: names the file, the 1-based line, the column, the value and what was expected.
        ValueError: settings that do not fit.
        ImportError: Parquet or Arrow without pyarrow.
    """
    path = Path(path)
    options = ReadOptions(
        delta_max=delta_max,
        above=above,
        clicks=clicks,
        on_bad=on_bad,
        max_bad_fraction=max_bad_fraction,
        ticks=ticks,
        sort=sort,
        duplicates=duplicates,
        dimension=dimension,
        last_line=last_line,
    )
    if format is not None and format not in get_args(Format):
        raise ValueError(f"format is {format!r}, expected one of {', '.join(get_args(Format))}, or None")
    if path.is_dir():
        raise LogFormatError(f"{path} is a folder, expected a file: read its files one by one", str(path))
    found = format or detect(path)
    if found in ("parquet", "arrow"):
        if columns is None:
            raise ValueError(f"{path} is a {found} file: pass columns=, which says which column is what")
        return from_table(open_table(path, found), columns, name=str(path), **vars(options))
    parser = _parser(found, Account(str(path), options), features, click_log, advertiser)
    large = path.stat().st_size >= LARGE
    folder = (cached_logs.default_folder() if large else None) if cache == "auto" else cache
    shown = large if progress is None else progress
    if folder is None:
        log = read_text(path, parser, shown)
    else:
        identity = None if features is None else features.identity
        files = [path] if click_log is None else [path, Path(click_log)]
        key = cached_logs.content_key(files, (found, options, identity, advertiser))
        log = _read_through(Path(folder), key, path, parser, features, shown)
    return in_order_of_time(log, sort, str(path))


def _read_through(
    folder: Path, key: str, path: Path, parser: Parser, features: FeatureNumbers | None, shown: bool
) -> AuctionLog:
    entry = cached_logs.load(folder, key)
    if entry is not None:
        log, names = entry
        if isinstance(features, FeatureBuilder):
            features.restore(names)
        return log
    log = read_text(path, parser, shown)
    names = features.map().names if isinstance(features, FeatureBuilder) else ()
    cached_logs.store(folder, key, log, names)
    return log


def _parser(
    format: Format,
    account: Account,
    features: FeatureNumbers | None,
    click_log: str | PathLike[str] | None,
    advertiser: int | None,
) -> Parser:
    for name, value, formats in (
        ("click_log", click_log, ("ipinyou_raw",)),
        ("advertiser", advertiser, ("auctionnet",)),
    ):
        if value is not None and format not in formats:
            raise ValueError(f"{name} is for {formats[0]} logs, but {account.path} has format {format!r}")
    match format:
        case "theta":
            return ThetaText(account)
        case "old_theta":
            return OldThetaText(account)
        case "yzx":
            return Yzx(account)
        case "ipinyou":
            return IPinYou(account, features)
        case "ipinyou_raw":
            if click_log is None:
                raise ValueError(
                    f"{account.path} is a raw impression log, which holds no clicks: pass click_log=, the click log "
                    "of the same days"
                )
            return RawIPinYou(account, features, Path(click_log))
        case "criteo":
            return Criteo(account, features)
        case _:
            return AuctionNet(account, advertiser)
