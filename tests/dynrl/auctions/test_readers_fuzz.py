"""Any bytes: a reader gives a valid log or a LogFormatError, never another exception."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynrl.auctions import AuctionLog
from dynrl.auctions.generator import (
    generate_log,
    write_auctionnet,
    write_criteo,
    write_ipinyou,
    write_theta_text,
    write_yzx,
)
from dynrl.auctions.readers import FeatureBuilder, LogFormatError, read_log
from dynrl.auctions.readers.detect import Format

TEXT_FORMATS = [name for name in get_args(Format) if name not in ("parquet", "arrow")]
FUZZ = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read_anything(path: Path, content: bytes, **options: Any) -> AuctionLog | None:
    """The log, checked for validity, or None where the reader refused."""
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows out of order are a warning, and valid
            log = read_log(path, ticks=0.01, **options)
    except LogFormatError as error:
        assert str(path) in str(error)
        return None
    assert len(log) > 0 and log.report.rows == len(log)
    assert ((log.price >= 0) & (log.price <= 300)).all() and (log.click <= 1).all()
    if log.theta is not None:
        assert ((log.theta >= 0) & (log.theta <= 1)).all()
    if log.features is not None:
        assert log.features.indptr[0] == 0 and log.features.indptr[-1] == len(log.features.indices)
        assert (np.diff(log.features.indptr) >= 0).all()
        assert ((log.features.indices >= 0) & (log.features.indices < log.features.dimension)).all()
    for column in log.categories.values():
        assert ((column.codes >= -1) & (column.codes < len(column.names))).all()
    return log


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small valid file of every text format."""
    folder = tmp_path_factory.mktemp("samples")
    log = dataclasses.replace(generate_log(4, seed=0, click_rate=0.3), tick=0.01)
    for name, write in (
        ("theta", write_theta_text),
        ("yzx", write_yzx),
        ("ipinyou", write_ipinyou),
        ("criteo", write_criteo),
        ("auctionnet", write_auctionnet),
    ):
        write(folder / name, log)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    found["old_theta"] = b"7 2\n1\n0\t7\t0.5\n1\t8\t0.25\n2\n0\t9\t0.125\n"
    rows = [line.split(b"\t") for line in found["ipinyou"].splitlines()[1:]]
    found["ipinyou_raw"] = b"".join(b"\t".join(row[3:]) + b"\n" for row in rows)
    return found


def options_of(name: str | None, folder: Path, samples: dict[str, bytes]) -> dict[str, Any]:
    if name != "ipinyou_raw":
        return {"format": name}
    (folder / "clicks").write_bytes(samples["ipinyou_raw"].splitlines(keepends=True)[0])
    return {"format": name, "click_log": folder / "clicks"}


@FUZZ
@given(content=st.one_of(st.binary(max_size=200), st.text("01 .:\t\n-e,x\r", max_size=80).map(str.encode)))
@pytest.mark.parametrize("name", [None, *TEXT_FORMATS])
def test_any_bytes(tmp_path: Path, samples: dict[str, bytes], name: str | None, content: bytes) -> None:
    try:
        read_anything(tmp_path / "log", content, **options_of(name, tmp_path, samples))
    except ValueError as error:  # the bytes happen to be a raw log or a table, which need more arguments
        assert name is None and "pass " in str(error)


PIECES = st.sampled_from(
    [b"", b"\t", b" ", b"\n", b",", b"-1", b"null", b"1e5", b"\0", b"\xff", b":", b"9" * 12, b"nan", b"\r"]
)


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", TEXT_FORMATS)
@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_damaged_files(
    tmp_path: Path, samples: dict[str, bytes], name: str, on_bad: str, data: st.DataObject
) -> None:
    content = samples[name]
    for _ in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, len(content)))
        last = data.draw(st.integers(first, min(first + 6, len(content))))
        content = content[:first] + data.draw(PIECES) + content[last:]
    options = options_of(name, tmp_path, samples) | {"on_bad": on_bad, "max_bad_fraction": 0.9}
    read_anything(tmp_path / "log", content, features=FeatureBuilder(), **options)


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_a_file_cut_anywhere_loses_whole_rows_or_is_refused(
    tmp_path: Path, samples: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    content = samples[name]
    options = options_of(name, tmp_path, samples)
    whole = read_anything(tmp_path / "log", content, **options)
    assert whole is not None
    cut = read_anything(tmp_path / "log", content[: data.draw(st.integers(0, len(content)))], **options)
    if cut is not None:
        assert np.array_equal(cut.price, whole.price[: len(cut)])
        assert np.array_equal(cut.click, whole.click[: len(cut)])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".gz", ".bz2"]))
def test_archives_of_any_bytes(tmp_path: Path, content: bytes, suffix: str) -> None:
    head = {".gz": b"\x1f\x8b\x08\x00", ".bz2": b"BZh9"}[suffix]
    for data in (content, head + content):
        assert read_anything(tmp_path / f"log{suffix}", data) is None
