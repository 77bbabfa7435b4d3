"""From a log to training auctions, held-out auctions and a campaign model: where every comparison of bidders begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.campaign import DELTA_MAX, Campaign
from dynrl.auctions.clicks import FTRL, auc, fit_click_model, reliability
from dynrl.auctions.generator import generate_log
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.readers import HashedFeatures, read_log
from dynrl.auctions.splits import split_days, split_fraction
from dynrl.errors import ConfigError

__all__ = ["AuctionData", "Dataset", "check_files", "prepare"]


@dataclass(frozen=True)
class AuctionData:
    """Where auctions come from.

    Attributes:
        log: path of a log in any format that `read_log` knows, `$NAME` standing for an environment variable; None for
            generated auctions.
        format: of the log; None to tell it from the content.
        test_log: path of the held-out auctions; None to split `log`.
        click_log: clicks that belong to a raw iPinYou impression log.
        advertiser: AuctionNet: whose rows.
        columns: Parquet and Arrow: which column of the table is what, e.g. `{click: clicked, price: paid}`.
        clicks: `"strict"` expects 0 or 1, `"binary"` takes larger counts as 1.
        sort: put the rows in order of time.
        info: path of an `info.json` with the training statistics of the published experiments; None to count `log`.
        held_out_days: calendar days held out at the end; None for a share of the rows.
        held_out: share of the rows held out at the end, where there are no days to go by.
        click_model: `"given"` takes the log's click probabilities, `"ftrl"` trains a logistic regression on its
            features; `"auto"` takes them where the log has them.
        hash_bits: features of iPinYou and Criteo rows are hashed to 2 to this power.
        segments: name of the log's categories with prices and click probabilities of their own, such as `exchange`.
        atoms: click probabilities that stand for all.
        smoothing: pseudo-observations at each price.
        delta_max: largest price, in ticks.
        above: what happens to a larger one: `"error"`, `"clip"` or `"tail"`.
        on_bad: `"raise"` at the first bad row, or `"skip"` up to 1 % of them.
        ticks: money of one tick, for logs with fractional prices.
        rows, days: number of generated auctions, and days over which they spread; click rates differ by weekday.
        seed: of generated auctions and of the click model.
    """

    log: str | None = None
    format: str | None = None
    test_log: str | None = None
    click_log: str | None = None
    advertiser: int | None = None
    columns: dict[str, str] | None = None
    clicks: Literal["strict", "binary"] = "strict"
    sort: bool = False
    info: str | None = None
    held_out_days: int | None = None
    held_out: float = 0.3
    click_model: Literal["auto", "given", "ftrl"] = "auto"
    hash_bits: int = 20
    segments: str | None = None
    atoms: int = 64
    smoothing: float = 1.0
    delta_max: int = DELTA_MAX
    above: Literal["error", "clip", "tail"] = "error"
    on_bad: Literal["raise", "skip"] = "raise"
    ticks: float | None = None
    rows: int = 300_000
    days: float = 28.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Auctions ready for bidders.

    Attributes:
        held_out: rows to compare on, with `theta`.
        model: what the training rows say.
        source: where they came from, in words.
        notes: what was seen on the way (rows skipped, quality of the click model).
    """

    held_out: AuctionLog
    model: CampaignModel
    source: str
    notes: tuple[str, ...]

    def summary(self) -> str:
        """One line for a report."""
        campaign = self.model.campaign
        parts = [
            f"{self.source}: {campaign.impressions:,} training and {len(self.held_out):,} held-out auctions",
            f"CPM {campaign.cpm:.1f}",
            f"click rate {campaign.theta_avg:.4g}",
            *self.notes,
        ]
        return ", ".join(parts)

    def thetas(self) -> dict[str, NDArray[np.float64]]:
        """The fitted click probabilities by name, for `prepare` to take again."""
        kept = {"theta/held_out": self.held_out.theta}
        if self.model.train is not None:
            kept["theta/train"] = self.model.train.theta
        return {name: theta for name, theta in kept.items() if theta is not None}


def check_files(settings: AuctionData) -> None:
    """Raises ConfigError, naming the setting, unless every file that the settings name is there."""
    for name in ("log", "test_log", "click_log", "info"):
        path = getattr(settings, name)
        if path is not None:
            _found(name, path)


def prepare(settings: AuctionData, thetas: Mapping[str, NDArray[np.float64]] | None = None) -> Dataset:
    """Reads or generates the auctions, splits them, gives them click probabilities and models the campaign.

    Args:
        settings: see `AuctionData`.
        thetas: what `Dataset.thetas` gave, to skip training the click model; None or empty to train.

    Raises:
        ConfigError: settings that contradict each other or the log.
        LogFormatError: a bad row.
        ValueError: nothing to learn from, such as training rows without clicks.
    """
    train, held_out, source, notes = _rows(settings)
    if _needs_click_model(settings, held_out):
        if train is None:
            raise ConfigError("data.click_model: there are no training rows to train it on")
        train, held_out, said = _with_click_model(settings, train, held_out, thetas or {})
        notes = (*notes, said)
    return Dataset(held_out, _model(settings, train), source, notes)


