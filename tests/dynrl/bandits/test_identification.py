"""Identification from logs: exact without noise, honest about uncertainty with it, clear about bad logs."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.bandits import (
    DLBSystem,
    UnexcitedInputError,
    UnstableSystemError,
    identify_gain,
    identify_state_space,
)


def simulate_logs(
    rng: np.random.Generator,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    steps: int,
    sigma: float = 0.0,
    u: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Actions [steps, d] and outputs [steps, q] from a random initial state."""
    u = rng.random((steps, B.shape[1])) if u is None else u
    x, y = rng.standard_normal(len(A)), np.empty((len(u), len(C)))
    for t in range(len(u)):
        y[t] = C @ x + D @ u[t] + sigma * rng.standard_normal(len(C))
        x = A @ x + B @ u[t] + sigma * rng.standard_normal(len(A))
    return u, y


def random_matrices(rng: np.random.Generator, n: int, d: int, q: int, rho: float = 0.8) -> tuple:
    A = rng.standard_normal((n, n))
    A *= rho / np.abs(np.linalg.eigvals(A)).max()
    return A, rng.standard_normal((n, d)), rng.standard_normal((q, n)), rng.standard_normal((q, d))


def gain(A, B, C, D) -> np.ndarray:
    return D + C @ np.linalg.solve(np.eye(len(A)) - A, B)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 3), d=st.integers(1, 3), extra=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_gain_is_exact_without_noise(seed: int, n: int, d: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_matrices(rng, n, d, 1)
    u, y = simulate_logs(rng, *model, steps=300)
    estimate = identify_gain(u, y[:, 0], order=n + extra)
    scale = 1 + abs(gain(*model)).max()
    np.testing.assert_allclose(estimate.h, gain(*model)[0], atol=1e-6 * scale)
    if extra == 0:
        assert estimate.rho == pytest.approx(0.8, abs=1e-5)
        assert estimate.covariance.max() < 1e-10 * scale**2


def test_order_is_chosen_without_noise_and_more_lags_are_flagged() -> None:
    rng = np.random.default_rng(0)
    model = random_matrices(rng, 3, 2, 1)
    u, y = simulate_logs(rng, *model, steps=400)
    for criterion in ("bic", "aic"):
        estimate = identify_gain(u, y, criterion=criterion)
        assert estimate.order == 3 and not estimate.ill_conditioned
        assert [order for order, _ in estimate.criteria] == list(range(1, 9))
    assert identify_gain(u, y, order=5).ill_conditioned


@pytest.mark.parametrize("weights", [None, [2.0, 0.5]])
def test_multi_output_gain_is_exact_without_noise(weights: list | None) -> None:
    rng = np.random.default_rng(1)
    model = random_matrices(rng, 4, 3, 2)
    u, y = simulate_logs(rng, *model, steps=400)
    estimate = identify_gain(u, y, order=2, weights=weights)
    np.testing.assert_allclose(estimate.output_gain, gain(*model), atol=1e-8)
    np.testing.assert_allclose(estimate.h, (weights or [1, 1]) @ gain(*model), atol=1e-8)
    assert estimate.rho == pytest.approx(0.8, abs=1e-6)


def test_fir_is_biased_by_the_tail_it_cuts_off() -> None:
    rng = np.random.default_rng(2)
    A, B, C, D = np.array([[0.5]]), np.array([[1.0]]), np.array([[1.0]]), np.array([[0.3]])
    u, y = simulate_logs(rng, A, B, C, D, steps=4000, u=rng.choice([-1.0, 1.0], (4000, 1)))
    for lags in (4, 12):
        estimate = identify_gain(u, y, order=lags, method="fir")
        # White input: the fitted coefficients are the first Markov parameters, so the sum misses the tail.
        assert estimate.h[0] == pytest.approx(2.3 - 0.5**lags * 2, abs=6 * estimate.standard_errors[0] + 1e-3)
        assert np.isnan(estimate.rho)
    assert estimate.h[0] == pytest.approx(2.3, abs=0.01)
    with pytest.raises(ValueError, match="does not estimate the spectral radius"):
        _ = estimate.rho_bar


def test_ridge_equals_the_closed_form() -> None:
    rng = np.random.default_rng(3)
    u, y = rng.random((50, 2)), rng.random(50)
    estimate = identify_gain(u, y, order=1, ridge=2.0)
    X = np.column_stack([y[:-1], u[1:], u[:-1]])
    theta = np.linalg.solve(X.T @ X + 2.0 * np.eye(5), X.T @ y[1:])
    np.testing.assert_allclose(estimate.h, (theta[1:3] + theta[3:]) / (1 - theta[0]), rtol=1e-10)


def coverage(method: str, sigma_state: float, runs: int, order: int) -> float:
    """Share of runs in which the 90 % interval for a random direction holds the true value."""
    rng = np.random.default_rng(4)
    a, b, c = 0.6, np.array([1.0, -0.5]), np.array([0.2, 0.4])
    system = DLBSystem([[a]], [b], [1.0], c)
    hits = 0
    for _ in range(runs):
        u = rng.random((600, 2))
        e, noise = 0.3 * rng.standard_normal(600), sigma_state * rng.standard_normal(600)
        y, x = np.empty(600), 0.0
        for t in range(600):
            y[t] = x + c @ u[t] + e[t]
            # The innovation enters the state with gain a: then y is exactly ARX(1) with white residuals.
            x = a * x + b @ u[t] + a * e[t] + noise[t]
        low, high = identify_gain(u, y, order=order, method=method).confidence_interval([1.0, 2.0], level=0.9)
        hits += bool(low <= system.value([1.0, 2.0]) <= high)
    return hits / runs


@pytest.mark.parametrize(
    ("method", "sigma_state", "order", "slack"),
    [("arx", 0.0, 1, 0.0), ("arx", 0.2, 6, 0.02), ("fir", 0.2, 14, 0.05)],
)
def test_confidence_intervals_cover(method: str, sigma_state: float, order: int, slack: float) -> None:
    """Two-sided binomial bounds at confidence 1 − 1e-4 for 90 % coverage, less the small-sample slack stated.

    The recursion with extra state noise is ARMAX, so ARX(6) and FIR are only asymptotically right.
    """
    runs = 300
    low, high = scipy.stats.binom.ppf([5e-5, 1 - 5e-5], runs, 0.9) / runs
    assert low - slack <= coverage(method, sigma_state, runs, order) <= high


def test_cautious_radius_bounds_the_true_one() -> None:
    rng = np.random.default_rng(5)
    below = 0
    for _ in range(50):
        model = random_matrices(rng, 1, 1, 1, rho=rng.uniform(0.2, 0.95))
        u, y = simulate_logs(rng, *model, steps=500, sigma=0.1)
        below += identify_gain(u, y, order=4).rho_bar < abs(model[0][0, 0])
    # rho + 2 se + 0.02 fails in at most 2.3 % of runs: P(more than 6 of 50) < 1e-3.
    assert below <= 6


@given(seed=st.integers(0, 2**31), n=st.integers(1, 3), d=st.integers(1, 3), q=st.integers(1, 2))
@settings(max_examples=15, deadline=None)
def test_state_space_is_exact_without_noise(seed: int, n: int, d: int, q: int) -> None:
    rng = np.random.default_rng(seed)
    A, B, C, D = random_matrices(rng, n, d, q)
    u, y = simulate_logs(rng, A, B, C, D, steps=300)
    estimate = identify_state_space(u, y, order=n, horizon=10)
    np.testing.assert_allclose(estimate.D, D, atol=1e-6)
    block, found = B, estimate.B
    for _ in range(8):
        np.testing.assert_allclose(estimate.C @ found, C @ block, atol=1e-4 * (1 + abs(C @ block).max()))
        block, found = A @ block, estimate.A @ found
    assert estimate.rho == pytest.approx(0.8, abs=0.01)
    assert not estimate.unstable


def test_order_by_the_gap_and_the_system_that_comes_out() -> None:
    rng = np.random.default_rng(6)
    model = random_matrices(rng, 3, 2, 2)
    u, y = simulate_logs(rng, *model, steps=500)
    estimate = identify_state_space(u, y, weights=[1.0, -2.0])
    assert estimate.order == 3
    np.testing.assert_allclose(estimate.h, [1.0, -2.0] @ gain(*model), rtol=1e-6)
    system = estimate.system(sigma_x=0.1, sigma_out=0.2)
    assert (system.sigma_x, system.sigma_y) == (0.1, pytest.approx(0.2 * np.sqrt(5)))


def test_direct_effect_needs_the_correction_by_the_innovation_gain() -> None:
    """With noise the gain F is real; B̄ alone, without F D, misses the long-run gain by half."""
    rng = np.random.default_rng(7)
    A, B, C, D = np.array([[0.7]]), np.array([[0.5]]), np.array([[1.0]]), np.array([[2.0]])
    u, y = simulate_logs(rng, A, B, C, D, steps=20_000, sigma=0.3)
    estimate = identify_state_space(u, y, order=1, horizon=12)
    true = float(gain(A, B, C, D)[0, 0])
    assert estimate.h[0] == pytest.approx(true, rel=0.03)
    assert abs(estimate.kalman_gain).max() > 0.1
    uncorrected = estimate.B - estimate.kalman_gain @ estimate.D
    wrong = float(gain(estimate.A, uncorrected, estimate.C, estimate.D)[0, 0])
    assert abs(wrong - true) > 0.5 * true
    assert estimate.rho == pytest.approx(0.7, abs=0.03)


def test_unstable_systems_are_flagged_and_can_be_shrunk() -> None:
    rng = np.random.default_rng(8)
    A, B, C, D = np.array([[1.02]]), np.array([[1.0]]), np.array([[1.0]]), np.array([[0.5]])
    u, y = simulate_logs(rng, A, B, C, D, steps=200)
    with pytest.warns(UserWarning, match=r"unstable \(spectral radius 1\.02"):
        estimate = identify_state_space(u, y, order=1, horizon=6)
    assert estimate.unstable and not estimate.shrunk and estimate.rho == pytest.approx(1.02, abs=1e-6)
    with pytest.raises(UnstableSystemError):
        _ = estimate.h
    with pytest.warns(UserWarning, match=r"scaled down to 0\.999"):
        shrunk = identify_state_space(u, y, order=1, horizon=6, shrink=True)
    assert shrunk.unstable and shrunk.shrunk and shrunk.rho == pytest.approx(0.999)
    assert np.isfinite(shrunk.h).all()
    with pytest.warns(UserWarning, match="fitted recursion is unstable"):
        assert identify_gain(u, y, order=1).unstable


def test_channels_that_were_not_varied_are_named() -> None:
    rng = np.random.default_rng(9)
    u, y = rng.random((200, 3)), rng.random(200)
    names = ("search", "video", "social")
    flat = u.copy()
    flat[:, 1] = 0.3
    tied = u.copy()
    tied[:, 2] = 2 * tied[:, 0] - 1
    for identify in (identify_gain, identify_state_space):
        with pytest.raises(UnexcitedInputError, match="do not vary video "):
            identify(flat, y, channels=names)
        with pytest.raises(UnexcitedInputError, match="do not vary search, social "):
            identify(tied, y, channels=names)
        with pytest.raises(UnexcitedInputError, match="do not vary channel 0, channel 1, channel 2 "):
            identify(u * 0 + 1, y)
    assert identify_gain(tied, y, order=1, channels=names, allow_unexcited=True).unexcited == (
        "search",
        "social",
    )


def test_a_total_that_never_changes_hides_nothing_in_the_gain() -> None:
    """Logs that always spend the whole budget still determine h along them; allow_unexcited finds it."""
    rng = np.random.default_rng(10)
    model = random_matrices(rng, 2, 3, 1)
    shares = rng.dirichlet(np.ones(3), 400)
    u, y = simulate_logs(rng, *model, steps=400, u=1.5 * shares)
    with pytest.raises(UnexcitedInputError, match="channel 0, channel 1, channel 2"):
        identify_gain(u, y, order=2)
    estimate = identify_gain(u, y, order=2, allow_unexcited=True)
    np.testing.assert_allclose(1.5 * shares @ estimate.h, 1.5 * shares @ gain(*model)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": np.ones(50)}, r"u must have shape \[T, d\].*\(50,\) and \(50, 1\)"),
        ({"y": np.ones(49)}, r"\(50, 2\) and \(49, 1\)"),
        ({"order": 0}, "order must be a whole number of at least 1"),
        ({"order": 20}, "the logs have 50 rows, but 20 lags and 62 unknowns need at least 83"),
        ({"method": "arma"}, "method must be 'arx' or 'fir'"),
        ({"criterion": "mdl"}, "criterion must be 'aic' or 'bic'"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"channels": ("a",)}, "channels must name the 2 columns"),
        ({"weights": [1.0, 1.0]}, "weights must be 1 finite numbers"),
    ],
)
def test_bad_logs_are_refused(changes: dict, message: str) -> None:
    rng = np.random.default_rng(11)
    arguments = {"u": rng.random((50, 2)), "y": rng.random(50), "order": 2}
    with pytest.raises(ValueError, match=message):
        identify_gain(**{**arguments, **changes})


