"""The second reading repeats the first from the cache, and only when nothing that matters has changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.auctions import AuctionLog
from dynrl.auctions.generator import generate_log, write_ipinyou, write_theta_text
from dynrl.auctions.readers import FeatureBuilder, HashedFeatures, LogFormatError, default_folder, read_log
from dynrl.auctions.readers.measure import ingest_figures


def same(first: AuctionLog, second: AuctionLog) -> bool:
    assert first.features is not None and second.features is not None
    pairs = [
        (getattr(first, name), getattr(second, name))
        for name in ("click", "price", "floor", "bid", "timestamp")
    ]
    pairs += [
        (first.features.indices, second.features.indices),
        (first.features.indptr, second.features.indptr),
    ]
    pairs += [(column.codes, second.categories[name].codes) for name, column in first.categories.items()]
    names = all(column.names == second.categories[name].names for name, column in first.categories.items())
    return names and all(np.array_equal(*pair) and pair[0].dtype == pair[1].dtype for pair in pairs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_ipinyou(tmp_path / "log", generate_log(500, seed=0))
    return tmp_path / "log"


def test_the_second_reading_repeats_the_first(path: Path, tmp_path: Path) -> None:
    builders = [FeatureBuilder(), FeatureBuilder()]
    first, second = (read_log(path, features=builder, cache=tmp_path / "cache") for builder in builders)
    assert not first.report.cached and second.report.cached
    assert same(first, second)
    assert builders[0].map().names == builders[1].map().names


@pytest.mark.parametrize(
    "changed",
    [{"delta_max": 301}, {"features": HashedFeatures(21)}, {"on_bad": "skip"}, {"duplicates": "keep"}],
)
def test_other_settings_are_read_anew(path: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    read_log(path, cache=tmp_path / "cache")
    assert not read_log(path, cache=tmp_path / "cache", **changed).report.cached
    assert read_log(path, cache=tmp_path / "cache").report.cached


def test_other_content_is_read_anew_and_other_names_are_not(path: Path, tmp_path: Path) -> None:
    read_log(path, cache=tmp_path / "cache")
    moved = path.rename(tmp_path / "moved")
    assert read_log(moved, cache=tmp_path / "cache").report.cached
    moved.write_bytes(moved.read_bytes().replace(b"\t300\t", b"\t299\t", 1))
    assert not read_log(moved, cache=tmp_path / "cache").report.cached


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x93NUMPY\x01\x00junk"])
def test_a_damaged_entry_is_read_anew_with_a_warning(path: Path, tmp_path: Path, damage: bytes) -> None:
    first = read_log(path, cache=tmp_path / "cache")
    for name in ("0.npy", "meta.json"):
        (entry,) = (tmp_path / "cache").iterdir()
        (entry / name).write_bytes(damage)
        with pytest.warns(UserWarning, match="is damaged .* and is read anew"):
            again = read_log(path, cache=tmp_path / "cache")
        assert not again.report.cached and same(first, again)
        assert read_log(path, cache=tmp_path / "cache").report.cached


def test_a_failed_reading_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("0 70 0.1\n0 x 0.1\n")
    with pytest.raises(LogFormatError):
        read_log(tmp_path / "log", cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_small_files_leave_the_home_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "dynrl" / "auctions"
    write_theta_text(tmp_path / "log", generate_log(50, seed=0))
    read_log(tmp_path / "log")
    assert not (tmp_path / "xdg").exists()
    monkeypatch.setattr("dynrl.auctions.readers.read.LARGE", 1)
    read_log(tmp_path / "log", progress=False)
    assert read_log(tmp_path / "log", progress=False).report.cached


def test_progress_reaches_the_end(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_log(path, progress=True, cache=None)
    assert "100 % of" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_is_bounded_by_the_result_and_not_by_the_text(tmp_path: Path) -> None:
    figures = ingest_figures(120_000_000, tmp_path)
    # About 140 bytes per row stay; the rest of the 260 bytes per row must never be held at once.
    assert figures["first_peak_bytes"] < 100e6 + 2.5 * 140 * figures["rows"]
