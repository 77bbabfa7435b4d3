"""Metrics of landscapes by hand, and what an ideal landscape scores."""

import numpy as np
import pytest

from dynrl.auctions.landscape import (
    FlooredLandscape,
    FlooredRequest,
    GlobalLandscape,
    PriceObservations,
    SegmentLandscape,
    anlp,
    censored_log_likelihood,
    win_rate_calibration,
)

LANDSCAPE = GlobalLandscape(np.array([0.5, 0.25, 0.125]))
OBSERVATIONS = PriceObservations(
    np.array([0, 1, 2, -1, -1]), np.array([True, True, True, False, False]), np.array([2, 2, 2, 0, 1])
)


def test_by_hand() -> None:
    """Wins at 0, 1, 2 have 2⁻¹, 2⁻², 2⁻³; losses at 0 and 1 have ½ and ¼ (ties win), or 1 and ½ (ties lose)."""
    assert anlp(LANDSCAPE, OBSERVATIONS) == pytest.approx(2 * np.log(2))
    assert censored_log_likelihood(LANDSCAPE, OBSERVATIONS) == pytest.approx(-9 / 5 * np.log(2))
    assert censored_log_likelihood(LANDSCAPE, OBSERVATIONS, tie="lose") == pytest.approx(-7 / 5 * np.log(2))


def test_prices_above_the_largest_count_as_tail_and_impossible_ones_as_infinite() -> None:
    observations = PriceObservations(np.array([7]), np.array([True]))
    assert anlp(LANDSCAPE, observations) == pytest.approx(-np.log(0.125))
    assert anlp(GlobalLandscape(np.array([1.0, 0.0])), observations) == np.inf
    assert np.isnan(anlp(LANDSCAPE, OBSERVATIONS.take(~OBSERVATIONS.won)))


def test_rows_meet_their_own_landscape_in_every_block() -> None:
    """More rows than a block: segments and floors of row i are used for row i."""
    code = np.arange(20_000) % 2
    floor = np.where(np.arange(20_000) < 9000, 0, 1)
    landscape = FlooredLandscape(SegmentLandscape(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0.5, 0.5])))
    observations = PriceObservations(np.ones(20_000, int), np.ones(20_000, bool))
    expected = -(4500 * np.log(0.5) + 4500 * np.log(0.75)) / 20_000
    assert anlp(landscape, observations, FlooredRequest(code, floor)) == pytest.approx(expected)


def test_the_true_landscape_is_calibrated() -> None:
    """50 000 auctions: in every decile of M(bid) the realised win rate is within 4 binomial standard errors."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(21), 2) * 0.9
    code = rng.integers(0, 2, 50_000)
    price = (rng.random(50_000)[:, None] > np.cumsum(table, 1)[code]).sum(1)
    bid = rng.integers(0, 25, 50_000)
    for tie, won in (("win", bid >= price), ("lose", bid > price)):
        won = won & (price <= 20)
        observations = PriceObservations(np.where(won, price, -1), won, bid)
        table_ = SegmentLandscape(table, table.mean(0))
        groups = win_rate_calibration(table_, observations, code, tie)  # type: ignore[arg-type]
        error = np.sqrt(groups.predicted * (1 - groups.predicted) / groups.count)
        assert (np.abs(groups.predicted - groups.realised) <= 4 * error + 1e-9).all()
        assert groups.count.tolist() == [5000] * 10


def test_bids_are_needed_for_calibration() -> None:
    with pytest.raises(ValueError, match="no bids"):
        win_rate_calibration(LANDSCAPE, PriceObservations(np.array([1]), np.array([True])))
