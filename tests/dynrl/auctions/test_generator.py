"""Generated logs follow the truth that the market states, and the same seed gives the same bytes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dynrl.auctions import AuctionLog, Campaign
from dynrl.auctions.generator import (
    GeneratedMarket,
    generate_log,
    write_auctionnet,
    write_criteo,
    write_info_json,
    write_ipinyou,
    write_theta_text,
    write_yzx,
)
from dynrl.auctions.readers.measure import write_large_ipinyou
from dynrl.auctions.splits import split_fraction


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    return GeneratedMarket.draw(3, segments=3)


@pytest.fixture(scope="module")
def log(market: GeneratedMarket) -> AuctionLog:
    return market.log(200_000, seed=1, days=7)


def z_scores(counts: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Standardised deviations of multinomial counts, where enough are expected for the normal approximation."""
    expected = counts.sum() * probabilities
    kept = expected > 20
    return ((counts - expected) / np.sqrt(expected * (1 - probabilities)))[kept]


# Bounds of 5 standard deviations: with some hundred comparisons a false alarm has a probability below 1e-3, and the
# seeds are fixed.
def test_prices_follow_the_landscape_of_their_segment(market: GeneratedMarket, log: AuctionLog) -> None:
    exchange = log.categories["exchange"].codes
    assert abs(z_scores(np.bincount(exchange, minlength=3), market.share)).max() < 5
    for segment in range(3):
        counts = np.bincount(log.price[exchange == segment], minlength=301)
        assert abs(z_scores(counts, market.pmf[segment])).max() < 5


def test_segments_differ_and_round_prices_stick_out(market: GeneratedMarket) -> None:
    assert np.allclose(market.pmf.sum(1), 1, atol=1e-12)
    assert abs(market.pmf[0] - market.pmf[1]).sum() > 0.2
    for price in (30, 63, 140):
        ratio = market.pmf[:, price] / market.pmf[:, [price - 1, price + 1]].mean(1)
        assert ((ratio > 4.5) & (ratio < 10.5)).all()


def test_clicks_follow_the_true_probabilities(market: GeneratedMarket, log: AuctionLog) -> None:
    theta = log.numbers["true_theta"]
    assert log.features is not None
    for row in range(0, 2000, 97):
        features = log.features.indices[log.features.indptr[row] : log.features.indptr[row + 1]]
        assert np.isclose(theta[row], 1 / (1 + np.exp(-market.weights[features].sum())), rtol=1e-12)
    for part in np.array_split(np.argsort(theta), 10):
        deviation = log.click[part].sum() - theta[part].sum()
        assert abs(deviation) < 5 * np.sqrt((theta[part] * (1 - theta[part])).sum())
    # The market was calibrated to a click rate of 0.004 on other rows.
    assert abs(theta.mean() - 0.004) < 0.0004


def test_click_probabilities_have_a_heavy_tail(log: AuctionLog) -> None:
    theta = np.sort(log.numbers["true_theta"])
    assert theta[-len(theta) // 100 :].sum() > 0.08 * theta.sum()
    assert theta[-1] > 30 * np.median(theta)


def test_traffic_follows_the_hour_and_time_runs_forward(market: GeneratedMarket, log: AuctionLog) -> None:
    assert log.timestamp is not None
    assert (np.diff(log.timestamp) >= np.timedelta64(0, "ms")).all()
    hour = (log.timestamp - log.timestamp.astype("datetime64[D]")).astype(np.int64) // 3_600_000
    assert np.array_equal(hour, log.categories["hour"].codes)
    assert abs(z_scores(np.bincount(hour, minlength=24), market.popularity["hour"])).max() < 5
    days = np.unique(log.timestamp.astype("datetime64[D]"))
    assert len(days) == 7 and days[0] == np.datetime64("2013-06-06")


def test_part_of_a_day_keeps_to_its_hours(market: GeneratedMarket) -> None:
    start = np.datetime64("2013-06-06T18:00:00.000", "ms")
    part = market.log(500, seed=0, days=0.25, start=start)
    assert part.timestamp is not None
    assert part.timestamp[0] >= start and part.timestamp[-1] < np.datetime64("2013-06-07")


def test_prices_respect_floor_and_bid(log: AuctionLog) -> None:
    assert log.floor is not None and log.bid is not None
    assert (log.floor <= log.price).all() and (log.price <= log.bid).all() and (log.floor > 0).mean() > 0.3


def test_noisy_predictions_are_not_the_truth_but_clicks_are_the_same() -> None:
    exact, noisy = (generate_log(2000, seed=0, theta_noise=noise) for noise in (0.0, 0.5))
    assert exact.theta is not None and noisy.theta is not None
    assert np.array_equal(exact.theta, exact.numbers["true_theta"])
    assert np.array_equal(noisy.numbers["true_theta"], exact.theta)
    error = np.log(noisy.theta / (1 - noisy.theta)) - np.log(exact.theta / (1 - exact.theta))
    # Standard error of a standard deviation of 2000 normals: 0.5 / sqrt(4000).
    assert abs(error.std() - 0.5) < 5 * 0.5 / np.sqrt(4000)


WRITERS = [write_theta_text, write_yzx, write_ipinyou, write_criteo, write_auctionnet]


@pytest.mark.parametrize("write", WRITERS)
def test_same_seed_same_bytes(tmp_path: Path, write: Callable[[Path, AuctionLog], None]) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / name, generate_log(300, seed))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c and a.endswith(b"\n") and b"\r" not in a


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old")
    log = generate_log(10, seed=0)

    def broken() -> Iterator[AuctionLog]:
        yield log
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_ipinyou(tmp_path / "log", broken())
    assert (tmp_path / "log").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_large_log_has_about_the_size_asked_for(tmp_path: Path) -> None:
    write_large_ipinyou(tmp_path / "log", 2_000_000)
    assert abs((tmp_path / "log").stat().st_size - 2_000_000) < 100_000


def test_the_statistics_file_is_that_of_the_log(tmp_path: Path, log: AuctionLog) -> None:
    train, test = split_fraction(log, 0.25)
    write_info_json(tmp_path / "info.json", train, test)
    read, own = Campaign.from_info(tmp_path / "info.json"), Campaign.from_log(train)
    assert np.array_equal(read.price_counts, own.price_counts)
    assert (read.impressions, read.clicks, read.cost) == (own.impressions, own.clicks, own.cost)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"segments": 0}, "segments is 0"),
        ({"delta_max": 0}, "delta_max is 0"),
        ({"click_rate": 0.0}, r"click_rate is 0\.0"),
        ({"spread": -1.0}, r"spread is -1\.0"),
        ({"days": 0.0}, r"days is 0\.0"),
    ],
)
def test_arguments_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_log(**({"rows": 10, "seed": 0} | options))  # type: ignore[arg-type]


def test_what_a_format_needs_is_asked_for(tmp_path: Path) -> None:
    bare = AuctionLog(np.zeros(2, np.uint8), np.full(2, 400, np.int32))
    for write, message in (
        (write_theta_text, "no click probabilities"),
        (write_auctionnet, "no click probabilities"),
        (write_yzx, "no features"),
    ):
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "log", bare)
    with pytest.raises(ValueError, match="above delta_max = 300"):
        write_info_json(tmp_path / "info.json", bare, bare)
    write_ipinyou(tmp_path / "log", bare)
    assert (tmp_path / "log").read_text().splitlines()[1].count("null") >= 20
