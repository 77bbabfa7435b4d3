"""Twins: the filter is Kalman's, constants are found from counts, ABC-SMC finds a known posterior."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.abc_smc import AbcConfig, abc_smc
from dynrl.agents.digital_twins.enkf import EnkfConfig, _pairing, analyse, fit_twin, forecast, surprisal
from dynrl.agents.digital_twins.patients import PatientLaw
from dynrl.agents.digital_twins.twin import AgentTwin

LAW = PatientLaw(names=("gain", "growth"), spread=0.15, most=())
FILTER = EnkfConfig(
    logs=(True, False),
    units=(1.0, 10.0),
    observed=(0, 1),
    variance=(0.05, 0.5),
    spread=0.15,
    macro_spread=(3.0, 5.0),
)


def test_analysis_of_one_count_is_kalmans() -> None:
    """Prior N(m, P), observation with variance R: mean m + P / (P + R) (y - m), variance P R / (P + R)."""
    config = EnkfConfig(logs=(False,), units=(1.0,), observed=(0,), variance=(4.0,), macro_spread=(1.0,))
    x = np.random.default_rng(0).normal(10.0, 3.0, (500, 1))
    m, p = x.mean(), x.var(ddof=1)
    x = np.concatenate([x, 2 * x + 1], 1)  # an unobserved constant that follows the count exactly
    mean, covariance = analyse(x, np.array([14.0]), config)
    assert mean[0] == pytest.approx(m + p / (p + 4) * (14 - m), rel=1e-6)
    assert mean[1] == pytest.approx(2 * mean[0] + 1, rel=1e-6)
    assert covariance[0, 0] == pytest.approx(p * 4 / (p + 4), rel=1e-4)


def test_an_unobserved_time_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    mean, covariance = analyse(x, np.array([np.nan, np.nan]), FILTER)
    np.testing.assert_allclose(mean, x.mean(0))
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False))


def test_pairing_changes_members_as_little_as_possible() -> None:
    old = np.random.default_rng(0).normal(size=(30, 3))
    shuffled = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose((old[shuffled] + 1e-3)[_pairing(old, old[shuffled] + 1e-3)], old + 1e-3)


def test_transforms_undo_each_other() -> None:
    config = EnkfConfig()
    macro = np.array([[0.0, 3.0, 1500.0], [76.0, 160.0, 970.0]])
    np.testing.assert_array_equal(config.backward(config.forward(macro)), macro)


def test_a_twin_of_the_agents_finds_the_constants_of_patients(meadow: Any) -> None:
    twin = AgentTwin(meadow, LAW)
    patients = LAW.draw(meadow, 6, seed=3)
    history = simulate(meadow, patients.params, steps=600, seeds=1)
    errors, surprise = [], []
    for number in range(6):
        observed = np.asarray(history.macro[number, 0, 30::30])
        config = EnkfConfig(**{**FILTER.__dict__, "every": 30, "seed": number})
        fitted = fit_twin(twin, observed, np.zeros((600, 2)), 2, config)
        errors.append(fitted.estimate(2) - patients.context[number])
        truth = np.asarray(patients.context[number], float)
        surprise.append(
            (
                surprisal(fitted.mean[-1][-2:], fitted.covariance[-1][-2:, -2:], truth),
                surprisal(np.zeros(2), 0.15**2 * np.eye(2), truth),
            )
        )
    before, after = np.sqrt((patients.context**2).mean()), np.sqrt((np.array(errors) ** 2).mean())
    assert after < 0.5 * before
    assert np.mean(surprise, axis=0)[0] < np.mean(surprise, axis=0)[1]
    ahead = forecast(twin, fitted, np.zeros((200, 2)), every=50)
    assert ahead.shape == (4, config.members, 2)
    rest = float(np.asarray(0.1 / (0.001 * np.exp(patients.context[5][0]))))  # sheep at rest: death / gain
    assert ahead[:, :, 1].mean() == pytest.approx(rest, rel=0.15)


def test_surprisal_is_minus_the_log_density() -> None:
    assert surprisal(np.zeros(1), np.eye(1), np.array([1.0])) == pytest.approx(0.5 + 0.5 * np.log(2 * np.pi))


def test_abc_smc_finds_the_posterior_of_a_gaussian() -> None:
    """theta ~ N(0, 1), twenty draws with mean 0.8: posterior N(0.8 * 20 / 21, 1 / 21), widened by the tolerance."""
    rng = np.random.default_rng(0)

    def simulated(theta: np.ndarray, seed: int) -> np.ndarray:
        return theta + rng.normal(size=theta.shape) / np.sqrt(20)

    config = AbcConfig(particles=300, rounds=6, spread=1.0)
    found = abc_smc(simulated, np.array([0.8]), 1, config)
    assert found.mean()[0] == pytest.approx(0.8 * 20 / 21, abs=0.06)
    assert 0.7 / 21 < found.covariance()[0, 0] < 1.6 / 21
    assert (np.diff(found.tolerances) < 0).all() and found.weights.sum() == pytest.approx(1.0)


def test_an_impossible_tolerance_is_named() -> None:
    config = AbcConfig(particles=50, rounds=3, batch=20, max_batches=1, quantile=0.1)
    with pytest.raises(RuntimeError, match="more batches"):
        abc_smc(lambda theta, seed: theta, np.zeros(2), 2, config)


def test_patients_differ_as_the_law_says(meadow: Any) -> None:
    patients = LAW.draw(meadow, 4000, seed=0)
    np.testing.assert_allclose(patients.context.std(0), 0.15, rtol=0.05)
    np.testing.assert_allclose(
        np.asarray(patients.params.gain), 0.001 * np.exp(patients.context[:, 0]), rtol=1e-4
    )
    assert np.shape(patients.params.death) == ()
    one = LAW.one(patients, 7)
    assert float(one.growth) == pytest.approx(float(patients.params.growth[7]))
    with pytest.raises(ValueError, match="no field 'gian'"):
        PatientLaw(names=("gian",)).draw(meadow, 1, 0)


def test_series_that_do_not_fit_are_refused(meadow: Any) -> None:
    twin = AgentTwin(meadow, LAW)
    with pytest.raises(ValueError, match="observations have shape"):
        fit_twin(twin, np.zeros((4, 3)), np.zeros((200, 2)), 2, FILTER)
    with pytest.raises(ValueError, match="one command per step"):
        fit_twin(twin, np.zeros((4, 2)), np.zeros((10, 2)), 2, FILTER)
    with pytest.raises(ValueError, match="variance"):
        EnkfConfig(variance=(0.0,))
    assert jnp.isfinite(jnp.asarray(FILTER.forward(np.zeros(2)))).all()
