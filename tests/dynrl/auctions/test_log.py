"""Logs as arrays: rows picked, episodes cut, contradictions refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.auctions import AuctionLog, Categories, Features
from dynrl.auctions import log as log_module


def small_log(rows: int = 7) -> AuctionLog:
    number = np.arange(rows)
    lengths = number % 3
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return AuctionLog(
        click=(number % 2).astype(np.uint8),
        price=(10 + number).astype(np.int32),
        theta=number / 100,
        floor=(number * 2).astype(np.int32),
        features=Features(np.arange(indptr[-1], dtype=np.int32), indptr, 100),
        categories={"hour": Categories((number % 4).astype(np.int32), tuple("abcd"))},
        numbers={"cpo": number * 1.5},
    )


@given(st.data())
def test_taken_rows_keep_their_features_and_columns(data: st.DataObject) -> None:
    log = small_log()
    assert log.features is not None
    rows = np.array(data.draw(st.lists(st.integers(0, 6), max_size=20)), np.int64)
    taken = log.take(rows)
    assert taken.features is not None
    for place, row in enumerate(rows):
        own = log.features.indices[log.features.indptr[row] : log.features.indptr[row + 1]]
        got = taken.features.indices[taken.features.indptr[place] : taken.features.indptr[place + 1]]
        assert got.tolist() == own.tolist()
    assert taken.price.tolist() == (10 + rows).tolist()
    assert taken.numbers["cpo"].tolist() == (rows * 1.5).tolist()
    assert taken.categories["hour"].codes.tolist() == (rows % 4).tolist()


def test_taking_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = small_log(50).features
    assert features is not None
    rows = np.random.default_rng(0).integers(0, 50, 40)
    whole = features.take(rows)
    monkeypatch.setattr(log_module, "_TAKEN_AT_ONCE", 7)
    pieces = features.take(rows)
    assert np.array_equal(whole.indices, pieces.indices) and np.array_equal(whole.indptr, pieces.indptr)


def test_slices_and_masks_mean_what_they_mean_for_arrays() -> None:
    log = small_log()
    assert log.take(slice(2, 5)).price.tolist() == [12, 13, 14]
    assert log.take(log.click == 1).price.tolist() == [11, 13, 15]


def test_episodes_stand_side_by_side_and_the_last_is_padded() -> None:
    arrays = small_log().episodes(3, segment="hour")
    assert arrays.price.tolist() == [[10, 13, 16], [11, 14, 0], [12, 15, 0]]
    assert arrays.mask.tolist() == [[True, True, True], [True, True, False], [True, True, False]]
    assert arrays.segment.tolist() == [[0, 3, 2], [1, 0, 0], [2, 1, 0]]
    assert arrays.floor.tolist() == [[0, 6, 12], [2, 8, 0], [4, 10, 0]]


@pytest.mark.parametrize("horizon", [0, 8])
def test_a_horizon_that_does_not_fit_is_named(horizon: int) -> None:
    with pytest.raises(ValueError, match=rf"horizon T = {horizon} must lie in 1\.\.7"):
        small_log().episodes(horizon)


def test_what_cannot_be_replayed_is_refused_with_the_way_out() -> None:
    click, price = np.zeros(2, np.uint8), np.array([5, -1], np.int32)
    with pytest.raises(ValueError, match="apply a click model first"):
        AuctionLog(click, price).episodes(1)
    lost = AuctionLog(click, price, theta=np.zeros(2), won=np.array([True, False]))
    with pytest.raises(ValueError, match=r"1 rows were lost.*log\.take\(log\.won\)"):
        lost.episodes(1)
    with pytest.raises(ValueError, match="no rows"):
        lost.take(slice(0, 0)).episodes(1)


@pytest.mark.parametrize("theta", [[0.1, 1.5], [0.1, -0.1], [0.1, np.nan]])
def test_theta_outside_the_unit_interval_names_the_row(theta: list[float]) -> None:
    with pytest.raises(ValueError, match=r"theta of row 1 is .*expected a probability in \[0, 1\]"):
        AuctionLog(np.zeros(2, np.uint8), np.zeros(2, np.int32)).with_theta(np.array(theta))


def test_columns_of_different_lengths_are_named() -> None:
    with pytest.raises(ValueError, match="column price has 3 rows, expected 2 as in click"):
        AuctionLog(np.zeros(2, np.uint8), np.zeros(3, np.int32))
