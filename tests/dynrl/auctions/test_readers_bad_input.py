"""Bad logs: the message names file, line, column, value and expectation (spec section 15)."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.auctions.readers import LogFormatError, read_log
from dynrl.auctions.readers.ipinyou_features import SCHEMA

GOOD = "0 70 0.002\n1 6 0.01\n"
IPINYOU_HEADER = "\t".join(SCHEMA) + "\n"


def refusal(tmp_path: Path, text: str | bytes, **options: Any) -> LogFormatError:
    path = tmp_path / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LogFormatError) as caught:
        read_log(path, **options)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("row", "column", "value", "expectation"),
    [
        ("0 70", "theta", None, "field is missing: got 2 fields, expected 3: click, price, theta"),
        ("0 70 0.1 9", None, None, "got 4 fields, expected 3: click, price, theta"),
        ("0 7.5 0.1", "price", "7.5", "got '7.5', expected a non-negative integer"),
        ("0 -7 0.1", "price", "-7", "got '-7', expected a non-negative integer"),
        ("0 x 0.1", "price", "x", "got 'x', expected a non-negative integer"),
        ("0 99999999999 0.1", "price", "99999999999", "at most 9 digits"),
        ("0 301 0.1", "price", "301", 'at most delta_max = 300 .*above="clip" or "tail"'),
        ("2 70 0.1", "click", "2", 'got \'2\', expected 0 or 1 .*clicks="binary" or "count"'),
        ("-1 70 0.1", "click", "-1", "got '-1', expected 0 or 1"),
        ("0 70 nan", "theta", "nan", r"got 'nan', expected a probability in \[0, 1\]"),
        ("0 70 inf", "theta", "inf", "expected a probability"),
        ("0 70 1e999", "theta", "1e999", "expected a probability"),
        ("0 70 1.5", "theta", "1.5", "expected a probability"),
        ("0 70 -0.1", "theta", "-0.1", "expected a probability"),
        ("0 70 0,1", "theta", "0,1", "expected a probability"),
    ],
)
def test_theta_rows(
    tmp_path: Path, row: str, column: str | None, value: str | None, expectation: str
) -> None:
    error = refusal(tmp_path, GOOD + row + "\n" + GOOD)
    assert (error.line, error.column, error.value) == (3, column, value)
    assert "line 3" in str(error) and (column is None or f"column {column}" in str(error))
    assert re.search(expectation, str(error))


@pytest.mark.parametrize(
    ("row", "column", "value", "expectation"),
    [
        ("0", "price", None, "got 1 field, expected click, price and index:1"),
        ("0 70 0:1 -3:1", "features", "-3:1", "index:1 with a non-negative index"),
        ("0 70 0:1 3", "features", "3", "index:1"),
        ("0 70 0:1 3:2", "features", "3:2", "index:1"),
        ("0 70 0:1 :1", "features", ":1", "index:1"),
        ("0 70 0:1 50:1", "features", "50:1", r"an index in 0\.\.49 \(dimension 50\)"),
        ("0 7o 0:1", "price", "7o", "non-negative integer"),
    ],
)
def test_yzx_rows(tmp_path: Path, row: str, column: str, value: str | None, expectation: str) -> None:
    error = refusal(tmp_path, f"0 70 0:1 49:1\n{row}\n0 5 0:1\n", dimension=50)
    assert (error.line, error.column, error.value) == (2, column, value)
    assert re.search(expectation, str(error))


IPINYOU_ROW = dict.fromkeys(SCHEMA, "1") | {"timestamp": "20130606000104828"}


@pytest.mark.parametrize(
    ("column", "value", "expectation"),
    [
        ("payprice", "null", "expected a non-negative integer"),
        ("payprice", "400", "at most delta_max = 300"),
        ("slotprice", "low", "expected a non-negative integer of at most 9 digits, or null"),
        ("bidprice", "-3", "or null"),
        ("advertiser", "acme", "or null"),
        ("timestamp", "20130631000104828", "a time as yyyyMMddHHmmssSSS"),
        ("click", "3", "expected 0 or 1"),
    ],
)
def test_ipinyou_rows(tmp_path: Path, column: str, value: str, expectation: str) -> None:
    rows = [IPINYOU_ROW | {"bidid": "a"}, IPINYOU_ROW | {column: value}]
    text = IPINYOU_HEADER + "".join("\t".join(row.values()) + "\n" for row in rows)
    error = refusal(tmp_path, text)
    assert (error.line, error.column, error.value) == (3, column, value)
    assert re.search(expectation, str(error))


def test_ipinyou_headers(tmp_path: Path) -> None:
    short = "\t".join(name for name in SCHEMA if name != "usertag") + "\n"
    error = refusal(tmp_path, short + "\t".join(["1"] * 26) + "\n")
    assert (error.line, error.column) == (1, "usertag") and "header has no column usertag" in str(error)
    error = refusal(tmp_path, short, format="ipinyou")
    twice = IPINYOU_HEADER.replace("domain", "region")
    error = refusal(tmp_path, twice, features=None)
    assert "names column 'region' more than once" in str(error)
    missing_price = IPINYOU_HEADER.replace("payprice", "price")
    assert "no column payprice" in str(refusal(tmp_path, missing_price, format="ipinyou"))


@pytest.mark.parametrize("format", [None, "theta", "yzx", "ipinyou"])
@pytest.mark.parametrize("text", ["", "\n", " \r\n\n", "\ufeff"])
def test_empty_files(tmp_path: Path, format: Any, text: str) -> None:
    assert "nothing to learn from" in str(refusal(tmp_path, text, format=format))


def test_a_header_alone(tmp_path: Path) -> None:
    assert "has only a header: there is nothing to learn from" in str(refusal(tmp_path, IPINYOU_HEADER))


@pytest.mark.parametrize(
    ("end", "expectation"),
    [
        ("0 7", "line 3, column theta: the file ends inside the line: .*got 2 fields, expected 3"),
        ("0 70 0.00", 'line 3, column theta: the last line has no line end.*last_line="keep"'),
    ],
)
def test_a_last_line_cut_short(tmp_path: Path, end: str, expectation: str) -> None:
    assert re.search(expectation, str(refusal(tmp_path, GOOD + end)))


def test_a_last_line_without_an_end_can_be_accepted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(GOOD + "0 9 0.5")
    assert read_log(tmp_path / "log", last_line="keep").price.tolist() == [70, 6, 9]
    (tmp_path / "yzx").write_text("0 9 0:1\n1 8 0:1 4:1")
    assert "no line end" in str(refusal(tmp_path, "0 9 0:1\n1 8 0:1 4:1"))
    assert read_log(tmp_path / "yzx", last_line="keep").price.tolist() == [9, 8]


def test_the_line_number_counts_blank_lines_and_the_header(tmp_path: Path) -> None:
    assert refusal(tmp_path, "\n\n0 70 0.1\n\n0 7x 0.1\n").line == 5


def test_the_first_bad_line_is_named_whatever_its_column(tmp_path: Path) -> None:
    error = refusal(tmp_path, GOOD + "0 70 2.0\nx 70 0.1\n0 70\n")
    assert (error.line, error.column) == (3, "theta")


def test_prices_above_the_largest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0 70 0.1\n0 301 0.1\n0 900 0.1\n0 300 0.1\n")
    clipped = read_log(path, above="clip")
    assert clipped.price.tolist() == [70, 300, 300, 300] and clipped.report.clipped == 2
    tail = read_log(path, above="tail")
    assert tail.price.tolist() == [70, 301, 301, 300] and tail.report.clipped == 2
    assert read_log(path, delta_max=None).price.tolist() == [70, 301, 900, 300]


def test_counts_of_clicks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0 70 0.1\n3 30 0.1\n1 40 0.1\n")
    assert read_log(path, clicks="binary").click.tolist() == [0, 1, 1]
    assert read_log(path, clicks="count").click.tolist() == [0, 3, 1]
    assert "0..255" in str(refusal(tmp_path, "256 70 0.1\n", clicks="count"))


def rows_with_bad(good: int, bad: int) -> str:
    rows = ["0 70 0.5"] * good + ["0 oops 0.5"] * bad
    return "\n".join(np.random.default_rng(0).permutation(rows).tolist()) + "\n"


def test_skipping_counts_what_it_skips(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(rows_with_bad(990, 10))
    log = read_log(path, on_bad="skip")
    assert (len(log), log.report.rows, log.report.skipped) == (990, 990, 10)
    assert 1 <= len(log.report.messages) <= 5 and "column price: got 'oops'" in log.report.messages[0]


def test_skipping_stops_above_one_per_cent(tmp_path: Path) -> None:
    error = refusal(tmp_path, rows_with_bad(988, 11), on_bad="skip")
    assert r"11 of 999 rows are bad (1.1 %), more than max_bad_fraction = 1 %" in str(error)
    assert "column price: got 'oops'" in str(error)
    (tmp_path / "log").write_text(rows_with_bad(988, 11))
    assert len(read_log(tmp_path / "log", on_bad="skip", max_bad_fraction=0.02)) == 988


def test_skipping_covers_lines_that_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0 70 0.5\n" * 300 + "0 70\n" + "0 70 0.5\n" * 50 + "0 70 0.")
    log = read_log(path, on_bad="skip")
    assert (len(log), log.report.skipped) == (350, 2)


def test_unknown_formats_and_settings(tmp_path: Path) -> None:
    assert "cannot tell the format" in str(refusal(tmp_path, "hello world, this is prose\n"))
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(LogFormatError, match=message):
            read_log(path)
    (tmp_path / "log").write_text(GOOD)
    for options, message in (
        ({"format": "csv"}, "format is 'csv', expected one of theta"),
        ({"above": "drop"}, "above is 'drop', expected one of 'error', 'clip', 'tail'"),
        ({"clicks": 1}, "clicks is 1"),
        ({"on_bad": "warn"}, "on_bad is 'warn'"),
        ({"max_bad_fraction": 1.5}, "max_bad_fraction is 1.5"),
        ({"delta_max": 0}, "delta_max is 0"),
        ({"delta_max": None, "above": "clip"}, "needs a delta_max"),
        ({"ticks": 0.0}, "ticks is 0.0"),
        ({"dimension": 0}, "dimension is 0"),
        ({"advertiser": 3}, "advertiser is for auctionnet logs"),
        ({"click_log": "x"}, "click_log is for ipinyou_raw logs"),
    ):
        with pytest.raises(ValueError, match=message):
            read_log(tmp_path / "log", **options)
