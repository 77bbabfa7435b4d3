"""Numbers, fingerprints and lines by whole columns agree with what Python does one by one."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.auctions.readers.blocks import blocks
from dynrl.auctions.readers.errors import LogFormatError
from dynrl.auctions.readers.fingerprints import (
    FingerprintTable,
    fingerprint,
    fingerprints,
    fingerprints_of,
    first_occurrences,
    mix,
)
from dynrl.auctions.readers.numerals import PADDING, parse_floats, parse_integers, parse_timestamps
from dynrl.auctions.readers.user_agents import USER_AGENTS, os_browser

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


def fields(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    buffer = np.frombuffer(b"\t".join(texts) + bytes(PADDING), np.uint8)
    length = np.array([len(text) for text in texts], np.int64)
    return buffer, np.cumsum(length + 1) - length - 1, length


digits = st.text("0123456789-+ .e", max_size=12).map(str.encode)


@given(st.lists(st.one_of(digits, st.binary(max_size=6)), min_size=1, max_size=20))
def test_integers(texts: list[bytes]) -> None:
    values, good = parse_integers(*fields(texts), digits=9)
    expected = [text.isdigit() and text.isascii() and len(text) <= 9 for text in texts]
    assert good.tolist() == expected
    assert values[good].tolist() == [int(text) for text, ok in zip(texts, expected, strict=True) if ok]


@given(st.lists(st.integers(-(10**9) + 1, 10**9 - 1), min_size=1, max_size=20))
def test_signed_integers(numbers: list[int]) -> None:
    values, good = parse_integers(*fields([str(number).encode() for number in numbers]), signed=True)
    assert good.all() and values.tolist() == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_read_back_to_the_last_bit(numbers: list[float]) -> None:
    values, good = parse_floats(*fields([repr(number).encode() for number in numbers]))
    assert good.all() and values.tolist() == numbers


@pytest.mark.parametrize(
    "text", [b"", b"nan", b"inf", b"-inf", b"1_0", b"1e999", b"1.2.3", b"0x1", b" 1", b"1\0"]
)
def test_what_is_no_finite_number_is_not_good(text: bytes) -> None:
    values, good = parse_floats(*fields([b"0.5", text, b"1e-3"]))
    assert good.tolist() == [True, False, True]
    assert values[[0, 2]].tolist() == [0.5, 0.001]


def test_timestamps_know_the_calendar() -> None:
    texts = [
        *(b"20130606000104828", b"20160229235959999", b"20150229000000000", b"20130631000000000"),
        *(b"20130606240000000", b"20131306000000000", b"2013060600010482", b"20130606000104x28", b"null"),
    ]
    times, good = parse_timestamps(*fields(texts))
    assert good.tolist() == [True, True] + [False] * 7
    assert (
        times[:2].tolist()
        == np.array(["2013-06-06T00:01:04.828", "2016-02-29T23:59:59.999"], "datetime64[ms]").tolist()
    )


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.integers(0, 2**64 - 1))
def test_a_fingerprint_depends_on_its_text_alone(texts: list[bytes], seed: int) -> None:
    together = fingerprints(*fields(texts), np.uint64(seed))
    alone = [fingerprints_of([text], np.uint64(seed))[0] for text in texts]
    assert together.tolist() == alone
    assert len(set(together.tolist())) == len(set(texts))


def test_fingerprints_never_change() -> None:
    # Hashed features of saved models rest on these numbers; the first is SplitMix64's first output from seed 0.
    assert [f"{fingerprint(text):016x}" for text in ("", "null", "115.45.195.*")] == [
        "e220a8397b1dcdaf",
        "fc2736df52cf3cfb",
        "bfe3dae7faebe01a",
    ]


def test_mixing_is_a_bijection_and_spreads_bits() -> None:
    mixed = mix(np.arange(1 << 16, dtype=np.uint64))
    assert len(np.unique(mixed)) == 1 << 16
    # Mean of 65536 bits each: five standard deviations are 0.01.
    shares = ((mixed[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(0)
    assert abs(shares - 0.5).max() < 0.01


@given(st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=8))
def test_the_table_is_a_dictionary(batches: list[list[int]]) -> None:
    table = FingerprintTable(slots=2)
    twin: dict[int, int] = {}
    for batch in batches:
        keys = np.array(batch, np.uint64)
        assert table.find(keys).tolist() == [twin.get(key, -1) for key in batch]
        fresh = keys[first_occurrences(keys)] if len(keys) else keys
        fresh = fresh[table.find(fresh) < 0]
        numbers = np.arange(len(twin), len(twin) + len(fresh), dtype=np.int32)
        table.add(fresh, numbers)
        twin |= dict(zip(fresh.tolist(), numbers.tolist(), strict=True))
    everything = np.arange(61, dtype=np.uint64)
    assert table.find(everything).tolist() == [twin.get(key, -1) for key in range(61)]
    assert len(table) == len(twin)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_are_the_lines_of_the_file_with_their_numbers(tmp_path: Path, suffix: str, size: int) -> None:
    lines = [b"line %d" % number * (number % 5) for number in range(40)]
    path = tmp_path / f"log.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n"))
    seen = []
    for block in blocks(path, size=max(size, 3)):
        assert block.complete and block.text.endswith(b"\n")
        seen += [(block.line + place, line) for place, line in enumerate(block.text.split(b"\n")[:-1])]
    assert seen == list(enumerate(lines, 1))


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_damaged_archives_are_format_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    path.write_bytes(COMPRESS[suffix](b"0 70 0.002\n" * 1000)[:-9])
    with pytest.raises(LogFormatError, match="cannot be decompressed"):
        list(blocks(path))


def test_browsers_by_the_first_name_that_matches() -> None:
    agent = "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/537.1 (KHTML, like Gecko) Chrome/21.0 Safari/537.1"
    assert os_browser(agent) == "windows_chrome"
    assert os_browser("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; SE 2.X MetaSr 1.0)") == "windows_ie"
    assert os_browser("Opera/9.80 (Android; Linux)") == "android_opera"
    assert os_browser("") == "other_other"
    assert all(os_browser(reduced) == reduced for reduced in USER_AGENTS)
