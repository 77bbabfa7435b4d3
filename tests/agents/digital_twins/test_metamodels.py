"""Metamodels: zero absorbs, matter is conserved, fits find known steady states and the size of the noise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.abm.metabolic_mean_field import mean_field_step
from dynrl.agents.digital_twins.data import Trajectories, record, split_runs
from dynrl.agents.digital_twins.fitting import FitConfig, fit, fit_noise
from dynrl.agents.digital_twins.mechanistic import MetabolicMeanField, WolfSheepOde
from dynrl.agents.digital_twins.metamodel import Metamodel, roll_out
from dynrl.agents.digital_twins.neural_metamodel import NeuralOde, ResidualMap, StochasticMap
from dynrl.agents.digital_twins.power_law import Binode, PowerLaw
from dynrl.agents.digital_twins.validation import steady_states, validate

SCALE, HIGH, KEY = (50.0, 100.0), (0.2, 0.2), jax.random.key(0)
NOTHING = jnp.zeros(0)


def residual(stride: int = 5) -> ResidualMap:
    return ResidualMap(SCALE, HIGH, stride, key=KEY, width=24, removes=(1, 0))


@pytest.fixture(scope="module")
def runs(meadow: Any) -> Trajectories:
    return record(meadow, KEY, 64, steps=300, stride=5)


@pytest.fixture(scope="module")
def fitted(runs: Trajectories) -> StochasticMap:
    train, valid = split_runs(runs)
    config = FitConfig(iterations=300, batch=64, learning_rate=(1e-2, 1e-3))
    mean = fit(residual(), train, valid, config).metamodel
    return fit_noise(StochasticMap(mean, key=KEY), train, FitConfig(horizons=(1,), iterations=600))


def zoo() -> list[Metamodel]:
    return [
        residual(),
        NeuralOde(SCALE, HIGH, 5, key=KEY),
        StochasticMap(residual(), key=KEY),
        PowerLaw(SCALE, HIGH, (1, 0), 5, key=KEY, terms=2),
        Binode([[1, -1, 0], [0, 0, -1]], [(0, 1), (0,), (0, 1)], SCALE, HIGH, 5, key=KEY),
    ]


@pytest.mark.parametrize("metamodel", zoo(), ids=lambda m: type(m).__name__)
def test_the_extinct_do_not_come_back(metamodel: Metamodel) -> None:
    z = jnp.array([0.0, 1.2])
    for number in range(3):
        z = metamodel.sample(z, jnp.array([0.01, 0.0]), NOTHING, jax.random.fold_in(KEY, number))
        assert z[0] == 0
        assert z[1] >= 0 and jnp.isfinite(z[1])


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0.1, 3), st.integers(1, 20))
def test_a_removal_is_a_share_per_step(sheep: float, wolves: float, x: float, stride: int) -> None:
    """With a silent network the map is x (1 - u)^stride."""
    model = residual(stride)
    silent = jax.tree.map(jnp.zeros_like, model)
    after = silent.step(jnp.array([x, x]), jnp.array([sheep, wolves]), NOTHING)
    np.testing.assert_allclose(
        after, [x * (1 - wolves) ** stride, x * (1 - sheep) ** stride], rtol=1e-4, atol=1e-7
    )


def test_every_patch_is_grown_or_regrowing() -> None:
    """The slopes of grown and regrowing patches cancel, and a start accounts for every cell."""
    ode = WolfSheepOde(2601)
    z = ode.start(jnp.array([0.5, 0.8, 1.3]), NOTHING)
    assert float(z[2] * 1000 + z[3:7].sum() * 1000) == pytest.approx(2601, rel=1e-6)
    slope = ode.slope(z, ode.rates(NOTHING), jnp.array([0.01, 0.01]))
    assert float(slope[2] + slope[3:7].sum()) == pytest.approx(0.0, abs=1e-6)


def test_a_patient_context_multiplies_the_rates() -> None:
    ode = WolfSheepOde(2601)
    shifted = ode.rates(jnp.array([0.1, 0.0, 0.0, 0.0, -0.2]))
    assert float(shifted.gain_wolf) == pytest.approx(20 * np.exp(0.1), rel=1e-5)
    assert float(shifted.regrowth) == pytest.approx(30 * np.exp(-0.2), rel=1e-5)
    assert float(shifted.p_sheep) == pytest.approx(0.04, rel=1e-5)


def test_mean_field_over_a_stride_is_its_steps_one_by_one() -> None:
    from dynrl import make_functional

    model = make_functional("dynrl/MetBudget-v0").model  # type: ignore[attr-defined]
    params, scale = model.default_params(), tuple(model.macro_scale)
    x = jnp.array([100.0, 50.0, 5.0, 40.0, 10.0, 30.0, 10.0])
    metamodel = MetabolicMeanField(params, scale, stride=3)
    at_once = metamodel.macro(metamodel.step(metamodel.scaled(x), jnp.array([2.0]), NOTHING))
    for _ in range(3):
        x = mean_field_step(x, 2.0, params)[0]
    np.testing.assert_allclose(at_once, x, rtol=1e-4)


def lotka_volterra() -> PowerLaw:
    """The meadow written down: s' = 0.2 s - 0.1 s² - 0.1 s w, w' = 0.1 s w - 0.1 w in scaled units."""
    blank = PowerLaw(SCALE, HIGH, (1, 0), 1, key=KEY, terms=2)
    rates = jnp.array([[[0.1, 1e-9], [0.2, 1e-9]], [[0.1, 1e-9], [0.1, 0.1]]])
    exponents = jnp.array(
        [[[[1, 1], [1, 1]], [[0, 1], [0, 1]]], [[[1, 0], [1, 0]], [[0, 2], [1, 1]]]], jnp.float32
    )
    return eqx.tree_at(lambda m: (m.log_rates, m.exponents), blank, (jnp.log(rates), exponents))


def test_a_power_law_holds_lotka_volterra(quiet: Any) -> None:
    """Written down by hand it follows the noise-free model, whose steps are Euler's, within a few per cent."""
    data = record(quiet, KEY, 4, steps=100, stride=1, idle=1.0, spread=1.2)
    found = jax.vmap(lambda m, u: roll_out(lotka_volterra(), m, u, NOTHING))(data.macro[:, 0], data.control)
    np.testing.assert_allclose(found / np.array(SCALE), data.macro / np.array(SCALE), atol=0.12)


