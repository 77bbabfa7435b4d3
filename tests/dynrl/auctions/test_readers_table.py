"""Tables of any library give the log that their columns say."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.auctions.readers import FeatureBuilder, LogFormatError, from_table, read_log

DATA: dict[str, list[Any]] = {
    "clk": [0, 1, 0],
    "paid": [70, 6, 300],
    "p": [0.1, 0.2, 0.3],
    "when": [datetime.datetime(2024, 1, day) for day in (1, 2, 3)],
    "device": ["phone", None, "phone"],
    "age": [1.5, 2.5, 3.5],
    "id": ["a", "b", "c"],
}
COLUMNS = {"click": "clk", "price": "paid", "theta": "p", "timestamp": "when", "bidid": "id"}


def arrays(data: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: np.array(column, object if None in column else None) for name, column in data.items()}


def pandas_frame(data: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(data)


def polars_frame(data: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(data, strict=False)


def arrow_table(data: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("pyarrow").table(data)


class ArrowStream:
    """Nothing but the Arrow C stream interface."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self._table = arrow_table(data)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


KINDS = [arrays, pandas_frame, polars_frame, arrow_table, ArrowStream]


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_of_table_gives_the_same_log(make: Callable[[dict[str, list[Any]]], Any]) -> None:
    builder = FeatureBuilder()
    log = from_table(
        make(DATA), COLUMNS, categories=["device"], numbers=["age"], features=["device"], numbering=builder
    )
    assert log.click.tolist() == [0, 1, 0] and log.price.tolist() == [70, 6, 300]
    assert log.theta is not None and log.theta.tolist() == [0.1, 0.2, 0.3]
    assert log.timestamp is not None
    assert (
        log.timestamp.tolist()
        == np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[ms]").tolist()
    )
    assert log.categories["device"].names == ("phone",) and log.categories["device"].codes.tolist() == [
        0,
        -1,
        0,
    ]
    assert log.numbers["age"].tolist() == [1.5, 2.5, 3.5]
    assert builder.map().names == ("truncate", "device:other", "device:phone", "device:null")
    assert log.features is not None and log.features.indices.tolist() == [0, 2, 0, 3, 0, 2]


def test_unseen_values_become_other() -> None:
    builder = FeatureBuilder()
    from_table(arrays(DATA), COLUMNS, features=["device"], numbering=builder)
    test = arrays(DATA | {"device": ["tablet", "phone", "tv"]})
    log = from_table(test, COLUMNS, features=["device"], numbering=builder.map())
    assert log.features is not None and log.features.indices.tolist() == [0, 1, 0, 2, 0, 1]
    with pytest.raises(ValueError, match="no features of age: it was built on rows of another kind"):
        from_table(test, COLUMNS, features=["age"], numbering=builder.map())


def test_lost_rows_have_no_price() -> None:
    table = arrays(DATA | {"won": [True, False, True], "paid": [70, None, 30], "bid": [80, 20, None]})
    log = from_table(table, COLUMNS | {"won": "won", "bid": "bid"})
    assert log.price.tolist() == [70, -1, 30]
    assert log.won is not None and log.won.tolist() == [True, False, True]
    assert log.bid is not None and log.bid.tolist() == [80, 20, -1]


def test_decimal_prices_are_quantised() -> None:
    table = arrays(DATA | {"paid": [0.3, 0.2999, 0.051]})
    log = from_table(table, COLUMNS, ticks=0.1)
    assert log.price.tolist() == [3, 2, 0] and log.tick == 0.1


def test_duplicates_sorting_and_skipping() -> None:
    times = [datetime.datetime(2024, 1, day) for day in (3, 1, 2)]
    log = from_table(arrays(DATA | {"id": ["a", "b", "a"], "when": times}), COLUMNS, sort=True)
    assert log.price.tolist() == [6, 70] and log.report.duplicates == 1 and log.report.rows == 2
    with pytest.warns(UserWarning, match="table: 1 rows are earlier"):
        from_table(arrays(DATA | {"when": times}), COLUMNS)
    skipped = from_table(arrays(DATA | {"paid": [70, -6, 30]}), COLUMNS, on_bad="skip", max_bad_fraction=0.5)
    assert skipped.price.tolist() == [70, 30] and skipped.report.skipped == 1


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("paid", [70, -6, 30], r"table, row 2, column paid: got '-6', expected a non-negative whole number of ticks"),
        ("paid", [70.0, 6.5, 30.0], r"row 2, column paid: got '6.5', expected .*pass ticks="),
        ("paid", [70, None, 30], r"row 2, column paid: got '(None|nan)', expected"),
        ("paid", [70, 301, 30], r"row 2, column paid: got '301', expected at most delta_max = 300"),
        ("clk", [0, 2, 1], r"row 2, column clk: got '2', expected 0 or 1"),
        ("p", [0.1, float("nan"), 0.2], r"row 2, column p: got '(nan|None)', expected a probability"),
        ("p", [0.1, 1.2, 0.2], r"row 2, column p: got '1.2', expected a probability"),
        ("when", ["noon", "dusk", "dawn"], r"column when: .*expected times without a time zone"),
    ],
)  # fmt: skip
def test_bad_cells_are_named(
    make: Callable[[Any], Any], column: str, values: list[Any], message: str
) -> None:
    with pytest.raises(LogFormatError, match=message):
        from_table(make(DATA | {column: values}), COLUMNS)


def test_bad_mappings_are_named() -> None:
    table = arrays(DATA)
    for columns, message in (
        ({"click": "clk"}, "does not say which column is the price"),
        ({"price": "paid"}, "does not say which column is the click"),
        (COLUMNS | {"prize": "paid"}, "columns names 'prize', expected keys among click, price"),
        (COLUMNS | {"floor": "min"}, "table has no column 'min'; it has clk, paid"),
    ):
        with pytest.raises(ValueError, match=message):
            from_table(table, columns)
    with pytest.raises(ValueError, match="no rows: there is nothing to learn from"):
        from_table({name: column[:0] for name, column in table.items()}, COLUMNS)
    with pytest.raises(ValueError, match="column paid: got 2 rows, expected 3 as in clk"):
        from_table(table | {"paid": table["paid"][:2]}, COLUMNS)
    with pytest.raises(TypeError, match="table is a list, expected a data frame"):
        from_table([1, 2], COLUMNS)


def test_arrow_interfaces_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            raise NotImplementedError

    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'dynrl\[auctions\]'"):
        from_table(Stream(), COLUMNS)


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_parquet_and_arrow_files(tmp_path: Path, format: str) -> None:
    table = arrow_table(DATA)
    path = tmp_path / "log"
    if format == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        pytest.importorskip("pyarrow.feather").write_feather(table, str(path))
    assert read_log(path, columns=COLUMNS).price.tolist() == [70, 6, 300]
    with pytest.raises(ValueError, match="pass columns="):
        read_log(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LogFormatError, match=f"cannot be read as {format}"):
        read_log(path, columns=COLUMNS)