def _rows(settings: AuctionData) -> tuple[AuctionLog | None, AuctionLog, str, tuple[str, ...]]:
    if settings.log is None:
        if settings.test_log is not None:
            raise ConfigError("data.test_log: give the training log too, as data.log")
        log = generate_log(settings.rows, settings.seed, days=settings.days, delta_max=settings.delta_max)
        train, held_out = _split(settings, log)
        return train, held_out, f"generated market (seed {settings.seed})", ()
    log = _read(settings, settings.log)
    notes = _notes(log)
    if settings.test_log is not None:
        held_out = _read(settings, settings.test_log)
        name = os.path.basename(_found("test_log", settings.test_log))
        return log, held_out, name, (*notes, *_notes(held_out))
    train, held_out = _split(settings, log)
    return train, held_out, os.path.basename(_found("log", settings.log)), notes


def _read(settings: AuctionData, path: str) -> AuctionLog:
    return read_log(
        _found("log", path),
        settings.format,  # type: ignore[arg-type]
        features=HashedFeatures(settings.hash_bits),
        click_log=None if settings.click_log is None else _found("click_log", settings.click_log),
        advertiser=settings.advertiser,
        columns=settings.columns,
        clicks=settings.clicks,
        sort=settings.sort,
        delta_max=settings.delta_max,
        above=settings.above,
        on_bad=settings.on_bad,
        ticks=settings.ticks,
    )


def _found(name: str, path: str) -> str:
    """The path with its environment variables filled in, if there is such a file."""
    expanded = os.path.expandvars(path)
    if "$" in expanded:
        raise ConfigError(f"data.{name}: {path!r} names an environment variable that is not set")
    if not os.path.isfile(expanded):
        raise ConfigError(f"data.{name}: there is no file {expanded!r}")
    return expanded


def _notes(log: AuctionLog) -> tuple[str, ...]:
    counts = {
        "skipped": log.report.skipped,
        "clipped": log.report.clipped,
        "duplicates dropped": log.report.duplicates,
    }
    return tuple(f"{count:,} rows {what}" for what, count in counts.items() if count)


def _split(settings: AuctionData, log: AuctionLog) -> tuple[AuctionLog, AuctionLog]:
    try:
        if settings.held_out_days is not None:
            return split_days(log, settings.held_out_days)
        return split_fraction(log, settings.held_out)
    except ValueError as error:
        raise ConfigError(f"data: {error}") from error


def _needs_click_model(settings: AuctionData, log: AuctionLog) -> bool:
    if settings.click_model == "given" and log.theta is None:
        raise ConfigError("data.click_model: the log has no click probabilities of its own; use 'ftrl'")
    return settings.click_model == "ftrl" or log.theta is None


def _with_click_model(
    settings: AuctionData, train: AuctionLog, held_out: AuctionLog, thetas: Mapping[str, Any]
) -> tuple[AuctionLog, AuctionLog, str]:
    if {"theta/train", "theta/held_out"} <= set(thetas):
        train, held_out = (
            train.with_theta(thetas["theta/train"]),
            held_out.with_theta(thetas["theta/held_out"]),
        )
    else:
        model = fit_click_model(train, FTRL(seed=settings.seed), progress_bar=len(train) > 200_000)
        train, held_out = model.apply(train), model.apply(held_out)
    assert held_out.theta is not None
    said = "click model without a click to judge it by"
    if 0 < held_out.click.sum() < len(held_out):
        ratio = reliability(held_out.theta, held_out.click).overall_ratio
        said = f"click model AUC {auc(held_out.theta, held_out.click):.1%}, predicted over real clicks {ratio:.2f}"
    return train, held_out, said


def _model(settings: AuctionData, train: AuctionLog | None) -> CampaignModel:
    shared = {"smoothing": settings.smoothing, "atoms": settings.atoms}
    if settings.info is not None:
        if settings.segments is not None:
            raise ConfigError("data.segments: an info.json has no segments; leave out data.info")
        campaign = Campaign.from_info(_found("info", settings.info), settings.delta_max)
        theta = None if train is None else train.theta
        return CampaignModel.from_campaign(campaign, theta, train=train, **shared)  # type: ignore[arg-type]
    if train is None:
        raise ConfigError("data: there are neither training rows nor an info.json")
    return CampaignModel.from_log(
        train,
        delta_max=settings.delta_max,
        segments=settings.segments,
        **shared,  # type: ignore[arg-type]
    )
