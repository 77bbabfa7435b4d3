"""Every text format: what is written is read back, and the real files hold their published sums."""

import bz2
import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.auctions import AuctionLog
from dynrl.auctions.generator import (
    generate_log,
    write_auctionnet,
    write_criteo,
    write_theta_text,
    write_yzx,
)
from dynrl.auctions.readers import FeatureBuilder, LogFormatError, read_log


@pytest.fixture(scope="module")
def log() -> AuctionLog:
    return generate_log(3000, seed=5, click_rate=0.05, theta_noise=0.3)


def texts(log: AuctionLog, name: str) -> list[str]:
    column = log.categories[name]
    return [column.names[code] if code >= 0 else "" for code in column.codes]


def test_the_published_test_log(campaign_file: Callable[[str], Path]) -> None:
    log = read_log(campaign_file("2997.test.theta.txt"))
    assert (len(log), log.click.sum(), log.price.sum(dtype=np.int64)) == (156063, 530, 8617148)
    assert (log.price.min(), log.price.max()) == (0, 277)
    assert log.theta is not None and log.theta[0] == 0.0021143609192222357
    assert round(log.theta.mean(), 5) == 0.00393


def test_the_older_variant_is_detected(campaign_file: Callable[[str], Path]) -> None:
    path = campaign_file("2997.old_format_sample.txt")
    log = read_log(path, dimension=133541)
    assert len(log) == 2000 and log.theta is not None and log.theta[0] == 0.006648961992507615
    with pytest.raises(LogFormatError, match="line 1, column dimension: got 133541, expected 5 as asked for"):
        read_log(path, dimension=5)


def test_theta_text_reads_back_to_the_last_bit(tmp_path: Path, log: AuctionLog) -> None:
    write_theta_text(tmp_path / "log", log)
    back = read_log(tmp_path / "log")
    for name in ("click", "price", "theta"):
        assert np.array_equal(getattr(back, name), getattr(log, name))


def test_the_older_variant_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("50 2\n1\n0\t7\t0.5\n1\t8\t0.25\n2\n0\t9\t0.125\n")
    log = read_log(path)
    assert log.price.tolist() == [7, 8, 9] and log.click.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("50 2\n1\n0 7 0.5\n2\n0 8 0.5\n", "line 4, column episode: got '2' after 1 rows, expected 2 after 2 rows"),
        ("50 1\n1\n0 7 0.5\n3\n0 8 0.5\n", "line 4, column episode: got '3' after 1 rows, expected 2 after 1 rows"),
        ("50 0\n1\n0 7 0.5\n", "line 1, column T: got 0, expected at least 1"),
    ],
)  # fmt: skip
def test_episode_numbers_out_of_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(LogFormatError, match=message):
        read_log(tmp_path / "log")


def test_yzx_reads_back(tmp_path: Path, log: AuctionLog) -> None:
    write_yzx(tmp_path / "log", log)
    assert log.features is not None
    back = read_log(tmp_path / "log", dimension=log.features.dimension)
    assert back.features is not None and back.features.dimension == log.features.dimension
    assert np.array_equal(back.features.indices, log.features.indices)
    assert np.array_equal(back.features.indptr, log.features.indptr)
    assert np.array_equal(back.click, log.click) and np.array_equal(back.price, log.price)


def test_criteo_reads_back(tmp_path: Path, log: AuctionLog) -> None:
    ticked = dataclasses.replace(log, tick=1e-5)
    write_criteo(tmp_path / "log", ticked)
    builder = FeatureBuilder()
    back = read_log(tmp_path / "log", ticks=1e-5, features=builder)
    assert back.tick == 1e-5
    assert np.array_equal(back.price, log.price) and np.array_equal(back.click, log.click)
    assert texts(back, "cat1") == texts(log, sorted(log.categories)[0])
    assert np.array_equal(np.isnan(back.numbers["conversion_delay"]), back.numbers["conversion"] == 0)
    assert np.nanmin(back.numbers["conversion_delay"]) >= 60
    assert back.features is not None
    assert (np.diff(back.features.indptr) == 11).all()  # bias, campaign, nine context columns
    first = [builder.map().names[index] for index in back.features.indices[:3]]
    assert first == ["truncate", "2:9999", f"13:{texts(back, 'cat1')[0]}"]


