"""The neural landscape: where it starts, what it learns, what it says about the tail."""

import dataclasses

import numpy as np
import pytest

from dynrl.auctions import Features
from dynrl.auctions.landscape import (
    GlobalLandscape,
    HazardConfig,
    PriceObservations,
    SegmentLandscape,
    censored_log_likelihood,
    fit_hazard,
    fit_segments,
)

SMALL = HazardConfig(
    width=16, depth=2, embedding=4, buckets=64, learning_rate=1e-2, batch_size=256, epochs=12
)
D = 12


def segments(rows: int, seed: int) -> tuple[PriceObservations, np.ndarray, SegmentLandscape]:
    """Auctions in three segments of known, spiky price distributions; a quarter or so are lost."""
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(7).dirichlet(np.full(D + 1, 0.5), 3) * 0.95
    code = rng.integers(0, 3, rows)
    cdf = np.cumsum(table, axis=1)
    price = (rng.random(rows)[:, None] > cdf[code]).sum(1)  # D + 1: above the largest price
    bid = rng.integers(2, D + 6, rows)
    won = bid >= price
    return PriceObservations(np.where(won, price, -1), won, bid), code, SegmentLandscape(table, table.mean(0))


def one_hot(code: np.ndarray) -> Features:
    return Features((10 * code).astype(np.int32), np.arange(len(code) + 1), 30)


def test_it_starts_from_the_product_limit() -> None:
    """Half an observation per price and one half for the tail; with no learning that is the landscape, whatever x."""
    observations, _, _ = segments(400, 0)
    x = np.random.default_rng(1).normal(size=(400, 2))
    still = dataclasses.replace(SMALL, learning_rate=1e-12, epochs=1)
    landscape = fit_hazard(observations, x, still, delta_max=D)
    training = np.random.default_rng([0, 0]).permutation(400)[40:]
    sample = observations.take(training)
    level, survival, expected = sample.known_above("win"), 1.0, []
    for z in range(D + 1):
        d = (sample.won & (level == z)).sum() + 0.5
        n = (level >= z).sum() + 0.5 * (D + 2 - z)
        expected.append(survival * d / n)
        survival *= 1 - d / n
    np.testing.assert_allclose(landscape.pmf(x[:5]), np.tile(expected, (5, 1)), rtol=1e-5)
    np.testing.assert_allclose(landscape.tail(x[:5]), survival, rtol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_learns_the_segments(sparse: bool) -> None:
    """On fresh rows it gains over the landscape without x at least 90 % of what the truth gains."""
    observations, code, truth = segments(6000, 0)
    fresh, fresh_code, _ = segments(6000, 1)

    def x(code: np.ndarray) -> Features | np.ndarray:
        return one_hot(code) if sparse else np.eye(3)[code]

    landscape = fit_hazard(observations, x(code), SMALL, delta_max=D)
    blind = fit_segments(observations, code, delta_max=D).overall
    base = censored_log_likelihood(GlobalLandscape(blind), fresh)
    gain = censored_log_likelihood(landscape, fresh, x(fresh_code)) - base
    assert gain > 0.9 * (censored_log_likelihood(truth, fresh, fresh_code) - base)
    assert max(landscape.history) > landscape.history[0]


def test_the_probability_of_prices_and_tail_is_one_even_where_hazards_are_extreme() -> None:
    observations, code, _ = segments(500, 0)
    landscape = fit_hazard(observations, np.eye(3)[code], dataclasses.replace(SMALL, epochs=1), delta_max=D)
    network = dataclasses.replace(
        landscape.network, base=landscape.network.base.at[:].set(np.linspace(-60, 60, D + 1))
    )
    extreme = dataclasses.replace(landscape, network=network)
    pmf = extreme.pmf(np.eye(3))
    assert pmf.shape == (3, D + 1) and (pmf >= 0).all()
    np.testing.assert_allclose(pmf.sum(1) + extreme.tail(np.eye(3)), 1, rtol=1e-12)
    assert extreme.pmf(np.eye(3).reshape(1, 3, 3)).shape == (1, 3, D + 1)
    np.testing.assert_allclose(np.log(pmf[0, :3]), [-60, -50, -40], atol=0.1)


def test_same_seed_same_landscape() -> None:
    observations, code, _ = segments(600, 0)
    once, again = (fit_hazard(observations, one_hot(code), SMALL, delta_max=D) for _ in range(2))
    assert once.history == again.history
    assert (once.pmf(one_hot(code)) == again.pmf(one_hot(code))).all()


def test_wrong_input_is_refused() -> None:
    observations, code, _ = segments(50, 0)
    with pytest.raises(ValueError, match=r"x has shape \(50, 0\), expected \[50, d\]"):
        fit_hazard(observations, np.zeros((50, 0)), SMALL, delta_max=D)
    with pytest.raises(ValueError, match="too few to hold out"):
        fit_hazard(observations.take(slice(0, 3)), np.eye(3)[code[:3]], SMALL, delta_max=D)
    with pytest.raises(ValueError, match="held_out is 1"):
        HazardConfig(held_out=1.0)
    landscape = fit_hazard(observations, one_hot(code), dataclasses.replace(SMALL, epochs=1), delta_max=D)
    with pytest.raises(ValueError, match="expected sparse Features"):
        landscape.pmf(np.eye(3))