def test_missing_values_are_named_by_row_and_column() -> None:
    rng = np.random.default_rng(12)
    u, y = rng.random((50, 2)), rng.random(50)
    u[17, 1] = np.nan
    with pytest.raises(ValueError, match=r"u has 1 entries.*row 17, column 1 \(video\): nan"):
        identify_gain(u, y, channels=("search", "video"))
    y[3] = np.inf
    with pytest.raises(ValueError, match=r"y has 1 entries.*row 3, column 0"):
        identify_state_space(np.nan_to_num(u), y)


def test_bad_horizons_are_refused() -> None:
    rng = np.random.default_rng(13)
    u, y = rng.random((100, 2)), rng.random(100)
    for horizon in (5, 2, 0):
        with pytest.raises(ValueError, match="horizon must be an even number of at least 4"):
            identify_state_space(u, y, horizon=horizon)
    with pytest.raises(ValueError, match=r"order must lie in 1\.\.2 for horizon 4, but is 3"):
        identify_state_space(u, y, order=3, horizon=4)
    with pytest.raises(ValueError, match="need at least 155"):
        identify_state_space(u, y, order=3, horizon=38)
    with pytest.raises(ValueError, match="level must lie in"):
        identify_gain(u, y, order=1).confidence_interval(level=1.0)