def test_auctionnet_reads_back(tmp_path: Path, log: AuctionLog) -> None:
    write_auctionnet(tmp_path / "log", dataclasses.replace(log, tick=0.001))
    back = read_log(tmp_path / "log", ticks=0.001, advertiser=9999)
    for name in ("click", "price", "theta", "bid", "campaign"):
        assert np.array_equal(getattr(back, name), getattr(log, name))
    assert texts(back, "time_step") == [str(row * 48 // len(log)) for row in range(len(log))]
    with pytest.raises(LogFormatError, match="no rows of advertiser 3"):
        read_log(tmp_path / "log", ticks=0.001, advertiser=3)


def test_decimal_prices_need_the_money_of_a_tick(tmp_path: Path, log: AuctionLog) -> None:
    write_criteo(tmp_path / "criteo", log)
    write_auctionnet(tmp_path / "auctionnet", log)
    for name in ("criteo", "auctionnet"):
        with pytest.raises(ValueError, match="pass ticks=, the money of one tick"):
            read_log(tmp_path / name)


def test_prices_are_floored_to_ticks_but_not_by_rounding_errors(tmp_path: Path, log: AuctionLog) -> None:
    write_auctionnet(tmp_path / "log", log.take(slice(0, 3)))
    lines = (tmp_path / "log").read_text().splitlines()
    place = lines[0].split(",").index("leastWinningCost")
    for row, cost in enumerate(("0.3", "0.2999", "0.09"), 1):
        cells = lines[row].split(",")
        cells[place] = cost
        lines[row] = ",".join(cells)
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    assert read_log(tmp_path / "log", ticks=0.1, delta_max=10).price.tolist() == [3, 2, 0]


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_compressed_logs(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"log.txt.{suffix}"
    path.write_bytes(compress(b"0 70 0.5\n1 6 0.25\n"))
    assert read_log(path).price.tolist() == [70, 6]


SPACES = st.sampled_from([" ", "\t", "  ", " \t "])
EDGES = st.sampled_from(["", " ", "\t", "  "])
ENDS = st.sampled_from(["\n", "\r\n", "\n\n", "\r\n \n"])


@settings(max_examples=60)
@given(st.data(), st.booleans())
def test_layout_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, mark: bool
) -> None:
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.floats(0, 1)), min_size=1, max_size=9)
    )
    text = "\ufeff" if mark else ""
    for row in rows:
        cells = data.draw(SPACES).join(repr(cell) for cell in row)
        text += data.draw(EDGES) + cells + data.draw(EDGES) + data.draw(ENDS)
    path = tmp_path_factory.mktemp("layout") / "log"
    path.write_text(text, newline="")
    log = read_log(path)
    assert log.theta is not None
    assert list(zip(log.click.tolist(), log.price.tolist(), log.theta.tolist(), strict=True)) == rows


def test_block_borders_do_not_matter(
    tmp_path: Path, log: AuctionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynrl.auctions.readers import parser
    from dynrl.auctions.readers.blocks import blocks

    write_yzx(tmp_path / "log", log.take(slice(0, 200)))
    whole = read_log(tmp_path / "log", dimension=10_000)
    monkeypatch.setattr(parser, "blocks", lambda path, progress: blocks(path, progress, size=97))
    pieces = read_log(tmp_path / "log", dimension=10_000)
    assert whole.features is not None and pieces.features is not None
    assert np.array_equal(whole.features.indices, pieces.features.indices)
    assert np.array_equal(whole.price, pieces.price)