@pytest.mark.slow
def test_a_fit_repairs_a_wrong_power_law(meadow: Any) -> None:
    train, valid = split_runs(record(meadow, KEY, 64, steps=200, stride=1, decades=2))
    wrong = eqx.tree_at(lambda m: m.log_rates, lotka_volterra(), replace_fn=lambda rates: rates + 0.2)
    found = fit(wrong, train, valid, FitConfig((10, 30), iterations=300, learning_rate=(5e-3, 5e-4)))
    right = fit(lotka_volterra(), train, valid, FitConfig((10,), iterations=1, check_every=1))
    before = fit(wrong, train, valid, FitConfig((10,), iterations=1, check_every=1))
    assert found.errors.min() < before.errors[0]
    assert found.errors.min() < 1.1 * right.errors[0]


def test_fitted_steady_states_are_those_of_the_model(fitted: StochasticMap, meadow: Any) -> None:
    commands = [(0.0, 0.0), (0.0, 0.01), (0.0, 0.03), (0.02, 0.0), (0.01, 0.01)]
    found, truth = steady_states(fitted, meadow, commands, steps=400, tail=200, seeds=16)
    np.testing.assert_allclose(found / np.array(SCALE), truth / np.array(SCALE), atol=0.12)
    # Without doses the closed form is 100 sheep and 50 wolves; noise moves the mean by a little.
    np.testing.assert_allclose(truth[0], [50.0, 100.0], rtol=0.1)


def test_the_band_covers_what_it_says(fitted: StochasticMap, runs: Trajectories) -> None:
    _, valid = split_runs(runs)
    report = validate(fitted, valid)
    assert 0.8 < report.coverage < 0.97
    assert (report.rmse_runs < 0.35).all()
    assert np.isnan(validate(fitted.mean, valid).coverage)


def test_roll_outs_start_where_they_are_told(fitted: StochasticMap) -> None:
    macro = roll_out(fitted, jnp.array([40.0, 90.0]), jnp.zeros((4, 2)), NOTHING)
    assert macro.shape == (5, 2)
    np.testing.assert_allclose(macro[0], [40.0, 90.0], rtol=1e-6)


def test_recorded_commands_are_piecewise_and_within_bounds(runs: Trajectories) -> None:
    control = np.asarray(runs.control)
    assert control.min() == 0 and control.max() <= 0.2
    changes = (np.abs(np.diff(control, axis=1)).sum(-1) > 0).mean()
    assert (
        0.05 < changes < 0.125
    )  # a new piece after 40 steps on average, 5 steps per stride; both may be off
    assert 0.4 < (control == 0).mean() < 0.6


def test_mistakes_are_named(meadow: Any, runs: Trajectories) -> None:
    with pytest.raises(ValueError, match="multiple of stride"):
        record(meadow, KEY, 4, steps=13, stride=5)
    with pytest.raises(ValueError, match="at least one run"):
        split_runs(Trajectories(*(part[:1] for part in runs)))
    with pytest.raises(ValueError, match="too short"):
        fit(residual(), runs, runs, FitConfig(horizons=(100,)))
    with pytest.raises(ValueError, match="do not fit"):
        fit(ResidualMap((1.0,), HIGH, key=KEY), runs, runs)
    with pytest.raises(ValueError, match="stoichiometry"):
        Binode([[1.0]], [(0,), (1,)], SCALE, HIGH, key=KEY)
