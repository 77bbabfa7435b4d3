"""Counting and the product-limit estimator against hand tables, closed forms and the published counts."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynrl.auctions import AuctionLog, Campaign
from dynrl.auctions.landscape import (
    GlobalLandscape,
    PriceObservations,
    SurvivalCounts,
    Tie,
    from_counts,
    product_limit,
)

D = 6
prices = hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, D))


def censored(price: np.ndarray, bid: np.ndarray, tie: Tie = "win") -> PriceObservations:
    won = bid >= price if tie == "win" else bid > price
    return PriceObservations(np.where(won, price, -1), won, bid)


def test_laplace_by_hand() -> None:
    """Counts 3, 0, 1 plus one each, and 2 of 6 + 3 rows above the largest price."""
    landscape = from_counts([3, 0, 1], above=2, laplace=1)
    np.testing.assert_allclose(landscape.pmf(), np.array([4, 1, 2]) / 9, rtol=1e-15)
    assert landscape.tail() == pytest.approx(2 / 9)
    assert landscape.delta_max == 2
    np.testing.assert_allclose(from_counts([3, 0, 1], laplace=0).pmf(), [0.75, 0, 0.25], rtol=1e-15)


def test_published_formula_on_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """Spec 3.1: m(δ) = (count[δ] + 1) / (312 437 + 301), no tail."""
    campaign = Campaign.from_info(campaign_file("2997.info.json"))
    landscape = from_counts(campaign.price_counts)
    np.testing.assert_allclose(landscape.pmf(), (campaign.price_counts + 1) / 312_738, rtol=1e-12)
    assert landscape.tail() == pytest.approx(0, abs=1e-12)
    assert landscape.win_rate(300) == pytest.approx(1)


def test_product_limit_on_campaign_2997_is_its_histogram(campaign_file: Callable[[str], Path]) -> None:
    """All 312 437 impressions were won: nothing to correct."""
    counts = Campaign.from_info(campaign_file("2997.info.json")).price_counts
    seen = np.repeat(np.arange(301), counts)
    landscape = product_limit(PriceObservations(seen, np.ones(len(seen), bool)))
    np.testing.assert_allclose(landscape.pmf(), counts / counts.sum(), atol=1e-14)


def test_product_limit_recovers_the_histogram_of_2997_from_random_bids(
    campaign_file: Callable[[str], Path],
) -> None:
    """Bids uniform on 0..300 hide many prices. M(z) is within 5 standard errors (Greenwood's formula) of the truth at
    every z ≤ 250; counting wins alone is off by 0.09 somewhere."""
    counts = Campaign.from_info(campaign_file("2997.info.json")).price_counts
    rng = np.random.default_rng(0)
    price = np.repeat(np.arange(301), counts)
    observations = censored(price, rng.integers(0, 301, len(price)))
    truth = np.cumsum(counts) / counts.sum()
    corrected = product_limit(observations).cdf()
    table = SurvivalCounts.from_observations(observations)
    n, d = np.maximum(table.at_risk, 1), table.events
    error = (1 - corrected) * np.sqrt(np.cumsum(d / np.maximum(n * (n - d), 1)))
    wins_only = np.cumsum(np.bincount(price[observations.won], minlength=301)) / observations.won.sum()
    assert (np.abs(corrected - truth) <= 5 * error + 1e-12)[:251].all()
    assert np.abs(wins_only - truth).max() > 0.09


TABLE = (
    # (bid, price when won); Kaplan-Meier by hand: n(1) = 6, d = 1; n(2) = 4, d = 2 (ties win).
    (5, 1),
    (1, None),  # price > 1
    (2, 2),
    (4, 2),
    (3, None),  # price > 3
    (5, 5),
)


def table() -> PriceObservations:
    bid, price = zip(*TABLE, strict=True)
    return PriceObservations(
        np.array([-1 if p is None else p for p in price]),
        np.array([p is not None for p in price]),
        np.array(bid),
    )


def test_product_limit_by_hand() -> None:
    """S(0) = 1, S(1) = 5/6, S(2) = 5/6 · 2/4, S(3) = S(4) = S(2), S(5) = 0: n(5) = 1, d(5) = 1."""
    survival = [
        Fraction(1),
        Fraction(5, 6),
        Fraction(5, 12),
        Fraction(5, 12),
        Fraction(5, 12),
        Fraction(0),
        0,
    ]
    np.testing.assert_allclose(
        1 - product_limit(table(), D).cdf(), np.array(survival, float), rtol=1e-14, atol=1e-15
    )


def test_product_limit_by_hand_when_ties_lose() -> None:
    """A loss at bid 3 says price ≥ 3: at risk up to 2. Rows: won at 1 (bid 4), lost at 1, won at 2 (bid 3), lost at 3,
    lost at 0 (says nothing). n(0) = 4, n(1) = 3, d(1) = 1, n(2) = 2, d(2) = 1, nothing at risk above."""
    observations = PriceObservations(
        np.array([1, -1, 2, -1, -1]),
        np.array([True, False, True, False, False]),
        np.array([4, 1, 3, 3, 0]),
    )
    counts = SurvivalCounts.from_observations(observations, 4, "lose")
    assert counts.at_risk.tolist() == [4, 3, 2, 0, 0]
    landscape = product_limit(observations, 4, "lose")
    np.testing.assert_allclose(landscape.cdf(), [0, 1 / 3, 2 / 3, 2 / 3, 2 / 3], rtol=1e-14)
    assert landscape.tail() == pytest.approx(1 / 3)


def test_beyond_the_largest_bid_the_mass_is_the_tail() -> None:
    """Ten auctions at bid 3, four won at price 1: nothing says where the other six lie."""
    won = np.arange(10) < 4
    landscape = product_limit(PriceObservations(np.where(won, 1, -1), won, np.full(10, 3)), 300)
    assert landscape.tail() == pytest.approx(0.6)
    assert landscape.win_rate([0, 1, 3, 300, 10_000]).tolist() == pytest.approx([0, 0.4, 0.4, 0.4, 0.4])


@given(prices)
def test_nothing_censored_is_plain_counting(price: np.ndarray) -> None:
    counts = np.bincount(price, minlength=D + 1)
    observations = PriceObservations(price, np.ones(len(price), bool))
    np.testing.assert_allclose(product_limit(observations, D).pmf(), counts / len(price), atol=1e-14)
    np.testing.assert_allclose(
        product_limit(observations, D, laplace=2).pmf(), from_counts(counts, laplace=2).pmf(), atol=1e-14
    )


@given(st.data(), prices, st.sampled_from(["win", "lose"]))
def test_product_limit_is_the_textbook_product(data: st.DataObject, price: np.ndarray, tie: Tie) -> None:
    bid = data.draw(hnp.arrays(np.int64, len(price), elements=st.integers(0, D + 2)))
    observations = censored(price, bid, tie)
    lost = ~observations.won
    above = bid[lost] - (tie == "lose")
    survival, expected = 1.0, []
    for z in range(D + 1):
        n = (price[~lost] >= z).sum() + (above >= z).sum()
        survival *= 1 - (price[~lost] == z).sum() / n if n else 1
        expected.append(1 - survival)
    landscape = product_limit(observations, D, tie)
    np.testing.assert_allclose(landscape.cdf(), expected, atol=1e-13)
    assert landscape.tail() == pytest.approx(survival, abs=1e-13)


@given(prices, st.integers(1, D))
def test_a_price_above_the_largest_counts_as_survival(price: np.ndarray, largest: int) -> None:
    observations = PriceObservations(price, np.ones(len(price), bool))
    landscape = product_limit(observations, largest)
    assert landscape.tail() == pytest.approx((price > largest).mean(), abs=1e-13)
    np.testing.assert_allclose(
        landscape.pmf(), product_limit(observations, D).pmf()[: largest + 1], atol=1e-13
    )


@given(prices, prices, st.floats(0.5, 50))
def test_the_prior_is_worth_its_strength_in_auctions(a: np.ndarray, b: np.ndarray, kappa: float) -> None:
    """(n m̂ + κ m₀) / (n + κ), spec 3.3, when nothing is censored."""
    counts, prior = np.bincount(a, minlength=D + 1), np.bincount(b, minlength=D + 1) / len(b)
    blended = SurvivalCounts.from_counts(counts).pmf(prior, kappa)
    np.testing.assert_allclose(blended, (counts + kappa * prior) / (len(a) + kappa), atol=1e-13)


@given(prices, prices)
def test_counts_of_two_periods_add(a: np.ndarray, b: np.ndarray) -> None:
    def counts(price: np.ndarray) -> SurvivalCounts:
        return SurvivalCounts.from_observations(censored(price, np.full(len(price), 3)), D)

    together = (counts(a) + counts(b)).pmf()
    np.testing.assert_allclose(together, counts(np.concatenate([a, b])).pmf(), atol=1e-13)
    np.testing.assert_allclose((0.5 * counts(a)).pmf(), counts(a).pmf(), atol=1e-13)


def test_posterior_draws_have_the_posterior_mean_and_a_dirichlet_variance() -> None:
    """Without censoring and with prior α = κ m₀ the posterior is Dirichlet(α + counts):
    variance m (1 - m) / (n + κ + 1). 20 000 draws: means within 5 standard errors, variances within 6 %."""
    counts, prior = SurvivalCounts.from_counts([4, 0, 7, 1]), np.full(4, 0.25)
    rng = np.random.default_rng(0)
    draws = np.array([counts.sample(rng, prior, 4.0) for _ in range(20_000)])
    mean = counts.pmf(prior, 4.0)
    variance = mean * (1 - mean) / (12 + 4 + 1)
    assert (np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / 20_000)).all()
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.06)
    assert np.allclose(draws.sum(1), 1)


def test_win_rate_follows_the_tie_rule_and_floors_bids() -> None:
    landscape = GlobalLandscape(np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(landscape.win_rate([-1, 0, 1.9, 2, 7]), [0, 0.1, 0.3, 0.6, 0.6])
    np.testing.assert_allclose(landscape.win_rate([0, 1, 2, 3], tie="lose"), [0, 0.1, 0.3, 0.6])
    with pytest.raises(ValueError, match="bid is NaN"):
        landscape.win_rate(np.nan)


def test_observations_of_a_log() -> None:
    log = AuctionLog(
        np.array([0, 1], np.uint8),
        np.array([5, -1], np.int32),
        bid=np.array([6, 4], np.int32),
        won=np.array([True, False]),
    )
    assert PriceObservations.from_log(log).known_above("win").tolist() == [5, 4]
    assert PriceObservations.from_log(log).known_above("lose").tolist() == [5, 3]


@pytest.mark.parametrize(
    ("price", "won", "bid", "message"),
    [
        ([], [], None, "no auctions"),
        ([1.5], [True], None, "expected integers"),
        ([1, 2], [True], None, "expected equal lengths"),
        ([-1, 2], [True, True], None, "row 0 is won at price -1"),
        ([2, -1], [True, False], None, "1 rows were lost but there are no bids"),
        ([2, -1], [True, False], [3, -2], "bid is -2"),
    ],
)
def test_wrong_observations_are_refused(price: list, won: list, bid: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriceObservations(
            np.array(price, None if price else np.int64),
            np.array(won, bool),
            None if bid is None else np.array(bid),
        )


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="all zero"):
        from_counts([0, 0, 0])
    with pytest.raises(ValueError, match="non-negative"):
        from_counts([1, -1])
    with pytest.raises(ValueError, match="laplace is -1"):
        from_counts([1, 1], laplace=-1)
    with pytest.raises(ValueError, match=r"sum to 1\.2"):
        GlobalLandscape(np.array([0.6, 0.6]))
