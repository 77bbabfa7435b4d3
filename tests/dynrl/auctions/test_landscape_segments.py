"""Segments, hours, floors and smoothing: closed forms and invariances."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynrl.auctions import AuctionLog
from dynrl.auctions.landscape import (
    FlooredLandscape,
    FlooredRequest,
    PriceObservations,
    SegmentLandscape,
    SurvivalCounts,
    apply_floor,
    fit_hours,
    fit_segments,
    hours_of,
    kernel_smooth,
    monotone_hazard,
)

Kernel = Literal["triangular", "gaussian"]
D = 8
pmfs = hnp.arrays(np.float64, D + 1, elements=st.floats(0, 1)).map(lambda p: 0.9 * p / max(p.sum(), 1e-9))


def seen(price: list[int] | np.ndarray) -> PriceObservations:
    return PriceObservations(np.asarray(price), np.ones(len(price), bool))


def test_segments_back_off_by_the_formula() -> None:
    """m_seg = (n_seg m̂ + κ m_parent) / (n_seg + κ), spec 3.3; an empty segment is its parent; -1 is everything."""
    price, code = np.array([0, 1, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 1, -1])
    landscape = fit_segments(seen(price), code, 3, delta_max=2, kappa=10)
    overall = np.array([1, 2, 3]) / 6
    np.testing.assert_allclose(landscape.pmf(), overall)
    np.testing.assert_allclose(landscape.pmf(0), (np.array([1, 2, 0]) + 10 * overall) / 13)
    np.testing.assert_allclose(landscape.pmf(1), (np.array([0, 0, 2]) + 10 * overall) / 12)
    np.testing.assert_allclose(landscape.pmf([2, -1]), [overall, overall])
    assert landscape.pmf(np.zeros((4, 5), int)).shape == (4, 5, 3)


def test_segments_of_segments() -> None:
    """A fine segment that backs off to its coarse one, which backs off to all rows."""
    price, fine = np.array([0, 0, 1, 2, 2, 1]), np.array([0, 0, 1, 2, 2, 2])
    coarse_of = np.array([0, 0, 1])
    coarse = fit_segments(seen(price), coarse_of[fine], 2, delta_max=2, kappa=4)
    landscape = fit_segments(seen(price), fine, 3, delta_max=2, kappa=4, parent=coarse.pmf(coarse_of))
    np.testing.assert_allclose(landscape.pmf(1), (np.array([0, 1, 0]) + 4 * coarse.pmf(0)) / 5)
    np.testing.assert_allclose(landscape.pmf(2), (np.array([0, 1, 2]) + 4 * coarse.pmf(1)) / 7)


def test_a_censored_segment_borrows_what_it_cannot_see() -> None:
    """A segment that always bid 1 and lost learns about prices 0 and 1; above, its law is the parent's."""
    price, code = np.array([0, 1, 2, 3, -1, -1, -1]), np.array([0, 0, 0, 0, 1, 1, 1])
    bid = np.array([9, 9, 9, 9, 1, 1, 1])
    landscape = fit_segments(
        PriceObservations(price, price >= 0, bid), code, 2, delta_max=3, kappa=2, laplace=0
    )
    own, parent = landscape.pmf(1), landscape.pmf()
    assert own[:2].sum() < parent[:2].sum()
    np.testing.assert_allclose(own[2:] / own[2:].sum(), parent[2:] / parent[2:].sum(), rtol=1e-12)


