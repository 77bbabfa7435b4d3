"""Log-normal and gamma landscapes against SciPy's distributions and the likelihood of the truth."""

from typing import Literal

import jax
import numpy as np
import pytest
import scipy.stats

from dynrl.auctions import Features
from dynrl.auctions.landscape import (
    ParametricLandscape,
    PriceObservations,
    censored_log_likelihood,
    fit_parametric,
    from_counts,
)
from dynrl.auctions.landscape.families import FAMILIES

Name = Literal["log_normal", "gamma"]
BOTH: tuple[Name, ...] = ("log_normal", "gamma")


def law(family: Name, location: float, spread: float) -> scipy.stats.rv_continuous:
    if family == "log_normal":
        return scipy.stats.lognorm(s=np.exp(spread), scale=np.exp(location))
    return scipy.stats.gamma(a=np.exp(spread), scale=np.exp(location - spread))


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(("location", "spread"), [(4.0, -0.5), (4.0, 1.0), (1.0, 0.3)])
def test_probabilities_are_those_of_the_bins(family: Name, location: float, spread: float) -> None:
    landscape = ParametricLandscape(family, np.array([location, spread]), np.zeros((0, 2)), 300)
    cdf = law(family, location, spread).cdf(np.arange(301) + 0.5)
    np.testing.assert_allclose(landscape.pmf(), np.diff(cdf, prepend=0), atol=1e-13)
    assert landscape.tail() == pytest.approx(1 - cdf[-1], abs=1e-12)


@pytest.mark.parametrize("family", BOTH)
def test_logarithms_keep_their_digits_in_both_tails(family: Name) -> None:
    """Bins of tiny mass far below and above the bulk, and one so far out that only the density is left."""
    location, spread = (4.0, -1.5) if family == "log_normal" else (4.0, 3.0)
    truth, price = law(family, location, spread), np.array([3.0, 20, 55, 150, 300])
    with jax.enable_x64(True):
        bins = np.asarray(jax.jit(FAMILIES[family].log_bin)(location, spread, price))
        above = np.asarray(jax.jit(FAMILIES[family].log_above)(location, spread, price))
        slope = float(jax.jit(jax.grad(FAMILIES[family].log_bin))(location, spread, 3000.0))
    low, high = price - 0.5, price + 0.5
    mass = np.where(price < 55, truth.cdf(high) - truth.cdf(low), truth.sf(low) - truth.sf(high))
    np.testing.assert_allclose(bins, np.log(mass), rtol=1e-8)
    np.testing.assert_allclose(above, truth.logsf(price), rtol=1e-9, atol=1e-17)
    assert np.isfinite(slope) and slope > 0


@pytest.mark.parametrize("family", BOTH)
def test_the_fit_is_likelier_than_the_truth_but_not_by_more_than_chance_allows(family: Name) -> None:
    """Wilks: twice the gap is χ² with 6 degrees of freedom, below 27.9 with probability 0.9999. A third of the rows is
    lost, and ignoring that would move the location by ten of its standard errors."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=2000), 100 * rng.random(2000)], axis=1)
    true = ParametricLandscape(
        family,
        np.array([3.2, -0.6 if family == "log_normal" else 0.6]),
        np.array([[0.3, 0.1], [0.008, 0]]),
        120,
    )
    location, spread = true.parameters(x).T
    if family == "log_normal":
        price = np.exp(rng.normal(location, np.exp(spread)))
    else:
        price = rng.gamma(np.exp(spread), np.exp(location - spread))
    price = np.round(price).astype(np.int64)
    bid = rng.integers(0, 120, 2000)
    observations = PriceObservations(np.where(bid >= price, price, -1), bid >= price, bid)
    assert 0.25 < 1 - observations.won.mean() < 0.5
    fitted = fit_parametric(observations, x, family, delta_max=120, l2=0)
    gap = 2000 * (
        censored_log_likelihood(fitted, observations, x) - censored_log_likelihood(true, observations, x)
    )
    assert 0 <= 2 * gap < 27.9
    np.testing.assert_allclose(fitted.weights[0], true.weights[0], atol=0.1)


def test_units_of_the_features_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 1))
    price = np.round(np.exp(3 + 0.4 * x[:, 0] + 0.3 * rng.normal(size=500))).astype(np.int64)
    observations = PriceObservations(price, np.ones(500, bool))
    one = fit_parametric(observations, x).pmf(x[:3])
    np.testing.assert_allclose(
        fit_parametric(observations, 1000 * x + 7).pmf(1000 * x[:3] + 7), one, atol=1e-5
    )


def test_sparse_features_are_indicator_columns() -> None:
    """Two segments without penalty: the landscape of each is fitted to its own rows."""
    rng = np.random.default_rng(2)
    segment = rng.integers(0, 2, 800)
    price = np.round(np.exp(3 + segment + (0.3 + 0.2 * segment) * rng.normal(size=800))).astype(np.int64)
    observations = PriceObservations(price, np.ones(800, bool))
    features = Features(segment.astype(np.int32), np.arange(801), 2)
    together = fit_parametric(observations, features, l2=1e-9)
    rows = Features(np.array([0, 1], np.int32), np.arange(3), 2)
    for code in (0, 1):
        alone = fit_parametric(observations.take(segment == code), l2=0)
        np.testing.assert_allclose(together.pmf(rows)[code], alone.pmf(), atol=1e-4)


def test_wrong_input_is_refused() -> None:
    observations = PriceObservations(np.array([1, 2, 3]), np.ones(3, bool))
    with pytest.raises(ValueError, match="expected one of log_normal, gamma"):
        fit_parametric(observations, family="weibull")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x has 2 rows, expected 3"):
        fit_parametric(observations, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="no price above 0"):
        fit_parametric(PriceObservations(np.zeros(3, int), np.ones(3, bool)))
    landscape = ParametricLandscape("gamma", np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="x has 3 columns, expected 2"):
        landscape.pmf(np.zeros((4, 3)))
    assert from_counts([1, 1]).pmf(np.zeros((4, 3))).shape == (2,)
