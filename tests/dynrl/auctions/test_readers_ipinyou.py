"""iPinYou logs: features as the public preparation numbers them, clicks joined, days and times."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynrl.auctions import AuctionLog
from dynrl.auctions.generator import GeneratedMarket, write_ipinyou
from dynrl.auctions.readers import FeatureBuilder, FeatureMap, HashedFeatures, LogFormatError, read_log
from dynrl.auctions.readers.ipinyou_features import RAW_SCHEMA, SCHEMA
from dynrl.errors import FileFormatError

ROW = {
    **{
        "click": "0",
        "weekday": "4",
        "hour": "00",
        "bidid": "b1",
        "timestamp": "20130606000104828",
        "logtype": "1",
    },
    **{"ipinyouid": "u", "useragent": "windows_ie", "IP": "115.45.195.*", "region": "216", "city": "219"},
    **{"adexchange": "1", "domain": "d", "url": "u", "urlid": "null", "slotid": "s", "slotwidth": "336"},
    **{"slotheight": "280", "slotvisibility": "2", "slotformat": "1", "slotprice": "0", "creative": "c"},
    **{"bidprice": "300", "payprice": "51", "keypage": "k", "advertiser": "1458", "usertag": "10006,10110"},
}


def write(
    path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = SCHEMA, header: bool = True
) -> Path:
    lines = ["\t".join(columns)] * header + ["\t".join((ROW | row)[name] for name in columns) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def names_of(log: AuctionLog, names: tuple[str, ...]) -> list[list[str]]:
    assert log.features is not None
    indices, indptr = log.features.indices, log.features.indptr
    return [[names[index] for index in indices[indptr[row] : indptr[row + 1]]] for row in range(len(log))]


def reference_names(rows: list[dict[str, str]]) -> list[list[str]]:
    """Spec section 7, row by row."""
    plain = (
        *(
            "weekday",
            "hour",
            "IP",
            "region",
            "city",
            "adexchange",
            "domain",
            "slotid",
            "slotwidth",
            "slotheight",
        ),
        *("slotvisibility", "slotformat", "creative", "advertiser"),
    )
    systems = ("windows", "ios", "mac", "android", "linux")
    browsers = ("chrome", "sogou", "maxthon", "safari", "firefox", "theworld", "opera", "ie")
    result = []
    for row in rows:
        own = {name: row[name] or "null" for name in plain}
        if own["IP"] != "null":
            own["IP"] = ".".join([*row["IP"].split(".")[:3], "*"])
        agent = row["useragent"].lower()
        found = [next((name for name in group if name in agent), "other") for group in (systems, browsers)]
        floor = int(row["slotprice"]) if row["slotprice"].isdigit() else 0
        limits = {"0": 0, "1-10": 10, "11-50": 50, "51-100": 100}
        bucket = next((text for text, most in limits.items() if floor <= most), "101+")
        features = [f"{SCHEMA.index(name)}:{value}" for name, value in own.items()]
        features += [
            f"{SCHEMA.index('useragent')}:{'_'.join(found)}",
            f"{SCHEMA.index('slotprice')}:{bucket}",
        ]
        features += [f"{SCHEMA.index('usertag')}:{tag}" for tag in (row["usertag"] or "null").split(",")]
        result.append(["truncate", *features])
    return result


def numbered(rows: list[list[str]]) -> list[str]:
    """The public numbering: bias, one `other` per column after the click, values as they appear."""
    names = ["truncate", *(f"{column}:other" for column in range(1, 27))]
    for row in rows:
        names += [name for name in dict.fromkeys(row) if name not in names]
    return names


def mixed_rows(count: int, seed: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    agents = [
        "Mozilla (Windows) MSIE, like Gecko",
        "Safari iOS",
        "android_chrome",
        "",
        "null",
        "Лиса, Linux Firefox",
    ]
    addresses = ["1.2.3.*", "1.2.3.4", "10.20.30.255", "115.45.195.*", "null", ""]
    tags = ["10006,10110", "null", "", "10063", "1,2,3,4,5,6,7,8,9"]
    rows = []
    for number in range(count):
        row = ROW | {
            "bidid": f"b{number}", "region": str(rng.integers(30)), "domain": rng.choice(["a" * 9, "bc", "", "é"]),
            "hour": f"{rng.integers(24):02d}", "useragent": rng.choice(agents), "IP": rng.choice(addresses),
            "slotprice": str(rng.choice([0, 1, 10, 11, 50, 51, 100, 101, 999])), "usertag": rng.choice(tags),
        }  # fmt: skip
        rows.append({name: str(value) for name, value in row.items()})
    return rows


def test_features_are_those_of_the_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynrl.auctions.readers import parser
    from dynrl.auctions.readers.blocks import blocks

    rows = mixed_rows(200, seed=0)
    monkeypatch.setattr(parser, "blocks", lambda path, progress: blocks(path, progress, size=3000))
    builder = FeatureBuilder()
    log = read_log(write(tmp_path / "log", rows), features=builder)
    expected = reference_names(rows)
    assert names_of(log, builder.map().names) == expected
    assert list(builder.map().names) == numbered(expected)


def test_a_map_sends_unseen_values_to_other(tmp_path: Path) -> None:
    builder = FeatureBuilder()
    train, test = mixed_rows(20, seed=1), mixed_rows(200, seed=2)
    read_log(write(tmp_path / "train", train), features=builder)
    feature_map = builder.map()
    log = read_log(write(tmp_path / "test", test), features=feature_map)
    known = set(feature_map.names)
    expected = [
        [name if name in known else f"{name.split(':')[0]}:other" for name in row]
        for row in reference_names(test)
    ]
    assert names_of(log, feature_map.names) == expected
    assert log.features is not None and log.features.dimension == feature_map.dimension

    feature_map.save(tmp_path / "map.safetensors")
    again = FeatureMap.load(tmp_path / "map.safetensors")
    assert again.names == feature_map.names
    reread = read_log(tmp_path / "test", features=again)
    assert reread.features is not None and np.array_equal(reread.features.indices, log.features.indices)
    (tmp_path / "map.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileFormatError):
        FeatureMap.load(tmp_path / "map.safetensors")


def test_bytes_that_are_not_utf8_survive_in_a_map(tmp_path: Path) -> None:
    path = write(tmp_path / "log", [ROW])
    path.write_bytes(path.read_bytes().replace(b"\td\t", b"\t\xff\xfe\t"))
    builder = FeatureBuilder()
    log = read_log(path, features=builder)
    builder.map().save(tmp_path / "map")
    again = read_log(path, features=FeatureMap.load(tmp_path / "map"))
    assert log.features is not None and again.features is not None
    assert np.array_equal(log.features.indices, again.features.indices)


def test_hashing_gives_a_feature_the_same_number_in_every_file(tmp_path: Path) -> None:
    rows = mixed_rows(100, seed=3)
    builder, hashed = FeatureBuilder(), HashedFeatures(24)
    exact = read_log(write(tmp_path / "log", rows), features=builder)
    log = read_log(tmp_path / "log", features=hashed)
    assert exact.features is not None and log.features is not None and log.features.dimension == 1 << 24
    pairs = set(zip(exact.features.indices.tolist(), log.features.indices.tolist(), strict=True))
    # About 100 features in 2^24 places: all different, but for a chance of 3e-4; and a function of the feature.
    assert len(pairs) == len({number for number, _ in pairs}) == len({number for _, number in pairs})
    tail = read_log(write(tmp_path / "tail", rows[50:]), features=hashed)
    assert tail.features is not None
    assert np.array_equal(tail.features.indices, log.features.indices[log.features.indptr[50] :])


def test_columns_and_categories(tmp_path: Path) -> None:
    rows = [
        ROW | {"slotprice": "null", "bidprice": "", "region": "null"},
        ROW | {"bidid": "b2", "slotprice": "5"},
    ]
    log = read_log(write(tmp_path / "log", rows))
    assert log.floor is not None and log.floor.tolist() == [0, 5]
    assert log.bid is not None and log.bid.tolist() == [-1, 300]
    assert log.campaign is not None and log.campaign.tolist() == [1458, 1458]
    assert log.timestamp is not None and log.timestamp[0] == np.datetime64("2013-06-06T00:01:04.828")
    assert set(log.categories) == {"exchange", "slot_size", "hour", "weekday", "region", "advertiser"}
    assert log.categories["slot_size"].names == ("336x280",)
    assert log.categories["region"].codes.tolist() == [-1, 0] and log.categories["region"].names == ("216",)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    shuffled = tuple(np.random.default_rng(0).permutation(SCHEMA).tolist())
    plain = read_log(write(tmp_path / "a", mixed_rows(30, 4)))
    moved = read_log(write(tmp_path / "b", mixed_rows(30, 4), shuffled))
    assert plain.features is not None and moved.features is not None
    assert np.array_equal(plain.features.indices, moved.features.indices)
    assert np.array_equal(plain.price, moved.price)


def test_the_real_sample(campaign_file: Callable[[str], Path]) -> None:
    builder = FeatureBuilder()
    log = read_log(campaign_file("ipinyou_1458_sample100.log.txt"), features=builder)
    assert len(log) == 99 and log.click.sum() == 0 and set(log.campaign.tolist()) == {1458}  # type: ignore[union-attr]
    assert log.price[:2].tolist() == [51, 87]
    lines = campaign_file("ipinyou_1458_sample100.log.txt").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert names_of(log, builder.map().names) == reference_names(rows)
    assert list(builder.map().names) == numbered(reference_names(rows))


def test_duplicate_bid_ids_keep_the_first(tmp_path: Path) -> None:
    rows = [
        ROW | {"bidid": bid, "payprice": str(price)}
        for price, bid in enumerate(["x", "y", "x", "null", "null", "y"], 1)
    ]
    log = read_log(write(tmp_path / "log", rows))
    assert log.price.tolist() == [1, 2, 4, 5]
    assert (log.report.duplicates, log.report.rows) == (2, 4)
    assert len(read_log(tmp_path / "log", duplicates="keep")) == 6


def test_raw_impressions_joined_with_their_clicks(tmp_path: Path) -> None:
    days = ["20130606", "20130608", "20130609", "20130615"]  # Thursday, Saturday, Sunday, Saturday
    rows = [
        ROW | {"bidid": f"b{n}", "creative": "c" * (n % 2 + 1), "timestamp": f"{day}1{n}0104828"}
        for n, day in enumerate(days)
    ]
    impressions = write(tmp_path / "imp.txt", rows, RAW_SCHEMA, header=False)
    wrong_creative = rows[2] | {"creative": "other"}
    clicks = write(tmp_path / "clk.txt", [rows[1], wrong_creative], RAW_SCHEMA, header=False)
    builder = FeatureBuilder()
    log = read_log(impressions, click_log=clicks, features=builder)
    assert log.click.tolist() == [0, 1, 0, 0]
    weekday = log.categories["weekday"]
    assert [weekday.names[code] for code in weekday.codes] == ["4", "6", "0", "6"]
    assert [row[1:3] for row in names_of(log, builder.map().names)] == [
        ["1:4", "2:10"], ["1:6", "2:11"], ["1:0", "2:12"], ["1:6", "2:13"]
    ]  # fmt: skip
    with pytest.raises(ValueError, match="holds no clicks: pass click_log="):
        read_log(impressions)

    twice = write(tmp_path / "twice.txt", [rows[1], rows[1]], RAW_SCHEMA, header=False)
    with pytest.raises(LogFormatError, match=r"imp.txt, line 2, column bidid: .* 2 clicks of bid id 'b1'"):
        read_log(impressions, click_log=twice)
    assert read_log(impressions, click_log=twice, clicks="binary").click.tolist() == [0, 1, 0, 0]
    assert read_log(impressions, click_log=twice, clicks="count").click.tolist() == [0, 2, 0, 0]


def test_season_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "imp", [ROW], RAW_SCHEMA[:22], header=False)
    with pytest.raises(
        LogFormatError, match=r"22 columns, expected 24.*season 1 has no advertiser and no user tags"
    ):
        read_log(path)


def test_time_runs_forward_or_is_sorted(tmp_path: Path) -> None:
    rows = [
        ROW | {"bidid": str(n), "payprice": str(n), "timestamp": f"2013060600010{n}000"} for n in (3, 1, 2)
    ]
    path = write(tmp_path / "log", rows)
    with pytest.warns(UserWarning, match=r"1 rows are earlier .*first is row 2.*sort=True") as caught:
        assert read_log(path).price.tolist() == [3, 1, 2]
    assert len(caught) == 1
    assert read_log(path, sort=True).price.tolist() == [1, 2, 3]


def test_generated_columns_read_back(tmp_path: Path) -> None:
    log = GeneratedMarket.draw(2).log(3000, seed=1, days=30)
    write_ipinyou(tmp_path / "log", log)
    builder = FeatureBuilder()
    back = read_log(tmp_path / "log", features=builder)
    for name in ("click", "price", "floor", "bid", "timestamp", "campaign"):
        assert np.array_equal(getattr(back, name), getattr(log, name)), name
    for name, column in back.categories.items():
        own = log.categories[name]
        assert [column.names[code] for code in column.codes] == [own.names[code] for code in own.codes]
    assert back.features is not None and log.features is not None
    # The market's own features are the same but for width, height, floor bucket and `null` tags.
    tags = log.categories["usertag"]
    untagged = np.array([tags.names[code] == "null" for code in tags.codes])
    assert np.array_equal(np.diff(back.features.indptr), np.diff(log.features.indptr) + 2 + untagged)