def test_hours_share_with_their_neighbours_around_midnight() -> None:
    """κ = 0, weight ½: hour 0 sees its own price 1 and half of those of 23 and 1 o'clock."""
    landscape = fit_hours(seen([1, 2, 3]), [0, 23, 1], delta_max=3, kappa=0, neighbours=0.5)
    np.testing.assert_allclose(landscape.pmf(0), [0, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(landscape.pmf(2), [0, 0, 0, 1])
    np.testing.assert_allclose(
        fit_hours(seen([1, 2, 3]), [0, 23, 1], delta_max=3, kappa=0).pmf(0), [0, 1, 0, 0]
    )


def test_hours_come_from_timestamps() -> None:
    times = np.array(["2013-06-06T00:59:59.999", "2013-06-06T23:00:00.000"], "datetime64[ms]")
    log = AuctionLog(np.zeros(2, np.uint8), np.zeros(2, np.int32), timestamp=times)
    assert hours_of(log).tolist() == [0, 23]
    with pytest.raises(ValueError, match="no timestamps"):
        hours_of(AuctionLog(np.zeros(2, np.uint8), np.zeros(2, np.int32)))


@given(pmfs, st.integers(0, D + 3))
def test_a_floor_moves_the_mass_below_it(pmf: np.ndarray, floor: int) -> None:
    """max(rival, floor): the chance to win is unchanged from the floor up and zero below; above D nothing is won."""
    floored = apply_floor(pmf, floor)
    expected = np.where(np.arange(D + 1) >= floor, np.cumsum(pmf), 0.0)
    np.testing.assert_allclose(np.cumsum(floored), expected, atol=1e-12)


def test_floors_of_requests_differ() -> None:
    landscape = FlooredLandscape(SegmentLandscape(np.array([[0.5, 0.25, 0.25], [0, 0, 1]]), np.ones(3) / 3))
    request = FlooredRequest(np.array([0, 0, 1]), np.array([0, 1, 1]))
    np.testing.assert_allclose(landscape.pmf(request), np.array([[2, 1, 1], [0, 3, 1], [0, 0, 4]]) / 4)
    np.testing.assert_allclose(landscape.win_rate([0, 0, 2], request), [0.5, 0, 1])
    with pytest.raises(ValueError, match="floor is -1"):
        apply_floor([0.5, 0.5], -1)


@given(pmfs, st.floats(0.3, 6), st.sampled_from(["triangular", "gaussian"]))
def test_kernels_keep_the_mass_and_the_symmetry(pmf: np.ndarray, width: float, kernel: Kernel) -> None:
    smooth = kernel_smooth(pmf, width, kernel)
    assert smooth.sum() == pytest.approx(pmf.sum(), rel=1e-12)
    assert (smooth >= 0).all()
    np.testing.assert_allclose(
        kernel_smooth(np.stack([pmf, pmf[::-1]]), width, kernel)[1], smooth[::-1], atol=1e-14
    )


def test_triangular_kernel_by_hand() -> None:
    """Width 2: weights ¼, ½, ¼; what falls below 0 comes back to 0."""
    np.testing.assert_allclose(kernel_smooth([1.0, 0, 0, 0], 2), [0.75, 0.25, 0, 0])
    np.testing.assert_allclose(kernel_smooth([0, 0, 1.0, 0], 2), [0, 0.25, 0.5, 0.25])
    np.testing.assert_allclose(kernel_smooth([0.5, 0, 0.25, 0], 1), [0.5, 0, 0.25, 0])
    with pytest.raises(ValueError, match="width of the kernel is 0"):
        kernel_smooth([1.0, 0], 0)


def hazards(pmf: np.ndarray) -> np.ndarray:
    before = 1 - np.concatenate([[0], np.cumsum(pmf)[:-1]])
    return pmf / before


@given(hnp.arrays(np.int64, 6, elements=st.integers(0, 5)).filter(np.any))
def test_monotone_hazard_is_monotone_and_leaves_monotone_ones_alone(counts: np.ndarray) -> None:
    table = SurvivalCounts.from_counts(counts, above=3)
    smooth = monotone_hazard(table)
    assert (np.diff(hazards(smooth)) >= -1e-12).all()
    again = monotone_hazard(SurvivalCounts.from_counts(smooth, above=max(0.0, 1 - smooth.sum())))
    np.testing.assert_allclose(again, smooth, atol=1e-12)


@given(hnp.arrays(np.int64, 3, elements=st.integers(0, 4)).filter(np.any), st.integers(0, 3))
def test_monotone_hazard_is_the_most_likely(counts: np.ndarray, above: int) -> None:
    """No increasing hazard on a grid of step 1/20 is likelier."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * 3, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[(np.diff(grid, axis=1) >= 0).all(1)]

    def log_likelihood(pmf: np.ndarray) -> np.ndarray:
        terms = np.concatenate([pmf, 1 - pmf.sum(-1, keepdims=True)], -1).clip(1e-300)
        return np.log(terms) @ np.append(counts, above)

    before = np.concatenate([np.ones((len(grid), 1)), np.cumprod(1 - grid, axis=1)[:, :-1]], 1)
    best = log_likelihood(before * grid).max()
    assert log_likelihood(monotone_hazard(SurvivalCounts.from_counts(counts, above))) >= best - 1e-9


def test_wrong_segments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codes must lie in -1\.\.1"):
        fit_segments(seen([0, 1]), [0, 2], 2, delta_max=2)
    with pytest.raises(ValueError, match="expected integers"):
        fit_segments(seen([0, 1]), [0.0, 1.0], delta_max=2)
    landscape = fit_segments(seen([0, 1]), [0, 1], delta_max=2)
    with pytest.raises(ValueError, match="whole codes"):
        landscape.pmf(2)
