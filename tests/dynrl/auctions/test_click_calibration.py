"""Calibrators against brute force and their score equations; metrics by hand; models on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logit

from dynrl.auctions import Features
from dynrl.auctions.clicks import (
    ClickModel,
    Isotonic,
    Platt,
    auc,
    log_loss,
    recalibrate,
    relative_log_loss,
    reliability,
    undo_down_sampling,
)
from dynrl.errors import FileFormatError
from dynrl.runs.array_file import write_arrays

# Few distinct values, so that ties are common.
thetas = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.7, 1.0])),
        hnp.arrays(np.int64, n, elements=st.integers(0, 1)).filter(np.any),
    )
)


@given(thetas)
def test_isotonic_is_the_max_min_formula(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """value(k) = max over i ≤ k of min over j ≥ k of the click rate of predictions i..j (Barlow et al. 1972)."""
    theta, click = rows
    distinct = np.unique(theta)
    expected = [
        max(
            min(click[(theta >= low) & (theta <= high)].mean() for high in distinct[distinct >= value])
            for low in distinct[distinct <= value]
        )
        for value in distinct
    ]
    calibrator = Isotonic.fit(theta, click)
    np.testing.assert_allclose(calibrator(distinct), expected, atol=1e-12)
    assert calibrator(theta).sum() == pytest.approx(click.sum(), rel=1e-12)
    assert (np.diff(calibrator(np.linspace(0, 1, 101))) >= 0).all()


def test_isotonic_is_linear_between_and_constant_beyond() -> None:
    calibrator = Isotonic.fit([0.2, 0.4, 0.8], [0, 0, 1])
    np.testing.assert_allclose(calibrator([0.0, 0.3, 0.6, 0.9]), [0, 0, 0.5, 1])


def test_platt_solves_its_score_equations_and_undoes_a_known_distortion() -> None:
    """Clicks with probability σ(logit p), predictions σ(2 logit p + 1): the map is slope ½, intercept -½; with 40 000
    rows the standard errors are about 0.01 and 0.02."""
    rng = np.random.default_rng(0)
    p = expit(rng.normal(-2, 1, 40_000))
    click = rng.random(40_000) < p
    theta = expit(2 * logit(p) + 1)
    platt = Platt.fit(theta, click)
    assert platt.slope == pytest.approx(0.5, abs=0.04) and platt.intercept == pytest.approx(-0.5, abs=0.08)
    clicks, others = click.sum(), (~click).sum()
    target = np.where(click, (clicks + 1) / (clicks + 2), 1 / (others + 2))
    residual = platt(theta) - target
    assert abs(residual.sum()) < 1e-4 * clicks and abs(residual @ logit(theta)) < 1e-4 * clicks


def test_platt_is_finite_on_separable_rows_and_certain_predictions() -> None:
    platt = Platt.fit([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1])
    np.testing.assert_allclose(platt([0.0, 1.0]), [1 / 4, 3 / 4], atol=1e-6)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-3, 1))
def test_down_sampling_scales_the_odds(p: float, rate: float) -> None:
    """Training on a share w of the negatives multiplies the odds by 1 / w."""
    corrected = float(undo_down_sampling(p, rate))
    assert corrected / (1 - corrected) == pytest.approx(rate * p / (1 - p), rel=1e-6)


@given(thetas)
def test_auc_is_the_share_of_ordered_pairs(rows: tuple[np.ndarray, np.ndarray]) -> None:
    theta, click = rows
    pairs = theta[click == 1][:, None] - theta[click == 0][None]
    value = auc(theta, click)
    if pairs.size == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_log_loss_by_hand() -> None:
    assert log_loss([0.5, 0.25, 0.75], [1, 0, 1]) == pytest.approx((np.log(2) - 2 * np.log(0.75)) / 3)
    assert log_loss([0.0], [1]) == np.inf and log_loss([0.0], [0]) == 0
    assert relative_log_loss([0.5, 0.5], [1, 0], 0.25) == pytest.approx(np.log(2) / np.log(4 / np.sqrt(3)))
    with pytest.raises(ValueError, match="rate is 0"):
        relative_log_loss([0.5], [1], 0.0)


def test_published_estimator_on_campaign_2997(campaign_file: Callable[[str], Path]) -> None:
    """AUC 60.44 % (spec section 7); mean pCTR 0.00393 against a click rate of 530 / 156 063 (section 11.3). Platt's two
    parameters from the first half of the test rows bring the second half to within 3 standard errors, 20 %, of its
    clicks."""
    click, _, theta = np.loadtxt(campaign_file("2997.test.theta.txt")).T
    assert 100 * auc(theta, click) == pytest.approx(60.44, abs=0.005)
    groups = reliability(theta, click)
    assert groups.overall_ratio == pytest.approx(0.00393 / (530 / 156_063), abs=0.002)
    assert groups.count.sum() == 156_063
    half = len(click) // 2
    corrected = Platt.fit(theta[:half], click[:half])(theta[half:])
    assert corrected.mean() / click[half:].mean() == pytest.approx(1, abs=0.2)
    assert log_loss(corrected, click[half:]) < log_loss(theta[half:], click[half:])


def test_reliability_by_hand() -> None:
    groups = reliability([0.1, 0.9, 0.2, 0.6], [0, 1, 1, 0], bins=2)
    assert groups.count.tolist() == [2, 2]
    np.testing.assert_allclose(groups.predicted, [0.15, 0.75])
    np.testing.assert_allclose(groups.realised, [0.5, 0.5])
    np.testing.assert_allclose(groups.ratio, [0.3, 1.5])
    assert groups.overall_ratio == pytest.approx(0.9)
    assert groups.expected_error == pytest.approx(0.3)
    nothing = reliability([0.1, 0.2], [0, 0])
    assert np.isnan(nothing.ratio).all() and np.isnan(nothing.overall_ratio)


def test_recalibration_looks_back_only() -> None:
    """Half-life one row, prior 1: row i has (1 + Σ ½^{i-1-j} click_j) / (1 + Σ ½^{i-1-j} θ_j), won rows j < i."""
    theta, click, won = np.array([0.2, 0.4, 0.6, 0.5]), np.array([1, 1, 0, 1]), np.array([1, 0, 1, 1])
    expected = [0.2, 0.4 * 2 / 1.2, 0.6 * 1.5 / 1.1, 0.5 * (1 + 0.25) / (1 + 0.05 + 0.6)]
    np.testing.assert_allclose(recalibrate(theta, click, won, half_life=1, prior=1), expected)
    later = recalibrate(theta, 1 - click, won, half_life=1, prior=1)
    assert later[0] == 0.2 and later[1] != expected[1]


def test_recalibration_finds_a_constant_factor() -> None:
    """True rates are half the predictions. With a half-life of 50 000 rows at 5 % the estimate rests on about 3600
    clicks: within 4 standard errors, 7 %, of ½ at the end."""
    rng = np.random.default_rng(0)
    theta = rng.uniform(0.05, 0.15, 200_000)
    corrected = recalibrate(theta, rng.random(200_000) < theta / 2)
    assert corrected[-1] / theta[-1] == pytest.approx(0.5, rel=0.07)
    assert corrected[0] == theta[0]


@pytest.mark.parametrize("method", [None, "isotonic", "platt"])
def test_a_model_on_disk_predicts_the_same(tmp_path: Path, method: str | None) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=50) * (rng.random(50) < 0.5)
    features = Features(rng.integers(0, 50, 600).astype(np.int32), 6 * np.arange(101), 50)
    model = ClickModel(weights, negative_rate=0.3)
    if method is not None:
        model = model.calibrated(features, rng.integers(0, 2, 100), method)
    model.save(tmp_path / "model.safetensors")
    again = ClickModel.load(tmp_path / "model.safetensors")
    assert (again.predict(features) == model.predict(features)).all()
    assert again.negative_rate == 0.3 and (again.weights == weights).all()


def test_files_that_are_no_click_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_arrays(path, {"weights": np.zeros(3)}, {"kind": "policy"})
    with pytest.raises(FileFormatError, match="holds 'policy', expected a click model"):
        ClickModel.load(path)
    with pytest.raises(FileFormatError, match="does not exist"):
        ClickModel.load(tmp_path / "absent.safetensors")


def test_scores_count_a_repeated_feature_once_and_an_empty_row_is_even_odds() -> None:
    model = ClickModel(np.array([1.0, -2.0, 4.0]))
    features = Features(np.array([0, 2, 2, 1], np.int32), np.array([0, 3, 3, 4]), 3)
    np.testing.assert_allclose(model.scores(features), [5, 0, -2])
    np.testing.assert_allclose(model.predict(features), expit([5, 0, -2]))
    with pytest.raises(ValueError, match="trained on 3"):
        model.predict(Features(features.indices, features.indptr, 4))
    with pytest.raises(ValueError, match="expected one of isotonic, platt"):
        model.calibrated(features, [0, 1, 1], "beta")


def test_wrong_rows_are_refused() -> None:
    for fit in (Isotonic.fit, Platt.fit):
        with pytest.raises(ValueError, match="no clicks"):
            fit([0.1, 0.2], [0, 0])
        with pytest.raises(ValueError, match="expected \\[N\\] both"):
            fit([0.1, 0.2], [1])
        with pytest.raises(ValueError, match="probabilities in"):
            fit([0.1, np.nan], [1, 0])
    with pytest.raises(ValueError, match="outcomes must be 0 or 1"):
        auc([0.1, 0.2], [0, 2])
    with pytest.raises(ValueError, match="half_life is 0"):
        recalibrate([0.1], [0], half_life=0)
