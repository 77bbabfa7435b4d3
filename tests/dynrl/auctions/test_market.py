"""The joint law of price and click probability, and the markets made from training data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynrl.auctions import AuctionLog, Campaign, Categories, Market, click_atoms
from dynrl.auctions.landscape import equal_mass_atoms, market_from

probabilities = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


def log(rows: int = 1000, seed: int = 0) -> AuctionLog:
    """Two segments (and a third without rows): the second is dearer and clicks more."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 2, rows).astype(np.int32)
    return AuctionLog(
        click=np.zeros(rows, np.uint8),
        price=(10 * code + rng.integers(0, 10, rows)).astype(np.int32),
        theta=0.01 + 0.02 * code + 0.01 * rng.random(rows),
        categories={"exchange": Categories(code, ("a", "b", "c"))},
    )


def test_single_sorts_its_atoms_and_shares_their_mass() -> None:
    market = Market.single([0.5, 0.25], [0.3, 0.1], [0.25, 0.75])
    assert market.theta.tolist() == [[0.1, 0.3]] and market.theta_mass.tolist() == [[0.75, 0.25]]
    assert market.theta_avg == pytest.approx(0.15)
    assert market.delta_max == 1 and market.price_pmf.tolist() == [0.5, 0.25]
    assert Market.single([1.0, 0], [0.1, 0.2, 0.3]).theta_avg == pytest.approx(0.2)


def test_segments_mix_by_their_share() -> None:
    market = Market(
        np.array([[1.0, 0], [0, 0.5]]),
        np.array([[0.1, 0.3], [0.2, 0.2]]),
        np.array([[0.5, 0.5], [1.0, 0.0]]),
        np.array([0.25, 0.75]),
    )
    np.testing.assert_allclose(market.price_pmf, [0.25, 0.375])
    assert market.theta_avg == pytest.approx(0.2)
    blind = market.blind()
    assert blind.theta.tolist() == [[pytest.approx(0.2)]]
    np.testing.assert_allclose(blind.pmf, [[0.25, 0.375]])
    assert market.scaled(2.0).theta_avg == pytest.approx(0.4)


