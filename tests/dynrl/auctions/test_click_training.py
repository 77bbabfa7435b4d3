"""FTRL-proximal and SGD against plain Python, and what they learn from a known model."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from dynrl.auctions import AuctionLog, Features
from dynrl.auctions.clicks import FTRL, SGD, auc, fit_click_model, log_loss, reliability
from dynrl.auctions.clicks.sampling import passes

DIMENSION = 40


def sparse(rows: list[list[int]], dimension: int = DIMENSION) -> Features:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Features(np.array([i for row in rows for i in row], np.int32), indptr, dimension)


def world(count: int, seed: int, base: float = -2.0) -> tuple[Features, np.ndarray, np.ndarray]:
    """Rows with a bias and three categories of ten values each; (features, clicks, true probabilities)."""
    rng = np.random.default_rng(seed)
    weights = np.append(base, np.random.default_rng(5).normal(0, 0.8, 30))
    values = 1 + rng.integers(0, 10, (count, 3)) + 10 * np.arange(3)
    indices = np.concatenate([np.zeros((count, 1), int), values], axis=1)
    theta = expit(weights[indices].sum(1))
    features = Features(indices.ravel().astype(np.int32), 4 * np.arange(count + 1, dtype=np.int64), 31)
    return features, (rng.random(count) < theta).astype(np.uint8), theta


def reference_ftrl(rows: list[list[int]], click: list[int], ftrl: FTRL) -> list[float]:
    """Spec section 7, line by line."""
    z, n = [0.0] * DIMENSION, [0.0] * DIMENSION

    def weight(i: int) -> float:
        if abs(z[i]) <= ftrl.l1:
            return 0.0
        sign = math.copysign(1.0, z[i])
        return -(z[i] - sign * ftrl.l1) / ((ftrl.beta + math.sqrt(n[i])) / ftrl.alpha + ftrl.l2)

    for row, y in zip(rows, click, strict=True):
        present = sorted(set(row))
        w = {i: weight(i) for i in present}
        g = 1 / (1 + math.exp(-sum(w.values()))) - y
        for i in present:
            sigma = (math.sqrt(n[i] + g * g) - math.sqrt(n[i])) / ftrl.alpha
            z[i] += g - sigma * w[i]
            n[i] += g * g
    return [weight(i) for i in range(DIMENSION)]


rows_and_clicks = st.lists(
    st.tuples(st.lists(st.integers(0, DIMENSION - 1), max_size=7), st.integers(0, 1)), min_size=1, max_size=60
).filter(lambda rows: any(click for _, click in rows))


@settings(deadline=None)
@given(rows_and_clicks, st.sampled_from([FTRL(l1=0, l2=0, buffer=1), FTRL(0.1, 1, 0.3, 1, buffer=1)]))
def test_ftrl_is_the_formula_row_by_row(data: list[tuple[list[int], int]], ftrl: FTRL) -> None:
    """Empty rows and repeated features included; logs in blocks give the same."""
    rows, click = [row for row, _ in data], [y for _, y in data]
    expected = reference_ftrl(rows, click, ftrl)
    np.testing.assert_allclose(ftrl.fit(sparse(rows), click).weights, expected, rtol=1e-12, atol=1e-14)
    half, state = len(rows) // 2, ftrl.start(DIMENSION)
    for part in (slice(0, half), slice(half, None)):
        state = ftrl.update(state, sparse(rows[part]), click[part])
    np.testing.assert_allclose(ftrl.model(state).weights, expected, rtol=1e-12, atol=1e-14)


def test_ftrl_over_many_rows_is_the_formula() -> None:
    features, click, _ = world(3000, 0)
    rows = features.indices.reshape(-1, 4).tolist()
    ftrl = FTRL(alpha=0.1, l1=3, epochs=2, buffer=1)
    expected = reference_ftrl(rows + rows, [*click.tolist(), *click.tolist()], ftrl)[:31]
    np.testing.assert_allclose(ftrl.fit(features, click).weights, expected, rtol=1e-12, atol=1e-14)
    assert 0 in expected and np.count_nonzero(expected) > 10


def test_a_constant_weight_is_an_exact_zero_until_l1_is_exceeded() -> None:
    """One feature, one click: z = -½; λ₁ = 1 keeps it at 0, λ₁ = 0.1 gives w = 0.4 / ((1 + ½) / α + λ₂)."""
    one = sparse([[3]])
    assert not FTRL().fit(one, [1]).weights.any()
    assert FTRL(alpha=0.05, l1=0.1).fit(one, [1]).weights[3] == pytest.approx(0.4 / (1.5 / 0.05 + 1))


def test_sgd_steps_on_the_sum_of_losses() -> None:
    """Two batches of two rows by hand, without shuffling; the second batch has one row left over."""
    rows, click = [[0, 1], [0], [0, 2]], np.array([1, 0, 1])
    sgd = SGD(learning_rate=0.5, batch_size=2, initial=0, epochs=1, buffer=1)
    w = np.zeros(3)
    w[0] += 0.5 * (0.5 - 0.5)
    w[1] += 0.5 * 0.5
    error = expit(w[0] + w[2]) - 1
    w[0] -= 0.5 * error
    w[2] -= 0.5 * error
    np.testing.assert_allclose(sgd.fit(sparse(rows, 3), click).weights, w, rtol=1e-14)
    start = dataclasses.replace(sgd, initial=1e-3, learning_rate=1e-300).fit(sparse(rows, 3), click).weights
    assert (np.abs(start) <= 1e-3).all() and start.any()


@pytest.mark.parametrize(
    "learner", [FTRL(l1=0.1, epochs=3), SGD(batch_size=200, learning_rate=1e-2, epochs=20)]
)
def test_both_learn_the_model_that_made_the_clicks(learner: FTRL | SGD) -> None:
    """On 20 000 fresh rows the log-loss is within 5 % of the gap between the constant and the truth (chance costs a
    logistic model of 31 weights 1.3 %), and the ranking is within one point of the best possible AUC."""
    features, click, _ = world(20_000, 0)
    fresh, fresh_click, truth = world(20_000, 1)
    theta = learner.fit(features, click).predict(fresh)
    constant = log_loss(np.full(20_000, click.mean()), fresh_click)
    best = log_loss(truth, fresh_click)
    assert log_loss(theta, fresh_click) < best + 0.05 * (constant - best)
    assert auc(theta, fresh_click) > auc(truth, fresh_click) - 0.01
    assert reliability(theta, fresh_click).overall_ratio == pytest.approx(1, abs=0.06)


def test_thinned_negatives_do_not_bias_the_probabilities() -> None:
    """One row in ten of the unclicked: uncorrected predictions would be several times too high. The standard error of
    the ratio with 20 000 rows at 5 % is 3 %."""
    features, click, _ = world(20_000, 0, base=-4.0)
    model = FTRL(l1=0, l2=0, epochs=5, negative_rate=0.1).fit(features, click)
    ratio = model.predict(features).mean() / click.mean()
    assert ratio == pytest.approx(1, abs=0.1)
    assert dataclasses.replace(model, negative_rate=1.0).predict(features).mean() > 4 * click.mean()


def test_passes_shuffle_within_buffers_and_keep_all_clicks() -> None:
    click = (np.arange(100) % 10 == 0).astype(float)
    whole = list(passes(click, 2, 30, 1.0, 0))
    assert [sorted(part) for part in whole[:4]] == [list(range(s, min(s + 30, 100))) for s in (0, 30, 60, 90)]
    assert not np.array_equal(whole[0], np.sort(whole[0])) and not np.array_equal(whole[0], whole[4])
    thinned = np.concatenate(list(passes(click, 1, 30, 0.2, 0)))
    assert set(np.flatnonzero(click)) <= set(thinned) and 10 < len(thinned) < 50
    np.testing.assert_array_equal(np.concatenate(list(passes(click, 1, 1, 1.0, 0))), np.arange(100))


def test_same_seed_same_weights() -> None:
    features, click, _ = world(500, 0)
    for learner in (FTRL(l1=0), SGD(batch_size=50)):
        assert (learner.fit(features, click).weights == learner.fit(features, click).weights).all()
        other = dataclasses.replace(learner, seed=1)
        assert (learner.fit(features, click).weights != other.fit(features, click).weights).any()


def test_calibration_rows_do_not_touch_the_weights() -> None:
    """The last fifth calibrates: flipping its clicks leaves the weights alone and moves the probabilities."""
    features, click, _ = world(2000, 0)
    log = AuctionLog(click, np.zeros(2000, np.int32), features=features)
    flipped = dataclasses.replace(
        log, click=np.where(np.arange(2000) >= 1600, 1 - click, click).astype(np.uint8)
    )
    one, other = fit_click_model(log), fit_click_model(flipped)
    assert (one.weights == other.weights).all()
    assert (one.weights == FTRL().fit(features.take(np.arange(1600)), click[:1600]).weights).all()
    theta = one.apply(log).theta
    assert theta is not None and theta[1600:].mean() == pytest.approx(click[1600:].mean(), rel=0.02)
    assert other.predict(features)[1600:].mean() > 0.5
    lost = dataclasses.replace(
        log, won=np.arange(2000) % 2 == 0, bid=np.ones(2000, np.int32), price=np.zeros(2000, np.int32)
    )
    uncalibrated = fit_click_model(lost, calibration=None)
    expected = FTRL().fit(features.take(np.arange(0, 2000, 2)), click[::2])
    assert (uncalibrated.weights == expected.weights).all()


@pytest.mark.parametrize(
    ("click", "message"),
    [([0, 0], "no clicks"), ([0, 2], "0 and 1"), ([1], r"shape \(1,\), expected \[2\]")],
)
def test_wrong_clicks_are_refused(click: list[int], message: str) -> None:
    for learner in (FTRL(), SGD()):
        with pytest.raises(ValueError, match=message):
            learner.fit(sparse([[0], [1]]), click)


def test_wrong_features_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 40, expected 0\.\.39"):
        FTRL().fit(sparse([[0], [40]]), [0, 1])
    with pytest.raises(ValueError, match="no rows"):
        FTRL().fit(sparse([]), [])
    with pytest.raises(ValueError, match="do not fit a state of dimension 7"):
        FTRL().update(FTRL().start(7), sparse([[0]]), [1])
    for wrong in ({"alpha": 0}, {"l1": -1}, {"epochs": 0}, {"negative_rate": 0}, {"buffer": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FTRL(**wrong)
    with pytest.raises(ValueError, match="no features"):
        fit_click_model(AuctionLog(np.zeros(2, np.uint8), np.zeros(2, np.int32)))