def test_arrays_of_a_market_are_its_own() -> None:
    pmf = np.array([0.5, 0.5])
    market = Market.single(pmf, [0.1])
    pmf[0] = 9
    assert market.pmf[0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        market.pmf[0, 0] = 1


@pytest.mark.parametrize(
    ("pmf", "theta", "mass", "share", "message"),
    [
        ([[0.9, 0.2]], [[0.1]], [[1]], [1], "sums to more than 1"),
        ([[0.5, -0.1]], [[0.1]], [[1]], [1], "pmf must be finite, non-negative"),
        ([[0.5, 0.1]], [[0.1]], [[0.9]], [1], "theta_mass must sum to 1"),
        ([[0.5, 0.1]], [[0.1]], [[1]], [0.9], "share must sum to 1"),
        ([[0.5, 0.1]], [[0.2, 0.1]], [[0.5, 0.5]], [1], "ascending"),
        ([[0.5, 0.1]], [[1.5]], [[1]], [1], "theta must be probabilities"),
        ([[0.5, 0.1]], [[0.1], [0.1]], [[1], [1]], [0.5, 0.5], "do not describe the same segments"),
        ([0.5, 0.1], [[0.1]], [[1]], [1], "pmf must be finite, non-negative and have 2 axes"),
    ],
)
def test_wrong_markets_are_refused(pmf: list, theta: list, mass: list, share: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Market(np.array(pmf), np.array(theta), np.array(mass), np.array(share))


def test_click_atoms_are_means_of_equal_slices() -> None:
    np.testing.assert_allclose(click_atoms([0.4, 0.1, 0.3, 0.2], 2), [0.15, 0.35])
    np.testing.assert_allclose(click_atoms([0.3, 0.1], 64), [0.1, 0.3])
    with pytest.raises(ValueError, match="no click probabilities"):
        click_atoms([])


@given(probabilities, st.integers(1, 50))
def test_equal_mass_atoms_keep_the_mean_and_never_spread_it(theta: np.ndarray, count: int) -> None:
    """Means of slices: same mean, ascending, and E max(0, θ - y) no larger than that of the rows (Jensen)."""
    atoms = equal_mass_atoms(theta, count)
    assert len(atoms) == count and (np.diff(atoms) >= 0).all()
    assert atoms.mean() == pytest.approx(theta.mean(), abs=1e-12)
    for y in (0.1, 0.5, 0.9):
        assert np.maximum(0, atoms - y).mean() <= np.maximum(0, theta - y).mean() + 1e-12
    if len(theta) % count == 0:
        np.testing.assert_allclose(atoms, click_atoms(theta, count), atol=1e-12)


def test_equal_mass_atoms_share_a_row_at_a_border() -> None:
    """Three rows in two slices of 1½: (0.1 + ½ 0.2) / 1½ and (½ 0.2 + 0.6) / 1½."""
    np.testing.assert_allclose(equal_mass_atoms([0.6, 0.1, 0.2], 2), [0.2 / 1.5, 0.7 / 1.5])


def test_market_of_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """The published counts with Laplace's one, and 64 means of the sorted validation pCTRs."""
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    theta = np.loadtxt(campaign_file("2997.validation.theta.txt"), usecols=2)
    market = market_from(campaign, theta)
    np.testing.assert_allclose(market.price_pmf, (campaign.price_counts + 1) / 312_738, rtol=1e-12)
    np.testing.assert_array_equal(market.theta[0], click_atoms(theta, 64))
    blind = market_from(campaign)
    assert blind.theta_avg == 1386 / 312_437 and blind.theta.shape == (1, 1)


def test_market_of_a_log_without_segments_is_that_of_its_campaign() -> None:
    rows = log()
    assert rows.theta is not None
    market = market_from(rows, delta_max=25)
    same = market_from(Campaign.from_log(rows, 25), rows.theta)
    np.testing.assert_allclose(market.pmf, same.pmf, atol=1e-14)
    np.testing.assert_array_equal(market.theta, same.theta)
    np.testing.assert_array_equal(
        market_from(rows, rows.theta / 2, delta_max=25).theta, click_atoms(rows.theta / 2)[None]
    )


def test_market_of_segments_knows_that_dear_requests_click_more() -> None:
    rows = log()
    assert rows.theta is not None
    code = rows.categories["exchange"].codes
    market = market_from(rows, segments="exchange", atoms=8, kappa=1e-9, laplace=0, delta_max=25)
    assert market.theta.shape == (3, 8)
    np.testing.assert_allclose(market.share, [np.mean(code == 0), np.mean(code == 1), 0])
    assert market.pmf[0, 10:].sum() == pytest.approx(0, abs=1e-9)
    assert market.pmf[1, :10].sum() == pytest.approx(0, abs=1e-9)
    for segment in (0, 1):
        expected = rows.theta[code == segment].mean()
        assert market.theta[segment].mean() == pytest.approx(expected, rel=1e-12)
    assert market.theta_avg == pytest.approx(rows.theta.mean(), rel=1e-12)
    empty = market_from(rows, atoms=8, laplace=0, delta_max=25)
    np.testing.assert_allclose(market.pmf[2], empty.pmf[0], atol=1e-12)


def test_lost_rows_correct_the_prices() -> None:
    """Bids of 5 lose against every price of segment b: counting wins alone would hide that half of the market."""
    rows = log()
    won = rows.price <= 5
    censored = AuctionLog(
        click=rows.click,
        price=np.where(won, rows.price, -1).astype(np.int32),
        theta=rows.theta,
        won=won,
        bid=np.full(len(rows), 5, np.int32),
    )
    market, full = market_from(censored, laplace=0), market_from(rows, laplace=0)
    np.testing.assert_allclose(market.price_pmf[:6], full.price_pmf[:6], atol=1e-13)
    assert market.price_pmf[6:].sum() == 0


def test_what_cannot_be_a_market_is_refused() -> None:
    rows = log(20)
    with pytest.raises(ValueError, match="no categories 'region' \\(it has: exchange\\)"):
        market_from(rows, segments="region")
    with pytest.raises(ValueError, match="counts have no segments"):
        market_from(Campaign.from_log(rows), rows.theta, segments="exchange")
    with pytest.raises(ValueError, match="apply a click model first"):
        market_from(AuctionLog(rows.click, rows.price))
    unknown = AuctionLog(
        rows.click,
        rows.price,
        theta=rows.theta,
        categories={"exchange": Categories(np.full(20, -1, np.int32), ("a",))},
    )
    with pytest.raises(ValueError, match="every row's segment"):
        market_from(unknown, segments="exchange")
